// The stages that store their samples, on a real engine: stopped anywhere, they end with the bits of a run that never was.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { livelyValues } from "../../tests/plain-decoder.ts";
import { sumEnvironment, sumTask, tokenizer, type Sum } from "../../tests/scripted-engine.ts";
import { DataError } from "../core/errors.ts";
import { silentProgress } from "../core/progress.ts";
import { randomStream } from "../core/random.ts";
import { LocalEngine } from "../engine/local-engine.ts";
import { openRunItems } from "../rollout/item-sources.ts";
import { Interrupted } from "../run/interrupted.ts";
import { readEvaluations, readMetrics, RunDirectory } from "../run/run-directory.ts";
import { postTrain, postTrainSettings } from "./post-train.ts";

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-stored-samples-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const config = {
  vocabularySize: tokenizer.vocabularySize,
  contextLength: 32,
  width: 16,
  layers: 1,
  heads: 2,
  kvHeads: 1,
  headSize: 16,
  hiddenWidth: 16,
  ropeTheta: 10_000,
  normEpsilon: 1e-6,
  qkvBias: false,
  qkNorm: true,
  tiedEmbeddings: true,
};

const settings = postTrainSettings.parse({
  sft: { steps: 0 },
  rft: { steps: 5, roundSteps: 2, batch: 3, prompts: 3, group: 4, maxTokens: 4 },
  dpo: { steps: 4, batch: 3, prompts: 4, group: 4, maxTokens: 4 },
  grpo: { steps: 0, maxTokens: 4 },
  evaluate: { count: 5, maxTokens: 4 },
  checkpointEvery: 2,
});
const STEPS = 9;

/** What stops a run: called with every verb that the engine is asked for, and how often it was. */
type Stop = (verb: "sample" | "step", call: number, abort: AbortController) => void;

interface Trained {
  readonly weights: Record<string, Float32Array>;
  readonly samplings: number;
}

/** Compiled once for all tests: a run that goes on has another engine than the one it began with. */
const engines = [0, 1].map(() => {
  const engine = new LocalEngine(config);
  return { engine, sample: engine.sample.bind(engine), step: engine.step.bind(engine) };
});
afterAll(() => engines.forEach(({ engine }) => engine.dispose()));

async function train(run: RunDirectory, stop?: Stop): Promise<Trained> {
  const { engine, sample, step } = engines[stop === undefined ? 1 : 0]!;
  const abort = new AbortController();
  const calls = { sample: 0, step: 0 };
  engine.sample = async (...parameters) => {
    calls.sample++;
    stop?.("sample", calls.sample, abort);
    return sample(...parameters);
  };
  engine.step = async (options) => {
    calls.step++;
    stop?.("step", calls.step, abort);
    return step(options);
  };
  try {
    await postTrain<Sum, { largest: number }>({
      engine,
      environment: {
        ...sumEnvironment,
        // Any text has a reward, so that random weights have something to learn.
        task: {
          ...sumTask,
          score: (_item, { text }) => ({ correct: text.charCodeAt(0) % 2 || 0, short: null }),
        },
      },
      items: await openRunItems(
        sumTask,
        sumEnvironment.config,
        { sft: null, sft2: null, grpo: null, test: null },
        5,
        5,
      ),
      run,
      progress: silentProgress,
      signal: abort.signal,
      seed: 5,
      settings,
      weights: { correct: 1 },
      startsAs: "start",
      initialise: async () => {
        engine.initialise(randomStream(5, "weights"));
        for (const name of engine.parameterNames) {
          const values = engine.parameter(name);
          values.set(livelyValues(name, values.length));
        }
      },
    });
    const weights = engine.parameterNames.map((name) => [name, engine.parameter(name).slice()]);
    return { weights: Object.fromEntries(weights), samplings: calls.sample };
  } finally {
    run.close();
  }
}

const create = (name: string): RunDirectory =>
  RunDirectory.create(join(root, name), {
    system: "sum",
    scale: "tiny",
    config: {},
    seed: 5,
    overrides: [],
  });

/** Everything that a run wrote down but for its times. */
const written = (path: string): unknown => ({
  metrics: readMetrics(path).map((record) =>
    Object.entries(record).filter(([name]) => !name.startsWith("time/")),
  ),
  evaluations: readEvaluations(path),
  samples: ["rft", "dpo"].map((stage) =>
    readFileSync(join(path, "samples", `${stage}.jsonl`), "utf8"),
  ),
});

let whole: Trained;
beforeAll(async () => void (whole = await train(create("whole"))));

it("trains: weights move, rounds and pairs are as asked for", () => {
  const stages = readMetrics(join(root, "whole")).map(({ stage, step }) => `${stage} ${step}`);
  expect(stages).toEqual([
    ...[1, 2, 3, 4, 5].map((step) => `rft ${step}`),
    ...[1, 2, 3, 4].map((step) => `dpo ${step}`),
  ]);
  // Three rounds, one set of pairs, three evaluations.
  expect(whole.samplings).toBe(7);
});

class Crash extends Error {}

it.each(Array.from({ length: STEPS }, (_, index) => index + 1))(
  "ends with the same bits when it breaks in optimiser step %i",
  async (broken) => {
    const crash: Stop = (verb, call) => {
      if (verb === "step" && call === broken) throw new Crash();
    };
    await expect(train(create(`crash-${broken}`), crash)).rejects.toThrow(Crash);
    const path = join(root, `crash-${broken}`);
    const resumed = await train(RunDirectory.open(path));
    expect(resumed.weights).toEqual(whole.weights);
    expect(written(path)).toEqual(written(join(root, "whole")));
  },
);

it.each([2, 3, 4, 6])("and when it breaks in the sampling of call %i", async (broken) => {
  const crash: Stop = (verb, call) => {
    if (verb === "sample" && call === broken) throw new Crash();
  };
  const path = join(root, `sampling-${broken}`);
  await expect(train(create(`sampling-${broken}`), crash)).rejects.toThrow(Crash);
  const resumed = await train(RunDirectory.open(path));
  expect(resumed.weights).toEqual(whole.weights);
  expect(written(path)).toEqual(written(join(root, "whole")));
});

it("samples no second time what is stored: a run stopped right after sampling goes on with it", async () => {
  const path = join(root, "stored");
  // Breaks in the first step of DPO: evaluation, three rounds, evaluation, pairs lie behind it.
  const crash: Stop = (verb, call) => {
    if (verb === "step" && call === 6) throw new Crash();
  };
  await expect(train(create("stored"), crash)).rejects.toThrow(Crash);
  const { samplings } = await train(RunDirectory.open(path));
  expect(samplings).toBe(1); // the evaluation at the end
});

it("writes a checkpoint of what was trained when it is asked to stop while sampling", async () => {
  const path = join(root, "asked");
  const stop: Stop = (verb, call, abort) => {
    // The first sampling is the evaluation of the start; Ctrl-C comes during the first round, which still fits one call.
    if (verb === "sample" && call === 2) abort.abort();
  };
  await expect(train(create("asked"), stop)).rejects.toThrow(Interrupted);
  expect(RunDirectory.open(path).checkpointNames()).toEqual(["rft-000001", "rft-000000"]);
  const resumed = await train(RunDirectory.open(path));
  expect(resumed.weights).toEqual(whole.weights);
});

it("refuses stored samples that are damaged", async () => {
  const path = join(root, "damaged");
  const crash: Stop = (verb, call) => {
    if (verb === "step" && call === 6) throw new Crash();
  };
  await expect(train(create("damaged"), crash)).rejects.toThrow(Crash);
  const file = join(path, "samples", "dpo.jsonl");
  const text = readFileSync(file, "utf8");
  writeFileSync(file, text.replace('"chosenOver"', '"chosen_over"'));
  await expect(train(RunDirectory.open(path))).rejects.toThrow(DataError);
});
