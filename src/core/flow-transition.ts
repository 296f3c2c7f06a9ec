// One step of a flow policy in plain numbers. Every rule is Gaussian, with a mean that is linear in the sample and the velocity:
//
//   x' = μ + s z,   μ = c_x x + c_v v,   z ~ N(0, I),   h = t − t' > 0
//
//   flow-sde   σ = a √(t / (1 − t)):   c_x = 1 − σ² h / 2t,   c_v = −(1 + σ² (1 − t) / 2t) h,   s = σ √h
//   dance      σ = η, then as flow-sde: the score −x/t − (1 − t)/t v is the same in both
//   cps        s = t' sin(η π / 2),  r = √(t'² − s²):   c_x = 1 − t' + r,   c_v = r (1 − t) − (1 − t') t
//   none       the Euler step of the ODE, x − h v
//
// Papers: Flow-GRPO arXiv:2505.05470, DanceGRPO 2505.07818, Flow-CPS 2509.05952, GRPO-Guard 2510.22319.
// Where 1 − t is 0, flow-sde takes the second time of the schedule in its place (`noiseTime`), in σ and nowhere else, as the
// repository does; the paper does not say.

import { ConfigError } from "./errors.ts";
import type { FlowNoise } from "./flow-spec.ts";

export interface StepTimes {
  /** t, in (0, 1]. */
  readonly time: number;
  /** t', in [0, t). */
  readonly next: number;
  /** In place of t in 1 − t of σ; absent: t. Below 1. */
  readonly noiseTime?: number;
}

export interface StepCoefficients {
  /** c_x. */
  readonly ofSample: number;
  /** c_v. */
  readonly ofVelocity: number;
  /** s; 0 for a step of the ODE. */
  readonly deviation: number;
}

function checked({ time, next }: StepTimes): number {
  if (time <= 1 && next < time && next >= 0) return time - next;
  throw new ConfigError({
    where: "step of a flow",
    expected: "0 <= t' < t <= 1",
    got: `t = ${time}, t' = ${next}`,
  });
}

/** σ of flow-sde and dance: new noise a square root of time. */
export function noiseRate(
  noise: Exclude<FlowNoise, { type: "cps" }>,
  { time, noiseTime = time }: StepTimes,
): number {
  if (noise.type === "dance") return noise.level;
  if (noiseTime < 1) return noise.level * Math.sqrt(time / (1 - noiseTime));
  throw new ConfigError({
    where: "flow-sde",
    expected: "a time below 1 for the noise",
    got: String(noiseTime),
    hint: "at t = 1 noiseTime is the second time of the schedule",
  });
}

/**
 * c_x, c_v and s of a step; without noise those of the ODE.
 *
 * @throws ConfigError unless 0 <= t' < t <= 1; at t = 1 of flow-sde unless noiseTime is below 1.
 * @example stepCoefficients({ type: "flow-sde", level: 0 }, { time: 0.5, next: 0.4 }) // c_x 1, c_v −0.1, s 0
 */
export function stepCoefficients(noise: FlowNoise | null, times: StepTimes): StepCoefficients {
  const h = checked(times);
  const { time, next } = times;
  if (noise === null || noise.level === 0) return { ofSample: 1, ofVelocity: -h, deviation: 0 };
  if (noise.type === "cps") {
    const angle = (noise.level * Math.PI) / 2;
    const kept = next * Math.cos(angle); // √(t'² − s²)
    return {
      ofSample: 1 - next + kept,
      ofVelocity: kept * (1 - time) - (1 - next) * time,
      deviation: next * Math.sin(angle),
    };
  }
  const sigma = noiseRate(noise, times);
  const drift = sigma ** 2 / (2 * time);
  return {
    ofSample: 1 - drift * h,
    ofVelocity: -(1 + drift * (1 - time)) * h,
    deviation: sigma * Math.sqrt(h),
  };
}

/**
 * δ of GRPO-Guard (equation 12): weight of a step that makes its gradient independent of its length. 1 / h; for dance
 * (1 + η² (1 − t) / 2t) / h. The paper does not treat cps, which gets 1 / h here.
 */
export function guardWeight(noise: FlowNoise, times: StepTimes): number {
  const h = checked(times);
  if (noise.type !== "dance") return 1 / h;
  return (1 + (noise.level ** 2 * (1 - times.time)) / (2 * times.time)) / h;
}

/** Factors of a second-order step: x' = a x + b x̂_0 + c x̂_0(previous), with x̂_0 = x − t v. */
export interface MultistepCoefficients {
  readonly ofSample: number;
  readonly ofClean: number;
  readonly ofPreviousClean: number;
}

/**
 * DPM-Solver++(2M) for flows: with λ = log((1 − t) / t), k = 1 − t'/t and r = (λ_t − λ_before) / (λ_t' − λ_t),
 * x' = (t'/t) x + k x̂_0 + k (x̂_0 − x̂_0(before)) / 2r. The first step and the last one (t' = 0), and one whose predecessor
 * began at t = 1, come out as the Euler step.
 *
 * Paper: DPM-Solver++, arXiv:2211.01095, equation 4.1; `before` is the time of the step before, absent at the first.
 */
export function multistepCoefficients(
  { time, next }: StepTimes,
  before?: number,
): MultistepCoefficients {
  const kept = (time - checked({ time, next })) / time;
  const lambda = (t: number): number => Math.log((1 - t) / t);
  const isFirstOrder = before === undefined || before >= 1 || next === 0;
  const change = isFirstOrder
    ? 0
    : ((1 - kept) * (lambda(next) - lambda(time))) / (2 * (lambda(time) - lambda(before)));
  return {
    ofSample: kept,
    ofClean: 1 - kept + change,
    ofPreviousClean: change === 0 ? 0 : -change,
  };
}
