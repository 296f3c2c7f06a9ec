// Losses as functions of symbolic log-probabilities. Each gives one number a token; masks and normalisers come as plain
// weights (weights.ts), so a loss never depends on how a batch was cut into micro-batches.

import type { LossSpec } from "../core/engine.ts";
import {
  add,
  clamp,
  exp,
  logSoftmax,
  maximum,
  mul,
  neg,
  stopGradient,
  sub,
  sum,
  takeLast,
  type Tensor,
} from "../tensor/index.ts";

export interface TokenDistribution {
  /** Log-probability of each target, nats [rows]. */
  readonly logProbs: Tensor;
  /** Entropy of each distribution, nats [rows]; no gradient. */
  readonly entropy: Tensor;
}

/** Log-probabilities of `targets` int32 [rows] under logits [rows, vocabulary] divided by a temperature. */
export function tokenDistribution(
  logits: Tensor,
  targets: Tensor,
  temperature: number,
): TokenDistribution {
  const scaled = temperature === 1 ? logits : mul(logits, 1 / temperature);
  const logDistribution = logSoftmax(scaled); // [rows, vocabulary]
  const detached = stopGradient(logDistribution);
  return {
    logProbs: takeLast(logDistribution, targets),
    entropy: neg(sum(mul(exp(detached), detached), { axes: [-1] })),
  };
}

export interface TokenLossInputs {
  /** [rows], one a completion token. */
  readonly logProbs: Tensor;
  /** Advantage of the token's sequence [rows]. */
  readonly advantage: Tensor;
  /** Log-probabilities when the batch was made [rows]; absent on the first pass, where the ratio is 1. */
  readonly old?: Tensor;
  /** Log-probabilities of the reference policy [rows]; needed when klBeta > 0. */
  readonly reference?: Tensor;
}

/**
 * Loss of each token [rows], before weights.
 *
 * cross-entropy: −log p
 * policy-gradient: −min(ρ A, clip(ρ, 1 − low, 1 + high) A) + β (exp(d) − d − 1),  ρ = p / p_old,  d = log p_ref − log p
 *
 * Paper: DeepSeekMath, arXiv:2402.03300, equations 3 and 4 (the KL estimator is k3 of http://joschu.net/blog/kl-approx.html).
 */
export function tokenLoss(spec: LossSpec, inputs: TokenLossInputs): Tensor {
  const { logProbs } = inputs;
  if (spec.type === "cross-entropy") return neg(logProbs);
  const ratio = exp(sub(logProbs, inputs.old ?? stopGradient(logProbs)));
  const plain = neg(mul(ratio, inputs.advantage));
  const policy =
    spec.clip === null
      ? plain
      : maximum(
          plain,
          neg(mul(clamp(ratio, 1 - spec.clip.low, 1 + spec.clip.high), inputs.advantage)),
        );
  if (spec.klBeta === 0 || inputs.reference === undefined) return policy;
  const difference = sub(inputs.reference, logProbs);
  const kl = sub(sub(exp(difference), difference), 1);
  return add(policy, mul(kl, spec.klBeta));
}
