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
import { sequenceSums, type SequenceLayout } from "./policy-loss.ts";

export interface PreferenceInputs {
  /** Of the policy that is trained, nats [rows]. */
  readonly logProbs: Tensor;
  /** Under the reference policy, nats [rows]. */
  readonly reference: Tensor;
  /** 1 where a token counts [rows]. */
  readonly mask: Tensor;
  /** How rows make sequences: chosen, rejected, chosen, rejected, … */
  readonly sequences: SequenceLayout;
}

/** Differences of log-ratios of each pair, h in the formulas [pairs, 1]. */
function margins({ logProbs, reference, mask, sequences }: PreferenceInputs, perToken: boolean) {
  const difference = where(greater(mask, 0), sub(logProbs, reference), 0);
  const sums = sequenceSums(mul(difference, mask), sequences); // [sequences, 1]
  const scores = perToken ? div(sums, maximum(sequenceSums(mask, sequences), 1)) : sums;
  const pairs = reshape(scores, [scores.shape[0]! / 2, 2]); // [pairs, chosen and rejected]
  return matmul(pairs, constant([1, -1], [2, 1]));
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
