// From logits to the loss of a batch: log-probabilities and entropy of each token, the loss of each, their weighted sum. Masks
// and normalisers come as plain weights (weights.ts), so a loss never depends on how a batch was cut into micro-batches.

import type { LossSpec } from "../core/loss-spec.ts";
import {
  equal,
  exp,
  logSoftmax,
  mul,
  neg,
  stopGradient,
  sub,
  sum,
  takeLast,
  where,
  type Tensor,
} from "../tensor/index.ts";
import { policyLoss, readsEntropy, type PolicyInputs } from "./policy-loss.ts";

export interface TokenDistribution {
  /** Log-probability of each target, nats [rows]. */
  readonly logProbs: Tensor;
  /** Entropy of each distribution, nats [rows]. */
  readonly entropy: Tensor;
}

/**
 * Log-probabilities of `targets` int32 [rows] under logits [rows, vocabulary] divided by a temperature. The entropy has a
 * gradient only when asked for: it costs a second pass over the vocabulary.
 */
export function tokenDistribution(
  logits: Tensor,
  targets: Tensor,
  temperature: number,
  entropyGradient = false,
): TokenDistribution {
  const scaled = temperature === 1 ? logits : mul(logits, 1 / temperature);
  const logDistribution = logSoftmax(scaled); // [rows, vocabulary]
  const seen = entropyGradient ? logDistribution : stopGradient(logDistribution);
  return {
    logProbs: takeLast(logDistribution, targets),
    entropy: neg(sum(mul(exp(seen), seen), { axes: [-1] })),
  };
}

/** What the loss of a batch reads; all [rows]. A policy loss needs mask and advantage, a linear one the slope. */
export interface LossInputs extends Partial<PolicyInputs> {
  readonly logProbs: Tensor;
  readonly entropy?: Tensor;
  /** Weight of each token's loss in the total; 0 where it does not count. */
  readonly weights?: Tensor;
  /** Weight of each token's entropy in the bonus. */
  readonly entropyWeights?: Tensor;
  /** dL/dlog p of each token. */
  readonly slope?: Tensor;
}

/** The loss of a batch, a scalar. */
export function batchLoss(spec: LossSpec, inputs: LossInputs): Tensor {
  const { logProbs, weights } = inputs;
  if (spec.type === "linear") return sum(counted(inputs.slope!, logProbs));
  if (spec.type === "cross-entropy") return neg(sum(counted(weights!, logProbs)));
  const policy = sum(mul(policyLoss(spec, inputs as PolicyInputs), weights!));
  if (spec.entropy === null || !readsEntropy(spec)) return policy;
  const bonus = sum(counted(inputs.entropyWeights!, inputs.entropy!));
  return sub(policy, mul(bonus, spec.entropy.weight));
}

/** weights · x, exactly 0 where the weight is 0, whatever x is there. */
const counted = (weights: Tensor, x: Tensor): Tensor =>
  where(equal(weights, 0), 0, mul(weights, x));
