import { describe, expect, it } from "vitest";
import {
  dpm2Step,
  eulerStep,
  heunCorrection,
  predictedSample,
  type Prediction,
} from "./ode-step.ts";

// Data N(m, q²): x_t is normal with mean (1 - t) m and variance s² = (1 - t)² q² + t², the velocity is
// E[eps - x0 | x_t], and along the flow (x_t - (1 - t) m) / s does not change.
const [m, q] = [0.7, 0.4];
const variance = (t: number): number => (1 - t) ** 2 * q ** 2 + t ** 2;
const velocityAt = (x: number, t: number): number =>
  ((t - (1 - t) * q ** 2) / variance(t)) * (x - (1 - t) * m) - m;
const starts = [-1.3, 0.2, 2.1];

/** Largest error after this many equal steps from one time to another. */
function error(rule: "euler" | "heun" | "dpm2", count: number, from = 1, to = 0): number {
  const exact = (t: number): number[] =>
    starts.map((z) => (1 - t) * m + Math.sqrt(variance(t)) * z);
  const x = Float32Array.from(exact(from));
  const velocity = (t: number): Float32Array => x.map((value) => velocityAt(value, t));
  let before: Prediction | null = null;
  for (let step = 0; step < count; step++) {
    const [t, next] = [step, step + 1].map((at) => from + ((to - from) * at) / count) as [
      number,
      number,
    ];
    const v = velocity(t);
    const now = { sample: predictedSample(x, v, t), t };
    if (rule === "dpm2") dpm2Step(x, now, before, next);
    else eulerStep(x, v, t, next);
    if (rule === "heun") heunCorrection(x, v, velocity(next), t, next);
    before = now;
  }
  return Math.max(...exact(to).map((value, index) => Math.abs(value - x[index]!)));
}

describe("steps along the flow of normal data", () => {
  it("Euler halves its error with the step", () => {
    const ratio = error("euler", 20) / error("euler", 40);
    expect(ratio).toBeGreaterThan(1.7);
    expect(ratio).toBeLessThan(2.4);
  });

  it.each(["heun", "dpm2"] as const)("%s divides it by four", (rule) => {
    const ratio = error(rule, 40, 0.9, 0.1) / error(rule, 80, 0.9, 0.1);
    expect(ratio).toBeGreaterThan(3.4);
    expect(ratio).toBeLessThan(4.6);
    expect(error(rule, 20)).toBeLessThan(error("euler", 20) / 3);
  });

  it("DPM-Solver++ without a prediction before it, from time 1 and to time 0 is Euler", () => {
    const v = Float32Array.of(0.3, -2);
    for (const [before, t, next] of [
      [null, 0.6, 0.4],
      [1, 0.6, 0.4],
      [0.8, 0.6, 0],
    ] as const) {
      const [x, y] = [Float32Array.of(1.2, -0.4), Float32Array.of(1.2, -0.4)];
      const last = before === null ? null : { sample: Float32Array.of(9, 9), t: before };
      dpm2Step(x, { sample: predictedSample(x, v, t), t }, last, next);
      eulerStep(y, v, t, next);
      x.forEach((value, index) => expect(value).toBeCloseTo(y[index]!, 6));
    }
  });
});
