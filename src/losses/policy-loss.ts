// The policy-gradient loss of each token, before aggregation:
//
//   L = c · surrogate(ρ, A) · keep + β KL,   ρ = p / p_old
//
// c corrects for the sampler, keep drops sequences the policy has left behind; neither touches the KL term. Masked tokens are
// replaced by zeros before anything else, so they can neither move nor poison a gradient.
//
// Formulas and their order: TRL 1.13 (grpo_trainer.py), verl 0.9 (core_algos.py).
// Papers: GRPO arXiv:2402.03300, Dr. GRPO 2503.20783, DAPO 2503.14476, GSPO 2507.18071, CISPO 2506.13585, SAPO 2511.20347,
// dual clip 1912.09729, off-policy sequence mask 2512.02556 (DeepSeek-V3.2). VESPO: as in TRL.

import type { KlSpec, PolicySpec, SamplerUse, Surrogate } from "../core/loss-spec.ts";
import {
  add,
  and,
  broadcastTo,
  clamp,
  equal,
  exp,
  greater,
  greaterOrEqual,
  lessOrEqual,
  log,
  matmul,
  maximum,
  minimum,
  mul,
  neg,
  or,
  reshape,
  sigmoid,
  stopGradient,
  sub,
  sum,
  where,
  div,
  type Tensor,
} from "../tensor/index.ts";

export interface PolicyInputs {
  /** Of the policy that is trained, nats [rows]; one row a completion token. */
  readonly logProbs: Tensor;
  /** 1 where a token counts, 0 elsewhere and at padding [rows]. */
  readonly mask: Tensor;
  /** Advantage of the token [rows]. */
  readonly advantage: Tensor;
  /** Log-probabilities when the batch was made [rows]; absent on the first pass, where ρ is 1. */
  readonly old?: Tensor;
  /** Under the reference policy [rows]; for a KL term in the loss. */
  readonly reference?: Tensor;
  /** As the sampler reported them; NaN where it could not [rows]. Absent: the sampler is the policy itself. */
  readonly sampler?: Tensor;
  /** How rows make sequences; for what is computed of whole sequences. */
  readonly sequences?: SequenceLayout;
}

/**
 * A matrix that is 1 where a row belongs to a sequence [sequences, rows], for rows in a stream; or the length of all sequences,
 * for rows that stand one after the other, padded with masked ones.
 */
export type SequenceLayout = { readonly membership: Tensor } | { readonly time: number };

/** Sums of each sequence [sequences, 1] over rows [rows]. */
export function sequenceSums(x: Tensor, layout: SequenceLayout): Tensor {
  const rows = x.shape[0]!;
  if ("membership" in layout) return matmul(layout.membership, reshape(x, [rows, 1]));
  return sum(reshape(x, [rows / layout.time, layout.time]), { axes: [1], keepAxes: true });
}

/** Gives each row the value of its sequence: [sequences, 1] as [rows]. */
function spread(values: Tensor, layout: SequenceLayout, rows: number): Tensor {
  const all =
    "membership" in layout
      ? matmul(layout.membership, values, { transposeA: true }) // [rows, 1]
      : broadcastTo(values, [values.shape[0]!, layout.time]);
  return reshape(all, [rows]);
}

/** Whether the loss computes something of whole sequences, and needs their membership; a correction does where there is a sampler. */
export function needsSequences(spec: PolicySpec, hasSampler: boolean): boolean {
  return (
    spec.ratio !== "token" ||
    spec.surrogate.type === "vespo" ||
    spec.offPolicyMask !== null ||
    (hasSampler && spec.sampler.type === "correction" && spec.sampler.level === "sequence")
  );
}

/** Whether the loss has a KL term; a weight of 0 means that there is no reference policy at all. */
export const readsReference = ({ kl }: PolicySpec): boolean =>
  kl.type === "loss" && kl.weight !== 0;

/** Whether the loss has an entropy bonus. */
export const readsEntropy = ({ entropy }: PolicySpec): boolean =>
  entropy !== null && entropy.weight !== 0;

/** Sums over the tokens of each sequence, given back to every token of it. */
interface Sequences {
  readonly total: (x: Tensor) => Tensor;
  readonly mean: (x: Tensor) => Tensor;
}

function sequencesOf({ mask, sequences: layout }: PolicyInputs): Sequences {
  const total = (x: Tensor): Tensor =>
    spread(sequenceSums(mul(x, mask), layout!), layout!, mask.shape[0]!);
  return { total, mean: (x) => div(total(x), maximum(total(mask), 1)) };
}

const limited = (x: Tensor, min: number | null, max: number | null): Tensor => {
  const raised = min === null ? x : maximum(x, min);
  return max === null ? raised : minimum(raised, max);
};

const symmetric = (x: Tensor, bound: number | null): Tensor =>
  bound === null ? x : clamp(x, -bound, bound);

/** The smallest weight whose logarithm is still used. */
const SMALLEST_LOG = Math.log(1e-8);

/**
 * Loss of each token [rows], before weights; 0 where the mask is 0.
 */
export function policyLoss(spec: PolicySpec, given: PolicyInputs): Tensor {
  const inputs = unmasked(given);
  const { logProbs, advantage, reference } = inputs;
  const sequences = sequencesOf(inputs);
  const old = inputs.old ?? stopGradient(logProbs);
  const logRatio = sub(logProbs, startOf(spec.sampler, old, inputs));
  const ratio = ratioOf(spec, logRatio, logProbs, sequences);
  const correction = correctionOf(spec.sampler, old, inputs, sequences);
  let loss = surrogateLoss(spec.surrogate, ratio, {
    ...inputs,
    logRatio,
    correction,
    perSequence: spec.sampler.type === "correction" && spec.sampler.level === "sequence",
    sequences,
  });
  if (spec.offPolicyMask !== null) {
    // Without the sampler's own log-probabilities those of the batch stand in (TRL).
    const behind = sub(inputs.sampler ?? old, logProbs);
    const known = inputs.sampler === undefined ? behind : whereNumber(behind, behind);
    const divergence = stopGradient(sequences.mean(known));
    const keep = or(
      greaterOrEqual(advantage, 0),
      lessOrEqual(divergence, spec.offPolicyMask.threshold),
    );
    loss = where(keep, loss, 0);
  }
  if (correction !== undefined && spec.surrogate.type !== "vespo") loss = mul(loss, correction);
  if (spec.kl.type === "loss" && readsReference(spec)) {
    loss = add(loss, mul(klTerm(spec.kl, logProbs, reference!, ratio), spec.kl.weight));
  }
  return where(greater(inputs.mask, 0), loss, 0);
}

/** Every input 0 where the mask is 0. */
function unmasked(given: PolicyInputs): PolicyInputs {
  const live = greater(given.mask, 0);
  const { mask, sequences, ...tokens } = given;
  const clean = Object.fromEntries(
    Object.entries(tokens).map(([name, x]) => [name, where(live, x, 0)]),
  );
  return { ...(clean as unknown as PolicyInputs), mask, ...(sequences && { sequences }) };
}

/** x where `test` is a number, 0 where it is NaN. */
const whereNumber = (test: Tensor, x: Tensor): Tensor => where(equal(test, test), x, 0);

function ratioOf(
  { ratio, logRatio: { min, max } }: PolicySpec,
  logRatio: Tensor,
  logProbs: Tensor,
  sequences: Sequences,
): Tensor {
  if (ratio === "token") return exp(limited(logRatio, min, max));
  if (ratio === "sequence-product") return exp(limited(sequences.total(logRatio), min, max));
  const mean = sequences.mean(logRatio);
  if (ratio === "sequence") return exp(limited(mean, min, max));
  const ofToken = add(sub(logProbs, stopGradient(logProbs)), stopGradient(mean));
  return exp(limited(ofToken, min, max));
}

/** What ρ is measured from. A token that the sampler could not score counts as one it agrees on. */
function startOf(use: SamplerUse, old: Tensor, { sampler }: PolicyInputs): Tensor {
  if (use.type !== "denominator") return old;
  return where(equal(sampler!, sampler!), sampler!, old);
}

/** p_old / p_sampler, truncated or masked, without gradient [rows]. */
function correctionOf(
  use: SamplerUse,
  old: Tensor,
  { sampler, mask }: PolicyInputs,
  sequences: Sequences,
): Tensor | undefined {
  if (use.type !== "correction" || sampler === undefined) return undefined;
  const difference = whereNumber(sampler, mul(sub(stopGradient(old), sampler), mask));
  const factor = exp(use.level === "sequence" ? sequences.total(difference) : difference);
  if (use.outside === "truncate") return limited(factor, use.min, use.max);
  const inside = and(
    greaterOrEqual(factor, use.min ?? 0),
    lessOrEqual(factor, use.max ?? Number.MAX_VALUE),
  );
  return where(inside, factor, 0);
}

interface SurrogateInputs extends Omit<PolicyInputs, "sequences"> {
  /** Not limited, not averaged [rows]. */
  readonly logRatio: Tensor;
  readonly correction: Tensor | undefined;
  /** The correction is the product over a sequence already. */
  readonly perSequence: boolean;
  readonly sequences: Sequences;
}

function surrogateLoss(surrogate: Surrogate, ratio: Tensor, inputs: SurrogateInputs): Tensor {
  const { advantage, logProbs } = inputs;
  if (surrogate.type === "unclipped") return neg(mul(ratio, advantage));
  if (surrogate.type === "clip") return clippedLoss(surrogate, ratio, advantage);
  if (surrogate.type === "sapo") return softGateLoss(surrogate, ratio, advantage);
  const weight =
    surrogate.type === "cispo"
      ? stopGradient(limited(ratio, surrogate.low, surrogate.high))
      : vespoWeight(surrogate, inputs);
  return neg(mul(mul(weight, advantage), logProbs));
}

function clippedLoss(
  { low, high, cap, dual }: Extract<Surrogate, { type: "clip" }>,
  ratio: Tensor,
  advantage: Tensor,
): Tensor {
  const clipped = mul(clamp(ratio, 1 - low, 1 + high), advantage);
  const plain = mul(limited(ratio, null, cap), advantage);
  const loss = maximum(neg(plain), neg(clipped));
  if (dual === null) return loss;
  return where(greaterOrEqual(advantage, 0), loss, minimum(loss, mul(advantage, -dual)));
}

function softGateLoss(
  { positive, negative }: Extract<Surrogate, { type: "sapo" }>,
  ratio: Tensor,
  advantage: Tensor,
): Tensor {
  const tau = where(greater(advantage, 0), positive, negative);
  const gate = div(mul(sigmoid(mul(tau, sub(ratio, 1))), 4), tau);
  return neg(mul(gate, advantage));
}

/** sg(φ(w)), φ(w) = exp(λ + k log w − λ w), w the product of the ratios (and sampler corrections) of a sequence [rows]. */
function vespoWeight(
  { positive, negative }: Extract<Surrogate, { type: "vespo" }>,
  { advantage, logRatio, correction, perSequence, sequences }: SurrogateInputs,
): Tensor {
  let logWeight = sequences.total(clamp(logRatio, -20, 20));
  if (correction !== undefined) {
    const logCorrection = clamp(log(correction), SMALLEST_LOG, 20);
    const ofSequence = perSequence ? logCorrection : sequences.total(logCorrection);
    logWeight = add(logWeight, ofSequence);
  }
  const bounded = clamp(logWeight, SMALLEST_LOG, 20);
  const positiveSide = greaterOrEqual(advantage, 0);
  const choose = (pick: (one: { k: number; lambda: number }) => number): Tensor =>
    where(positiveSide, pick(positive), pick(negative));
  const lambda = choose((one) => Math.max(one.lambda, 1e-4));
  const exponent = sub(
    add(
      lambda,
      mul(
        choose((one) => one.k),
        bounded,
      ),
    ),
    mul(lambda, exp(bounded)),
  );
  return stopGradient(exp(exponent));
}

/** An estimate of KL(policy || reference) at each token, from d = log p_ref − log p [rows]. */
function klTerm(
  kl: Extract<KlSpec, { type: "loss" }>,
  logProbs: Tensor,
  reference: Tensor,
  ratio: Tensor,
): Tensor {
  const difference = sub(reference, logProbs);
  const square = mul(mul(difference, difference), 0.5);
  const own = symmetric(klEstimate(kl, symmetric(difference, kl.clampDifference)), kl.clampValue);
  const value =
    kl.gradient === "own" ? own : add(sub(square, stopGradient(square)), stopGradient(own));
  return kl.timesRatio ? mul(value, ratio) : value;
}

function klEstimate({ estimator }: { estimator: "k1" | "k2" | "k3" }, d: Tensor): Tensor {
  if (estimator === "k1") return neg(d);
  if (estimator === "k2") return mul(mul(d, d), 0.5);
  return sub(sub(exp(d), d), 1);
}
