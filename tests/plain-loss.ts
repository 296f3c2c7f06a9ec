// Losses of a batch with the plain decoder: float64, one sequence after the other. Tests compare with them.

import type { Example } from "../src/core/engine.ts";
import type { LossSpec, PolicyLoss } from "../src/core/loss-spec.ts";
import type { LocalEngine } from "../src/engine/local-engine.ts";
import type { DecoderConfig } from "../src/models/decoder.ts";
import { plainLogits, plainLogSoftmax, type PlainWeights } from "./plain-decoder.ts";

/** Weights of an engine in float64. */
export const plainWeights = (engine: LocalEngine): PlainWeights =>
  Object.fromEntries(
    engine.parameterNames.map((name) => [name, Float64Array.from(engine.parameter(name))]),
  );

/** log-distribution of every completion token `[sequence][completion time][vocabulary]`. */
export const plainDistributions = (
  config: DecoderConfig,
  parameters: PlainWeights,
  list: readonly Example[],
  temperature: number,
): number[][][] =>
  list.map(({ tokens, promptLength }) =>
    plainLogits(config, parameters, tokens.subarray(0, -1))
      .slice(promptLength - 1)
      .map((logits) => plainLogSoftmax(logits, temperature)),
  );

/** The losses of the papers, written out over a whole batch. */
export function plainLoss(
  config: DecoderConfig,
  parameters: PlainWeights,
  list: readonly Example[],
  loss: LossSpec,
): number {
  const temperature = loss.type === "policy-gradient" ? loss.temperature : 1;
  const sums = plainDistributions(config, parameters, list, temperature).map((rows, index) => {
    const { tokens, promptLength, mask, old, reference } = list[index]!;
    const advantage = Number(list[index]!.advantage ?? 0);
    let [total, count] = [0, 0];
    rows.forEach((row, at) => {
      const logProb = row[tokens[promptLength + at]!]!;
      let value = -logProb;
      if (loss.type === "policy-gradient") {
        const ratio = old === undefined ? 1 : Math.exp(logProb - old[at]!);
        const { surrogate, kl } = loss;
        const clipped =
          surrogate.type === "clip"
            ? Math.min(1 + surrogate.high, Math.max(1 - surrogate.low, ratio))
            : ratio;
        const difference = (reference?.[at] ?? logProb) - logProb;
        value =
          -Math.min(ratio * advantage, clipped * advantage) +
          (kl.type === "loss" ? kl.weight : 0) * (Math.exp(difference) - difference - 1);
      }
      const weight = mask?.[at] ?? 1;
      total += weight * value;
      count += weight;
    });
    return { total, count };
  });
  if ((loss as PolicyLoss).aggregation.type === "token-mean") {
    return (
      sums.reduce((sum, { total }) => sum + total, 0) /
      sums.reduce((sum, { count }) => sum + count, 0)
    );
  }
  return sums.reduce((sum, { total, count }) => sum + total / Math.max(count, 1), 0) / sums.length;
}
