// Aggregation as plain numbers: the weight of each token's loss in the total.

import type { Example, LossWindow, Sequence } from "../core/engine.ts";
import type { Aggregation, PolicySpec } from "../core/loss-spec.ts";

export const completionLength = ({
  tokens,
  promptLength,
}: Pick<Sequence, "tokens" | "promptLength">): number => tokens.length - promptLength;

/** The masks of a batch `[sequence][completion time]`. */
export const masksOf = (batch: readonly Example[]): Float32Array[] =>
  batch.map((example) => example.mask ?? new Float32Array(completionLength(example)).fill(1));

const total = (values: ArrayLike<number>): number => {
  let result = 0;
  for (let index = 0; index < values.length; index++) result += values[index]!;
  return result;
};

/** The window of a batch that is accumulated alone, from masks `[sequence][time]` (0 and 1, or weights). */
export function wholeWindow(masks: readonly ArrayLike<number>[]): LossWindow {
  const counts = masks.map(total);
  const tokens = { loss: total(counts), completion: total(masks.map((mask) => mask.length)) };
  return {
    batches: 1,
    sequences: masks.length,
    filled: counts.filter((count) => count > 0).length,
    step: tokens,
    generation: tokens,
    share: 1,
    maxTokens: masks.reduce((most, mask) => Math.max(most, mask.length), 0),
  };
}

/**
 * Weight of every completion token `[sequence][time]`. With m the mask, n its sum in a sequence, B the sequences of the window:
 *
 * sequence-mean: m / (max(n, 1) B)
 * token-mean: m / max(N, 1), N tokens of the step, or of the generation batch (times the share of the step)
 * micro-batch-token-mean: m / max(tokens of the micro-batch, 1) / micro-batches
 * fixed-length: m / (length B);  sequence-sum: m / B;  token-sum: m
 *
 * All but micro-batch-token-mean give a token the same weight however its window is cut into batches.
 */
export function tokenWeights(
  masks: readonly ArrayLike<number>[],
  aggregation: Aggregation,
  window: LossWindow = wholeWindow(masks),
): Float64Array[] {
  const divisors = divisorsOf(masks, aggregation, window);
  return masks.map((mask, index) => Float64Array.from(mask, (value) => value / divisors[index]!));
}

/** What the mask of each sequence is divided by. */
function divisorsOf(
  masks: readonly ArrayLike<number>[],
  aggregation: Aggregation,
  window: LossWindow,
): readonly number[] {
  const all = (divisor: number): number[] => masks.map(() => divisor);
  const sequences = (empty: "count" | "skip"): number =>
    Math.max(empty === "count" ? window.sequences : window.filled, 1);
  switch (aggregation.type) {
    case "sequence-mean":
      return masks.map((mask) => Math.max(total(mask), 1) * sequences(aggregation.empty));
    case "token-mean": {
      const { tokens, of } = aggregation;
      const count = window[of === "step" ? "step" : "generation"][tokens];
      return all(Math.max(count, 1) * (of === "share" ? window.share : 1));
    }
    case "micro-batch-token-mean":
      return microBatchDivisors(masks.map(total), aggregation.sequences, window.batches);
    case "fixed-length":
      return all((aggregation.length ?? window.maxTokens) * sequences(aggregation.empty));
    case "sequence-sum":
      return all(sequences(aggregation.empty));
    default:
      return all(1); // token-sum
  }
}

function microBatchDivisors(
  counts: readonly number[],
  size: number | null,
  batches: number,
): readonly number[] {
  const sequences = size ?? Math.max(counts.length, 1);
  const microBatches = Math.ceil(counts.length / sequences) * batches;
  return counts.map((_, index) => {
    const start = index - (index % sequences);
    return Math.max(total(counts.slice(start, start + sequences)), 1) * microBatches;
  });
}

/** Weight of each token's entropy in the bonus; `weights` are those of the loss. */
export function entropyWeights(
  { entropy }: Pick<PolicySpec, "entropy">,
  masks: readonly ArrayLike<number>[],
  window: LossWindow,
  weights: readonly Float64Array[],
): readonly Float64Array[] {
  if (entropy?.mean !== "tokens") return weights;
  return tokenWeights(masks, { type: "micro-batch-token-mean", sequences: null }, window);
}
