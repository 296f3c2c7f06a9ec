import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { randomStream } from "../core/random.ts";
import { preferencePairs } from "./preference-pairs.ts";
import type { StoredSample } from "./stored-samples.ts";

const made = (rewards: readonly (number | null)[], tokens: readonly number[] = []) =>
  rewards.map((reward, sample): StoredSample => ({
    step: 1,
    prompt: 4,
    sample,
    promptTokens: [1],
    tokens: [tokens[sample] ?? sample],
    scores: {},
    reward,
  }));

const pair = (rewards: readonly (number | null)[], most = 9, tokens: readonly number[] = []) =>
  preferencePairs(made(rewards, tokens), most, randomStream(1, "pairs")).map(
    ({ chosen, rejected }) => [chosen.sample, rejected.sample],
  );

describe("preferencePairs", () => {
  it("pairs one of the best with one of the worst, and leaves those between out", () => {
    expect(pair([0.5, 2, 1, 0])).toEqual([[1, 3]]);
  });

  it("makes none without spread, or of completions without a reward", () => {
    expect(pair([1, 1, 1])).toEqual([]);
    expect(pair([1, null, null])).toEqual([]);
    expect(pair([null, null])).toEqual([]);
    expect(pair([null, 1, 0])).toEqual([[1, 2]]);
    expect(pair([])).toEqual([]);
  });

  it("takes what the policy wrote twice for one completion", () => {
    expect(pair([1, 1, 0, 0], 9, [7, 7, 8, 8]).length).toBe(1);
  });

  it("for any group: best over worst, nobody twice, as many as there are, the same for a stream", () => {
    const group = fc.array(
      fc.record({
        reward: fc.option(fc.constantFrom(-1, 0, 0.5, 1), { nil: null }),
        token: fc.nat(5),
      }),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(group, fc.integer({ min: 1, max: 5 }), fc.nat(), (list, most, seed) => {
        // One text has one reward: a task scores text.
        const rewardOf = new Map(list.map(({ reward, token }) => [token, reward]));
        const tokens = list.map(({ token }) => token);
        const samples = made(
          tokens.map((token) => rewardOf.get(token)!),
          tokens,
        );
        const pairs = preferencePairs(samples, most, randomStream(seed));
        expect(preferencePairs(samples, most, randomStream(seed))).toEqual(pairs);
        const rewards = [...rewardOf.values()].filter((reward) => reward !== null);
        const [best, worst] = [Math.max(...rewards), Math.min(...rewards)];
        const count = (reward: number): number => rewards.filter((one) => one === reward).length;
        const expected = best > worst ? Math.min(most, count(best), count(worst)) : 0;
        expect(pairs.length).toBe(expected);
        for (const { chosen, rejected } of pairs) {
          expect([chosen.reward, rejected.reward]).toEqual([best, worst]);
        }
        const used = pairs.flatMap(({ chosen, rejected }) => [chosen.tokens, rejected.tokens]);
        expect(new Set(used.map(String)).size).toBe(used.length);
      }),
    );
  });
});
