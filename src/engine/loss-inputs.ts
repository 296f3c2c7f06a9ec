// What a loss reads beside tokens: which arrays, written into packed memory and read back from it.

import type { Example, LossSpec } from "../core/engine.ts";
import { EngineError } from "../core/errors.ts";
import { completionLength } from "../losses/weights.ts";
import type { Binding } from "../tensor/index.ts";
import type { MicroBatch } from "./micro-batch.ts";

export type LossArray = "advantage" | "old" | "reference";

/** Which arrays of the examples the loss reads; throws when one is missing or has another length than the completion. */
export function usedArrays(batch: readonly Example[], loss: LossSpec): LossArray[] {
  const needed: LossArray[] = loss.type === "cross-entropy" ? [] : ["advantage"];
  if (loss.type === "policy-gradient") {
    if (batch.some((example) => example.old !== undefined)) needed.push("old");
    if (loss.klBeta !== 0) needed.push("reference");
  }
  batch.forEach((example, index) => {
    const fail = (expected: string, got: string): EngineError =>
      new EngineError({ where: `accumulate: sequence ${index}`, expected, got });
    const missing = needed.find((name) => example[name] === undefined);
    if (missing !== undefined) throw fail(`"${missing}" for this loss`, "none");
    const length = completionLength(example);
    for (const name of ["mask", "old", "reference"] as const) {
      const found = example[name]?.length ?? length;
      if (found !== length) throw fail(`${length} numbers of "${name}"`, String(found));
    }
  });
  return needed;
}

/** Writes the arrays of a piece's examples into the memory of its program, where the program has them. */
export function fillLossInputs(
  binding: Binding,
  batch: readonly Example[],
  { spans }: MicroBatch,
  weights: readonly Float64Array[],
): void {
  const fill = (
    name: string,
    values: (member: number) => ArrayLike<number> | number,
    padding = 0,
  ): void => {
    if (!(name in binding.memory)) return;
    const target = binding.floats(name).fill(padding);
    for (const { member, start, length } of spans) {
      const value = values(member);
      if (typeof value === "number") target.fill(value, start, start + length);
      else target.set(value, start);
    }
  };
  fill("weights", (member) => weights[member]!);
  fill("advantage", (member) => batch[member]!.advantage!);
  fill("old", (member) => batch[member]!.old!);
  // Padding has weight 0, and exp(reference − log p) must stay finite there: a probability of nothing, not of one.
  fill("reference", (member) => batch[member]!.reference!, -1e4);
}

/** Copies packed values back to the ragged arrays they belong to. */
export function readSpans(
  values: Float32Array,
  { spans }: MicroBatch,
  target: readonly Float32Array[],
): void {
  for (const { member, start, length } of spans) {
    target[member]!.set(values.subarray(start, start + length));
  }
}
