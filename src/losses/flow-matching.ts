// Velocity matching, the loss that makes a rectified flow, and what is built on it without a policy gradient:
//
//   x_t = (1 − t) x_0 + t ε,   e = mean (v(x_t, t) − (ε − x_0))²,   t = σ(m + d n), n ~ N(0, 1)
//
// Papers: Flow Matching arXiv:2210.02747; logit-normal times: Stable Diffusion 3, arXiv:2403.03206, section 3.1; the online
// variants as baselines in Flow-GRPO, arXiv:2505.05470, appendix.
// Shapes: x_0, ε, v [batch, …]; t [batch]; losses of rows [batch].

import type { RewardWeights } from "../core/flow-spec.ts";
import type { Random } from "../core/random.ts";
import {
  add,
  greater,
  log,
  maximum,
  mul,
  sigmoid,
  sub,
  where,
  type Tensor,
} from "../tensor/index.ts";
import { perRow, requireSameShape, rowMean } from "./flow-step.ts";

/** A time in (0, 1): σ(mean + deviation n). */
export const logitNormalTime = (random: Random, mean = 0, deviation = 1): number =>
  1 / (1 + Math.exp(-(mean + deviation * random.normal())));

/** x_t = (1 − t) x_0 + t ε. */
export const noisedSample = (clean: Tensor, noise: Tensor, time: Tensor): Tensor =>
  add(mul(clean, perRow(sub(1, time), clean)), mul(noise, perRow(time, noise)));

/** ε − x_0. */
export const velocityTarget = (clean: Tensor, noise: Tensor): Tensor => sub(noise, clean);

/** e of each row [batch]; the loss is its mean, or weighted by reward (RWR), or over the best samples alone (SFT). */
export function velocityError(velocity: Tensor, target: Tensor): Tensor {
  requireSameShape("velocityError: velocity", target, velocity);
  const error = sub(velocity, target);
  return rowMean(mul(error, error));
}

/** e of each pair [pairs], of the trained model and of the reference; t and ε are the same within a pair. */
export interface FlowPairs {
  readonly chosen: Tensor;
  readonly rejected: Tensor;
  readonly chosenReference: Tensor;
  readonly rejectedReference: Tensor;
}

/**
 * DPO for flows, of each pair [pairs]: −log σ(−β/2 h), h = (e_w − e_w,ref) − (e_l − e_l,ref).
 * Paper: Diffusion-DPO, arXiv:2311.12908, equation 14, with the mean over dimensions as in the repository of Flow-GRPO.
 */
export function flowPreferenceLoss(beta: number, pairs: FlowPairs): Tensor {
  const h = sub(
    sub(pairs.chosen, pairs.chosenReference),
    sub(pairs.rejected, pairs.rejectedReference),
  );
  const x = mul(h, -beta / 2);
  // Below −30 the logarithm of σ(x) is x to the last bit of a float32; the limit keeps the gradient from 0 / 0.
  return mul(where(greater(x, -30), log(sigmoid(maximum(x, -30))), x), -1);
}

/**
 * Weights of the samples of a group: for reward-weighted regression exp(r / T) / Σ exp(r / T) (the paper), or r itself (the
 * repository); for SFT on the best of a group 1 for every sample with the largest reward, 0 for the others. Unknown rewards: 0.
 */
export function matchingWeights(
  rewards: readonly (number | null)[],
  rule: RewardWeights | { readonly type: "best" },
): number[] {
  const largest = Math.max(...rewards.map((reward) => reward ?? -Infinity));
  if (largest === -Infinity) return rewards.map(() => 0);
  if (rule.type === "raw") return rewards.map((reward) => reward ?? 0);
  if (rule.type === "best") return rewards.map((reward) => (reward === largest ? 1 : 0));
  const powers = rewards.map((reward) =>
    reward === null ? 0 : Math.exp((reward - largest) / rule.temperature),
  );
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

/** The best and the worst sample of a group, for DPO; null where the known rewards do not differ. */
export function bestAndWorst(
  rewards: readonly (number | null)[],
): { readonly best: number; readonly worst: number } | null {
  const known = rewards.flatMap((reward, index) => (reward === null ? [] : [{ reward, index }]));
  const sorted = known.toSorted((a, b) => b.reward - a.reward || a.index - b.index);
  const [first, last] = [sorted[0], sorted.at(-1)];
  if (first === undefined || first.reward === last!.reward) return null;
  return { best: first.index, worst: last!.index };
}
