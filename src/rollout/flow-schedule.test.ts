import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../core/errors.ts";
import { stepCoefficients } from "../core/flow-transition.ts";
import { flowSamplingSettings, flowWindowSettings, type FlowSchedule } from "../core/flow-spec.ts";
import { randomStream } from "../core/random.ts";
import { flowSteps, flowTimes, iterationsAt, shiftTime, stepWindow } from "./flow-schedule.ts";

const stream = randomStream(1, "flow-schedule");

describe("times", () => {
  it("of diffusers are shifted twice at their end (SD3.5, 10 steps)", () => {
    const times = flowTimes(10, { type: "diffusers", shift: 3, trainSteps: 1000 });
    const published = [1, 0.9601, 0.9133, 0.8577, 0.7904, 0.7073, 0.6022, 0.4649, 0.278, 0.0089, 0];
    expect(times.map((time) => Number(time.toFixed(4)))).toEqual(published);
    // As the repository prints them, times 1000.
    const printed = [1000, 960.1293, 913.349, 857.6923, 790.3683, 707.2785, 602.1506, 464.876];
    printed.forEach((time, index) => expect(1000 * times[index]!).toBeCloseTo(time, 3));
    expect(1000 * times[9]!).toBeCloseTo(8.9286, 3);
  });

  it("shifted once end in a step of full length", () => {
    const times = flowTimes(10, { type: "shifted", shift: 3 });
    expect(times[9]).toBeCloseTo((3 * 0.1) / 1.2, 12);
    expect(shiftTime(3, 1 / 1000)).toBeCloseTo(0.002994, 6);
  });

  it("fall from 1 to 0, whatever the schedule", () => {
    const schedule: fc.Arbitrary<FlowSchedule> = fc.oneof(
      fc.constant({ type: "uniform" } as const),
      fc.record({
        type: fc.constant("shifted" as const),
        shift: fc.double({ min: 0.1, max: 10, noNaN: true }),
      }),
      fc.record({
        type: fc.constant("diffusers" as const),
        shift: fc.double({ min: 0.1, max: 10, noNaN: true }),
        trainSteps: fc.integer({ min: 1000, max: 2000 }),
      }),
    );
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), schedule, (steps, kind) => {
        const times = flowTimes(steps, kind);
        expect(times).toHaveLength(steps + 1);
        expect([times[0], times.at(-1)]).toEqual([1, 0]);
        expect(times.every((time, index) => index === 0 || time < times[index - 1]!)).toBe(true);
      }),
    );
  });
});

describe("the window of stochastic steps", () => {
  const draw = (window: unknown, steps: number, iteration = 0) =>
    stepWindow(flowWindowSettings.parse(window), steps, iteration, stream.fork(iteration));

  it("is all but the last, or fixed", () => {
    expect(draw({ type: "all-but-last" }, 10)).toEqual({ start: 0, end: 9 });
    expect(draw({ type: "all-but-last" }, 1)).toEqual({ start: 0, end: 1 });
    expect(draw({ type: "fixed", start: 2, size: 3 }, 10)).toEqual({ start: 2, end: 5 });
  });

  it("starts at 0, 1 or 2 when it is drawn for 3 of 10 steps", () => {
    const starts = new Map<number, number>();
    for (let index = 0; index < 300; index++) {
      const { start, end } = draw({ type: "random", size: 3 }, 10, index);
      expect(end - start).toBe(3);
      starts.set(start, (starts.get(start) ?? 0) + 1);
    }
    expect(new Set(starts.keys())).toEqual(new Set([0, 1, 2]));
    expect(Math.min(...starts.values())).toBeGreaterThan(60);
  });

  it("drawn anywhere reaches both ends", () => {
    const window = { type: "random", size: 2, low: 0, high: 4 };
    const found = new Set(Array.from({ length: 100 }, (_, index) => draw(window, 4, index).start));
    expect(found).toEqual(new Set([0, 1, 2]));
  });

  it("that does not fit is refused", () => {
    for (const bad of [
      { type: "fixed", start: 8, size: 3 },
      { type: "random", size: 3, high: 2 },
      { type: "random", size: 3, low: 4 },
      { type: "random", size: 3, high: 12 },
    ]) {
      expect(() => draw(bad, 10)).toThrow(ConfigError);
    }
  });

  it("slides by one step every 25 iterations and returns (MixGRPO)", () => {
    const window = { type: "sliding" };
    expect(draw(window, 25, 0)).toEqual({ start: 0, end: 4 });
    expect(draw(window, 25, 24).start).toBe(0);
    expect(draw(window, 25, 25)).toEqual({ start: 1, end: 5 });
    expect(draw(window, 25, 25 * 24)).toEqual({ start: 24, end: 25 });
    expect(draw(window, 25, 25 * 25)).toEqual({ start: 0, end: 4 });
    expect(draw({ ...window, end: "stay" }, 25, 25 * 25 + 3)).toEqual({ start: 24, end: 25 });
  });

  it("slides faster towards the data: linear and exponential decay", () => {
    const linear = { type: "linear", first: 25, last: 6 } as const;
    expect([0, 12, 24].map((step) => iterationsAt(linear, step, 25))).toEqual([25, 15, 6]);
    const decay = { type: "exponential", iterations: 25, rate: 0.1, after: 13 } as const;
    const counts = [0, 13, 14, 20, 24].map((step) => iterationsAt(decay, step, 25));
    expect(counts).toEqual([25, 25, 23, 13, 9]);
    const window = { type: "sliding", stride: 4, pace: decay };
    // Places 0, 4, 8, 12 have 25 iterations each, then 16.
    expect(draw(window, 25, 99).start).toBe(12);
    expect(draw(window, 25, 100).start).toBe(16);
    const at16 = iterationsAt(decay, 16, 25);
    expect(draw(window, 25, 100 + at16 - 1).start).toBe(16);
    expect(draw(window, 25, 100 + at16).start).toBe(20);
  });
});

describe("the steps of a batch", () => {
  it("say what is stochastic and what is trained", () => {
    const sampling = flowSamplingSettings.parse({ trainedShare: 0.6 });
    const steps = flowSteps(sampling, 0, stream);
    expect(steps.filter(({ isStochastic }) => isStochastic)).toHaveLength(9);
    expect(steps.filter(({ isTrained }) => isTrained)).toHaveLength(5);
    expect(steps.every(({ isTrained, isStochastic }) => isStochastic || !isTrained)).toBe(true);
    expect(steps[0]).toMatchObject({ time: 1, noiseTime: 0.9 });
    expect(steps.slice(1).every(({ noiseTime }) => noiseTime === undefined)).toBe(true);
    expect(flowSteps(sampling, 0, stream)).toEqual(steps);
  });

  it("of cps leave out the last one, which has no noise", () => {
    const of = (given: object, iteration = 0) => {
      const sampling = flowSamplingSettings.parse({ noise: { type: "cps" }, ...given });
      const steps = flowSteps(sampling, iteration, stream.fork(iteration));
      return steps.flatMap(({ isTrained }, index) => (isTrained ? [index] : []));
    };
    expect(of({ window: { type: "fixed", start: 7, size: 3 } })).toEqual([7, 8]);
    const window = { type: "sliding", size: 4, pace: { type: "constant", iterations: 1 } };
    const places = Array.from({ length: 19 }, (_, iteration) => of({ window }, iteration)[0]);
    expect(places).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
    for (let iteration = 0; iteration < 20; iteration++) {
      const fixed = { type: "fixed", start: 8, size: 2 };
      expect(of({ window: fixed, trainedShare: 0.5 }, iteration)).toEqual([8]);
    }
    expect(of({ steps: 1 })).toEqual([]);
  });

  it("have noise also where there is one step: that at the second time, 0", () => {
    const [step] = flowSteps(flowSamplingSettings.parse({ steps: 1 }), 0, stream);
    expect(step).toEqual({ time: 1, next: 0, noiseTime: 0, isStochastic: true, isTrained: true });
    const { deviation } = stepCoefficients({ type: "flow-sde", level: 0.7 }, step!);
    expect(deviation).toBeCloseTo(0.7, 12);
  });
});
