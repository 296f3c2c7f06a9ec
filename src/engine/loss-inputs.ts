// What a loss reads beside tokens: which arrays, written into packed memory and read back from it.

import type { Example, LossWindow } from "../core/engine.ts";
import { EngineError } from "../core/errors.ts";
import type { LossSpec } from "../core/loss-spec.ts";
import { readsEntropy, readsReference } from "../losses/policy-loss.ts";
import {
  completionLength,
  entropyWeights,
  masksOf,
  tokenWeights,
  wholeWindow,
} from "../losses/weights.ts";
import type { Binding } from "../tensor/index.ts";
import type { MicroBatch } from "./micro-batch.ts";

export type LossArray = "mask" | "advantage" | "old" | "reference" | "sampler" | "slope";

const perToken = ["mask", "old", "reference", "sampler", "slope"] as const;

/** What the loss reads of the examples: what it must have, and what it uses where there is some. */
function arraysOf(loss: LossSpec): { needed: LossArray[]; welcome: LossArray[] } {
  if (loss.type === "cross-entropy") return { needed: [], welcome: [] };
  if (loss.type === "linear") return { needed: ["slope"], welcome: [] };
  const needed: LossArray[] = ["advantage"];
  if (readsReference(loss)) needed.push("reference");
  const { type } = loss.sampler;
  if (type === "denominator") needed.push("sampler");
  const usesSampler = type === "correction" || loss.offPolicyMask !== null;
  return { needed, welcome: usesSampler ? ["old", "sampler"] : ["old"] };
}

/** Which arrays of the examples the loss reads; throws when one is missing or has another length than the completion. */
export function usedArrays(batch: readonly Example[], loss: LossSpec): LossArray[] {
  const { needed, welcome } = arraysOf(loss);
  const found = welcome.filter((name) => batch.some((example) => example[name] !== undefined));
  const used = [...new Set([...needed, ...found])];
  batch.forEach((example, index) => {
    const fail = (expected: string, got: string): EngineError =>
      new EngineError({ where: `accumulate: sequence ${index}`, expected, got });
    const missing = used.find((name) => example[name] === undefined);
    if (missing !== undefined) throw fail(`"${missing}" for this loss`, "none");
    const length = completionLength(example);
    const { advantage } = example;
    const rows = { ...example, advantage: typeof advantage === "number" ? undefined : advantage };
    for (const name of [...perToken, "advantage"] as const) {
      const count = rows[name]?.length ?? length;
      if (count !== length) throw fail(`${length} numbers of "${name}"`, String(count));
    }
  });
  return loss.type === "policy-gradient" ? ["mask", ...used] : used;
}

/** Weights of the tokens of a batch, computed for all of it before it is cut. */
export interface BatchWeights {
  readonly masks: readonly Float32Array[];
  readonly weights: readonly Float64Array[];
  readonly entropyWeights: readonly Float64Array[];
}

export function batchWeights(
  batch: readonly Example[],
  loss: LossSpec,
  given: LossWindow | undefined,
): BatchWeights {
  const masks = masksOf(batch);
  if (loss.type === "linear") return { masks, weights: [], entropyWeights: [] };
  const window = given ?? wholeWindow(masks);
  const weights = tokenWeights(masks, loss.aggregation, window);
  const isPlain = loss.type === "cross-entropy" || !readsEntropy(loss);
  return {
    masks,
    weights,
    entropyWeights: isPlain ? [] : entropyWeights(loss, masks, window, weights),
  };
}

/** Writes the arrays of a piece's examples into the memory of its program, where the program has them. */
export function fillLossInputs(
  binding: Binding,
  batch: readonly Example[],
  { spans }: MicroBatch,
  { masks, weights, entropyWeights: bonus }: BatchWeights,
): void {
  const fill = (name: string, values: (member: number) => ArrayLike<number> | number): void => {
    if (!(name in binding.memory)) return;
    const target = binding.floats(name).fill(0);
    for (const { member, start, length } of spans) {
      const value = values(member);
      if (typeof value === "number") target.fill(value, start, start + length);
      else target.set(value, start);
    }
  };
  fill("weights", (member) => weights[member]!);
  fill("entropyWeights", (member) => bonus[member]!);
  // Where the mask is 0, padding included, the loss does not look at what stands in the other arrays.
  fill("mask", (member) => masks[member]!);
  for (const name of ["advantage", "old", "reference", "sampler", "slope"] as const)
    fill(name, (member) => batch[member]![name]!);
  fillMembership(binding, spans);
}

/** Row i has a 1 at each token of the i-th sequence of the piece. */
function fillMembership(binding: Binding, spans: MicroBatch["spans"]): void {
  if (!("membership" in binding.memory)) return;
  const target = binding.floats("membership").fill(0);
  const rows = binding.floats("mask").length;
  spans.forEach(({ start, length }, row) => {
    target.fill(1, row * rows + start, row * rows + start + length);
  });
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
