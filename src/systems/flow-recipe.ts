// A flow recipe: an image task, a velocity model that is fitted to images of which some are wrong, then Flow-GRPO on the task's
// scores, by one policy or by several that begin at the same base model. Systems of images are made of one or more of them, run
// one after the other.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { z } from "zod";
import type { AdvantageMaps } from "../algorithms/flow-generation.ts";
import { flowGrpo } from "../algorithms/flow-grpo.ts";
import type { FlowGrpoSettings } from "../algorithms/flow-grpo-settings.ts";
import { flowMatching } from "../algorithms/flow-matching.ts";
import type { StepContext } from "../algorithms/stage.ts";
import { ConfigError } from "../core/errors.ts";
import { wordsOf, type Drawing, type ImageTask } from "../core/image-task.ts";
import { randomStream } from "../core/random.ts";
import type { Estimate } from "../core/statistics.ts";
import { LocalFlowEngine } from "../engine/flow-engine.ts";
import {
  evaluateImages,
  pairedGain,
  type ImageEvaluation,
  type JudgedImage,
} from "../evaluate/evaluate-images.ts";
import type { Raster } from "../image/raster.ts";
import { checkFlowConfig, readFlowConfig } from "../models/flow-config.ts";
import { flowModel, type FlowConfig } from "../models/flow-model.ts";
import { promptEncoder, type ImageEnvironment } from "../rollout/image-environment.ts";
import { readEvaluations } from "../run/run-directory.ts";
import { configureRuntime } from "../tensor/index.ts";
import { checkFlowLevel } from "./flow-checks.ts";
import { writePicture } from "./flow-pictures.ts";
import type { FlowEngineSettings, FlowLevelConfig, flowModelSettings } from "./flow-settings.ts";
import type { EvaluateContext, TrainContext } from "./system.ts";

/** What one policy is trained with. */
export interface LevelPolicy<Item, Image extends Drawing> {
  /** Name of its stage. */
  readonly stage: string;
  readonly settings: FlowGrpoSettings;
  /** Where in an image advantages go; absent: everywhere. */
  readonly maps?: AdvantageMaps<Item, Image> | undefined;
}

type Judged<Item, Image extends Drawing> = readonly JudgedImage<Item, Image>[];

export interface FlowLevel<Item, Config, Image extends Drawing> {
  readonly task: ImageTask<Item, Config, Image>;
  /** Prefix of its stages, "ring-" in "ring-base" and "ring-grpo". */
  readonly prefix: string;
  /** A picture of judged images. */
  readonly picture: (judged: Judged<Item, Image>, title: string) => Raster;
  /** Policies in the order of their training, each from the base model; absent: one, "grpo", as the config says. */
  readonly policies?: (config: FlowLevelConfig<Config>) => readonly LevelPolicy<Item, Image>[];
  /** More numbers of an evaluation, of all its images together. */
  readonly numbers?: (judged: Judged<Item, Image>) => Readonly<Record<string, number>>;
  /** More numbers of an evaluation of a policy, from the base model's images of the same prompts and seeds. */
  readonly compare?: (
    base: Judged<Item, Image>,
    now: Judged<Item, Image>,
  ) => Readonly<Record<string, number>>;
}

const baseStage = ({ prefix }: { readonly prefix: string }): string => `${prefix}base`;

const policiesOf = <Item, Config, Image extends Drawing>(
  { prefix, policies }: FlowLevel<Item, Config, Image>,
  config: FlowLevelConfig<Config>,
): readonly LevelPolicy<Item, Image>[] =>
  policies?.(config) ?? [{ stage: `${prefix}grpo`, settings: config.grpo }];

/** Names of a level's stages, in order. */
export const levelStages = <Item, Config, Image extends Drawing>(
  level: FlowLevel<Item, Config, Image>,
  config: FlowLevelConfig<Config>,
): readonly string[] => [baseStage(level), ...policiesOf(level, config).map(({ stage }) => stage)];

/** The velocity model of a level. */
export function flowConfig<Item, Config, Image extends Drawing>(
  { task, config }: ImageEnvironment<Item, Config, Image>,
  {
    type,
    patch,
    width,
    layers,
    heads,
    predicts,
    promptWidth,
    promptLayers,
    promptWords,
    promptNeighbours,
  }: z.output<typeof flowModelSettings>,
): FlowConfig {
  const items = task.suites.flatMap((suite) => task.items(suite, config));
  const prompt = {
    vocabularySize: task.vocabulary(config).length + 1,
    promptTokens: Math.max(...items.map((item) => wordsOf(task.prompt(item)).length)),
    width: promptWidth,
    layers: promptLayers,
    heads: Math.min(heads, promptWidth),
    hiddenWidth: 2 * promptWidth,
    neighbours: promptNeighbours,
    words: promptWords && type === "transformer",
  };
  const sample = task.shape(config);
  if (type === "mlp") return { type, sample, width, layers, prompt };
  const hiddenWidth = 4 * width;
  return {
    type,
    sample,
    patch,
    width,
    layers,
    heads,
    hiddenWidth,
    activation: "gelu",
    predicts,
    prompt,
  };
}

const percent = (value: number): string => `${(100 * value).toFixed(1)} %`;

/** One line for people: accuracy, interval, count, levels. */
function describe(label: string, { accuracy, ci95, count, levels }: ImageEvaluation): string {
  const parts = Object.entries(levels).map(([name, one]) => `${name} ${percent(one.accuracy)}`);
  const [low, high] = ci95.map(percent);
  return [
    `${label.padEnd(18)} ${percent(accuracy).padStart(7)}  95 % [${low}, ${high}]  n ${count}`,
    ...(parts.length > 1 ? [parts.join(", ")] : []),
  ].join("   ");
}

interface LevelContext<Item, Config, Image extends Drawing> {
  readonly level: FlowLevel<Item, Config, Image>;
  readonly config: FlowLevelConfig<Config>;
  readonly engineSettings: FlowEngineSettings;
  readonly environment: ImageEnvironment<Item, Config, Image>;
  readonly context: Pick<TrainContext<unknown>, "run" | "progress" | "signal" | "seed">;
}

const openEngine = (
  model: FlowConfig,
  { device, lanes, threads, spinning, microBatch, profile }: FlowEngineSettings,
  average: { readonly decay: number; readonly every: number },
): LocalFlowEngine => {
  configureRuntime({ device, threads, spinning });
  return new LocalFlowEngine(model, { microBatch, lanes, profile, average });
};

/** Evaluates on all suites, writes numbers and pictures; `base`: the base model's images of the first suite. */
async function measure<Item, Config, Image extends Drawing>(
  { level, config, environment, context }: LevelContext<Item, Config, Image>,
  engine: LocalFlowEngine,
  { stage, step, base }: { stage: string; step: number; base: Judged<Item, Image> | null },
): Promise<void> {
  const { run, progress, seed } = context;
  const { suites, every: _every, ...how } = config.evaluate;
  for (const [index, suite] of suites.entries()) {
    const label = `${stage} ${suite}`;
    const options = { ...how, suite, seed, weights: "average", progress, label } as const;
    const { evaluation, judged } = await evaluateImages(engine, environment, options);
    const { accuracy, ...rest } = evaluation;
    const { name } = level.task;
    const compared = base === null || index > 0 ? {} : level.compare?.(base, judged);
    run.logEvaluation({
      step,
      stage,
      task: name,
      split: suite,
      correct: accuracy,
      ...rest,
      scores: { ...rest.scores, ...level.numbers?.(judged), ...compared },
    });
    progress.line(describe(`${label} ${step}`, evaluation));
    const title = `${stage}, ${suite}: ${percent(accuracy)} of ${judged.length} right`;
    writePicture(run, `${stage}-${suite}`, level.picture(judged, title));
  }
}

/** The words of a model's prompts, in the order of their ids, beside its sizes. */
const WORDS_FILE = "words.json";

/** The averaged weights, their sizes and the words that the model knows. */
async function saveModel<Item, Config, Image extends Drawing>(
  { environment: { task, config } }: LevelContext<Item, Config, Image>,
  engine: LocalFlowEngine,
  directory: string,
): Promise<void> {
  await engine.saveModel(directory, "average");
  writeFileSync(join(directory, WORDS_FILE), `${JSON.stringify(task.vocabulary(config))}\n`);
}

/** @throws ConfigError for the folder of a model that cannot be begun with: of other sizes, of other words, with adapters. */
async function checkBase<Item, Config, Image extends Drawing>(
  from: string,
  { task, config }: ImageEnvironment<Item, Config, Image>,
  model: FlowConfig,
): Promise<void> {
  await checkFlowConfig(from, model);
  const found = await readFlowConfig(from);
  const refuse = (expected: string, got: string): ConfigError =>
    new ConfigError({ where: `base.from: ${from}`, expected, got });
  if (found.type === "transformer" && found.lora !== undefined)
    throw refuse("a model without adapters", `one with adapters of rank ${found.lora.rank}`);
  const path = join(from, WORDS_FILE);
  if (!existsSync(path)) return; // of another program
  const [words, wanted] = [readFileSync(path, "utf8").trim(), task.vocabulary(config)];
  if (words !== JSON.stringify(wanted)) throw refuse(`the words ${wanted.join(" ")}`, words);
}

/** What a stage's steps end with. */
const stepContext = <Item, Config, Image extends Drawing>(
  { context, config }: LevelContext<Item, Config, Image>,
  engine: LocalFlowEngine,
  evaluate: StepContext["evaluate"],
  evaluateEvery: number,
): StepContext & { readonly engine: LocalFlowEngine; readonly seed: number } => ({
  ...context,
  engine,
  evaluate,
  evaluateEvery,
  checkpointEvery: config.checkpointEvery,
});

/** Fits the base model, or loads one; leaves it in `directory`. */
async function makeBase<Item, Config, Image extends Drawing>(
  level: LevelContext<Item, Config, Image>,
  directory: string,
): Promise<void> {
  const { environment, config, engineSettings, context } = level;
  const { run, progress, seed } = context;
  const { task } = environment;
  const { from, average, ...settings } = config.base;
  const stage = baseStage(level.level);
  const engine = openEngine(flowConfig(environment, config.model), engineSettings, {
    decay: average,
    every: 1,
  });
  const count = engine.parameterCount.toLocaleString("en");
  progress.line(`${task.name}: ${count} parameters, ${engine.microBatch} images at once`);
  try {
    const position = run.resume();
    if (from !== null) await engine.loadWeights(from);
    else if (position?.state.stage === stage) await engine.load(position.directory);
    else engine.initialise(randomStream(seed, stage, "weights"));
    const finish = async (step: number): Promise<void> => {
      await saveModel(level, engine, directory);
      await measure(level, engine, { stage, step, base: null });
    };
    if (from !== null || settings.steps === 0) return await finish(0);
    const encode = promptEncoder(environment);
    const done = position?.state.stage === stage ? position.state.step : 0;
    await flowMatching(
      {
        ...stepContext(level, engine, finish, 0),
        stage,
        done,
        examples: async (index) => {
          const random = randomStream(seed, stage, "example", index);
          const { item, image } = task.illustrate(random, environment.config);
          return { sample: image.data, prompt: encode(item) };
        },
      },
      settings,
    );
  } finally {
    engine.dispose();
  }
}

/** The images of the base model that later ones are compared with. */
async function baseImages<Item, Config, Image extends Drawing>(
  { level, config, environment, context }: LevelContext<Item, Config, Image>,
  engine: LocalFlowEngine,
): Promise<Judged<Item, Image> | null> {
  if (level.compare === undefined) return null;
  const { progress, seed } = context;
  const { suites, every: _every, ...how } = config.evaluate;
  const label = "images of the base model";
  const options = { ...how, suite: suites[0]!, seed, weights: "current", progress, label } as const;
  return (await evaluateImages(engine, environment, options)).judged;
}

/** Flow-GRPO from the base model; leaves the policy in a folder of its stage's name and, as the last one, as the run's model. */
async function trainPolicy<Item, Config, Image extends Drawing>(
  level: LevelContext<Item, Config, Image>,
  { stage, settings, maps }: LevelPolicy<Item, Image>,
  directory: string,
): Promise<void> {
  const { environment, config, engineSettings, context } = level;
  const { run } = context;
  const plain = flowConfig(environment, config.model);
  const model = config.lora === null ? plain : { ...plain, lora: config.lora };
  const engine = openEngine(model, engineSettings, settings.average);
  try {
    engine.initialise(randomStream(context.seed, stage, "adapters"), "adapters");
    await engine.loadWeights(directory);
    const base = await baseImages(level, engine);
    const position = run.resume();
    const isResumed = position?.state.stage === stage;
    if (isResumed) await engine.load(position.directory);
    const evaluate = (step: number): Promise<void> => measure(level, engine, { stage, step, base });
    await flowGrpo(
      {
        ...stepContext(level, engine, evaluate, config.evaluate.every),
        environment,
        stage,
        weights: rewardWeights(config.reward),
        maps,
        done: isResumed ? position.state.step : 0,
        state: isResumed ? position.state : {},
      },
      settings,
    );
    await saveModel(level, engine, join(run.path, stage));
    await run.saveModel((target) => saveModel(level, engine, target));
  } finally {
    engine.dispose();
  }
}

/** Scores with a weight. */
export const rewardWeights = (reward: Readonly<Record<string, number>>) =>
  Object.fromEntries(Object.entries(reward).filter(([, weight]) => weight !== 0));

/** Trains a level from where the run stands to its end; `stages` are those of the whole run, in order. */
export async function trainFlowLevel<Item, Config, Image extends Drawing>(
  level: FlowLevel<Item, Config, Image>,
  config: FlowLevelConfig<Config>,
  engineSettings: FlowEngineSettings,
  context: Pick<TrainContext<unknown>, "run" | "progress" | "signal" | "seed">,
  stages: readonly string[],
): Promise<Readonly<Record<string, unknown>>> {
  const { task } = level;
  const { run } = context;
  const environment = { task, config: config.task, scoring: config.scoring };
  const whole = { level, config, engineSettings, environment, context };
  const base = baseStage(level);
  const position = run.resume();
  const reached = position === null ? -1 : stages.indexOf(position.state.stage);
  const directory = join(run.path, base);
  const baseSteps = config.base.from === null ? config.base.steps : 0;
  const isFitted =
    reached > stages.indexOf(base) ||
    (position?.state.stage === base && position.state.step === baseSteps);
  if (!isFitted) await makeBase(whole, directory);
  const gains: Record<string, unknown> = {};
  for (const policy of policiesOf(level, config)) {
    const { stage, settings } = policy;
    if (settings.epochs > 0 && reached <= stages.indexOf(stage))
      await trainPolicy(whole, policy, directory);
    const gain = tellGain(whole, stage);
    if (gain !== null) gains[stage] = gain;
  }
  return gains;
}

/** The policy less the base model, on the same prompts and seeds of the first suite. */
function tellGain<Item, Config, Image extends Drawing>(
  { level, config: { evaluate }, environment, context }: LevelContext<Item, Config, Image>,
  stage: string,
): Estimate | null {
  const { run, progress } = context;
  const { task, config } = environment;
  const suite = evaluate.suites[0]!;
  const records = readEvaluations(run.path).filter(({ split }) => split === suite);
  const [before, after] = [baseStage(level), stage].map((name) =>
    records.findLast((record) => record["stage"] === name),
  ) as unknown as (ImageEvaluation | undefined)[];
  if (before === undefined || after === undefined) return null;
  const levels = task
    .items(suite, config)
    .flatMap((item) => Array.from({ length: evaluate.images }, () => task.level(item)));
  const gain = pairedGain(before, after, levels);
  const points = (value: number): string => `${value >= 0 ? "+" : ""}${(100 * value).toFixed(1)}`;
  const { mean, low, high, count } = gain;
  progress.line(
    `${stage} gains ${points(mean)} points  95 % [${points(low)}, ${points(high)}]  n ${count}, same seeds`,
  );
  return gain;
}

function checkAdapters<Config>({ lora, model, grpo }: FlowLevelConfig<Config>): void {
  if (lora === null) return;
  if (model.type === "mlp")
    throw new ConfigError({ where: "lora", expected: "a transformer", got: "model.type mlp" });
  if (grpo.optimiser.method === "muon") {
    const expected = "adamw with lora; Muon is for whole hidden matrices";
    throw new ConfigError({ where: "grpo.optimiser.method", expected, got: "muon" });
  }
}

/** Opens what a level will read; the config with absolute paths. */
export async function prepareFlowLevel<Item, Config, Image extends Drawing>(
  task: ImageTask<Item, Config, Image>,
  config: FlowLevelConfig<Config>,
): Promise<FlowLevelConfig<Config>> {
  const { from } = config.base;
  const strange = config.evaluate.suites.find((suite) => !task.suites.includes(suite));
  if (strange !== undefined) {
    const expected = `suites of ${task.name} (${task.suites.join(", ")})`;
    throw new ConfigError({ where: "evaluate.suites", expected, got: strange });
  }
  checkAdapters(config);
  checkFlowLevel(config);
  const model = flowConfig({ task, config: config.task }, config.model);
  flowModel(model); // refuses sizes that do not fit
  if (from === null) return config;
  await checkBase(from, { task, config: config.task }, model);
  return { ...config, base: { ...config.base, from: resolve(from) } };
}

/** Evaluates a saved model on the first suite, about `count` images. */
export async function evaluateFlowModel<Item, Config, Image extends Drawing>(
  { task, numbers }: Pick<FlowLevel<Item, Config, Image>, "task" | "numbers">,
  config: FlowLevelConfig<Config>,
  engineSettings: FlowEngineSettings,
  given: Pick<EvaluateContext<unknown>, "seed" | "modelDirectory" | "count" | "progress">,
): Promise<ImageEvaluation> {
  const { seed, modelDirectory, count, progress } = given;
  const model = await readFlowConfig(modelDirectory);
  const engine = openEngine(model, engineSettings, { decay: 0, every: 1 });
  try {
    await engine.loadWeights(modelDirectory);
    const { suites, every: _every, ...how } = config.evaluate;
    const suite = suites[0]!;
    const images = Math.max(1, Math.round(count / task.items(suite, config.task).length));
    const { evaluation, judged } = await evaluateImages(
      engine,
      { task, config: config.task, scoring: config.scoring },
      { ...how, suite, images, seed, weights: "current", progress, label: "evaluating" },
    );
    progress.line(describe("model", evaluation));
    return { ...evaluation, scores: { ...evaluation.scores, ...numbers?.(judged) } };
  } finally {
    engine.dispose();
  }
}
