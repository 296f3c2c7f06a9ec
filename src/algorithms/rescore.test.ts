import { describe, expect, it } from "vitest";
import { sumTask } from "../../tests/scripted-engine.ts";
import { storedSample } from "../../tests/stored-samples.ts";
import type { AnyTask } from "../tasks/registry.ts";
import type { SampleGroup } from "../run/sample-groups.ts";
import type { SampleRecord } from "../run/sample-record.ts";
import { groupAdvantages } from "./advantages.ts";
import { RescoreSums } from "./rescore-sums.ts";
import { rescoreGroup, scoreAgain, storedScores, unexplained } from "./rescore.ts";

const task = sumTask as AnyTask;
const config = { largest: 30 };

/** A group as a run with the weight 1 for `correct` stores it. */
function group(texts: readonly string[], changes: Partial<SampleRecord> = {}): SampleGroup {
  const rewards = texts.map((text) => Number(text === "3"));
  const { advantages } = groupAdvantages(rewards);
  const samples = texts.map((text, sample) =>
    storedSample({
      sample,
      text,
      scores: { correct: rewards[sample]!, short: text === "" ? null : Number(text.length <= 2) },
      reward: rewards[sample]!,
      advantage: advantages[sample]!,
      errorClass: text === "3" ? null : "wrong sum",
      ...changes,
    }),
  );
  return { step: 1, prompt: 0, samples };
}

const again = ({ samples }: SampleGroup) => samples.map((one) => scoreAgain(task, config, one));

describe("scoring stored outputs again", () => {
  it("gives the scores of the task; a scorer that fails is an error and no score", () => {
    const { samples } = group(["3", "4", ""]);
    expect(samples.map((one) => scoreAgain(task, config, one))).toEqual(
      samples.map(({ scores }) => ({ scores })),
    );
    const failing = (score: AnyTask["score"]) =>
      scoreAgain({ ...task, score }, config, samples[0]!);
    expect(failing(() => ({ correct: Number.NaN, short: 1 }))).toEqual({
      error: "score correct is NaN, not a finite number or null",
    });
    expect(
      failing(() => {
        throw new Error("broke");
      }),
    ).toEqual({ error: "broke" });
    expect(storedScores(storedSample({ scores: undefined, error: "old" }))).toEqual({
      error: "old",
    });
  });
});

describe("rescoreGroup", () => {
  it("with the weights of the run changes nothing", () => {
    const one = group(["3", "4", "3", ""]);
    for (const { reward, advantage } of rescoreGroup(one, again(one), { correct: 1 }).samples) {
      expect(reward.after).toBe(reward.before);
      expect(advantage.after).toBe(advantage.before);
    }
    expect(unexplained(one, again(one), { correct: 1 })).toEqual({ rewards: 0, advantages: 0 });
    const other = group(["3", "4"], { advantage: 9 });
    expect(unexplained(other, again(other), { correct: 1 })).toEqual({ rewards: 0, advantages: 2 });
  });

  it("weighs anew: rewards and advantages follow from the new weights alone", () => {
    const one = group(["3", "444"]);
    const { samples } = rescoreGroup(one, again(one), { correct: -1, short: 3 });
    expect(samples.map(({ reward }) => reward)).toEqual([
      { before: 1, after: 2 },
      { before: 0, after: 0 },
    ]);
    expect(samples[0]!.advantage.after).toBeCloseTo(Math.SQRT1_2, 3);
  });

  it("leaves a failed scorer without a reward", () => {
    const one = group(["3", "4", "5"]);
    const scored = again(one).with(2, { error: "broke" });
    const { samples } = rescoreGroup(one, scored, { correct: 1 });
    expect(samples[2]!.reward.after).toBeNull();
    expect(samples[2]!.advantage.after).toBe(0);
    expect(samples[0]!.advantage.after).toBeCloseTo(Math.SQRT1_2, 3); // of a group of two
  });
});

describe("RescoreSums", () => {
  const sumsOf = (groups: readonly SampleGroup[], weights: Record<string, number>) => {
    const sums = new RescoreSums(2);
    for (const one of groups) sums.add(rescoreGroup(one, again(one), weights));
    return sums.summary;
  };

  it("says how far advantages move, against numbers worked out by hand", () => {
    // Turned round: every advantage flips. Second group: equal before, told apart by `short` afterwards.
    const groups = [group(["3", "4"]), group(["4", "444"])];
    const summary = sumsOf(groups, { correct: -1, short: 1 });
    expect(summary).toMatchObject({
      samples: 4,
      groups: 2,
      reward: { before: 0.25, after: 0.5 },
      withoutSpread: { before: 0.5, after: 0 },
      withoutReward: { before: 0, after: 0 },
      flipped: 2,
      gained: 2,
      lost: 0,
      disagreeing: {},
    });
    // Before (a, −a, 0, 0), after (−a, a, a, −a): Σ = −2 a², norms √2 a and 2 a.
    expect(summary.correlation).toBeCloseTo(-Math.SQRT1_2, 9);
    expect(summary.movers.map(({ record }) => record.text)).toEqual(["3", "4"]);
    expect(summary.classes.map(({ name, count }) => [name, count])).toEqual([
      ["wrong sum", 3],
      ["right", 1],
    ]);
  });

  it("reports scores that are no longer what was stored", () => {
    const wrong = group(["3", "4"], { scores: { correct: 1, short: 1 } });
    const { disagreeing, examples } = sumsOf([wrong], { correct: 1 });
    expect(disagreeing).toEqual({ correct: 1 });
    expect(examples).toMatchObject([{ score: "correct", stored: 1, again: 0 }]);
    const failed = group(["3"], { scores: undefined, error: "broke", reward: null });
    expect(sumsOf([failed], { correct: 1 })).toMatchObject({
      disagreeing: { correct: 1, short: 1 },
      withoutReward: { before: 1, after: 0 },
    });
  });
});
