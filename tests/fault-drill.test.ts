// The fault drill of docs/rewards.md: scorers that go wrong in every way, and what a run makes of it. Rewards here are never 0 (1 for
// wrong, 2 for right), so a failure that was taken for a zero would show.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { grpo } from "../src/algorithms/grpo.ts";
import { grpoSettings } from "../src/algorithms/grpo-settings.ts";
import { postTrain, postTrainSettings } from "../src/algorithms/post-train.ts";
import { RunError } from "../src/core/errors.ts";
import { silentProgress } from "../src/core/progress.ts";
import type { Output, Scorer, Task } from "../src/core/task.ts";
import { testItems, trainItem } from "../src/rollout/items.ts";
import { scoringSettings } from "../src/rollout/score-outputs.ts";
import { Interrupted } from "../src/run/interrupted.ts";
import { readMetrics, readSamples, RunDirectory } from "../src/run/run-directory.ts";
import { ScriptedEngine, solve, sumEnvironment, sumTask, type Sum } from "./scripted-engine.ts";

type SumTask = Task<Sum, { largest: number }>;
type Score = Scorer<Sum, { largest: number }>["score"];

/** With this seed every step has one to four odd answers. */
const SEED = 6;

let root: string;
beforeEach(() => void (root = mkdtempSync(join(tmpdir(), "alidade-drill-"))));
afterEach(() => rmSync(root, { recursive: true, force: true }));

const newRun = (name = "run"): RunDirectory =>
  RunDirectory.create(join(root, name), {
    system: "sum",
    scale: "tiny",
    config: {},
    seed: SEED,
    overrides: [],
  });

const isRight = ({ a, b }: Sum, { text }: Output): boolean => text === String(a + b);

/** A judge beside the task's own score; 1 for wrong, 2 for right, unless `fault` says otherwise. */
const judged = (fault: Score): SumTask => ({
  ...sumTask,
  scorers: [{ scores: { judge: "what another machine says" }, score: fault }],
});

const points = (item: Sum, output: Output): number => (isRight(item, output) ? 2 : 1);

/** One answer in a hundred is "odd" (the draw decides); half of the others are right. */
const answer = (question: string, sample: number, uniform: number): string =>
  uniform < 0.01 ? "odd" : sample % 2 === 0 ? solve(question) : "777";

interface Drill {
  readonly task: SumTask;
  readonly rewards?: Readonly<Record<string, unknown>>;
  readonly steps?: number;
  readonly weights?: Readonly<Record<string, number>>;
  readonly answers?: typeof answer;
}

const sizes = { prompts: 25, group: 8, maxTokens: 9 };

async function drill({ task, rewards = {}, steps = 1, weights = { judge: 1 }, answers }: Drill) {
  const run = newRun();
  const engine = new ScriptedEngine({ answer: answers ?? answer });
  const lines: string[] = [];
  let [error, note]: [Error | null, string] = [null, ""];
  await grpo<Sum, { largest: number }>(
    {
      engine,
      environment: {
        ...sumEnvironment,
        task,
        scoring: scoringSettings.parse({ timeoutMs: 5, retries: 0 }),
      },
      items: async (index) => trainItem(sumTask, sumEnvironment.config, SEED, index),
      run,
      progress: {
        ...silentProgress,
        line: (text) => void lines.push(text),
        advance: (_done, text) => void (note = text ?? ""),
      },
      signal: new AbortController().signal,
      seed: SEED,
      done: 0,
      state: {},
      checkpointEvery: 100,
      evaluateEvery: 0,
      evaluate: async () => undefined,
    },
    grpoSettings.parse({ ...sizes, steps, rewards }),
    weights,
  ).catch((thrown: Error) => void (error = thrown));
  run.close();
  return {
    engine,
    lines,
    note,
    error: error as Error | null,
    metrics: readMetrics(run.path),
    samples: readSamples(run.path, "grpo"),
  };
}

type Drilled = Awaited<ReturnType<typeof drill>>;

const mean = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0) / list.length;

/**
 * What holds after every step, recomputed from the stored samples: those that were dropped have no reward, advantage 0 and a mask of
 * zeros; all others have the advantages of a group that never had the dropped ones.
 */
function checkBatch({ engine, samples, metrics }: Drilled): number {
  const batches = engine.of("accumulate").map(({ batch }) => batch);
  const records = batches.map((_, step) => samples.filter((one) => one["step"] === step + 1));
  let dropped = 0;
  records.forEach((list, step) => {
    const known = list.filter((one) => one["reward"] !== null);
    expect(metrics[step]!["reward/mean"]).toBeCloseTo(
      mean(known.map((one) => Number(one["reward"]))),
    );
    expect(metrics[step]!["samples/dropped"]).toBe(list.filter((one) => one["dropped"]).length);
    list.forEach((record, index) => {
      const example = batches[step]![index]!;
      expect(example.advantage).toBe(record["advantage"]);
      const group = known.filter((one) => one["prompt"] === record["prompt"]);
      if (record["dropped"] === true) {
        dropped++;
        expect(record).toMatchObject({ reward: null, advantage: 0 });
        expect(Array.from(example.mask!)).toEqual(Array.from(example.mask!, () => 0));
        expect(example.mask!.length).toBe(example.tokens.length - example.promptLength);
        return;
      }
      expect(example.mask).toBeUndefined();
      expect(record["reward"]).toBeGreaterThanOrEqual(1);
      const rewards = group.map((one) => Number(one["reward"]));
      const center = mean(rewards);
      const squares = rewards.reduce((sum, value) => sum + (value - center) ** 2, 0);
      const deviation = Math.sqrt(squares / (rewards.length - 1));
      const expected = (Number(record["reward"]) - center) / (deviation + 1e-4);
      expect(record["advantage"]).toBeCloseTo(expected, 10);
    });
  });
  return dropped;
}

const odd = (samples: Drilled["samples"]) => samples.filter((one) => one["text"] === "odd");

describe("a scorer that throws on 1 % of the samples", () => {
  const task = judged((item, output) => {
    if (output.text === "odd") throw new Error("cannot read this");
    return { judge: points(item, output) };
  });

  it("stops the run by default, before the weights change, and names reward and sample", async () => {
    const { error, engine, lines, metrics } = await drill({ task });
    expect(error).toBeInstanceOf(RunError);
    expect(error!.message).toMatch(
      /^grpo step 1: prompt \d+, sample \d: expected a number or null for reward judge, got an error of the scorer: cannot read this \(grpo\.rewards\.error\.type=drop-sample goes on without the sample; no checkpoint was written yet\)$/,
    );
    expect(engine.of("accumulate")).toEqual([]);
    expect([lines, metrics]).toEqual([[], []]);
  });

  it("with drop-sample: only those samples leave the step", async () => {
    const result = await drill({ task, steps: 2, rewards: { error: { type: "drop-sample" } } });
    expect(result.error).toBeNull();
    const failed = odd(result.samples);
    expect(failed.length).toBeGreaterThan(0);
    expect(checkBatch(result)).toBe(failed.length);
    for (const record of failed) {
      // The facts of the other scorer are still there.
      expect(record["scores"]).toEqual({ correct: 0, short: 0 });
      expect(record["failures"]).toEqual({ judge: { kind: "error", message: "cannot read this" } });
    }
    const first = odd(result.samples.filter(({ step }) => step === 1)).length;
    expect(result.metrics[0]).toMatchObject({
      "scorer/judge/error": first,
      "scorer/judge/ok": 200 - first,
    });
    expect(result.metrics[0]!["reward/judge"]).toBeCloseTo(
      result.metrics[0]!["reward/mean"] as number,
    );
    expect(result.lines).toEqual([
      "reward judge failed, its sample is left out (grpo.rewards.error: drop-sample); counted as scorer/judge/error: cannot read this",
    ]);
    const last = odd(result.samples.filter(({ step }) => step === 2)).length;
    expect(result.note.endsWith(`${last} samples dropped`)).toBe(true);
  });

  it("with drop-group: their whole groups leave the step", async () => {
    const result = await drill({ task, rewards: { error: { type: "drop-group" } } });
    const groups = new Set(odd(result.samples).map(({ prompt }) => prompt));
    expect(checkBatch(result)).toBe(8 * groups.size);
    const gone = result.samples.filter(({ dropped }) => dropped === true);
    expect(new Set(gone.map(({ prompt }) => prompt))).toEqual(groups);
  });

  it("with stop-after: drops until that reward has failed so often in the run", async () => {
    const all = await drill({ task, steps: 6, rewards: { error: { type: "drop-sample" } } });
    rmSync(join(root, "run"), { recursive: true });
    const failed = odd(all.samples);
    const count = failed.length - 1;
    const [step, prompt, sample] = ["step", "prompt", "sample"].map((name) =>
      Number(failed[count - 1]![name]),
    ) as [number, number, number];
    expect(step).toBeGreaterThan(1);
    const rewards = { error: { type: "stop-after", count } };
    const result = await drill({ task, steps: 6, rewards });
    expect(result.error!.message).toBe(
      `grpo step ${step}: prompt ${prompt}, sample ${sample}: expected a number or null for reward judge, got failure ${count} of this run, an error of the scorer: cannot read this (grpo.rewards.error.count=… allows more of them; no checkpoint was written yet)`,
    );
    expect(result.metrics.length).toBe(step - 1);
    expect(checkBatch(result)).toBe(failed.filter((one) => Number(one["step"]) < step).length);
  });

  it("without a weight is counted, and no sample leaves the step", async () => {
    const result = await drill({
      task,
      weights: { correct: 1, short: 1 },
      answers: (...given) => {
        const text = answer(...given);
        return text === "777" ? "7" : text;
      },
    });
    expect(result.error).toBeNull();
    expect(result.metrics[0]).toMatchObject({
      "samples/dropped": 0,
      "scorer/judge/error": odd(result.samples).length,
    });
    expect(result.lines[0]).toMatch(/^score judge failed, it has no weight in the reward; counted/);
  });
});

describe("a scorer that hangs", () => {
  it("is cut off; its samples leave the step, the rest goes on", async () => {
    const hanging = judged(async (item, output) =>
      output.text === "odd" ? new Promise(() => undefined) : { judge: points(item, output) },
    );
    const result = await drill({ task: hanging });
    expect(result.error).toBeNull(); // the default allows 100 timeouts of a reward
    const failed = odd(result.samples);
    expect(checkBatch(result)).toBe(failed.length);
    expect(result.metrics[0]!["scorer/judge/timeout"]).toBe(failed.length);
    const message =
      "scorer: expected scores within 5 ms, got none (the time limit is scoring.timeoutMs)";
    for (const { failures } of failed)
      expect(failures).toEqual({ judge: { kind: "timeout", message } });
    expect(result.lines).toEqual([
      `reward judge failed, its sample is left out (grpo.rewards.timeout: stop-after); counted as scorer/judge/timeout: ${message}`,
    ]);
  });

  it("on every sample stops the run at the 100th, with nothing learned from any", async () => {
    const result = await drill({ task: judged(() => new Promise(() => undefined)) });
    expect(result.error!.message).toContain("prompt 12, sample 3: ");
    expect(result.error!.message).toContain("got failure 100 of this run, a timeout of the scorer");
    expect(result.engine.of("accumulate")).toEqual([]);
  });
});

describe("a scorer that returns NaN", () => {
  const task = judged((item, output) => ({
    judge: output.text === "odd" ? Number.NaN : points(item, output),
  }));

  it("stops the run by default", async () => {
    const { error, engine } = await drill({ task });
    expect(error!.message).toContain(
      "for reward judge, got no finite number: score judge: expected a finite number or null, got NaN (grpo.rewards.notFinite.type=drop-sample",
    );
    expect(engine.of("accumulate")).toEqual([]);
  });

  it("with drop-sample: leaves the step, and no number of it is NaN", async () => {
    const result = await drill({ task, rewards: { notFinite: { type: "drop-sample" } } });
    const failed = odd(result.samples);
    expect(checkBatch(result)).toBe(failed.length);
    expect(result.metrics[0]!["scorer/judge/notFinite"]).toBe(failed.length);
    for (const [name, value] of Object.entries(result.metrics[0]!)) {
      if (name !== "stage") expect(value, name).not.toBeNaN();
    }
  });
});

describe("a scorer that returns null for a whole window", () => {
  const window = { steps: 4 };
  const task = judged(() => ({ judge: null }));

  it("stops the run, which says which reward and for how long; no null was a zero", async () => {
    const weights = { judge: 1, correct: 1 };
    // `correct` alone makes the reward: its wrong answers are real zeros, so they get another offset here.
    const result = await drill({
      task: { ...task, score: (item, output) => ({ correct: points(item, output), short: null }) },
      steps: 9,
      rewards: { window },
      weights,
    });
    expect(result.error!.message).toBe(
      "grpo step 4: expected rewards that tell answers apart, got reward judge without a number for any sample of the last 4 steps (grpo.rewards.window.onNull=warn goes on; no checkpoint was written yet)",
    );
    expect(result.metrics.length).toBe(3);
    expect(checkBatch(result)).toBe(0);
    for (const metrics of result.metrics) {
      expect(metrics).toMatchObject({ "scorer/judge/null": 200, "scorer/judge/ok": 0 });
      expect("reward/judge" in metrics).toBe(false);
    }
  });

  it("as the only reward: no advantage, no reward, and the run stops", async () => {
    const { error, engine, samples, metrics } = await drill({
      task,
      steps: 9,
      rewards: { window },
    });
    expect(error!.message).toContain(
      "reward judge without a number for any sample of the last 4 steps",
    );
    expect(error!.message).toContain("no group with rewards that differ in the last 4 steps");
    // Nothing to learn from: the weights stay, momentum and decay included.
    expect([engine.of("accumulate"), engine.of("step")]).toEqual([[], []]);
    expect(metrics.map((one) => one["update/skipped"])).toEqual([1, 1, 1]);
    expect(samples.length).toBe(3 * 200);
    expect(samples.every(({ advantage }) => advantage === 0)).toBe(true);
    expect(samples.every(({ reward }) => reward === null)).toBe(true);
    expect(metrics.every((one) => Number.isNaN(one["reward/mean"]))).toBe(true);
  });

  it("warns once where that is asked for, and a number in between begins a new window", async () => {
    let calls = 0;
    const rewards = { window: { ...window, onNull: "warn" } };
    const settings = { steps: 9, rewards, weights: { judge: 1, short: 1 } };
    const answers = (question: string, sample: number): string =>
      sample % 2 ? "777" : solve(question);
    const warned = await drill({ task, ...settings, answers });
    expect(warned.error).toBeNull();
    expect(warned.lines).toEqual([
      "grpo step 4: reward judge without a number for any sample of the last 4 steps",
    ]);
    rmSync(join(root, "run"), { recursive: true });
    // One number in step 3.
    const once = judged(() => ({ judge: ++calls === 2 * 200 + 7 ? 1 : null }));
    const later = await drill({ task: once, ...settings, answers });
    expect(later.lines).toEqual([
      "grpo step 7: reward judge without a number for any sample of the last 4 steps",
    ]);
  });
});

describe("a scorer that returns a constant", () => {
  const window = { steps: 4 };

  it.each([0.5, 1])("%s, as the only reward: the run stops and names it", async (value) => {
    const result = await drill({
      task: { ...sumTask, score: () => ({ correct: value, short: null }) },
      weights: { correct: 1 },
      steps: 9,
      rewards: { window },
    });
    expect(result.error!.message).toBe(
      `grpo step 4: expected rewards that tell answers apart, got reward with one value for every sample of the last 4 steps: correct = ${value}; no group with rewards that differ in the last 4 steps (grpo.rewards.window.onNoSpread=warn goes on; no checkpoint was written yet)`,
    );
    expect(result.lines).toEqual([
      "25 of 25 groups without spread (all rewards equal): nothing to learn from them",
    ]);
    const batch = result.engine.of("accumulate").flatMap((call) => call.batch);
    expect(batch.every(({ advantage }) => advantage === 0)).toBe(true);
    expect(result.note.endsWith("25 of 25 groups without spread")).toBe(true);
    expect(result.samples.every(({ reward }) => reward === value)).toBe(true);
  });

  const beside: Drill = {
    task: judged(() => ({ judge: 1 })),
    steps: 9,
    weights: { judge: 1, correct: 1 },
  };

  it("beside others is said once, and the run goes on", async () => {
    const result = await drill({ ...beside, rewards: { window } });
    expect(result.error).toBeNull();
    expect(result.lines).toEqual([
      "grpo step 4: reward with one value for every sample of the last 4 steps: judge = 1",
    ]);
    // It moves every reward of a group alike: advantages are those of the other reward.
    expect(checkBatch(result)).toBe(0);
  });

  it("beside others stops the run where that is asked for", async () => {
    const result = await drill({
      ...beside,
      rewards: { window: { ...window, onConstant: "stop" } },
    });
    expect(result.error!.message).toContain("sample of the last 4 steps: judge = 1 (grpo");
  });

  it("is not watched without a window", async () => {
    const result = await drill({ ...beside, rewards: { window: null } });
    expect([result.error, result.lines]).toEqual([null, []]);
  });

  it("of 1 at the end of learning is no fault: the run goes on to its end", async () => {
    let steps = 0;
    const answers = (question: string, sample: number): string => {
      if (sample === 0 && question !== "") steps++;
      return steps <= 3 * 25 && sample % 2 === 1 ? "777" : solve(question);
    };
    const result = await drill({
      task: sumTask,
      weights: { correct: 1 },
      steps: 9,
      answers,
      rewards: { window },
    });
    expect(result.error).toBeNull();
    expect(result.lines.at(-1)).toBe(
      "grpo step 7: reward with one value for every sample of the last 4 steps: correct = 1",
    );
  });
});

describe("a resumed run", () => {
  const steps = 12;
  /** Fails on 1 % of the samples, and abstains from all others. */
  const faulty = judged((_item, output) => {
    if (output.text === "odd") throw new Error("cannot read this");
    return { judge: null };
  });
  const settings = (count: number) =>
    postTrainSettings.parse({
      sft: { steps: 0 },
      grpo: {
        ...sizes,
        steps,
        rewards: { error: { type: "stop-after", count }, window: { steps: 9, onConstant: "warn" } },
      },
      evaluate: { count: 4, maxTokens: 9 },
      scoring: { retries: 0 },
      checkpointEvery: 100,
    });

  async function train(run: RunDirectory, count: number, stopAt: number) {
    const abort = new AbortController();
    const lines: string[] = [];
    let calls = 0;
    const engine = new ScriptedEngine({
      answer,
      accumulate: () => {
        if (++calls === stopAt) abort.abort();
        return {};
      },
    });
    const { config } = sumEnvironment;
    const made = async (index: number): Promise<Sum> => trainItem(sumTask, config, SEED, index);
    const ending = await postTrain<Sum, { largest: number }>({
      engine,
      environment: { ...sumEnvironment, task: faulty },
      items: {
        sft: made,
        sft2: made,
        grpo: made,
        test: testItems(sumTask, config, SEED, 4),
        files: {},
      },
      run,
      progress: { ...silentProgress, line: (text) => void lines.push(text) },
      signal: abort.signal,
      seed: SEED,
      settings: settings(count),
      weights: { judge: 1, correct: 1 },
      startsAs: "untrained",
      initialise: async () => undefined,
    }).then(
      () => new Error("it came to its end"),
      (error: Error) => error,
    );
    run.close();
    const content = {
      metrics: readMetrics(run.path).map((record) =>
        Object.fromEntries(Object.entries(record).filter(([name]) => !name.startsWith("time/"))),
      ),
      samples: readSamples(run.path, "grpo"),
      error: ending.message.replace(/ \(.*/, ""),
    };
    return { content, lines, ending };
  }

  it.each([
    ["a window", 1000, "without a number for any sample of the last 9 steps"],
    ["a count", 10, "failure 10 of this run"],
  ])("that stopped in the middle of %s ends as one that never did", async (_name, count, text) => {
    const whole = await train(newRun("whole"), count, 0);
    expect(whole.content.error).toContain(text);
    const last = whole.content.metrics.length;
    expect(last).toBeGreaterThan(2);
    for (let stopAt = 1; stopAt <= last; stopAt++) {
      const name = `stopped at ${stopAt}`;
      const first = await train(newRun(name), count, stopAt);
      expect(first.ending).toBeInstanceOf(Interrupted);
      const rest = await train(RunDirectory.open(join(root, name)), count, 0);
      expect(rest.content).toEqual(whole.content);
      expect([...first.lines, ...rest.lines]).toEqual(whole.lines); // nothing is said twice
    }
  });
});
