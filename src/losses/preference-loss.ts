// Preference losses on pairs of completions of one prompt:
//
//   sigmoid: −log σ(β h),   IPO: (h − 1/(2β))²
//   h = [log p(chosen) − log p_ref(chosen)] − [log p(rejected) − log p_ref(rejected)]
//
// Papers: Direct Preference Optimization, arXiv:2305.18290, equation 7; IPO, arXiv:2310.12036, equation 17.

import type { PreferenceSpec } from "../core/loss-spec.ts";
import {
  constant,
  greater,
  log,
  matmul,
  maximum,
  mean,
  mul,
  neg,
  reshape,
  sigmoid,
  sub,
  where,
  div,
  type Tensor,
} from "../tensor/index.ts";

export interface PreferenceInputs {
  /** Of the policy that is trained, nats [rows]. */
  readonly logProbs: Tensor;
  /** Under the reference policy, nats [rows]. */
  readonly reference: Tensor;
  /** 1 where a token counts [rows]. */
  readonly mask: Tensor;
  /** 1 where a token belongs to a sequence [sequences, rows]; sequences are chosen, rejected, chosen, rejected, … */
  readonly membership: Tensor;
}

/** Differences of log-ratios of each pair, h in the formulas [pairs, 1]. */
function margins({ logProbs, reference, mask, membership }: PreferenceInputs, perToken: boolean) {
  const [sequences, rows] = membership.shape as [number, number];
  const total = (x: Tensor): Tensor => matmul(membership, reshape(x, [rows, 1])); // [sequences, 1]
  const difference = where(greater(mask, 0), sub(logProbs, reference), 0);
  const sums = total(mul(difference, mask));
  const scores = perToken ? div(sums, maximum(total(mask), 1)) : sums;
  const pairs = sequences / 2;
  const signs = Array.from({ length: pairs * sequences }, (_, index) => {
    const [pair, sequence] = [Math.floor(index / sequences), index % sequences];
    return Math.floor(sequence / 2) === pair ? (sequence % 2 === 0 ? 1 : -1) : 0;
  });
  return matmul(constant(signs, [pairs, sequences]), scores);
}

/** Mean loss of the pairs, a scalar, and their margins [pairs, 1]. */
export function preferenceLoss(
  spec: PreferenceSpec,
  inputs: PreferenceInputs,
): { readonly loss: Tensor; readonly margins: Tensor } {
  const h = margins(inputs, spec.logProbs === "mean");
  if (spec.loss === "ipo") {
    const off = sub(h, 1 / (2 * spec.beta));
    return { loss: mean(mul(off, off)), margins: h };
  }
  // Below −30 the logarithm of σ(x) is x to the last bit of a float32; the limit keeps the gradient from 0 / 0.
  const x = mul(h, spec.beta);
  const gentle = log(sigmoid(maximum(x, -30)));
  return { loss: neg(mean(where(greater(x, -30), gentle, x))), margins: h };
}
