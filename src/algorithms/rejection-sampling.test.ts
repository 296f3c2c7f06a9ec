import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import {
  ScriptedEngine,
  solve,
  sumEnvironment,
  sumTask,
  tokenizer,
  type Script,
  type Sum,
} from "../../tests/scripted-engine.ts";
import { supervisedLoss } from "../core/loss-spec.ts";
import { silentProgress } from "../core/progress.ts";
import type { Output, Scores } from "../core/task.ts";
import { trainItem } from "../rollout/items.ts";
import { readMetrics, readSamples, RunDirectory } from "../run/run-directory.ts";
import { rejectionSampling, rftSettings } from "./rejection-sampling.ts";

let root: string;
let run: RunDirectory;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "alidade-rft-"));
  const start = { system: "sum", scale: "tiny", config: {}, seed: 5, overrides: [] };
  run = RunDirectory.create(join(root, "run"), start);
});
afterEach(() => {
  run.close();
  rmSync(root, { recursive: true, force: true });
});

const item = (index: number): Sum => trainItem(sumTask, sumEnvironment.config, 5, index);
const questionOf = ({ a, b }: Sum): string => `${a}+${b}`;

async function train(
  script: Script,
  settings: Readonly<Record<string, unknown>> = {},
  score: (item: Sum, output: Output) => Scores = (one, output) =>
    sumTask.score(one, output, sumEnvironment.config),
): Promise<ScriptedEngine> {
  const engine = new ScriptedEngine(script);
  await rejectionSampling<Sum, { largest: number }>(
    {
      engine,
      environment: { ...sumEnvironment, task: { ...sumTask, score } },
      items: async (index) => item(index),
      run,
      progress: silentProgress,
      signal: new AbortController().signal,
      seed: 5,
      done: 0,
      state: {},
      checkpointEvery: 100,
      evaluateEvery: 0,
      evaluate: async () => undefined,
    },
    rftSettings.parse({ steps: 2, batch: 4, prompts: 3, group: 4, maxTokens: 9, ...settings }),
    { correct: 1 },
  );
  return engine;
}

/** Question and answer of every sequence that was trained on, in order. */
const trained = (engine: ScriptedEngine): string[] =>
  engine.of("accumulate").flatMap(({ batch }) =>
    batch.map(({ tokens, promptLength }) => {
      const prompt = tokenizer.decode(tokens.slice(0, promptLength));
      const question = prompt.slice("<|user|>".length, -"<|assistant|>".length);
      return `${question}=${tokenizer.decodeAnswer(tokens.slice(promptLength))}`;
    }),
  );

const half: Script = { answer: (question, sample) => (sample % 2 === 0 ? solve(question) : "777") };
const right = (index: number): string => {
  const question = questionOf(item(index));
  return `${question}=${solve(question)}`;
};

it("trains by cross-entropy on what passes and on nothing else, each different answer once an epoch", async () => {
  const engine = await train(half, { batch: 2, steps: 3 }); // two epochs of three
  expect(engine.of("accumulate").every(({ loss }) => loss === supervisedLoss)).toBe(true);
  const expected = [0, 1, 2].map(right).toSorted();
  expect(trained(engine).slice(0, 3).toSorted()).toEqual(expected);
  expect(trained(engine).slice(3).toSorted()).toEqual(expected);
  const [metrics] = readMetrics(run.path);
  expect(metrics).toMatchObject({
    stage: "rft",
    step: 1,
    "round/number": 1,
    "round/passing": 0.5,
    "round/kept": 3,
  });
});

it("keeps at most so many different answers of a prompt", async () => {
  const padded: Script = { answer: (_question, sample) => String(sample % 3) };
  const passesAll = (): Scores => ({ correct: 1, short: 1 });
  const settings = { prompts: 5, group: 7, batch: 1, steps: 1 };
  for (const [kept, expected] of [
    [2, 2],
    [9, 3],
  ] as const) {
    run.close();
    run = RunDirectory.create(join(root, `kept-${kept}`), run.record);
    await train(padded, { ...settings, kept }, passesAll);
    for (let prompt = 0; prompt < 5; prompt++) {
      const chosen = readSamples(run.path, "rft").filter(
        (sample) => sample["prompt"] === prompt && sample["kept"] === true,
      );
      expect(chosen.length).toBe(expected);
      expect(new Set(chosen.map(({ text }) => text)).size).toBe(expected);
    }
  }
});

it("asks the current policy about new prompts in every round", async () => {
  const engine = await train(half, { steps: 5, roundSteps: 2 });
  const samples = engine.of("sample");
  expect(samples.length).toBe(3);
  samples.forEach(({ prompts }, round) => {
    expect(prompts.map((prompt) => tokenizer.decode(prompt))).toEqual(
      [0, 1, 2].map((index) => `<|user|>${questionOf(item(3 * round + index))}<|assistant|>`),
    );
  });
  const rounds = readMetrics(run.path).map((record) => record["round/number"]);
  expect(rounds).toEqual([1, 1, 2, 2, 3]);
  const answers = trained(engine);
  for (const answer of answers.slice(8, 16)) expect([3, 4, 5].map(right)).toContain(answer);
});

it("lets another score decide, and takes one that abstains for one that does not pass", async () => {
  // `short` abstains on an empty answer.
  const script: Script = { answer: (_question, sample) => ["", "123", "12", ""][sample]! };
  const engine = await train(script, { score: "short", threshold: 0.5 });
  for (const answer of trained(engine)) expect(answer).toMatch(/=12$/);
});

it("stops when nothing passes", async () => {
  await expect(train({ answer: () => "777" })).rejects.toThrow(
    "rft step 1: expected a completion with correct >= 1, got none among 12",
  );
});

it("stops when a scorer fails", async () => {
  const failing = (): Scores => {
    throw new Error("no dictionary");
  };
  await expect(train(half, {}, failing)).rejects.toThrow(
    "rft step 1: prompt 0, sample 0: expected scores, got error of score correct: no dictionary",
  );
});
