import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { z } from "zod";
import { advantageSettings, type AdvantageSpec } from "../core/advantage-spec.ts";
import { profiles } from "../losses/profiles/index.ts";
import { batchAdvantages, groupAdvantages, type RewardGroup } from "./advantages.ts";

describe("groupAdvantages", () => {
  it("gives the numbers of TRL for rewards [1, 0] and [0.5, 0.5]", () => {
    const { advantages, withoutSpread } = groupAdvantages([1, 0]);
    expect(advantages[0]).toBeCloseTo(0.7070067953, 10);
    expect(advantages[1]).toBeCloseTo(-0.7070067953, 10);
    expect(withoutSpread).toBe(false);
    expect(groupAdvantages([0.5, 0.5])).toEqual({ advantages: [0, 0], withoutSpread: true });
  });

  it("divides by the deviation with n - 1", () => {
    const { advantages } = groupAdvantages([3, 1, 2, 2]);
    const deviation = Math.sqrt(2 / 3);
    [1, -1, 0, 0].forEach((distance, index) =>
      expect(advantages[index]).toBeCloseTo(distance / (deviation + 1e-4), 12),
    );
  });

  it("leaves rewards that abstain out of the statistics and gives them nothing", () => {
    const { advantages } = groupAdvantages([1, null, 0, null]);
    expect(advantages[0]).toBeCloseTo(0.7070067953, 10);
    expect(advantages.filter((_, index) => index % 2 === 1)).toEqual([0, 0]);
    expect(groupAdvantages([null, 1])).toEqual({ advantages: [0, 0], withoutSpread: true });
    expect(groupAdvantages([null, null])).toEqual({ advantages: [0, 0], withoutSpread: true });
  });

  it("finds no spread in rewards that are equal, whatever they are", () => {
    const anyReward = fc.double({ min: -10, max: 10, noNaN: true });
    fc.assert(
      fc.property(anyReward, fc.integer({ min: 1, max: 16 }), (reward, count) => {
        const { advantages, withoutSpread } = groupAdvantages(
          Array.from({ length: count }, () => reward),
        );
        expect(withoutSpread).toBe(true);
        expect(advantages.every((advantage) => advantage === 0)).toBe(true);
      }),
    );
  });

  it("is centred, keeps the order, and forgets a shift of all rewards", () => {
    const anyRewards = fc.array(fc.integer({ min: -20, max: 20 }), { minLength: 2, maxLength: 16 });
    fc.assert(
      fc.property(anyRewards, fc.integer({ min: -5, max: 5 }), (rewards, shift) => {
        const { advantages } = groupAdvantages(rewards);
        expect(advantages.reduce((total, one) => total + one, 0)).toBeCloseTo(0, 9);
        const shifted = groupAdvantages(rewards.map((reward) => reward + shift)).advantages;
        rewards.forEach((reward, a) => {
          expect(shifted[a]).toBeCloseTo(advantages[a]!, 9);
          rewards.forEach((other, b) => {
            if (reward > other) expect(advantages[a]!).toBeGreaterThan(advantages[b]!);
          });
        });
      }),
    );
  });
});

type Choice = z.input<typeof advantageSettings>;
const rule = (choice: Choice): AdvantageSpec => advantageSettings.parse(choice);
const groupsOf = (...rows: readonly (readonly (number | null)[])[]): RewardGroup[] =>
  rows.map((rewards) => ({ rewards }));
const advantagesOf = (groups: readonly RewardGroup[], choice: Choice): number[][] =>
  batchAdvantages(groups, rule(choice)).map(({ advantages }) => [...advantages]);

function expectClose(got: readonly (readonly number[])[], expected: number[][], digits = 10): void {
  expect(got.map((row) => row.length)).toEqual(expected.map((row) => row.length));
  got.forEach((row, group) =>
    row.forEach((value, index) =>
      expect(value, `[${group}][${index}]`).toBeCloseTo(expected[group]![index]!, digits),
    ),
  );
}

const scaled = (type: "group" | "batch", rest: object = {}) => ({
  type: "reward" as const,
  scale: { type, ...rest },
});
const raw = { type: "none" } as const;

describe("batchAdvantages", () => {
  const golden = groupsOf([1, 0], [0.5, 0.5]);

  it("gives the golden rows of TRL and verl", () => {
    expectClose(advantagesOf(golden, scaled("group")), [
      [0.7070067953, -0.7070067953],
      [0, 0],
    ]);
    // Deviation 0.4082482905 of all four rewards.
    expectClose(advantagesOf(golden, scaled("batch")), [
      [1.2244449449, -1.2244449449],
      [0, 0],
    ]);
    const verl = profiles.verl.settings.advantages;
    const [first] = advantagesOf(golden, verl);
    expect(first!.map((value) => value.toFixed(4))).toEqual(["0.7071", "-0.7071"]);
    expectClose(advantagesOf(golden, { type: "reward", scale: raw }), [
      [0.5, -0.5],
      [0, 0],
    ]);
  });

  it("divides by n where the population deviation is asked for", () => {
    const groups = groupsOf([3, 1, 2, 2]);
    const deviation = Math.sqrt(2 / 4);
    expectClose(advantagesOf(groups, scaled("group", { deviation: "population", epsilon: 0 })), [
      [1 / deviation, -1 / deviation, 0, 0],
    ]);
  });

  it("compares with the others of the group (RLOO)", () => {
    const choice: Choice = { type: "reward", baseline: "leave-one-out", scale: raw };
    expectClose(advantagesOf(groupsOf([4, 1, 1], [2, null, 6]), choice), [
      [4 - 1, 1 - 2.5, 1 - 2.5],
      [2 - 6, 0, 6 - 2],
    ]);
  });

  it("compares with the greedy completion (ReMax); an unknown one compares with nothing", () => {
    const choice: Choice = { type: "reward", baseline: "greedy", scale: raw };
    const groups = [
      { rewards: [1, 0, null], greedy: 0.25 },
      { rewards: [1, 1], greedy: 1 },
      { rewards: [1, 1], greedy: 0 },
      { rewards: [1, 0], greedy: null },
    ];
    expectClose(advantagesOf(groups, choice), [
      [0.75, -0.25, 0],
      [0, 0],
      [1, 1],
      [0, 0],
    ]);
    // Equal rewards teach something when the greedy answer has another one.
    const flat = batchAdvantages(groups, rule(choice)).map(({ withoutSpread }) => withoutSpread);
    expect(flat).toEqual([false, true, false, true]);
  });

  it("compares with the mean of the batch", () => {
    const choice: Choice = { type: "reward", baseline: "batch-mean", scale: raw };
    const result = batchAdvantages(groupsOf([1, 1], [0, null]), rule(choice));
    expectClose(
      result.map(({ advantages }) => [...advantages]),
      [
        [1 / 3, 1 / 3],
        [-2 / 3, 0],
      ],
    );
    expect(result.map(({ withoutSpread }) => withoutSpread)).toEqual([false, false]);
  });

  it("whitens over the loss tokens of the batch (verl's masked_whiten)", () => {
    const choice: Choice = {
      type: "reward",
      baseline: "none",
      scale: { type: "whiten-tokens" },
    };
    const rewards = [1, 0, 3, 0.5];
    const tokens = [2, 5, 1, 0];
    const groups = [
      { rewards: rewards.slice(0, 2), tokens: tokens.slice(0, 2) },
      { rewards: rewards.slice(2), tokens: tokens.slice(2) },
    ];
    const each = rewards.flatMap((reward, index) =>
      Array.from({ length: tokens[index]! }, () => reward),
    );
    const center = each.reduce((sum, value) => sum + value, 0) / each.length;
    const variance =
      each.reduce((sum, value) => sum + (value - center) ** 2, 0) / (each.length - 1);
    const expected = rewards.map((reward) => (reward - center) / Math.sqrt(variance + 1e-8));
    expectClose(advantagesOf(groups, choice), [expected.slice(0, 2), expected.slice(2)]);
  });

  it("normalises each score by itself (GDPO)", () => {
    const parts = [
      { right: [1, 0, 1], short: [0.2, 0.9, 0.4] },
      { right: [0, 0, 0], short: [0.1, 0.1, 0.7] },
    ];
    const weights = { right: 1, short: 0.5 };
    const groups = parts.map(({ right, short }) => ({
      rewards: right.map((value, index) => value + 0.5 * short[index]!),
      parts: { right: { weight: 1, values: right }, short: { weight: 0.5, values: short } },
    }));
    const normal = (list: readonly number[]): number[] => {
      const center = list.reduce((sum, value) => sum + value, 0) / list.length;
      const squares = list.reduce((sum, value) => sum + (value - center) ** 2, 0);
      const deviation = Math.sqrt(squares / (list.length - 1));
      return list.map((value) => (value - center) / (deviation + 1e-4));
    };
    const sums = parts.flatMap(({ right, short }) => {
      const [a, b] = [normal(right), normal(short)];
      return a.map((value, index) => weights.right * value + weights.short * b[index]!);
    });
    const expected = normal(sums);
    expectClose(advantagesOf(groups, { type: "gdpo" }), [expected.slice(0, 3), expected.slice(3)]);
  });

  it("has exact zeros for a group of equal scores beside others (GDPO)", () => {
    // The means of the others leave 1e-17 in the mean of the batch.
    const groups = groupsOf([1, 1, 1], [0.1, 0.7, 0.3], [0.1, 0.75, 0.31]);
    const [flat, ...others] = batchAdvantages(groups, rule({ type: "gdpo" }));
    expect(flat).toEqual({ advantages: [0, 0, 0], withoutSpread: true });
    expect(others.map(({ withoutSpread }) => withoutSpread)).toEqual([false, false]);
  });

  it("clips advantages", () => {
    expectClose(advantagesOf(groupsOf([9, 0, 1]), { type: "reward", scale: raw, clip: 2.5 }), [
      [2.5, -2.5, -7 / 3],
    ]);
  });

  it("gives a lone completion nothing, or its reward (verl)", () => {
    const groups = groupsOf([null, 3], [7, 7]);
    expectClose(advantagesOf(groups, scaled("group")), [
      [0, 0],
      [0, 0],
    ]);
    const [lone, flat] = batchAdvantages(groups, rule({ ...scaled("group"), lone: "raw" }));
    expect(lone!.advantages[1]).toBeCloseTo(3 / (1 + 1e-4), 12); // mean 0, deviation 1
    expect([lone!.withoutSpread, flat!.withoutSpread]).toEqual([false, true]);
  });

  const every: readonly (readonly [string, Choice, { forgetsShift: boolean }])[] = [
    ["group", scaled("group"), { forgetsShift: true }],
    ["group of population", scaled("group", { deviation: "population" }), { forgetsShift: true }],
    ["batch", scaled("batch"), { forgetsShift: true }],
    [
      "leave-one-out",
      { type: "reward", baseline: "leave-one-out", scale: raw },
      { forgetsShift: true },
    ],
    ["batch-mean", { ...scaled("batch"), baseline: "batch-mean" }, { forgetsShift: true }],
    ["gdpo", { type: "gdpo" }, { forgetsShift: true }],
    [
      "whiten-tokens",
      { type: "reward", baseline: "none", scale: { type: "whiten-tokens" } },
      { forgetsShift: true },
    ],
    ["none", { type: "reward", baseline: "none", scale: raw }, { forgetsShift: false }],
  ];
  const anyReward = fc.oneof(
    { weight: 5, arbitrary: fc.integer({ min: -40, max: 40 }).map((value) => value / 8) },
    { weight: 1, arbitrary: fc.constant(null) },
  );
  const anyBatch = fc
    .array(fc.array(anyReward, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 4 })
    .map((rows) => groupsOf(...rows));

  it.each(every)(
    "%s: finite, 0 where a reward is not known, shifts as promised",
    (_name, choice, { forgetsShift }) => {
      fc.assert(
        fc.property(anyBatch, (groups) => {
          const result = batchAdvantages(groups, rule(choice));
          result.forEach(({ advantages, withoutSpread }, group) => {
            const { rewards } = groups[group]!;
            expect(advantages.length).toBe(rewards.length);
            expect(advantages.every(Number.isFinite)).toBe(true);
            advantages.forEach((value, index) => rewards[index] === null && expect(value).toBe(0));
            if (withoutSpread) expect(advantages.every((value) => value === 0)).toBe(true);
          });
          if (!forgetsShift) return;
          const shifted = groups.map(({ rewards }) => ({
            rewards: rewards.map((reward) => (reward === null ? null : reward + 3)),
          }));
          expectClose(
            advantagesOf(shifted, choice),
            result.map(({ advantages }) => [...advantages]),
            6,
          );
        }),
      );
    },
  );

  it.each(every.filter(([name]) => name !== "none"))(
    "%s: equal rewards give zeros, exactly",
    (_name, choice) => {
      fc.assert(
        fc.property(
          fc.double({ min: -10, max: 10, noNaN: true }),
          fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 4 }),
          (reward, sizes) => {
            const groups = sizes.map((size) => ({
              rewards: Array.from({ length: size }, () => reward),
            }));
            for (const { advantages, withoutSpread } of batchAdvantages(groups, rule(choice))) {
              expect(advantages.every((value) => value === 0)).toBe(true);
              expect(withoutSpread).toBe(true);
            }
          },
        ),
      );
    },
  );
});
