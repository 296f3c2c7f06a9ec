// Four sequences with the losses that TRL 1.13.0 and verl give for them, computed by running the loss functions of those
// packages, unchanged, in float64. Advantages and clip 0.2 / 0.2 as in TRL's defaults.

import type { Example } from "../src/core/engine.ts";

interface GoldenSequence {
  readonly logProbs: readonly number[];
  readonly old: readonly number[];
  readonly reference: readonly number[];
  readonly advantage: number;
}

export const goldenSequences: readonly GoldenSequence[] = [
  { logProbs: [-0.7, -2.3, -0.5], old: [-1, -2, -0.5], reference: [-1.1, -2, -0.6], advantage: 1 },
  { logProbs: [-1, -0.9], old: [-0.7, -1.2], reference: [-0.7, -1], advantage: -1 },
  {
    logProbs: [-0.1, -0.1, -0.4, -0.4],
    old: [-0.1, -0.2, -0.3, -0.4],
    reference: [-0.2, -0.2, -0.3, -0.3],
    advantage: 0.5,
  },
  { logProbs: [-2.5], old: [-3], reference: [-3.1], advantage: -0.5 },
];

/** The same as examples of an engine; the tokens do not matter. */
export const goldenExamples: readonly Example[] = goldenSequences.map(
  ({ logProbs, old, reference, advantage }) => ({
    tokens: new Int32Array(1 + logProbs.length),
    promptLength: 1,
    advantage,
    old: Float32Array.from(old),
    reference: Float32Array.from(reference),
  }),
);
