// A whole run of GRPO with the local engine and a very small model, for tests that compare runs bit by bit.

import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { postTrain, postTrainSettings } from "../src/algorithms/post-train.ts";
import type { RewardWeights } from "../src/algorithms/generation.ts";
import type { Engine } from "../src/core/engine.ts";
import { silentProgress } from "../src/core/progress.ts";
import { randomStream } from "../src/core/random.ts";
import type { Scores, Task } from "../src/core/task.ts";
import { LocalEngine } from "../src/engine/local-engine.ts";
import type { DecoderConfig } from "../src/models/decoder.ts";
import { openRunItems } from "../src/rollout/item-sources.ts";
import { Interrupted } from "../src/run/interrupted.ts";
import { RunDirectory } from "../src/run/run-directory.ts";
import { sumEnvironment, sumTask, tokenizer, type Sum } from "./scripted-engine.ts";

export const localModel: DecoderConfig = {
  vocabularySize: tokenizer.vocabularySize,
  contextLength: 32,
  width: 16,
  layers: 1,
  heads: 1,
  kvHeads: 1,
  headSize: 16,
  hiddenWidth: 24,
  ropeTheta: 100,
  normEpsilon: 1e-5,
  qkvBias: false,
  qkNorm: false,
  tiedEmbeddings: false,
};

/** Random weights, but for one direction that all tokens share and that leads to the end: completions end early now and then. */
export function initialiseLocal(engine: LocalEngine, seed = 5): void {
  engine.initialise(randomStream(seed, "weights"));
  const { width, vocabularySize } = localModel;
  const embedding = engine.parameter("model.embed_tokens.weight");
  for (let token = 0; token < vocabularySize; token++) embedding[token * width]! += 0.05;
  const head = engine.parameter("lm_head.weight");
  for (const token of tokenizer.stopTokens) head[token * width]! += 0.8;
}

type Config = typeof sumEnvironment.config;

/** Scores that an untrained model meets now and then: the text begins early in the alphabet of characters; it is short. */
const score = (_item: Sum, { text }: { readonly text: string }): Scores => ({
  correct: text === "" ? 0 : Number(text.codePointAt(0)! % 2 === 0),
  short: text === "" ? null : 1 / text.length,
});

/** The task of the runs, with published rows `{"a": 1, "b": 2}`. */
export const localTask: Task<Sum, Config> = {
  ...sumTask,
  score,
  rows: {
    fields: ["a", "b"],
    goldFields: [],
    optionalFields: [],
    optionalGoldFields: [],
    read: ({ a, b }) => ({ a: Number(a), b: Number(b) }),
    write: ({ a, b }) => ({ a, b }),
  },
};

export type EngineVerb = "sample" | "logProbs" | "accumulate" | "step";

/** An engine that says what it has done. */
function watched(engine: LocalEngine, done: (verb: EngineVerb) => void): Engine {
  const tell = async <T>(verb: EngineVerb, work: Promise<T>): Promise<T> => {
    const result = await work;
    done(verb);
    return result;
  };
  return {
    vocabularySize: engine.vocabularySize,
    contextLength: engine.contextLength,
    sample: (prompts, options) => tell("sample", engine.sample(prompts, options)),
    logProbs: (sequences, options) => tell("logProbs", engine.logProbs(sequences, options)),
    accumulate: (batch, loss, window) => tell("accumulate", engine.accumulate(batch, loss, window)),
    step: (options) => tell("step", engine.step(options)),
    resetOptimiser: () => engine.resetOptimiser(),
    freezeReference: () => engine.freezeReference(),
    save: (directory) => engine.save(directory),
    saveModel: (directory) => engine.saveModel(directory),
    load: (directory) => engine.load(directory),
    dispose: () => engine.dispose(),
  };
}

export interface LocalRun {
  readonly engine: LocalEngine;
  readonly path: string;
  /** Of the GRPO stage. */
  readonly grpo: Readonly<Record<string, unknown>>;
  readonly weights?: RewardWeights;
  readonly task?: Task<Sum, Config>;
  /** JSON lines to train on; absent: made items. */
  readonly rows?: string;
  readonly checkpointEvery?: number;
  /** Called after each call of the engine during the training; `abort` asks the run to stop. */
  readonly after?: (verb: EngineVerb, abort: () => void) => void;
}

/** Starts the run, or goes on with it when its folder exists. False: it was stopped. */
export async function trainLocally(given: LocalRun): Promise<{ ended: boolean; lines: string[] }> {
  const { engine, path, grpo, rows, task = localTask } = given;
  const seed = 5;
  const run = existsSync(path)
    ? RunDirectory.open(path)
    : RunDirectory.create(path, { system: "sum", scale: "tiny", config: {}, seed, overrides: [] });
  const abort = new AbortController();
  const lines: string[] = [];
  const paths = { sft: null, sft2: null, grpo: rows ?? null, test: null };
  try {
    await postTrain<Sum, Config>({
      engine: watched(engine, (verb) => given.after?.(verb, () => abort.abort())),
      environment: { ...sumEnvironment, task },
      items: await openRunItems(task, sumEnvironment.config, paths, seed, 3),
      run,
      progress: { ...silentProgress, line: (text) => void lines.push(text) },
      signal: abort.signal,
      seed,
      settings: postTrainSettings.parse({
        sft: { steps: 0 },
        grpo: { prompts: 2, group: 4, maxTokens: 5, optimiser: { learningRate: 0.02 }, ...grpo },
        evaluate: { count: 3, maxTokens: 5 },
        checkpointEvery: given.checkpointEvery ?? 100,
      }),
      weights: given.weights ?? { correct: 1, short: 0.5 },
      startsAs: "untrained",
      initialise: async () => initialiseLocal(engine, seed),
    });
    return { ended: true, lines };
  } catch (error) {
    if (error instanceof Interrupted) return { ended: false, lines };
    throw error;
  } finally {
    run.close();
  }
}

const textOf = (path: string): string => (existsSync(path) ? readFileSync(path, "utf8") : "");

/** All that a run leaves behind but its times: what it logged, and the bits of weights and moments. */
export function remains(path: string, engine: LocalEngine) {
  const metrics = textOf(join(path, "metrics.jsonl"))
    .split("\n")
    .filter(Boolean)
    .map((line) =>
      Object.fromEntries(
        Object.entries(JSON.parse(line)).filter(([name]) => !name.startsWith("time/")),
      ),
    );
  const last = metrics.at(-1)!["step"] as number;
  const checkpoint = join(path, "checkpoints", `grpo-${String(last).padStart(6, "0")}`);
  const hash = createHash("sha256");
  for (const name of engine.parameterNames) hash.update(engine.parameter(name));
  return {
    metrics,
    samples: textOf(join(path, "samples", "grpo.jsonl")),
    histograms: textOf(join(path, "histograms.jsonl")),
    evaluations: textOf(join(path, "evaluations.jsonl")),
    weights: hash.digest("hex"),
    training: createHash("sha256")
      .update(readFileSync(join(checkpoint, "training.safetensors")))
      .digest("hex"),
  };
}
