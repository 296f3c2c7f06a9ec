// Steps of ODE samplers on plain arrays, in place. x [row · sample] at time t, v its velocity there, t' the next time.

/** Euler: x ← x - (t - t') v. */
export function eulerStep(x: Float32Array, v: Float32Array, t: number, next: number): void {
  const h = t - next;
  for (let index = 0; index < x.length; index++) x[index] = x[index]! - h * v[index]!;
}

/** Heun's correction of an Euler step that was made: v at its start, w at its end. x ← x + (t - t') (v - w) / 2. */
export function heunCorrection(
  x: Float32Array,
  v: Float32Array,
  w: Float32Array,
  t: number,
  next: number,
): void {
  const half = (t - next) / 2;
  for (let index = 0; index < x.length; index++)
    x[index] = x[index]! + half * (v[index]! - w[index]!);
}

/** The sample that a velocity points at: x - t v. */
export function predictedSample(x: Float32Array, v: Float32Array, t: number): Float32Array {
  return x.map((value, index) => value - t * v[index]!);
}

/** A prediction of the sample and the time it was made at. */
export interface Prediction {
  readonly sample: Float32Array;
  readonly t: number;
}

/**
 * DPM-Solver++ (2M) for x_t = (1 - t) x0 + t eps, of second order with the prediction of the step before:
 *
 *   x' = t'/t x + (1 - t'/t) D      D = x0 + (x0 - x0_before) h / (2 h_before)      h = λ(t') - λ(t), λ = log((1 - t) / t)
 *
 * Where one of them is infinite (the steps from time 1 and to time 0) or there is no step before, D = x0, which is Euler.
 * Paper: DPM-Solver++, arXiv:2211.01095, algorithm 2.
 */
export function dpm2Step(
  x: Float32Array,
  now: Prediction,
  before: Prediction | null,
  next: number,
): void {
  const lambda = (t: number): number => Math.log((1 - t) / t);
  const ratio =
    before === null || before.t >= 1 || next <= 0
      ? 0
      : (lambda(next) - lambda(now.t)) / (2 * (lambda(now.t) - lambda(before.t)));
  const keep = next / now.t;
  for (let index = 0; index < x.length; index++) {
    const sample = now.sample[index]!;
    const change = ratio === 0 ? 0 : ratio * (sample - before!.sample[index]!);
    x[index] = keep * x[index]! + (1 - keep) * (sample + change);
  }
}
