import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  ScriptedEngine,
  solve,
  sumEnvironment,
  sumTask,
  tokenizer,
  type Script,
  type Sum,
} from "../../tests/scripted-engine.ts";
import { RunError } from "../core/errors.ts";
import { silentProgress } from "../core/progress.ts";
import { randomStream } from "../core/random.ts";
import { openRunItems } from "../rollout/item-sources.ts";
import { testItems, trainItem } from "../rollout/items.ts";
import { readEvaluations, readMetrics, RunDirectory } from "../run/run-directory.ts";
import { postTrain, postTrainSettings, type PostTrainSummary } from "./post-train.ts";

let root: string;
let run: RunDirectory;
let initialised: number;
let stages: string[];
/** Lines for people. */
const told: string[] = [];
const start = { system: "sum", scale: "tiny", config: {}, seed: 5, overrides: [] };
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "alidade-post-train-"));
  run = RunDirectory.create(join(root, "run"), start);
  initialised = 0;
  stages = [];
});
afterEach(() => {
  run.close();
  rmSync(root, { recursive: true, force: true });
});

/** Knows more sums the more steps were made. */
const learning = (engine: () => ScriptedEngine): Script => ({
  answer: (question, sample) =>
    Number(solve(question)) <= 10 * engine().steps || sample === 1 ? solve(question) : "777",
});

/** Every step of the stage then has a gradient. */
const withReference = { loss: { kl: { type: "loss", weight: 0.04 } } };

async function train(
  settings: Readonly<Record<string, unknown>> = {},
  script: Script = {},
  startsAs: "untrained" | "start" = "untrained",
): Promise<{ engine: ScriptedEngine; summary: PostTrainSummary }> {
  const engine: ScriptedEngine = new ScriptedEngine({ ...learning(() => engine), ...script });
  const paths = { sft: null, sft2: null, grpo: null, test: null };
  const { count = 20 } = (settings["evaluate"] ?? {}) as { count?: number };
  const summary = await postTrain<Sum, { largest: number }>({
    engine,
    environment: sumEnvironment,
    items: await openRunItems(sumTask, sumEnvironment.config, paths, 5, count),
    run,
    progress: { ...silentProgress, line: (text) => void told.push(text) },
    signal: new AbortController().signal,
    seed: 5,
    settings: postTrainSettings.parse({
      sft: { steps: 2, batch: 3 },
      grpo: { steps: 3, prompts: 2, group: 2, maxTokens: 9, ...withReference },
      evaluate: { count: 20, maxTokens: 9 },
      ...settings,
    }),
    weights: { correct: 1 },
    startsAs,
    initialise: async () => void initialised++,
    onEvaluation: (stage, step, { outputs }) =>
      void stages.push(`${stage} ${step}: ${outputs.length}`),
  });
  return { engine, summary };
}

describe("postTrain", () => {
  it("measures, trains on gold, measures, trains on rewards, measures", async () => {
    const { engine, summary } = await train();
    const verbs = engine.calls.map(({ verb }) => verb);
    expect(verbs).toEqual([
      "sample", // untrained
      "resetOptimiser",
      "accumulate",
      "step",
      "accumulate",
      "step",
      "sample",
      "save",
      "resetOptimiser",
      "freezeReference",
      ...Array.from({ length: 3 }, () => ["sample", "logProbs", "accumulate", "step"]).flat(),
      "sample",
      "save",
    ]);
    expect(initialised).toBe(1);
    expect(stages).toEqual(["untrained 0: 20", "sft 2: 20", "grpo 3: 20"]);
    const records = readEvaluations(run.path);
    expect(records.map(({ stage, step, count }) => [stage, step, count])).toEqual([
      ["untrained", 0, 20],
      ["sft", 2, 20],
      ["grpo", 3, 20],
    ]);
    // The fake knows sums up to ten times the steps it made: the summary says just that, of held-out items.
    const items = testItems(sumTask, sumEnvironment.config, 5, 20);
    const share = (limit: number) => items.filter(({ a, b }) => a + b <= limit).length / 20;
    expect(summary.accuracy).toMatchObject({
      untrained: { accuracy: share(0), count: 20 },
      sft: { accuracy: share(20) },
      grpo: { accuracy: share(50) },
    });
    expect(summary.gain!.mean).toBeCloseTo(share(50) - share(20), 12);
    expect(summary.gain!.low).toBeLessThan(summary.gain!.mean);
  });

  it("trains first on new gold answers, the answer alone scored", async () => {
    const { engine } = await train();
    const [first, second] = engine.of("accumulate");
    expect(first!.loss).toEqual({
      type: "cross-entropy",
      aggregation: { type: "token-mean", tokens: "loss", of: "step" },
    });
    [...first!.batch, ...second!.batch].forEach(({ tokens, promptLength }, index) => {
      const { a, b } = trainItem(sumTask, sumEnvironment.config, 5, index);
      const prompt = tokenizer.decode(tokens.slice(0, promptLength));
      expect(prompt).toBe(`<|user|>${a}+${b}<|assistant|>`);
      expect(tokens.slice(promptLength)).toEqual(tokenizer.encodeAnswer(String(a + b)));
    });
    expect(readMetrics(run.path)[1]).toMatchObject({
      stage: "sft",
      step: 2,
      loss: 0.25,
      gradientNorm: 2,
      tokens: second!.batch.reduce((total, { tokens }) => total + tokens.length, 0),
    });
  });

  it("follows the schedules of the two stages", async () => {
    const constant = {
      learningRate: 0.5,
      schedule: "constant",
      warmup: 0.5,
      beta2: 0.9,
      clipNorm: 3,
    };
    const { engine } = await train({ sft: { steps: 4, batch: 1, optimiser: constant } });
    const options = engine.of("step").map((call) => call.options);
    expect(options.slice(0, 4).map(({ learningRate }) => learningRate)).toEqual([
      0.25, 0.5, 0.5, 0.5,
    ]);
    expect(options[0]).toMatchObject({ beta2: 0.9, clipNorm: 3, weightDecay: 0.1 });
    expect(options[6]).toMatchObject({ learningRate: 1e-4, beta2: 0.99 });
  });

  it("leaves a stage of no steps out, and the reference without a KL term", async () => {
    const grpo = { steps: 2, prompts: 1, group: 2, maxTokens: 9 };
    const { engine, summary } = await train({ sft: { steps: 0 }, grpo });
    expect(engine.of("freezeReference")).toEqual([]);
    expect(engine.of("logProbs")).toEqual([]);
    expect(Object.keys(summary.accuracy)).toEqual(["untrained", "grpo"]);
    expect(summary.gain!.count).toBe(20);
  });

  it("has all stages in their order, and tells what the last one gains over SFT", async () => {
    const sampling = { prompts: 2, group: 2, maxTokens: 9 };
    const { engine, summary } = await train({
      rft: { steps: 1, batch: 2, ...sampling },
      dpo: { steps: 1, batch: 2, ...sampling },
      grpo: { steps: 0, maxTokens: 9 },
    });
    expect(stages).toEqual(["untrained 0: 20", "sft 2: 20", "rft 1: 20", "dpo 1: 20"]);
    expect(readMetrics(run.path).map(({ stage }) => stage)).toEqual(["sft", "sft", "rft", "dpo"]);
    expect(engine.of("resetOptimiser").length).toBe(3);
    const { accuracy, gain } = summary;
    expect(gain).toMatchObject({ of: "dpo", over: "sft" });
    expect(gain!.mean).toBeCloseTo(accuracy.dpo!.accuracy - accuracy.sft!.accuracy, 12);
    // What is sampled belongs to the items of reinforcement learning, never to those of SFT.
    const answered = engine.of("sample").filter(({ prompts }) => prompts.length === 2);
    const paths = { sft: null, sft2: null, grpo: null, test: null };
    const { grpo } = await openRunItems(sumTask, sumEnvironment.config, paths, 5, 20);
    const asked = await Promise.all([0, 1].map(grpo));
    for (const { prompts } of answered) {
      expect(prompts.map((prompt) => tokenizer.decode(prompt))).toEqual(
        asked.map(({ a, b }) => `<|user|>${a}+${b}<|assistant|>`),
      );
    }
    expect(answered.length).toBe(2);
  });

  it("measures a gain over a model that was trained before from its start", async () => {
    const { summary } = await train({ sft: { steps: 0 } }, {}, "start");
    expect(stages).toEqual(["start 0: 20", "grpo 3: 20"]);
    expect(summary.gain).toMatchObject({ of: "grpo", over: "start" });
  });

  it("has no gain to tell without GRPO", async () => {
    const { summary } = await train({ grpo: { steps: 0, maxTokens: 9 } });
    expect(summary.gain).toBeNull();
    expect(Object.keys(summary.accuracy)).toEqual(["untrained", "sft"]);
  });

  it.each([
    ["in SFT", 3],
    ["between the stages", 4],
    ["in GRPO", 7],
  ])("that broke %s goes on to the same end", async (_place, brokenCall) => {
    const settings = {
      sft: { steps: 4, batch: 3 },
      grpo: { steps: 6, prompts: 2, group: 2, maxTokens: 9, ...withReference },
      checkpointEvery: 2,
    };
    const files = ["evaluations.jsonl", "samples/grpo.jsonl"];
    const metrics = (path: string) =>
      readMetrics(path).map((record) =>
        Object.fromEntries(Object.entries(record).filter(([name]) => !name.startsWith("time/"))),
      );
    const { summary } = await train(settings);
    run.close();
    const whole = run.path;

    run = RunDirectory.create(join(root, "broken"), start);
    const breaking: Script = {
      accumulate: (call) => (call > brokenCall ? { loss: Number.NaN } : {}),
    };
    await expect(train(settings, breaking)).rejects.toThrow(RunError);
    run.close();

    run = RunDirectory.open(join(root, "broken"));
    initialised = 0;
    const resumed = await train(settings);
    expect(initialised).toBe(0);
    expect(resumed.engine.of("load").length).toBe(1);
    expect(resumed.summary).toEqual(summary);
    expect(metrics(run.path)).toEqual(metrics(whole));
    for (const file of files) {
      expect(readFileSync(join(run.path, file), "utf8")).toBe(
        readFileSync(join(whole, file), "utf8"),
      );
    }
  });

  describe("with a damaged checkpoint", () => {
    const settings = {
      sft: { steps: 6, batch: 3 },
      grpo: { steps: 0, maxTokens: 9 },
      checkpointEvery: 2,
    };
    const breaking: Script = {
      accumulate: (call) => (call > 5 ? { loss: Number.NaN } : {}),
    };
    const checkpoint = (name: string) => join(run.path, "checkpoints", name);
    /** A run with checkpoints after steps 2 and 4, some of them damaged, opened again. */
    const reopen = async (...damaged: string[]): Promise<void> => {
      await expect(train(settings, breaking)).rejects.toThrow(RunError);
      run.close();
      for (const name of damaged) writeFileSync(join(checkpoint(name), "steps"), "?");
      run = RunDirectory.open(run.path);
      told.length = 0;
    };

    it("goes on from the one before, says so, and ends as if nothing had happened", async () => {
      const whole = await train(settings);
      const expected = readEvaluations(run.path);
      run.close();
      run = RunDirectory.create(join(root, "damaged"), start);
      await reopen("sft-000004");
      const { engine, summary } = await train(settings);
      expect(engine.of("load").length).toBe(2);
      expect(told.slice(0, 2)).toEqual([
        `checkpoint sft-000004 cannot be read: ${checkpoint("sft-000004")}/steps: expected a number, got ?`,
        "going on from the checkpoint before it, sft-000002",
      ]);
      expect(summary).toEqual(whole.summary);
      expect(readMetrics(run.path).map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
      expect(readEvaluations(run.path)).toEqual(expected);
      expect(readdirSync(join(run.path, "checkpoints")).toSorted()).toEqual([
        "sft-000004",
        "sft-000006",
      ]);
    });

    it("touches none when none can be read, and says how to begin again", async () => {
      await reopen("sft-000002", "sft-000004");
      await expect(train(settings)).rejects.toThrow(
        /checkpoints: expected a checkpoint that can be read, got sft-000004, sft-000002: .*\(without this folder/,
      );
      expect(run.checkpointNames()).toEqual(["sft-000004", "sft-000002"]);
    });
  });

  it("starts over when nothing was saved before it broke", async () => {
    const breaking: Script = { accumulate: () => ({ loss: Number.NaN }) };
    await expect(train({}, breaking)).rejects.toThrow(
      "sft step 1: expected finite numbers, got a loss of NaN (no checkpoint was written yet)",
    );
    run.close();
    run = RunDirectory.open(run.path);
    const { engine } = await train();
    expect(initialised).toBe(2);
    expect(engine.of("load")).toEqual([]);
    expect(readEvaluations(run.path).length).toBe(3);
  });

  it("draws evaluation, rollouts and gold answers from streams of their own", async () => {
    const { engine } = await train({ evaluate: { count: 20, maxTokens: 9, temperature: 0.5 } });
    const [untrained, sft, ...others] = engine.of("sample");
    expect(untrained!.options.random(3, 0).at(0)).toBe(randomStream(5, "evaluation", 3).at(0));
    expect(untrained!.prompts).toEqual(sft!.prompts);
    const tested = new Set(untrained!.prompts.map(String));
    const trained = [
      ...engine
        .of("accumulate")
        .flatMap(({ batch }) =>
          batch.map(({ tokens, promptLength }) => String(tokens.slice(0, promptLength))),
        ),
      ...others.slice(0, 3).flatMap(({ prompts }) => prompts.map(String)),
    ];
    expect(trained.filter((prompt) => tested.has(prompt))).toEqual([]);
  });
});
