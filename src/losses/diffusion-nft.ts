// DiffusionNFT: policy improvement in the forward process. Samples x_0 come from any ODE solver under v_old; no step has a
// probability. With x_t = (1 − t) x_0 + t ε and x̂_0(v) = x_t − t v, of each row:
//
//   v± = v_old ± b (v − v_old),   d± = mean (x̂_0(v±) − x_0)² / sg(max(mean |x̂_0(v±) − x_0|, floor))
//   L = clip · (q d+ + (1 − q) d−) / b + kl · mean (v − v_ref)²,   q = clamp(A / 2clip + 1/2, 0, 1)
//
// Paper: DiffusionNFT, arXiv:2509.16117, equations 5 and 9; the adaptive weight, the factor `clip` and the mean over dimensions
// as in its repository.

import type { DiffusionNft } from "../core/flow-spec.ts";
import { abs, add, div, maximum, mul, stopGradient, sub, type Tensor } from "../tensor/index.ts";
import { perRow, rowMean } from "./flow-step.ts";

/** q of an advantage: how much of it counts as good. */
export const optimality = (advantage: number, clip: number): number =>
  Math.min(Math.max(advantage / (2 * clip) + 0.5, 0), 1);

/** m of v_old ← m v_old + (1 − m) v after a number of steps; 0: v_old is v. */
export const oldDecay = ({ start, slope, max }: DiffusionNft["old"], step: number): number =>
  Math.min(Math.max(slope * (step - start), 0), max);

export interface NftInputs {
  /** Of the model that is trained [batch, …]. */
  readonly velocity: Tensor;
  /** Of the model that sampled; no gradient flows there. */
  readonly old: Tensor;
  /** Of the frozen reference; for a KL term. */
  readonly reference?: Tensor;
  /** x_t [batch, …]. */
  readonly noised: Tensor;
  /** x_0 [batch, …]. */
  readonly clean: Tensor;
  /** t [batch]. */
  readonly time: Tensor;
  /** q [batch]. */
  readonly optimality: Tensor;
}

/** Loss of each row [batch]. */
export function diffusionNftLoss(
  { mix, advantageClip, kl, floor }: Omit<DiffusionNft, "type" | "old">,
  inputs: NftInputs,
): Tensor {
  const { velocity, noised, clean, time, optimality: q } = inputs;
  const old = stopGradient(inputs.old);
  const change = mul(sub(velocity, old), mix);
  const distance = (v: Tensor): Tensor => {
    const error = sub(sub(noised, mul(v, perRow(time, v))), clean); // x̂_0 − x_0
    const weight = maximum(rowMean(abs(stopGradient(error))), floor);
    return div(rowMean(mul(error, error)), weight);
  };
  const both = add(mul(q, distance(add(old, change))), mul(sub(1, q), distance(sub(old, change))));
  const policy = mul(both, advantageClip / mix);
  if (kl === 0 || inputs.reference === undefined) return policy;
  const drift = sub(velocity, stopGradient(inputs.reference));
  return add(policy, mul(rowMean(mul(drift, drift)), kl));
}
