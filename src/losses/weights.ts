// Aggregation as plain numbers: the weight of each token's loss in the total.

import type { Aggregation, Example } from "../core/engine.ts";

export const completionLength = (sequence: { tokens: Int32Array; promptLength: number }): number =>
  sequence.tokens.length - sequence.promptLength;

/**
 * Weight of every completion token `[sequence][completion time]`, over the whole batch:
 * "sequence-mean": mask / (N · tokens of the sequence), N sequences, empty ones counted;
 * "token-mean": mask / tokens of the batch.
 */
export function tokenWeights(batch: readonly Example[], aggregation: Aggregation): Float64Array[] {
  const masks = batch.map(
    (example) => example.mask ?? new Float32Array(completionLength(example)).fill(1),
  );
  const counts = masks.map((mask) => mask.reduce((total, value) => total + value, 0));
  const all = counts.reduce((total, count) => total + count, 0);
  return masks.map((mask, index) => {
    const divisor =
      aggregation === "sequence-mean"
        ? batch.length * Math.max(counts[index]!, 1)
        : Math.max(all, 1);
    return Float64Array.from(mask, (value) => value / divisor);
  });
}
