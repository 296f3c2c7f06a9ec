import { describe, expect, it } from "vitest";
import { sumTask } from "../../tests/scripted-engine.ts";
import { storedSample } from "../../tests/stored-samples.ts";
import type { Scores, Task } from "../core/task.ts";
import { scoringSettings } from "../rollout/score-outputs.ts";
import type { SampleGroup } from "../run/sample-groups.ts";
import type { SampleRecord } from "../run/sample-record.ts";
import type { AnyTask } from "../tasks/registry.ts";
import { groupAdvantages } from "./advantages.ts";
import { grpoSettings } from "./grpo-settings.ts";
import { RescoreSums } from "./rescore-sums.ts";
import { rescoreBatch, type RewardRule, scoreAgain, storedScores, unexplained } from "./rescore.ts";

const task = sumTask as AnyTask;
const config = { largest: 30 };
const asking = scoringSettings.parse({ retries: 0, timeoutMs: 20 });

/** A group as a run with the weight 1 for `correct` stores it. */
function group(
  texts: readonly string[],
  changes: Partial<SampleRecord> = {},
  prompt = 0,
): SampleGroup {
  const rewards = texts.map((text) => Number(text === "3"));
  const { advantages } = groupAdvantages(rewards);
  const samples = texts.map((text, sample) =>
    storedSample({
      prompt,
      sample,
      text,
      scores: { correct: rewards[sample]!, short: text === "" ? null : Number(text.length <= 2) },
      reward: rewards[sample]!,
      advantage: advantages[sample]!,
      errorClass: text === "3" ? null : "wrong sum",
      ...changes,
    }),
  );
  return { step: 1, prompt, samples };
}

/** A rule of the stage's settings. */
function rule(weights: RewardRule["weights"], settings: object = {}): RewardRule {
  const { advantages, overlong } = grpoSettings.parse({ steps: 1, maxTokens: 9, ...settings });
  return { weights, advantages, overlong };
}
const own = rule({ correct: 1 });

const again = (batch: readonly SampleGroup[]) => scoreAgain(task, config, batch, asking);

/** Rewards and advantages after a change of the rule, flat. */
async function moved(batch: readonly SampleGroup[], after: RewardRule) {
  const groups = rescoreBatch(batch, await again(batch), { before: own, after });
  const samples = groups.flatMap((one) => one.samples);
  return {
    rewards: samples.map(({ reward }) => reward.after),
    advantages: samples.map(({ advantage }) => advantage.after),
  };
}

const failures = (kind: string) => ({ correct: { kind, message: expect.any(String) as string } });

describe("scoring stored outputs again", () => {
  it("gives the scores of the task, in the order of the samples", async () => {
    const batch = [group(["3", "4"]), group(["", "3"], {}, 1)];
    expect(await again(batch)).toEqual(
      batch.map(({ samples }) => samples.map(({ scores }) => ({ scores, failures: {} }))),
    );
  });

  it.each<[string, () => Scores | Promise<Scores>]>([
    ["error", () => Promise.reject(new Error("broke"))],
    ["timeout", () => new Promise(() => {})],
    ["notFinite", () => ({ correct: Number.NaN })],
  ])("keeps a failure (%s) apart from the numbers of other scorers", async (kind, score) => {
    const length = { scores: { length: "characters" }, score: async () => ({ length: 1 }) };
    const broken: Task<unknown, unknown> = {
      ...task,
      scores: { correct: "the sum is right" },
      score,
      scorers: [length],
    };
    const [[scored] = []] = await scoreAgain(broken, config, [group(["3"])], asking);
    expect(scored).toEqual({ scores: { length: 1 }, failures: failures(kind) });
  });

  it("reads what a run stored, and the one error of older runs as that of every score", () => {
    const stored = { correct: { kind: "timeout", message: "late" } };
    const record = storedSample({ scores: { short: 1 }, failures: stored });
    expect(storedScores(record, ["correct", "short"])).toEqual({
      scores: { short: 1 },
      failures: stored,
    });
    const older = storedSample({ scores: undefined, error: "old" });
    const failure = { kind: "error", message: "old" };
    expect(storedScores(older, ["correct", "short"])).toEqual({
      scores: {},
      failures: { correct: failure, short: failure },
    });
  });
});

describe("rescoreBatch", () => {
  it("with the rule of the run changes nothing, and tells when that was another one", async () => {
    const batch = [group(["3", "4", "3", ""]), group(["3", "4", "4", ""], {}, 1)];
    const { rewards, advantages } = await moved(batch, own);
    const stored = batch.flatMap(({ samples }) => samples);
    expect(rewards).toEqual(stored.map(({ reward }) => reward));
    expect(advantages).toEqual(stored.map(({ advantage }) => advantage));
    const scored = await again(batch);
    expect(unexplained(batch, scored, own)).toEqual({ rewards: 0, advantages: 0 });
    const plain = rule({ correct: 1 }, { advantages: { type: "reward", scale: { type: "none" } } });
    expect(unexplained(batch, scored, plain)).toEqual({ rewards: 0, advantages: 8 });
    expect(unexplained(batch, scored, rule({ correct: 2 })).rewards).toBe(3);
  });

  it("weighs anew: rewards and advantages follow from the new weights alone", async () => {
    const { rewards, advantages } = await moved(
      [group(["3", "444"])],
      rule({ correct: -1, short: 3 }),
    );
    expect(rewards).toEqual([2, 0]);
    expect(advantages[0]).toBeCloseTo(Math.SQRT1_2, 3);
  });

  it("leaves a failed score with a weight without a reward; one without a weight is no matter", async () => {
    const batch = [group(["3", "4", "5"])];
    const [scored = []] = await again(batch);
    const failure = { correct: { kind: "timeout", message: "late" } };
    const failed = [scored.with(2, { scores: { short: 1 }, failures: failure })];
    const [first] = rescoreBatch(batch, failed, { before: own, after: own });
    expect(first!.samples[2]!.reward.after).toBeNull();
    expect(first!.samples[2]!.advantage.after).toBe(0);
    expect(first!.samples[0]!.advantage.after).toBeCloseTo(Math.SQRT1_2, 3); // of a group of two
    const [other] = rescoreBatch(batch, failed, { before: own, after: rule({ short: 1 }) });
    expect(other!.samples.map(({ reward }) => reward.after)).toEqual([1, 1, 1]);
  });

  it("leaves out what the run left out, whatever it scores now", async () => {
    const { samples } = group(["3", "4", "3"]);
    const dropped = samples.with(2, { ...samples[2]!, dropped: true, reward: null, advantage: 0 });
    const { rewards, advantages } = await moved([{ step: 1, prompt: 0, samples: dropped }], own);
    expect(rewards).toEqual([1, 0, null]);
    expect(advantages[2]).toBe(0);
    expect(advantages[0]).toBeCloseTo(Math.SQRT1_2, 3);
  });

  it("takes the stored penalties off, of a reward of 0 too", async () => {
    const batch = [group(["3", "4"], { penalties: { kl: 0.25, overlong: 0.5 } })];
    const none = rule(
      { correct: 1 },
      { advantages: { type: "reward", baseline: "none", scale: { type: "none" } } },
    );
    expect(await moved(batch, none)).toEqual({ rewards: [1, 0], advantages: [0.25, -0.75] });
  });

  it("compares over the batch where the rule does: by its rewards, its tokens, its scores", async () => {
    const batch = [group(["3", "444"]), group(["3", "3"], { tokens: [6, 7, 8, 9] }, 1)];
    const of = async (weights: RewardRule["weights"], advantages: object, overlong = {}) =>
      (await moved(batch, rule(weights, { advantages, overlong }))).advantages;
    const close = (list: readonly number[], expected: readonly number[]) =>
      expected.forEach((value, index) => expect(list[index]).toBeCloseTo(value, 3));

    // Rewards 1, 0, 1, 1 with mean 3/4 and sample deviation 1/2.
    const batchMean = { type: "reward", baseline: "batch-mean", scale: { type: "batch" } };
    close(await of({ correct: 1 }, batchMean), [0.5, -1.5, 0.5, 0.5]);
    // 2, 2, 4 and 4 tokens: mean 5/6, sample variance (10/36 + 50/36) / 11.
    const whiten = { type: "reward", baseline: "none", scale: { type: "whiten-tokens" } };
    const tokens = Math.sqrt(60 / 36 / 11);
    const [right, wrong] = [1 / 6 / tokens, -5 / 6 / tokens];
    close(await of({ correct: 1 }, whiten), [right, wrong, right, right]);
    // Both scores of the first group normalised to ±1/√2, weighted alike: R = ±√2, 0, 0 with sample deviation 2/√3.
    const gdpo = [Math.sqrt(1.5), -Math.sqrt(1.5), 0, 0];
    close(await of({ correct: 5, short: 5 }, { type: "gdpo" }), gdpo);
  });

  it("counts no tokens of completions that were masked because they were cut", async () => {
    const { samples } = group(["3", "444"]);
    const cut = [samples[0]!, { ...samples[1]!, stopReason: "length" as const }];
    const advantages = { type: "reward", baseline: "none", scale: { type: "whiten-tokens" } };
    const whiten = rule({ correct: 1 }, { advantages, overlong: { mask: true } });
    // The two tokens that count have the reward 1: mean 1, and only the 1e-8 of the variance is left.
    const found = await moved([{ step: 1, prompt: 0, samples: cut }], whiten);
    expect(found.advantages).toEqual([0, expect.closeTo(-1e4, 3)]);
  });
});

describe("RescoreSums", () => {
  const sumsOf = async (batch: readonly SampleGroup[], weights: RewardRule["weights"]) => {
    const sums = new RescoreSums(2);
    const rules = { before: own, after: rule(weights) };
    for (const one of rescoreBatch(batch, await again(batch), rules)) sums.add(one);
    return sums.summary;
  };

  it("says how far advantages move, against numbers worked out by hand", async () => {
    // Turned round: every advantage flips. Second group: equal before, told apart by `short` afterwards.
    const groups = [group(["3", "4"]), group(["4", "444"], {}, 1)];
    const summary = await sumsOf(groups, { correct: -1, short: 1 });
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

  it("reports scores that are no longer what was stored, failures among them", async () => {
    const wrong = group(["3", "4"], { scores: { correct: 1, short: 1 } });
    const { disagreeing, examples } = await sumsOf([wrong], { correct: 1 });
    expect(disagreeing).toEqual({ correct: 1 });
    expect(examples).toMatchObject([{ score: "correct", stored: 1, again: 0 }]);
    const failed = group(["3"], { scores: undefined, error: "broke", reward: null });
    expect(await sumsOf([failed], { correct: 1 })).toMatchObject({
      disagreeing: { correct: 1, short: 1 },
      withoutReward: { before: 1, after: 0 },
    });
    const late = { kind: "timeout", message: "late" };
    const timeout = group(["3"], { scores: { short: 1 }, failures: { correct: late } });
    expect((await sumsOf([timeout], { correct: 1 })).examples).toMatchObject([
      { score: "correct", stored: late, again: 1 },
    ]);
  });
});
