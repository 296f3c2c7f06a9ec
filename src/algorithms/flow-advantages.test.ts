import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigError, DataError, RunError, ShapeError } from "../core/errors.ts";
import { flowAdvantageSettings, type FlowAdvantageSpec } from "../core/flow-spec.ts";
import { randomStream } from "../core/random.ts";
import {
  clippedAdvantages,
  denseAdvantages,
  epochAdvantages,
  flowAdvantages,
  mixedAdvantages,
  promptGroups,
  trainedSamples,
  type PromptReward,
} from "./flow-advantages.ts";

const spec = (given: Partial<FlowAdvantageSpec> = {}): FlowAdvantageSpec =>
  flowAdvantageSettings.parse(given);
const samples = (...rows: readonly (readonly [string, number | null])[]): PromptReward[] =>
  rows.map(([prompt, reward]) => ({ prompt, reward }));

/** Two prompts, mixed over the batches of an epoch. */
const epoch = samples(["a", 1], ["b", 2], ["a", 3], ["c", 4], ["b", 5], ["a", 6]);

describe("advantages of an epoch", () => {
  it("merge equal prompts, wherever they were sampled", () => {
    expect(promptGroups(epoch)).toEqual([[0, 2, 5], [1, 4], [3]]);
    const { advantages, prompts, withoutSpread } = flowAdvantages(epoch, spec({ scale: "group" }));
    const a = (10 / 3 - 1) / (Math.sqrt(((7 / 3) ** 2 + (1 / 3) ** 2 + (8 / 3) ** 2) / 3) + 1e-4);
    expect(advantages[0]).toBeCloseTo(-a, 12);
    expect(advantages[1]).toBeCloseTo(-1.5 / (1.5 + 1e-4), 12);
    expect(advantages[3]).toBe(0);
    expect([prompts, withoutSpread]).toEqual([3, 1]);
  });

  it("are divided by the deviation of the whole epoch, if it is global", () => {
    const all = [1, 2, 3, 4, 5, 6];
    const variance = all.reduce((sum, reward) => sum + (reward - 3.5) ** 2, 0);
    for (const [deviation, count] of [
      ["population", 6],
      ["sample", 5],
    ] as const) {
      const { advantages } = flowAdvantages(epoch, spec({ deviation }));
      const scale = Math.sqrt(variance / count) + 1e-4;
      expect(advantages[1]).toBeCloseTo(-1.5 / scale, 12);
      expect(advantages[5]).toBeCloseTo((6 - 10 / 3) / scale, 12);
    }
  });

  it("leave samples without a reward out, and never call them zero", () => {
    const { advantages } = flowAdvantages(
      samples(["a", 1], ["a", null], ["a", 0], ["b", null]),
      spec({ scale: "group", epsilon: 0 }),
    );
    expect(advantages).toEqual([1, null, -1, null]);
  });

  it("stop at a reward that is no number", () => {
    expect(() => flowAdvantages(samples(["x", 1], ["y", Number.NaN]), spec())).toThrow(RunError);
    expect(() => flowAdvantages(samples(["y", Infinity]), spec())).toThrow('reward of "y"');
  });

  it("are 0 where rewards deviate less than noise does", () => {
    const given = samples(["a", 1], ["a", 1 + 1e-9], ["b", 0], ["b", 1]);
    const quiet = flowAdvantages(given, spec({ scale: "group", epsilon: 0 }));
    expect(quiet.advantages[1]).toBeCloseTo(1, 5);
    const robust = flowAdvantages(
      given,
      spec({ scale: "group", epsilon: 0, minGroupDeviation: 1e-6 }),
    );
    expect(robust.advantages).toEqual([0, 0, -1, 1]);
    expect(robust.withoutSpread).toBe(1);
  });

  it("sum to 0 in every group and do not depend on the order of the samples", () => {
    const row = fc.tuple(
      fc.constantFrom("a", "b", "c"),
      fc.double({ min: -5, max: 5, noNaN: true }),
    );
    const scale = fc.constantFrom("group" as const, "epoch" as const);
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 20 }), scale, (rows, kind) => {
        const given = samples(...rows);
        const { advantages } = flowAdvantages(given, spec({ scale: kind }));
        for (const group of promptGroups(given)) {
          const total = group.reduce((sum, index) => sum + advantages[index]!, 0);
          expect(Math.abs(total)).toBeLessThan(1e-6);
        }
        const reversed = flowAdvantages(given.toReversed(), spec({ scale: kind })).advantages;
        reversed.toReversed().forEach((value, index) => {
          expect(Math.abs(value! - advantages[index]!)).toBeLessThan(1e-6);
        });
      }),
    );
  });

  it("of several rewards are mixed after each was normalised", () => {
    const parts = [
      { weight: 1, advantages: [1, -1, null, null] },
      { weight: 0.5, advantages: [0, 2, 1, null] },
    ];
    expect(mixedAdvantages(parts)).toEqual([1, 0, 0.5, null]);
    expect(() => mixedAdvantages([...parts, { weight: 1, advantages: [1] }])).toThrow(ShapeError);
  });

  it("of several rewards are those of their sum, or sums of their own, as the spec says", () => {
    const scores = [
      { big: 100, small: 0 },
      { big: 0, small: 0.1 },
      { big: 0, small: null },
    ];
    const weights = { big: 1, small: 1 };
    const rewards = [100, 0.1, 0];
    const given = scores.map((one, index) => ({
      prompt: "p",
      reward: rewards[index]!,
      scores: one,
    }));
    const group = { scale: "group", epsilon: 0 } as const;
    const summed = epochAdvantages(given, weights, spec(group));
    expect(summed).toEqual(flowAdvantages(given, spec(group)));
    const { advantages, prompts, withoutSpread } = epochAdvantages(
      [...given, { prompt: "q", reward: 1, scores: { big: 1, small: 0 } }],
      weights,
      spec({ ...group, mix: "advantages" }),
    );
    expect([prompts, withoutSpread]).toEqual([2, 1]);
    const half = Math.SQRT1_2;
    const wanted = [Math.SQRT2 - 1, -half + 1, -half, 0];
    expect(advantages).toEqual(wanted.map((value) => expect.closeTo(value, 12)));
    const failed = given.map((one, index) => (index === 0 ? { ...one, reward: null } : one));
    expect(epochAdvantages(failed, weights, spec({ mix: "advantages" })).advantages[0]).toBe(null);
  });

  it("are clipped at last", () => {
    expect(clippedAdvantages([7, null, -6, 2], 5)).toEqual([5, null, -5, 2]);
    expect(clippedAdvantages([7], null)).toEqual([7]);
  });
});

describe("the samples that are trained", () => {
  const stream = randomStream(2, "trained");

  it("are those with an advantage, filled up to a multiple of the batches", () => {
    const advantages = [1, 0, 0, -1, null, 2, 0, -0];
    const found = trainedSamples(advantages, 4, stream);
    expect(found).toHaveLength(4);
    expect(found).toEqual(expect.arrayContaining([0, 3, 5]));
    expect(found).not.toContain(4);
    expect(trainedSamples(advantages, 3, stream)).toEqual([0, 3, 5]);
    // Five more are missing, four are there: none comes back.
    expect(trainedSamples(advantages, 8, stream)).toEqual([0, 3, 5]);
    expect(trainedSamples([0, 0], 2, stream)).toEqual([]);
  });

  it("always divide into the batches when enough idle ones are left", () => {
    const value = fc.constantFrom(0, 0, 1, -1, null);
    fc.assert(
      fc.property(fc.array(value), fc.integer({ min: 1, max: 5 }), (advantages, batches) => {
        const found = trainedSamples(advantages, batches, stream);
        const active = advantages.flatMap((a, index) => (a === null || a === 0 ? [] : [index]));
        const idle = advantages.filter((a) => a === 0).length;
        expect(found).toEqual(expect.arrayContaining(active));
        expect(new Set(found).size).toBe(found.length);
        expect(found.every((index) => advantages[index] !== null)).toBe(true);
        const missing = (batches - (active.length % batches)) % batches;
        expect(found.length).toBe(active.length + (idle >= missing ? missing : 0));
      }),
    );
  });
});

describe("advantages of positions", () => {
  const pair = samples(["a", 1], ["a", 0]);
  const exact = spec({ scale: "group", epsilon: 0, clip: null });
  const maps = [
    [1, 0.5, 0],
    [0, 0.25, 1],
  ];

  it("are the map times the advantage, clipped after the product", () => {
    expect(denseAdvantages(pair, maps, exact, "advantage")).toEqual([
      Float64Array.of(1, 0.5, 0),
      Float64Array.of(-0, -0.25, -1),
    ]);
    // A = ± 1; a map of mean 1 may exceed 1. A clip before the product would give 3.
    const wide = denseAdvantages(pair, [[3], [1]], { ...exact, clip: 2 }, "advantage");
    expect(wide).toEqual([Float64Array.of(2), Float64Array.of(-1)]);
    const ones = denseAdvantages(pair, [[1], [1]], exact, "advantage");
    expect(ones).toEqual([Float64Array.of(1), Float64Array.of(-1)]);
  });

  it("of weighted rewards are compared position by position", () => {
    // r(p) = (1, 1/2, 0) and (0, 0, 0): the last position does not differ.
    const dense = denseAdvantages(pair, maps, exact, "reward");
    expect(dense).toEqual([Float64Array.of(1, 1, 0), Float64Array.of(-1, -1, 0)]);
  });

  it("do not exist where the reward is not known", () => {
    const three = samples(["a", 1], ["a", null], ["a", 0]);
    const weights = [[1], [1], [1]];
    for (const target of ["advantage", "reward"] as const) {
      const dense = denseAdvantages(three, weights, exact, target);
      expect(dense).toEqual([Float64Array.of(1), null, Float64Array.of(-1)]);
    }
  });

  it("need a map for every sample, of one size, of weights", () => {
    const use = (given: (number[] | undefined)[]) => () =>
      denseAdvantages(pair, given, exact, "advantage");
    expect(use([[1]])).toThrow(ShapeError);
    expect(use([[1], undefined])).toThrow(ConfigError);
    expect(use([[1], undefined])).toThrow("map of sample 1: expected a map, got none");
    expect(use([[1], [1, 1]])).toThrow("expected 1 positions, got 2");
    expect(use([[1], [-0.1]])).toThrow(DataError);
    expect(use([[1], [Number.NaN]])).toThrow(DataError);
  });
});
