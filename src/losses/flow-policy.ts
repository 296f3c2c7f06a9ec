// The clipped policy loss of flow policies, of samples or of positions:
//
//   L = Σ_rows w mean_p max(−ρ A, −clip(ρ, 1 − low, 1 + high) A) + β Σ_rows w' KL,   ρ = exp(log p − log p_old)
//
// p runs over the positions of a row where ρ belongs to positions (ViPO, arXiv:2511.18719, section 6.3 of its notes); else there
// is one. Steps and samples are rows alike: rows of several steps may stand in one batch, their share of the mean is in w.
// Paper: Flow-GRPO, arXiv:2505.05470, equation 5.

import { EngineError } from "../core/errors.ts";
import type { FlowPolicy } from "../core/flow-spec.ts";
import {
  add,
  clamp,
  equal,
  exp,
  maximum,
  mul,
  neg,
  stopGradient,
  sub,
  sum,
  where,
  type Tensor,
} from "../tensor/index.ts";
import { perRow, requireSameShape, rowMean } from "./flow-step.ts";

export interface FlowPolicyInputs {
  /** log p, or any log ρ + log p_old, [batch] or positions [batch, …]; with gradient. */
  readonly logProbs: Tensor;
  /** log p_old of the same shape; absent on the first update, where ρ is exactly 1. */
  readonly old?: Tensor;
  /** log ρ in place of the difference of the two above (`normalisedLogRatio`). */
  readonly logRatio?: Tensor;
  /** A of the same shape: [batch], or dense [batch, …]. Already clipped. */
  readonly advantage: Tensor;
  /** Weight of each row [batch], the weight of its step included; 0: the row does not count. */
  readonly weights: Tensor;
  /** KL of each row [batch] (`stepKl`), and its weight, 1 / rows if all are alike; for a KL term. */
  readonly kl?: { readonly value: Tensor; readonly weights: Tensor };
}

/**
 * Scalar loss, and ρ of the shape of the log-probabilities.
 *
 * @throws ShapeError when log-probabilities and advantages differ in shape: a map that is missing is no map of ones.
 */
export function flowPolicyLoss(
  { ratio: limits, kl }: Pick<FlowPolicy, "ratio" | "kl">,
  inputs: FlowPolicyInputs,
): { readonly loss: Tensor; readonly ratio: Tensor } {
  const { rows, ratio } = flowPolicyRows(limits, inputs);
  const policy = weighted(rows, inputs.weights);
  if (kl.type === "none" || kl.weight === 0) return { loss: policy, ratio };
  if (inputs.kl === undefined) {
    const missing = { expected: "the KL of each row", got: "nothing" };
    throw new EngineError({ where: "flowPolicyLoss: kl", ...missing });
  }
  const penalty = mul(weighted(inputs.kl.value, inputs.kl.weights), kl.weight);
  return { loss: add(policy, penalty), ratio };
}

/** The clipped loss of each row [batch], before weights and KL, and ρ of the shape of the log-probabilities. */
export function flowPolicyRows(
  { low, high }: Pick<FlowPolicy["ratio"], "low" | "high">,
  inputs: Pick<FlowPolicyInputs, "logProbs" | "old" | "logRatio" | "advantage">,
): { readonly rows: Tensor; readonly ratio: Tensor } {
  const { logProbs, old, advantage } = inputs;
  requireSameShape("flowPolicyLoss: advantage", logProbs, advantage);
  if (old !== undefined) requireSameShape("flowPolicyLoss: old", logProbs, old);
  const logRatio = inputs.logRatio ?? sub(logProbs, old ?? stopGradient(logProbs));
  requireSameShape("flowPolicyLoss: logRatio", logProbs, logRatio);
  const ratio = exp(logRatio);
  const plain = neg(mul(ratio, advantage));
  const clipped = neg(mul(clamp(ratio, 1 - low, 1 + high), advantage));
  return { rows: rowMean(maximum(plain, clipped)), ratio };
}

/** Σ w x over rows [batch], exactly 0 where w is 0. */
const weighted = (x: Tensor, weights: Tensor): Tensor =>
  sum(where(equal(weights, 0), 0, mul(x, perRow(weights, x))));

/**
 * Clip range of positions that bites as often as one of samples: clip √(C D), C channels of D dimensions in all. log ρ of a
 * sample is a mean over D, that of a position a sum over C. (ViPO keeps 1e-4, which nearly always clips.)
 *
 * @example denseClip(1e-4, 16, 65536) // 0.1024
 */
export const denseClip = (clip: number, channels: number, dimensions: number): number =>
  clip * Math.sqrt(channels * dimensions);
