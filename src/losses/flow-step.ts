// One stochastic step of a flow policy as symbolic tensors: its Gaussian, log p of what was drawn, KL from the reference.
//
//   x' ~ N(μ, s² I),   μ = c_x x + c_v v        rules, symbols and papers: core/flow-transition.ts
//
// Shapes: samples and velocities [batch, …]; times, coefficients and deviations [batch], so the rows of a batch may stand at
// different steps. A deviation is positive: a step of the ODE has no log-probability. Rows that only pad a batch need valid
// times too.

import { ShapeError } from "../core/errors.ts";
import type { FlowKl, FlowNoise, FlowRatio } from "../core/flow-spec.ts";
import {
  add,
  div,
  log,
  mean,
  mul,
  neg,
  reshape,
  sqrt,
  stopGradient,
  sub,
  sum,
  type Operand,
  type Tensor,
} from "../tensor/index.ts";

/** One number a row beside x: [batch] becomes [batch, 1, …, 1]. */
export const perRow = (numbers: Tensor, x: Tensor): Tensor =>
  reshape(numbers, [numbers.shape[0]!, ...x.shape.slice(1).map(() => 1)]);

/** Mean over everything but the batch: [batch, …] becomes [batch]. */
export const rowMean = (x: Tensor): Tensor =>
  mean(x, { axes: x.shape.slice(1).map((_, axis) => axis + 1) });

const rowSum = (x: Tensor): Tensor => sum(x, { axes: x.shape.slice(1).map((_, axis) => axis + 1) });

const square = (x: Tensor): Tensor => mul(x, x);

/** c_x, c_v and s of every row [batch]. */
export interface RowCoefficients {
  readonly ofSample: Tensor;
  readonly ofVelocity: Tensor;
  readonly deviation: Tensor;
}

export interface RowTimes {
  /** t [batch]. */
  readonly time: Tensor;
  /** t' [batch]. */
  readonly next: Tensor;
  /** In place of t in 1 − t of σ [batch]; absent: t. Needed where rows of flow-sde begin at t = 1. */
  readonly noiseTime?: Tensor;
}

/**
 * c_x, c_v and s from the times inside the graph; the same as `stepCoefficients` in plain numbers. A program that takes the
 * coefficients themselves as inputs serves every rule, and gets them in double precision.
 */
export function rowCoefficients(noise: FlowNoise, times: RowTimes): RowCoefficients {
  const { time, next, noiseTime = time } = times;
  const h = sub(time, next);
  const rest = sub(1, time); // 1 − t
  if (noise.type === "cps") {
    const angle = (noise.level * Math.PI) / 2;
    const kept = mul(next, Math.cos(angle));
    const clean = sub(1, next);
    return {
      ofSample: add(clean, kept),
      ofVelocity: sub(mul(kept, rest), mul(clean, time)),
      deviation: mul(next, Math.sin(angle)),
    };
  }
  const variance: Operand =
    noise.type === "dance" ? noise.level ** 2 : mul(div(time, sub(1, noiseTime)), noise.level ** 2); // σ²
  const drift = div(variance, mul(time, 2));
  return {
    ofSample: sub(1, mul(drift, h)),
    ofVelocity: neg(mul(add(mul(drift, rest), 1), h)),
    deviation: sqrt(mul(variance, h)),
  };
}

/** The Gaussian of a step. */
export interface FlowStepDistribution {
  /** μ [batch, …]. */
  readonly mean: Tensor;
  /** s [batch]. */
  readonly deviation: Tensor;
}

/** μ = c_x x + c_v v; x and v [batch, …]. */
export function stepDistribution(
  sample: Tensor,
  velocity: Tensor,
  { ofSample, ofVelocity, deviation }: RowCoefficients,
): FlowStepDistribution {
  const mu = add(
    mul(sample, perRow(ofSample, sample)),
    mul(velocity, perRow(ofVelocity, velocity)),
  );
  return { mean: mu, deviation };
}

/** x' = μ + s z, z standard normal [batch, …]. */
export const drawStep = ({ mean: mu, deviation }: FlowStepDistribution, z: Tensor): Tensor =>
  add(mu, mul(z, perRow(deviation, z)));

const HALF_LOG_TWO_PI = 0.5 * Math.log(2 * Math.PI);

/**
 * log p of x' [batch, …], nats; no gradient flows to x'. Per dimension −(x' − μ)² / 2s² − log s − log(2π) / 2; for cps
 * −(x' − μ)² alone, as its authors have it.
 *
 * of "sample": the mean over all dimensions [batch], so a ratio is the D-th root of the true one (deliberate in Flow-GRPO: the
 * sum was unstable). of "position": the sum over `channelAxis`, [batch, height, width] of [batch, channel, height, width]
 * (ViPO in TeleBoost). DanceGRPO's repository leaves out the constants, which no ratio sees.
 */
export function stepLogProb(
  noise: FlowNoise,
  of: FlowRatio["type"],
  { mean: mu, deviation }: FlowStepDistribution,
  next: Tensor,
  channelAxis = 1,
): Tensor {
  const error = square(sub(stopGradient(next), mu));
  const each = noise.type === "cps" ? neg(error) : gaussianLog(error, deviation); // [batch, …]
  return of === "sample" ? rowMean(each) : sum(each, { axes: [channelAxis] });
}

function gaussianLog(squaredError: Tensor, deviation: Tensor): Tensor {
  const quadratic = div(squaredError, perRow(mul(square(deviation), -2), squaredError));
  return sub(quadratic, perRow(add(log(deviation), HALF_LOG_TWO_PI), squaredError));
}

/**
 * KL of a step from that of the reference policy, both with deviation s [batch]. μ and μ_ref [batch, …], h = t − t' [batch].
 *
 * paper: Σ (μ − μ_ref)² / 2s², the closed form.
 * repository: mean (μ − μ_ref)² / 2σ² with σ = s / √h, so late steps weigh more and β is ten times larger; that is h / D of
 * the paper's. For cps the repository's σ is s itself.
 */
export function stepKl(
  form: Exclude<FlowKl["type"], "none">,
  noise: FlowNoise,
  step: FlowStepDistribution & { readonly reference: Tensor; readonly duration: Tensor },
): Tensor {
  const error = square(sub(step.mean, step.reference));
  const variance = square(step.deviation);
  if (form === "paper") return div(rowSum(error), mul(variance, 2));
  const perTime = noise.type === "cps" ? variance : div(variance, step.duration); // σ²
  return div(rowMean(error), mul(perTime, 2));
}

/**
 * The paper's KL without means: c_v² / 2s² · Σ (v − v_ref)² [batch]. For flow-sde and dance
 * c_v² / 2s² = h/2 · (σ (1 − t) / 2t + 1/σ)².
 */
export function velocityKl(
  velocity: Tensor,
  reference: Tensor,
  { ofVelocity, deviation }: Pick<RowCoefficients, "ofVelocity" | "deviation">,
): Tensor {
  const factor = mul(square(div(ofVelocity, deviation)), 0.5);
  return mul(rowSum(square(sub(velocity, reference))), factor);
}

/**
 * log ρ of GRPO-Guard (RatioNorm): s (log ρ + mean (μ − μ_old)² / 2s²), which is mean(z (μ − μ_old)): without the bias of log ρ,
 * and of the same size at every step. log ρ [batch] or positions [batch, …], over which the bias of the sample is repeated, as in
 * TeleBoost. log ρ of cps lacks 1 / 2s², which comes in first.
 *
 * Paper: GRPO-Guard, arXiv:2510.22319, equation 8. Its repository averages the bias over the whole batch, here it is per sample.
 */
export function normalisedLogRatio(
  noise: FlowNoise,
  logRatio: Tensor,
  { mean: mu, deviation }: FlowStepDistribution,
  oldMean: Tensor,
): Tensor {
  const scale = mul(square(deviation), 2); // 2s² [batch]
  const whole = noise.type === "cps" ? div(logRatio, perRow(scale, logRatio)) : logRatio;
  const bias = div(rowMean(square(sub(mu, oldMean))), scale); // [batch]
  return mul(add(whole, perRow(bias, whole)), perRow(deviation, whole));
}

/**
 * Classifier-free guidance: v_0 + w (v_c − v_0), the unconditional velocity v_0 without gradient (Flow-GRPO trains so; the
 * same w in rollout and training).
 */
export function guidedVelocity(conditional: Tensor, unconditional: Tensor, weight: number): Tensor {
  const base = stopGradient(unconditional);
  return add(base, mul(sub(conditional, base), weight));
}

/** Throws a ShapeError unless both have one shape. */
export function requireSameShape(where: string, a: Tensor, b: Tensor): void {
  const [left, right] = [a, b].map(({ shape }) => `[${shape.join(", ")}]`);
  if (left !== right) throw new ShapeError({ where, expected: left!, got: right! });
}
