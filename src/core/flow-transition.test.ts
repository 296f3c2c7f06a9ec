import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigError } from "./errors.ts";
import {
  flowAdvantageSettings,
  flowObjectiveSettings,
  flowSamplingSettings,
  pixelAdvantageSettings,
  type FlowNoise,
} from "./flow-spec.ts";
import {
  guardWeight,
  multistepCoefficients,
  noiseRate,
  stepCoefficients,
  type StepCoefficients,
} from "./flow-transition.ts";

const sde: FlowNoise = { type: "flow-sde", level: 0.7 };
const cps: FlowNoise = { type: "cps", level: 0.8 };
const dance: FlowNoise = { type: "dance", level: 0.3 };
const times = { time: 0.5, next: 0.4 };

/** Times of the SD3 schedule, written out: k = 3, 10 steps. */
const shifted = [1, 0.9601, 0.9133, 0.8577, 0.7904, 0.7073, 0.6022, 0.4649, 0.278, 0.0089];
const uniform = [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1];

const meanOf = ({ ofSample, ofVelocity }: StepCoefficients, x: number, v: number): number =>
  ofSample * x + ofVelocity * v;

describe("a stochastic step", () => {
  it.each([
    [sde, 0.3102, 0.22136],
    [cps, 0.26472, 0.38042],
    [dance, 0.3182, 0.09487],
  ])("%o has its worked mean and deviation", (noise, mean, deviation) => {
    const step = stepCoefficients(noise, times);
    expect(meanOf(step, 0.3, -0.2)).toBeCloseTo(mean, 5);
    expect(step.deviation).toBeCloseTo(deviation, 5);
  });

  it("has σ = a √(t / (1 − t)), at t = 1 with the second time", () => {
    expect(noiseRate(sde, times)).toBeCloseTo(0.7, 12);
    expect(noiseRate(sde, { time: 1, next: 0.9, noiseTime: 0.9 })).toBeCloseTo(0.7 * 10 ** 0.5, 12);
    expect(() => noiseRate(sde, { time: 1, next: 0.9 })).toThrow("noiseTime");
  });

  it("without noise is the Euler step of the ODE, by every rule", () => {
    for (const { type } of [sde, cps, dance]) {
      const { ofSample, ofVelocity, deviation } = stepCoefficients({ type, level: 0 }, times);
      expect([ofSample, ofVelocity, deviation]).toEqual([1, expect.closeTo(-0.1, 12), 0]);
      const tiny = stepCoefficients({ type, level: 1e-7 }, times);
      expect(tiny.ofSample).toBeCloseTo(1, 9);
      expect(tiny.ofVelocity).toBeCloseTo(-0.1, 9);
    }
    expect(stepCoefficients(null, times).deviation).toBe(0);
  });

  it("goes forward in time only", () => {
    for (const bad of [
      { time: 0.4, next: 0.5 },
      { time: 0.5, next: 0.5 },
      { time: 1.1, next: 0.5 },
      { time: 0.5, next: -0.1 },
      { time: Number.NaN, next: 0 },
    ]) {
      expect(() => stepCoefficients(sde, bad)).toThrow(ConfigError);
    }
  });
});

/** The same after one step from variance t². */
function oneStepVariance(noise: FlowNoise, time: number, next: number): number {
  const { ofSample, ofVelocity, deviation } = stepCoefficients(noise, { time, next });
  return (ofSample + ofVelocity / time) ** 2 * time ** 2 + deviation ** 2;
}

/** Variance of x − (1 − t) m for point-mass data, whose exact velocity is v = (x − m) / t, along a schedule. */
function pointMassVariance(noise: FlowNoise | null, schedule: readonly number[]): number {
  let variance = 1;
  for (let index = 0; index + 1 < schedule.length; index++) {
    const [time, next] = [schedule[index]!, schedule[index + 1]!];
    const { ofSample, ofVelocity, deviation } = stepCoefficients(noise, {
      time,
      next,
      ...(index === 0 && { noiseTime: schedule[1]! }),
    });
    variance = (ofSample + ofVelocity / time) ** 2 * variance + deviation ** 2;
  }
  return variance;
}

describe("noise of a trajectory over point-mass data", () => {
  it("exceeds t' after a step of flow-sde, and more after all of them", () => {
    // The ninth step alone, from noise of exactly t; then the nine together.
    expect(Math.sqrt(oneStepVariance(sde, 0.278, 0.0089))).toBeCloseTo(0.24, 3);
    expect(Math.sqrt(oneStepVariance(sde, 0.2, 0.1))).toBeCloseTo(0.131, 3);
    expect(Math.sqrt(pointMassVariance(sde, shifted))).toBeCloseTo(0.2488, 4);
    expect(Math.sqrt(pointMassVariance(sde, uniform))).toBeCloseTo(0.1381, 4);
  });

  it("is t' exactly for cps and the ODE", () => {
    for (const noise of [cps, null]) {
      expect(Math.sqrt(pointMassVariance(noise, shifted))).toBeCloseTo(0.0089, 12);
      expect(Math.sqrt(pointMassVariance(noise, uniform))).toBeCloseTo(0.1, 12);
    }
  });

  it("has its closed form after one step", () => {
    const time = fc.double({ min: 0.05, max: 0.99, noNaN: true });
    const share = fc.double({ min: 0, max: 0.99, noNaN: true });
    fc.assert(
      fc.property(time, share, (t, part) => {
        const [next, h] = [t * part, t - t * part];
        const excess = (sigma: number): number =>
          ((sigma ** 2 * h ** 2) / t) * (1 + sigma ** 2 / (4 * t));
        for (const noise of [sde, dance, cps]) {
          const variance = oneStepVariance(noise, t, next);
          const more = noise.type === "cps" ? 0 : excess(noiseRate(noise, { time: t, next }));
          expect(variance).toBeCloseTo(next ** 2 + more, 10);
        }
      }),
    );
  });
});

describe("marginals over Gaussian data N(m, q²)", () => {
  const [m, q] = [0.8, 0.3];

  /** Exact mean and variance of x at the end, from exact velocities: v = −m + k (x − (1 − t) m). */
  function moments(noise: FlowNoise | null, steps: number): readonly [number, number] {
    let [mean, variance] = [0, 1];
    for (let index = 0; index < steps; index++) {
      const [time, next] = [1 - index / steps, 1 - (index + 1) / steps];
      const slope = (time - (1 - time) * q ** 2) / ((1 - time) ** 2 * q ** 2 + time ** 2);
      const c = stepCoefficients(index === steps - 1 ? null : noise, {
        time,
        next,
        ...(index === 0 && { noiseTime: next }),
      });
      const velocity = -m + slope * (mean - (1 - time) * m);
      mean = c.ofSample * mean + c.ofVelocity * velocity;
      variance = (c.ofSample + c.ofVelocity * slope) ** 2 * variance + c.deviation ** 2;
    }
    return [mean, variance];
  }

  it.each([sde, dance, null])("are those of the data after 1000 steps: %o", (noise) => {
    const [mean, variance] = moments(noise, 1000);
    expect(mean).toBeCloseTo(m, 2);
    expect(Math.sqrt(variance)).toBeCloseTo(q, 2);
  });

  it("are not what cps keeps: the more steps, the narrower", () => {
    const [mean, variance] = moments(cps, 1000);
    expect(mean).toBeCloseTo(m, 2);
    expect(Math.sqrt(variance)).toBeLessThan(0.85 * q);
  });

  it("differ after ten steps of flow-sde", () => {
    expect(Math.sqrt(moments(sde, 10)[1])).toBeGreaterThan(1.05 * Math.sqrt(moments(null, 10)[1]));
  });
});

describe("the weight of a step by GRPO-Guard", () => {
  it("is 1 / h, with a factor for dance", () => {
    expect(guardWeight(sde, times)).toBeCloseTo(10, 10);
    expect(guardWeight(cps, times)).toBeCloseTo(10, 10);
    expect(guardWeight(dance, times)).toBeCloseTo(10.45, 10);
  });
});

describe("a multistep solver", () => {
  /** End of a trajectory over Gaussian data N(m, q²) by its exact x̂_0. */
  function solve(steps: number, isSecondOrder: boolean): number {
    const [m, q] = [0.8, 0.3];
    let [x, previous] = [0.9, 0];
    for (let index = 0; index < steps; index++) {
      const [time, next] = [1 - index / steps, 1 - (index + 1) / steps];
      const before = isSecondOrder && index > 0 ? 1 - (index - 1) / steps : undefined;
      const variance = (1 - time) ** 2 * q ** 2 + time ** 2;
      const clean = m + (((1 - time) * q ** 2) / variance) * (x - (1 - time) * m);
      const c = multistepCoefficients({ time, next }, before);
      x = c.ofSample * x + c.ofClean * clean + c.ofPreviousClean * previous;
      previous = clean;
    }
    return x;
  }
  const exact = 0.8 + 0.3 * 0.9;

  it("is the Euler step of the ODE at the first step, at the last and without a predecessor", () => {
    const first = multistepCoefficients({ time: 1, next: 0.9 });
    expect(first).toEqual({
      ofSample: expect.closeTo(0.9, 12),
      ofClean: expect.closeTo(0.1, 12),
      ofPreviousClean: 0,
    });
    expect(multistepCoefficients({ time: 0.9, next: 0.8 }, 1).ofPreviousClean).toBe(0);
    const last = multistepCoefficients({ time: 0.1, next: 0 }, 0.2);
    expect(last).toEqual({ ofSample: 0, ofClean: 1, ofPreviousClean: 0 });
    // x − h v with v = (x − x̂_0) / t
    expect(first.ofSample * 2 + first.ofClean * 0.5).toBeCloseTo(2 - 0.1 * 1.5, 12);
  });

  it("has its coefficients of DPM-Solver++(2M)", () => {
    // λ = log((1 − t) / t): 0 at 0.5; the step from 0.5 to 0.4 after one from 0.6.
    const h = Math.log(1.5);
    const c = multistepCoefficients({ time: 0.5, next: 0.4 }, 0.6);
    expect(c.ofSample).toBeCloseTo(0.8, 12);
    expect(c.ofClean).toBeCloseTo(0.2 * (1 + h / (2 * h)), 12);
    expect(c.ofPreviousClean).toBeCloseTo(-0.1, 12);
  });

  it("beats Euler, and its error falls faster", () => {
    const error = (steps: number, second: boolean): number =>
      Math.abs(solve(steps, second) - exact);
    expect(error(40, true)).toBeLessThan(0.5 * error(40, false));
    const [second, first] = [true, false].map((order) => error(160, order) / error(40, order));
    expect(second).toBeLessThan(0.6 * first!);
  });
});

describe("the settings", () => {
  it("have the paper's defaults and refuse unknown kinds", () => {
    const sampling = flowSamplingSettings.parse({});
    expect(sampling.noise).toEqual({ type: "flow-sde", level: 0.7 });
    expect(sampling.window).toEqual({ type: "all-but-last" });
    expect(flowObjectiveSettings.parse({ type: "policy" })).toMatchObject({
      ratio: { type: "sample", low: 1e-4, high: 1e-4 },
      kl: { type: "none" },
    });
    expect(flowObjectiveSettings.parse({ type: "diffusion-nft" })).toMatchObject({ mix: 1 });
    expect(flowAdvantageSettings.parse({})).toMatchObject({ scale: "epoch", epsilon: 1e-4 });
    expect(pixelAdvantageSettings.parse({}).map).toMatchObject({ components: 3, smoothing: 1 });
    expect(flowSamplingSettings.safeParse({ noise: { type: "cps", level: 1.2 } }).success).toBe(
      false,
    );
    expect(flowObjectiveSettings.safeParse({ type: "ddpo" }).success).toBe(false);
  });
});
