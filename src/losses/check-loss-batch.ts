// What a person hands to `evaluateLoss` is looked at before it is computed with: a name that is not read would change nothing
// in silence, and a count of 0 would make the loss NaN.

import { EngineError, nearestName } from "../core/errors.ts";
import type { BatchWindow, LossBatch, Ragged } from "./evaluate-loss.ts";

const batchNames: Readonly<Record<keyof LossBatch, true>> = {
  logprobs: true,
  old: true,
  reference: true,
  sampler: true,
  advantages: true,
  mask: true,
  entropy: true,
  window: true,
};

/** Whether 0 is a count of its kind. No count has to be whole: a batch may be a share of a process' part (verl). */
const windowCounts: Readonly<Record<keyof BatchWindow, "positive" | "any">> = {
  accumulation: "positive",
  stepsPerGeneration: "positive",
  processes: "positive",
  sequences: "any",
  stepTokens: "any",
  generationTokens: "any",
  maxTokens: "positive",
};

function checkNames(where: string, given: object, known: readonly string[]): void {
  for (const name of Object.keys(given)) {
    if (known.includes(name)) continue;
    const near = nearestName(name, known);
    throw new EngineError({
      where,
      expected: `one of ${known.join(", ")}`,
      got: JSON.stringify(name),
      ...(near !== undefined && { hint: `did you mean ${JSON.stringify(near)}?` }),
    });
  }
}

/** Throws an EngineError for names that nobody reads and for a window that no batch can be a part of. */
export function checkLossBatch(batch: LossBatch): void {
  checkNames("evaluateLoss", batch, Object.keys(batchNames));
  const { window = {} } = batch;
  checkNames("evaluateLoss: window", window, Object.keys(windowCounts));
  for (const [name, value] of Object.entries(window) as [keyof BatchWindow, number | undefined][]) {
    if (value === undefined) continue;
    const isPositive = windowCounts[name] === "positive";
    if (Number.isFinite(value) && (isPositive ? value > 0 : value >= 0)) continue;
    const where = `evaluateLoss: window.${name}`;
    throw new EngineError({
      where,
      expected: `a number ${isPositive ? ">" : ">="} 0`,
      got: String(value),
    });
  }
}

/** Throws an EngineError unless every number is 0 or 1: a policy loss counts its tokens. */
export function checkPolicyMask(mask: Ragged): void {
  mask.forEach((row, sequence) => {
    const time = Array.from(row, Number).findIndex((value) => value !== 0 && value !== 1);
    if (time === -1) return;
    const where = `evaluateLoss: mask[${sequence}][${time}]`;
    throw new EngineError({ where, expected: "0 or 1", got: String(row[time]) });
  });
}
