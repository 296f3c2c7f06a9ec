// Steps of ODE samplers on plain arrays, in place. x [row · sample] at time t, v its velocity there, t' the next time.

import { multistepCoefficients } from "../core/flow-transition.ts";

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

/** DPM-Solver++ (2M), of second order with the prediction of the step before; `multistepCoefficients` has the formula. */
export function dpm2Step(
  x: Float32Array,
  now: Prediction,
  before: Prediction | null,
  next: number,
): void {
  const { ofSample, ofClean, ofPreviousClean } = multistepCoefficients(
    { time: now.t, next },
    before?.t,
  );
  const previous = before?.sample ?? now.sample;
  for (let index = 0; index < x.length; index++)
    x[index] =
      ofSample * x[index]! + ofClean * now.sample[index]! + ofPreviousClean * previous[index]!;
}
