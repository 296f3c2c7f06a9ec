import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { groupAdvantages } from "./advantages.ts";

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
