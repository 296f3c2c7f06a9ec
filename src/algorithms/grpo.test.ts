import { describe, expect, it } from "vitest";
import { solve, sumTask, tokenizer, type Script, type Sum } from "../../tests/scripted-engine.ts";
import {
  alternating,
  madeItems,
  scriptedStage,
  type StageChanges,
} from "../../tests/scripted-stage.ts";
import { DataError, EngineError, RunError } from "../core/errors.ts";
import { randomStream } from "../core/random.ts";
import { policySettings } from "../core/loss-spec.ts";
import type { Output, Scores } from "../core/task.ts";
import { wholeWindow } from "../losses/weights.ts";
import type { ItemSource } from "../rollout/item-sources.ts";
import { Interrupted } from "../run/interrupted.ts";
import { readMetrics, readSamples } from "../run/run-directory.ts";

const { train, failure, path, checkpoints, evaluated } = scriptedStage();

describe("a bad row", () => {
  it("stops the stage when its step comes; what was trained until then is in a checkpoint", async () => {
    const bad = new DataError("rows.jsonl, line 5: expected a maze, got none");
    const items: ItemSource<Sum> = (index) => (index < 4 ? madeItems(index) : Promise.reject(bad));
    const settings = { steps: 9, prompts: 2 };
    await expect(train({ items, settings })).rejects.toBe(bad);
    expect(checkpoints()).toEqual(["grpo-000002"]);
    // A resumed stage that comes no further leaves that checkpoint alone.
    await expect(train({ items, settings, done: 2 })).rejects.toBe(bad);
    expect(checkpoints()).toEqual(["grpo-000002"]);
  });
});

describe("a GRPO step", () => {
  it("trains on every completion with its advantage and its reference", async () => {
    const engine = await train({
      script: {
        ...alternating,
        logProb: (index, policy) => (policy === "reference" ? -1 - index / 10 : -0.5),
      },
      settings: { temperature: 0.9, topK: 7, loss: { kl: { type: "loss", weight: 0.1 } } },
    });
    expect(engine.calls.map(({ verb }) => verb)).toEqual([
      "sample",
      "logProbs",
      "accumulate",
      "step",
      "save",
    ]);
    const [sampled] = engine.of("sample");
    expect(sampled!.options).toMatchObject({ group: 4, maxTokens: 9, temperature: 0.9, topK: 7 });
    expect("topP" in sampled!.options).toBe(false);
    const [reference] = engine.of("logProbs");
    expect(reference!.options).toEqual({ policy: "reference", temperature: 0.9 });

    const [accumulated] = engine.of("accumulate");
    expect(accumulated!.loss).toEqual({
      type: "policy-gradient",
      temperature: 0.9,
      ...policySettings.parse({ kl: { type: "loss", weight: 0.1 } }),
    });
    const masks = accumulated!.batch.map(({ tokens, promptLength }) =>
      new Float32Array(tokens.length - promptLength).fill(1),
    );
    expect(accumulated!.window).toEqual({ ...wholeWindow(masks), maxTokens: 9 });
    const { batch } = accumulated!;
    expect(batch.length).toBe(8);
    const deviation = Math.sqrt((4 * 0.25) / 3) + 1e-4;
    batch.forEach(({ tokens, promptLength, advantage, reference: rows, old, mask }, index) => {
      const prompt = sampled!.prompts[Math.floor(index / 4)]!;
      expect(tokens.slice(0, promptLength)).toEqual(prompt);
      const answer = tokenizer.decodeAnswer(tokens.slice(promptLength));
      const question = tokenizer.decode(prompt).slice("<|user|>".length, -"<|assistant|>".length);
      expect(answer).toBe(index % 2 === 0 ? solve(question) : "777");
      expect(advantage).toBeCloseTo((index % 2 === 0 ? 0.5 : -0.5) / deviation, 10);
      expect(rows).toEqual(new Float32Array(tokens.length - promptLength).fill(-1 - index / 10));
      expect([old, mask]).toEqual([undefined, undefined]);
    });
    const [metrics] = readMetrics(path());
    expect(metrics).toMatchObject({
      step: 1,
      stage: "grpo",
      loss: 0.25,
      "reward/mean": 0.5,
      "score/correct": 0.5,
      "groups/withoutSpread": 0,
      "completion/truncated": 0,
      gradientNorm: 2,
      learningRate: 1e-4,
    });
    expect(evaluated()).toEqual([1]);
  });

  it("draws every completion from a stream of seed, step, prompt and sample", async () => {
    const engine = await train({ settings: { steps: 2 } });
    engine.of("sample").forEach(({ options }, index) => {
      for (const [prompt, sample] of [
        [0, 0],
        [1, 3],
      ] as const) {
        const expected = randomStream(5, "rollout", index + 1, prompt, sample).at(4);
        expect(options.random(prompt, sample).at(4)).toBe(expected);
      }
    });
  });

  it("clips against the log-probabilities of the policy that sampled when it makes several", async () => {
    const engine = await train({
      script: {
        ...alternating,
        logProb: (index) => -0.5 - index,
        accumulate: (call, batch) => ({
          loss: call,
          logProbs: batch.map(({ tokens, promptLength }, index) =>
            new Float32Array(tokens.length - promptLength).fill(-call / 2 - index),
          ),
        }),
      },
      settings: {
        steps: 3,
        iterations: 3,
        loss: { surrogate: { type: "clip", low: 0.1, high: 0.3 } },
      },
    });
    const calls = engine.of("accumulate");
    expect(calls.length).toBe(3);
    expect(engine.of("step").length).toBe(3);
    expect(engine.of("sample").length).toBe(1);
    expect(engine.of("logProbs").map(({ options }) => options)).toEqual([
      { policy: "current", temperature: 1 },
    ]);
    for (const { loss } of calls) {
      expect(loss).toMatchObject({ surrogate: { type: "clip", low: 0.1, high: 0.3 } });
    }
    for (const { batch } of calls) {
      batch.forEach(({ old, tokens, promptLength }, index) =>
        expect(old).toEqual(new Float32Array(tokens.length - promptLength).fill(-0.5 - index)),
      );
      expect(batch.every(({ reference }) => reference === undefined)).toBe(true);
    }
    // Ratio exp(-1) at the third step: below the range everywhere, and a stop only for the half with A < 0.
    const [first, second, third] = readMetrics(path());
    const lengths = calls[0]!.batch.map(({ tokens, promptLength }) => tokens.length - promptLength);
    const all = lengths.reduce((total, length) => total + length, 0);
    const wrong = lengths
      .filter((_, index) => index % 2 === 1)
      .reduce((total, length) => total + length, 0);
    expect(third!["clip/low"]).toBeCloseTo(wrong / all, 12);
    expect(third).toMatchObject({ step: 3, "clip/high": 0, loss: 3 });
    expect(first).toMatchObject({
      step: 1,
      "clip/low": 0,
      "ratio/min": 1,
      "ratio/max": 1,
      loss: 1,
    });
    // What the generation batch has to say stands in the record of its first step alone.
    for (const name of ["reward/mean", "completion/length", "groups/withoutSpread"]) {
      expect(first).toHaveProperty([name]);
      for (const record of [second, third]) expect(record).not.toHaveProperty([name]);
    }
  });

  it("stores what a viewer needs to show the sample", async () => {
    await train({
      script: {
        answer: (question, sample) =>
          sample === 0 ? { text: solve(question), logProb: -0.125 } : { text: "99", isCut: true },
      },
      settings: { group: 2, samplesEvery: 2, steps: 3 },
      weights: { correct: 3, short: 1 },
    });
    const samples = readSamples(path(), "grpo");
    expect(samples.length).toBe(4); // two prompts, group 2, every second of three steps
    const tokens = Array.from(tokenizer.encode("99"));
    expect(samples[3]).toMatchObject({
      step: 2,
      prompt: 1,
      sample: 1,
      text: "99",
      tokens,
      samplerLogProbs: [-0.5, -0.5],
      trainerLogProbs: [-0.5, -0.5],
      scores: { correct: 0, short: 1 },
      reward: 1,
      stopReason: "length",
    });
    expect(samples[2]).toMatchObject({ reward: 4, stopReason: "stop" });
    expect(samples[2]!["advantage"]).toBeCloseTo(Math.SQRT1_2, 3);
    const { item, messages } = samples[0] as { item: Sum; messages: unknown };
    expect(messages).toEqual([{ role: "user", content: `${item.a}+${item.b}` }]);
  });

  it("counts completions that were cut, and groups that teach nothing", async () => {
    const engine = await train({
      script: {
        answer: (question, sample) =>
          sample === 3 ? { text: solve(question), isCut: true } : solve(question),
      },
    });
    expect(readMetrics(path())[0]).toMatchObject({
      "completion/truncated": 0.25,
      "groups/withoutSpread": 1,
      "reward/mean": 1,
      "reward/std": 0,
    });
    expect(readSamples(path(), "grpo").every(({ advantage }) => advantage === 0)).toBe(true);
    // Neither momentum nor weight decay moves the weights when there is nothing to learn.
    expect([engine.of("accumulate"), engine.of("step")]).toEqual([[], []]);
    expect(readMetrics(path())[0]).toMatchObject({ loss: 0, "update/skipped": 1 });
  });

  it.each([
    ["a KL term", { kl: { type: "loss", weight: 0.1 } }],
    ["an entropy bonus", { entropy: { weight: 0.1 } }],
  ])("without any spread is taken all the same with %s", async (_name, loss) => {
    const engine = await train({ script: { answer: solve }, settings: { loss } });
    expect(engine.of("accumulate")[0]!.batch.every(({ advantage }) => advantage === 0)).toBe(true);
    expect(engine.of("step").length).toBe(1);
    expect(readMetrics(path())[0]).not.toHaveProperty(["update/skipped"]);
  });
});

describe("a reward", () => {
  const abstaining = (item: Sum, { text }: Output): Scores => ({
    correct: text === "777" ? null : Number(text === String(item.a + item.b)),
    short: null,
  });

  it("may abstain: left out of the group, neither a zero nor an error", async () => {
    const answers = ["1", "right", "777", "777"];
    const engine = await train({
      score: abstaining,
      script: {
        answer: (question, sample) => (sample === 1 ? solve(question) : answers[sample]!),
      },
      weights: { correct: 1, short: 1 },
    });
    const advantages = engine.of("accumulate")[0]!.batch.map(({ advantage }) => advantage!);
    [-0.70701, 0.70701, 0, 0].forEach((expected, index) =>
      expect(advantages[index]).toBeCloseTo(expected, 4),
    );
    expect(readMetrics(path())[0]).toMatchObject({ "reward/mean": 0.5, "score/correct": 0.5 });
    const rewards = readSamples(path(), "grpo").map(({ reward }) => reward);
    expect(rewards).toEqual([0, 1, null, null, 0, 1, null, null]);
  });

  it("of a step may abstain altogether", async () => {
    const engine = await train({ score: abstaining, script: { answer: () => "777" } });
    expect([engine.of("accumulate"), engine.of("step")]).toEqual([[], []]);
    expect(readSamples(path(), "grpo")).toHaveLength(8);
    for (const record of readSamples(path(), "grpo"))
      expect(record).toMatchObject({ advantage: 0, reward: null });
    expect(readMetrics(path())[0]).toMatchObject({
      "reward/mean": Number.NaN,
      "groups/withoutSpread": 1,
    });
  });

  it.each([Number.NaN, Infinity, -Infinity])(
    "of %s stops the run before it is used, and names step and sample",
    async (broken) => {
      let calls = 0;
      const error = await failure({
        settings: { steps: 5 },
        checkpointEvery: 2,
        score: () => ({ correct: ++calls === 2 * 8 + 7 ? broken : calls % 2, short: 1 }),
      });
      expect(error).toBeInstanceOf(RunError);
      expect(error.message).toBe(
        "grpo step 3: prompt 1, sample 2: expected a number or null for reward correct, got no finite number: " +
          `score correct: expected a finite number or null, got ${broken} ` +
          "(grpo.rewards.notFinite.type=drop-sample goes on without the sample; the newest checkpoint is grpo-000002)",
      );
      expect(checkpoints()).toEqual(["grpo-000002"]);
      expect(readMetrics(path()).map(({ step }) => step)).toEqual([1, 2]);
    },
  );
});

describe("a scorer that fails", () => {
  const failing = (item: Sum, output: Output): Scores => {
    if (output.text === "777") throw new Error("the scorer fell over");
    return sumTask.score(item, output, { largest: 30 });
  };
  const script: Script = {
    answer: (question, sample) => (sample === 2 ? "777" : sample === 1 ? "1" : solve(question)),
  };

  it("stops the run, with the place and the cause", async () => {
    const error = await failure({ score: failing, script });
    expect(error).toBeInstanceOf(RunError);
    expect(error.message).toBe(
      "grpo step 1: prompt 0, sample 2: expected a number or null for reward correct, got an error of the scorer: the scorer fell over " +
        "(grpo.rewards.error.type=drop-sample goes on without the sample; no checkpoint was written yet)",
    );
    expect(error.cause).toEqual(new Error("the scorer fell over"));
    expect(readMetrics(path())).toEqual([]);
  });
});

describe("a number that breaks", () => {
  const at = (step: number, result: (batch: readonly object[]) => object): StageChanges => ({
    settings: { steps: 6 },
    checkpointEvery: 2,
    script: { ...alternating, accumulate: (call, batch) => (call === step ? result(batch) : {}) },
  });

  it.each([
    ["a loss of NaN", at(5, () => ({ loss: Number.NaN })), "a loss of NaN"],
    ["an infinite loss", at(5, () => ({ loss: Infinity })), "a loss of Infinity"],
    [
      "a log-probability",
      at(5, (batch) => ({
        logProbs: batch.map((_, index) => Float32Array.of(-1, index === 6 ? Number.NaN : -1)),
      })),
      "log-probabilities of sample 6 that are not",
    ],
  ])("%s: the run stops before the weights change", async (_name, changes, got) => {
    const error = await failure(changes);
    expect(error).toBeInstanceOf(RunError);
    expect(error.message).toBe(
      `grpo step 5: expected finite numbers, got ${got} (the newest checkpoint is grpo-000004)`,
    );
    expect(checkpoints()).toEqual(["grpo-000002", "grpo-000004"]);
    expect(readMetrics(path()).length).toBe(4);
  });

  it("a gradient: the error of the engine comes with step and checkpoint", async () => {
    const step = (call: number) => {
      if (call === 1) throw new EngineError("optimiser step: a gradient norm of NaN");
      return { gradientNorm: 1 };
    };
    const error = await failure({ script: { ...alternating, step } });
    expect(error.message).toBe(
      "grpo step 1: expected finite numbers, got optimiser step: a gradient norm of NaN (no checkpoint was written yet)",
    );
    expect(error.cause).toBeInstanceOf(EngineError);
  });
});

describe("the stage", () => {
  it("goes on from a checkpoint with the items and streams it would have had", async () => {
    const settings = { steps: 5 };
    const whole = await train({ settings });
    const rest = await train({ settings, done: 3 });
    const [all, last] = [whole.of("sample"), rest.of("sample")];
    expect(last.length).toBe(2);
    last.forEach(({ prompts, options }, index) => {
      expect(prompts).toEqual(all[3 + index]!.prompts);
      expect(options.random(1, 2).at(0)).toBe(all[3 + index]!.options.random(1, 2).at(0));
    });
    expect(rest.of("step").map(({ options }) => options)).toEqual(
      whole
        .of("step")
        .slice(3)
        .map(({ options }) => options),
    );
    expect((await train({ settings, done: 5 })).calls).toEqual([]);
  });

  it("never shows a prompt twice in a row of steps", async () => {
    const engine = await train({ settings: { steps: 4, prompts: 8 } });
    const prompts = engine.of("sample").flatMap((call) => call.prompts.map(String));
    expect(new Set(prompts).size).toBeGreaterThan(28); // 720 problems are in training
  });

  it("evaluates and saves when due", async () => {
    await train({ settings: { steps: 7 }, checkpointEvery: 3, evaluateEvery: 2 });
    expect(evaluated()).toEqual([2, 4, 6, 7]);
    expect(checkpoints()).toEqual(["grpo-000006", "grpo-000007"]);
  });

  it("stops after the step when it is asked to, with a checkpoint", async () => {
    const abort = new AbortController();
    const script: Script = {
      ...alternating,
      accumulate: (call) => {
        if (call === 2) abort.abort();
        return {};
      },
    };
    const error = await failure({ settings: { steps: 9 }, script, signal: abort.signal });
    expect(error).toBeInstanceOf(Interrupted);
    expect(checkpoints()).toEqual(["grpo-000002"]);
    expect(readMetrics(path()).map(({ step }) => step)).toEqual([1, 2]);
  });
});
