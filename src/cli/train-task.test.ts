import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { defineTask, type Task } from "../core/task.ts";
import { Interrupted } from "../run/interrupted.ts";
import { readEvaluations, readMetrics, readSamples } from "../run/run-directory.ts";
import { main } from "./main.ts";
import { trainTask, type TrainTaskOptions } from "./train-task.ts";

const echo = defineTask({
  name: "echo",
  summary: "repeat three letters",
  config: z.object({}),
  scores: { right: "the same letters", length: "letters of the answer" },
  accuracy: "right",
  make: (random) => ({
    text: [1, 2, 3].map(() => random.pick(["a", "b", "c", "d", "e", "f"])).join(""),
  }),
  prompt: ({ text }) => [{ role: "user", content: text }],
  gold: ({ text }) => text,
  score: (item, { text }) => ({ right: Number(text === item.text), length: text.length }),
  key: ({ text }) => text,
});
type Item = Parameters<typeof echo.key>[0];

let root: string;
let whole: string;
const options = (name: string): TrainTaskOptions => ({
  out: join(root, name),
  seed: 5,
  reward: { right: 1, length: 0.1 },
  quiet: true,
  settings: {
    model: { layers: 1, width: 32, heads: 2, kvHeads: 2, hiddenWidth: 32, contextLength: 16 },
    sft: { steps: 5, batch: 8 },
    grpo: { steps: 6, prompts: 4, group: 4, maxTokens: 4 },
    evaluate: { count: 5, maxTokens: 4 },
    checkpointEvery: 4,
    engine: { spinning: false },
  },
});

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "alidade-train-task-"));
  whole = options("whole").out;
  await trainTask(echo, options("whole"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Everything a run wrote that may not depend on the clock. */
function contentOf(path: string) {
  const metrics = readMetrics(path).map((record) =>
    Object.fromEntries(Object.entries(record).filter(([name]) => !name.startsWith("time/"))),
  );
  const weights = readFileSync(join(path, "model", "model.safetensors"));
  return {
    metrics,
    weights,
    evaluations: readEvaluations(path),
    samples: readSamples(path, "grpo"),
  };
}

/** Aborts when the task has scored so many outputs. */
function abortAfter(outputs: number): { task: Task<Item, object>; signal: AbortSignal } {
  const abort = new AbortController();
  let count = 0;
  const score: typeof echo.score = (...given) => {
    if (++count === outputs) abort.abort();
    return echo.score(...given);
  };
  return { task: { ...echo, score }, signal: abort.signal };
}

async function alidade(...argv: string[]) {
  let [stdout, stderr] = ["", ""];
  const code = await main(argv, {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: (text: string) => (stderr += text) },
  });
  return { code, stdout, stderr };
}

describe("trainTask", () => {
  // Untrained and SFT evaluations score 5 outputs each, a GRPO step 16.
  it.each([
    ["SFT", 3],
    ["GRPO", 5 + 5 + 16 + 16 + 3],
  ])("goes on from a stop in %s to the same end", async (stage, outputs) => {
    const stopped = options(`stopped in ${stage}`);
    const { task, signal } = abortAfter(outputs);
    await expect(trainTask(task, { ...stopped, signal })).rejects.toThrow(Interrupted);
    expect((await alidade("show", stopped.out)).stdout).toContain(
      "Continue it with: run the program that started it again",
    );
    await trainTask(echo, stopped);
    expect(contentOf(stopped.out)).toEqual(contentOf(whole));
  });

  it("computes the same bits with and without a rehearsal", async () => {
    const plain = options("not rehearsed");
    await trainTask(echo, { ...plain, settings: { ...plain.settings, rehearsal: false } });
    expect(existsSync(join(whole, "rehearsal.json"))).toBe(true);
    expect(existsSync(join(plain.out, "rehearsal.json"))).toBe(false);
    expect(contentOf(plain.out)).toEqual(contentOf(whole));
  });

  it("asks scorers as its settings say, in every stage", async () => {
    let [asked, most] = [0, 0];
    const score: Task<Item, Record<string, never>>["score"] = async (item, output, config) => {
      most = Math.max(most, ++asked);
      await Promise.resolve();
      asked--;
      return echo.score(item, output, config);
    };
    const one = options("one at a time");
    const { sft: _sft, ...settings } = one.settings;
    const scoring = { concurrency: 1 };
    const grpo = { steps: 1, prompts: 2, group: 2, maxTokens: 4 };
    await trainTask(
      { ...echo, score },
      { ...one, settings: { ...settings, scoring, sft: { steps: 0 }, grpo } },
    );
    expect(most).toBe(1);
  });

  it("opens its files before it makes a run directory", async () => {
    const missing = options("missing");
    const data = { sft: "none.jsonl" };
    const training = trainTask(echo, { ...missing, settings: { ...missing.settings, data } });
    await expect(training).rejects.toThrow(
      `${resolve("none.jsonl")}: expected a task with published rows`,
    );
    expect(existsSync(missing.out)).toBe(false);
  });

  it("refuses a finished run, other settings and a reward of nothing", async () => {
    await expect(trainTask(echo, options("whole"))).rejects.toThrow("got a finished run");
    const stopped = options("other");
    const { task, signal } = abortAfter(3);
    await expect(trainTask(task, { ...stopped, signal })).rejects.toThrow(Interrupted);
    await expect(trainTask(echo, { ...stopped, seed: 6 })).rejects.toThrow("without seed=6");
    await expect(trainTask(echo, { ...stopped, reward: { right: 2 } })).rejects.toThrow(
      "without reward.right=2",
    );
    await expect(trainTask(echo, { ...stopped, reward: { rihgt: 1 } })).rejects.toThrow(
      'did you mean "reward.right"?',
    );
    await expect(trainTask(echo, { ...stopped, reward: {} })).rejects.toThrow("right, length");
  });
});

describe("the command line", () => {
  it("shows such a run", async () => {
    const { code, stdout } = await alidade("show", whole);
    expect(code).toBe(0);
    expect(stdout).toMatch(/echo, scale custom[^]*grpo +6 +echo test[^]*reward\/mean/);
  });

  it("says how to resume and to evaluate it", async () => {
    const { out } = options("other");
    const resumed = await alidade("resume", out);
    expect(resumed.code).toBe(2);
    expect(resumed.stderr).toContain("run the program that started it again");
    expect((await alidade("evaluate", whole)).stderr).toContain("with evaluateTask");
  });
});
