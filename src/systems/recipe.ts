// A recipe: a task, where its items come from, what its reward is made of, a decoder on the local engine (from scratch or a
// published one). AlphaMaze is one; a task of your own becomes one with `trainTask`.

import { join, resolve } from "node:path";
import { z } from "zod";
import {
  postTrain,
  postTrainSettings,
  describeEvaluation,
  type PostTrainSummary,
  type StageName,
} from "../algorithms/post-train.ts";
import type { RewardWeights } from "../algorithms/generation.ts";
import { planRehearsal } from "../algorithms/rehearsal.ts";
import { nearestName, unknownName } from "../core/errors.ts";
import { randomStream } from "../core/random.ts";
import { taskScores, type Task } from "../core/task.ts";
import { LocalEngine } from "../engine/local-engine.ts";
import { evaluateTask, type JudgedItems } from "../evaluate/evaluate-task.ts";
import { loraTargets, type DecoderConfig } from "../models/decoder.ts";
import { checkVocabulary, checkWeights, readModelConfig } from "../models/hugging-face.ts";
import { openItemRows, openRunItems, openTestItems } from "../rollout/item-sources.ts";
import type { Environment } from "../rollout/single-turn.ts";
import type { RunDirectory } from "../run/run-directory.ts";
import { configureRuntime, deviceNames } from "../tensor/index.ts";
import { ChatTokenizer } from "../text/chat-tokenizer.ts";
import { openBaseModel, newRowKinds, vocabularies, type BaseModel } from "./base-model.ts";
import { checkDataFiles } from "./data-files.ts";
import type { EvaluateContext, TrainContext } from "./system.ts";

export const modelSettings = z
  .object({
    contextLength: z
      .int()
      .min(16)
      .default(256)
      .describe("most tokens of prompt and answer together"),
    from: z
      .string()
      .nullable()
      .default(null)
      .describe(
        "folder of a Hugging Face model to start from (its config and tokenizer replace the settings below); null: random weights",
      ),
    vocabulary: z
      .enum(vocabularies)
      .default("special")
      .describe(
        "tokens of the task, with `from`: added to the tokenizer (special), or split by it like other text (text)",
      ),
    newRows: z
      .enum(newRowKinds)
      .default("own")
      .describe(
        "rows of added tokens: own (each matrix from its own rows), compat (input rows from the output matrix, output rows left alone, as in the released script)",
      ),
    lora: z
      .object({
        rank: z.int().min(1).default(32).describe("rank of the update"),
        alpha: z
          .number()
          .positive()
          .nullable()
          .default(null)
          .describe("scale of the update, times 1 / rank; null: the rank, a scale of 1"),
        targets: z
          .array(z.enum(loraTargets))
          .min(1)
          .default([...loraTargets])
          .describe("projections that get one"),
      })
      .nullable()
      .default(null)
      .describe(
        "low-rank adapters of the model `from`: they alone are trained, and the model is saved merged, with the adapter beside it; null: all weights are trained",
      ),
    layers: z.int().min(1).default(3).describe("transformer blocks"),
    width: z.int().min(16).default(96).describe("width of the residual stream"),
    heads: z.int().min(1).default(6).describe("query heads"),
    kvHeads: z.int().min(1).default(6).describe("key and value heads; divides heads"),
    headSize: z
      .int()
      .multipleOf(2)
      .min(2)
      .default(16)
      .describe("width of a head; even, for rotary positions"),
    hiddenWidth: z.int().min(16).default(256).describe("width inside the MLP"),
    ropeTheta: z.number().positive().default(10_000).describe("base of the rotary positions"),
    normEpsilon: z.number().positive().default(1e-6).describe("RMSNorm: added to the mean square"),
    qkvBias: z.boolean().default(false).describe("bias on q, k and v (Qwen2)"),
    qkNorm: z.boolean().default(true).describe("norm on q and k (Qwen3)"),
    tiedEmbeddings: z.boolean().default(true).describe("output matrix is the embedding"),
  })
  .check(({ value, issues }) => {
    const { heads, kvHeads, qkvBias, qkNorm } = value;
    // The settings' error adds what came.
    const refuse = (path: string, message: string): void =>
      void issues.push({ code: "custom", path: [path], input: value, message });
    if (heads % kvHeads !== 0) refuse("kvHeads", `a divisor of ${heads} heads`);
    if (qkvBias && qkNorm) refuse("qkvBias", "false with qkNorm; no family has both");
  });

const rowsPath = (use: string) =>
  z.string().nullable().default(null).describe(`${use}; null: made by the task`);

export const dataSettings = z.object({
  sft: rowsPath(
    "rows with gold outputs for SFT: a .jsonl or .parquet file, a pattern, or a folder as on the Hub (its split train)",
  ),
  sft2: rowsPath("rows with gold outputs for the second supervised stage, likewise"),
  grpo: rowsPath("rows with prompt and answer for GRPO, DPO and rejection sampling, likewise"),
  test: rowsPath(
    "rows to evaluate on, likewise (split test); at most evaluate.count, spread evenly",
  ),
});

function knownDevice(name: unknown): string {
  const near = nearestName(String(name), deviceNames);
  return `a known device (${near === undefined ? deviceNames.join(", ") : `did you mean ${JSON.stringify(near)}?`})`;
}

export const engineSettings = z.object({
  device: z
    .string()
    .refine((name) => deviceNames.includes(name), { error: ({ input }) => knownDevice(input) })
    .default("cpu")
    .describe("execution provider of ONNX Runtime: cpu, cuda, coreml, dml, webgpu, …"),
  threads: z.int().min(1).default(2).describe("threads of one operator"),
  spinning: z
    .boolean()
    .default(false)
    .describe(
      "busy-wait between operators: 7 % faster on an idle machine, many times slower on a busy one",
    ),
  microBatchTokens: z
    .int()
    .min(1)
    .nullable()
    .default(null)
    .describe(
      "tokens of a micro-batch; changes speed and memory, and results only in the last bits; null: as many as fit the cache",
    ),
  profile: z
    .string()
    .nullable()
    .default(null)
    .describe("prefix of files for ONNX Runtime's profile of every program; null: none"),
  maxSampleRows: z.int().min(2).default(256).describe("most completions sampled at once"),
});

export interface Recipe<Item, TaskConfig, RewardConfig> {
  readonly task: Task<Item, TaskConfig>;
  readonly reward: {
    readonly settings: z.ZodType<RewardConfig>;
    readonly weights: (config: RewardConfig) => RewardWeights;
  };
  /** Writes what else a published benchmark asks for; what it returns is printed. */
  readonly onEvaluation?: (
    run: RunDirectory,
    config: TaskConfig,
    stage: StageName,
    step: number,
    judged: JudgedItems<Item>,
  ) => string | void;
}

/** Schema of everything a recipe can be told. */
export function recipeSettings<Item, TaskConfig, RewardConfig>({
  task,
  reward,
}: Recipe<Item, TaskConfig, RewardConfig>) {
  const scores = taskScores(task);
  if (!Object.hasOwn(scores, task.accuracy)) {
    throw unknownName(
      `task ${task.name}`,
      "score as its accuracy",
      task.accuracy,
      Object.keys(scores),
    );
  }
  const settings = z.object({
    task: task.config.describe(`the task ${task.name}`),
    reward: reward.settings.describe("what the reward is made of"),
    data: dataSettings.prefault({}).describe("where the items come from"),
    model: modelSettings.prefault({}).describe("decoder, from scratch or a published one"),
    ...postTrainSettings.shape,
    rehearsal: z
      .boolean()
      .default(true)
      .describe(
        "before the first step, measure memory and time with the longest possible samples, and refuse a run that cannot fit; changes nothing of the run",
      ),
    engine: engineSettings
      .prefault({})
      .describe("local engine; changes speed, and results only in the last bits"),
  });
  return settings.check(({ value: { model, sft, sft2, rft, dpo, grpo, evaluate }, issues }) => {
    for (const [stage, { optimiser }] of Object.entries({ sft, sft2, rft, dpo, grpo })) {
      if (model.lora === null || optimiser.method !== "muon") continue;
      const message = "adamw with model.lora; Muon is for whole hidden matrices";
      const path = [stage, "optimiser", "method"];
      issues.push({ code: "custom", path, message, input: optimiser.method });
    }
    if (model.lora !== null && model.from === null) {
      const message = "a model to adapt: model.lora alone would leave random weights untrained";
      issues.push({ code: "custom", path: ["model", "from"], message, input: model.from });
    }
    if (rft.score !== null && !Object.hasOwn(task.scores, rft.score)) {
      const message = `a score of the task (${Object.keys(task.scores).join(", ")})`;
      issues.push({ code: "custom", path: ["rft", "score"], message, input: rft.score });
    }
    const sampling = [rft, dpo].filter(({ steps }) => steps > 0); // most runs have neither
    const longest = Math.max(...[...sampling, grpo, evaluate].map(({ maxTokens }) => maxTokens));
    if (model.contextLength > longest) return;
    issues.push({
      code: "custom",
      path: ["model", "contextLength"],
      message: `more than the ${longest} tokens of an answer, and room for the prompt`,
      input: model.contextLength,
    });
  });
}

export interface RecipeConfig<TaskConfig, RewardConfig> extends z.output<typeof postTrainSettings> {
  readonly task: TaskConfig;
  readonly reward: RewardConfig;
  readonly data: z.output<typeof dataSettings>;
  readonly model: z.output<typeof modelSettings>;
  readonly rehearsal: boolean;
  readonly engine: z.output<typeof engineSettings>;
}

function localEngine(model: DecoderConfig, settings: z.output<typeof engineSettings>): LocalEngine {
  const { device, threads, spinning, microBatchTokens, maxSampleRows, profile } = settings;
  configureRuntime({ device, threads, spinning });
  return new LocalEngine(model, { microBatchTokens, maxSampleRows, profile });
}

/** What a run begins with: a published model, or a decoder of the settings with a tokenizer made for the task. */
async function openModel<Item, TaskConfig, RewardConfig>(
  { task }: Recipe<Item, TaskConfig, RewardConfig>,
  config: RecipeConfig<TaskConfig, RewardConfig>,
): Promise<BaseModel> {
  const { from, lora: adapters, ...shape } = config.model;
  if (from !== null) {
    const lora = adapters && { ...adapters, alpha: adapters.alpha ?? adapters.rank };
    return openBaseModel({ ...shape, from, lora }, task.addedTokens?.(config.task) ?? []);
  }
  const tokenizer = ChatTokenizer.ofTokens(task.tokens?.(config.task) ?? []);
  const { vocabulary: _vocabulary, newRows: _newRows, ...decoder } = shape;
  return {
    config: { ...decoder, vocabularySize: tokenizer.vocabularySize },
    tokenizer,
    extended: [],
    load: async (engine, random) => engine.initialise(random),
  };
}

/** The config with absolute paths of what is read. */
export function withAbsolutePaths<
  Config extends Pick<RecipeConfig<never, never>, "data" | "model">,
>(config: Config): Config {
  const absolute = (path: string | null): string | null => path && resolve(path);
  const { sft, sft2, grpo, test } = config.data;
  const data = {
    sft: absolute(sft),
    sft2: absolute(sft2),
    grpo: absolute(grpo),
    test: absolute(test),
  };
  return { ...config, data, model: { ...config.model, from: absolute(config.model.from) } };
}

/**
 * Opens what a run will read, so that a missing or broken file is named before anything is written. Returns the config with
 * absolute paths.
 */
export async function prepareRecipe<Item, TaskConfig, RewardConfig>(
  recipe: Recipe<Item, TaskConfig, RewardConfig>,
  given: RecipeConfig<TaskConfig, RewardConfig>,
): Promise<RecipeConfig<TaskConfig, RewardConfig>> {
  const config = withAbsolutePaths(given);
  const { sft, sft2, grpo, test } = config.data;
  const open = async (path: string | null, split: "train" | "test", view: "gold" | "answer") =>
    path === null || openItemRows(recipe.task, config.task, path, split, view);
  await open(sft, "train", "gold");
  await open(sft2, "train", "gold");
  await open(grpo, "train", "answer");
  await open(test, "test", "answer");
  if (config.model.from !== null) await openModel(recipe, config);
  return config;
}

/** Trains from where the run directory stands to the end; saves the model. */
export async function trainRecipe<Item, TaskConfig, RewardConfig>(
  recipe: Recipe<Item, TaskConfig, RewardConfig>,
  context: TrainContext<RecipeConfig<TaskConfig, RewardConfig>>,
): Promise<PostTrainSummary> {
  const { config, seed, run, progress, signal } = context;
  const { task } = recipe;
  const { onEvaluation } = recipe;
  const { evaluate } = config;
  const items = await openRunItems(task, config.task, config.data, seed, evaluate.count);
  await checkDataFiles(run, items.files);
  const base = await openModel(recipe, config);
  const { config: model, tokenizer } = base;
  const engine = localEngine(model, config.engine);
  try {
    progress.line(
      `model: ${model.layers} layers, width ${model.width}, ${engine.parameterCount.toLocaleString("en")} parameters${engine.trainedCount === engine.parameterCount ? "" : ` (${engine.trainedCount.toLocaleString("en")} trained)`}, vocabulary ${tokenizer.vocabularySize}`,
    );
    const load = (): Promise<void> => base.load(engine, randomStream(seed, "weights"));
    const environment = { task, config: config.task, tokenizer, scoring: config.scoring };
    const isRehearsed = config.rehearsal && run.checkpointNames().length === 0;
    const rehearsal = isRehearsed
      ? await planRehearsal({ engine, environment, items, run, progress, seed, settings: config })
      : undefined;
    const hasAdapters = model.lora !== undefined; // a checkpoint holds these alone
    if (hasAdapters) await load();
    const summary = await postTrain<Item, TaskConfig>({
      engine,
      environment,
      items,
      run,
      progress,
      signal,
      seed,
      settings: config,
      weights: recipe.reward.weights(config.reward),
      startsAs: config.model.from === null ? "untrained" : "start",
      initialise: async () => (hasAdapters ? undefined : load()),
      rehearse: rehearsal?.measure,
      onEvaluation:
        onEvaluation &&
        ((stage, step, judged) => onEvaluation(run, config.task, stage, step, judged)),
    });
    await run.saveModel(async (directory) => {
      await engine.saveModel(directory);
      await engine.saveAdapter(join(directory, "adapter"), config.model.from, base.extended);
      await tokenizer.write(directory);
    });
    if (summary.gain !== null) {
      const { mean, low, high, count, of, over } = summary.gain;
      const points = (value: number): string =>
        `${value >= 0 ? "+" : ""}${(100 * value).toFixed(1)}`;
      progress.line(
        `${of.toUpperCase()} gains ${points(mean)} points over ${describeStage(over)}  95 % [${points(low)}, ${points(high)}]  n ${count}, same items`,
      );
    }
    return summary;
  } finally {
    engine.dispose();
  }
}

/** A saved model with what it takes to ask it items of the task. Whoever opens it disposes of its engine. */
export interface OpenedModel<Item, TaskConfig> {
  readonly engine: LocalEngine;
  readonly environment: Environment<Item, TaskConfig>;
}

/** Opens the folder of a trained model. @throws DataError when a file of it is missing or broken. */
export async function openTrainedModel<Item, TaskConfig, RewardConfig>(
  { task }: Recipe<Item, TaskConfig, RewardConfig>,
  config: RecipeConfig<TaskConfig, RewardConfig>,
  modelDirectory: string,
): Promise<OpenedModel<Item, TaskConfig>> {
  const tokenizer = await ChatTokenizer.read(modelDirectory);
  const modelConfig = await readModelConfig(modelDirectory);
  checkVocabulary(modelDirectory, modelConfig, tokenizer);
  await checkWeights(modelDirectory, modelConfig);
  const engine = localEngine(modelConfig, config.engine);
  try {
    await engine.loadWeights(modelDirectory);
  } catch (error) {
    engine.dispose();
    throw error;
  }
  return {
    engine,
    environment: { task, config: config.task, tokenizer, scoring: config.scoring },
  };
}

function describeStage(stage: StageName): string {
  if (stage === "sft2") return "SFT 2";
  return stage === "sft" ? "SFT" : "the start";
}

/** Evaluates a saved model on fresh held-out items. */
export async function evaluateRecipe<Item, TaskConfig, RewardConfig>(
  recipe: Recipe<Item, TaskConfig, RewardConfig>,
  context: EvaluateContext<RecipeConfig<TaskConfig, RewardConfig>>,
): Promise<JudgedItems<Item>> {
  const { config, seed, modelDirectory, count, progress } = context;
  const { engine, environment } = await openTrainedModel(recipe, config, modelDirectory);
  try {
    const { task } = recipe;
    const { maxTokens, temperature, samples } = config.evaluate;
    const items = await openTestItems(task, config.task, config.data, seed, count);
    const judged = await evaluateTask(engine, environment, items, {
      maxTokens,
      temperature,
      samples,
      seed,
      progress,
      label: "evaluating",
    });
    progress.line(describeEvaluation("model", judged.evaluation));
    return judged;
  } finally {
    engine.dispose();
  }
}
