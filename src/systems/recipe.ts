// A recipe: a task, what its reward is made of, a decoder trained from scratch on the local engine. AlphaMaze is one;
// a task of your own becomes one with `trainTask`.

import { z } from "zod";
import {
  postTrain,
  postTrainSettings,
  describeEvaluation,
  type PostTrainSummary,
  type StageName,
} from "../algorithms/post-train.ts";
import type { RewardWeights } from "../algorithms/grpo.ts";
import { nearestName, unknownName } from "../core/errors.ts";
import { randomStream } from "../core/random.ts";
import type { Task } from "../core/task.ts";
import { LocalEngine } from "../engine/local-engine.ts";
import { evaluateTask, type JudgedItems } from "../evaluate/evaluate-task.ts";
import type { DecoderConfig } from "../models/decoder.ts";
import { readModelConfig } from "../models/hugging-face.ts";
import { testItems } from "../rollout/items.ts";
import type { RunDirectory } from "../run/run-directory.ts";
import { configureRuntime, deviceNames } from "../tensor/index.ts";
import { ChatTokenizer } from "../text/chat-tokenizer.ts";
import type { EvaluateContext, TrainContext } from "./system.ts";

export const modelSettings = z
  .object({
    contextLength: z
      .int()
      .min(16)
      .default(256)
      .describe("most tokens of prompt and answer together"),
    layers: z.int().min(1).default(3).describe("transformer blocks"),
    width: z.int().min(16).default(96).describe("width of the residual stream"),
    heads: z.int().min(1).default(6).describe("query heads"),
    kvHeads: z.int().min(1).default(6).describe("key and value heads; divides heads"),
    headSize: z
      .int()
      .multipleOf(16)
      .default(16)
      .describe("width of a head; a multiple of 16 (ONNX Runtime's cached attention)"),
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
  /** Writes what else a published benchmark asks for. */
  readonly onEvaluation?: (
    run: RunDirectory,
    config: TaskConfig,
    stage: StageName,
    step: number,
    judged: JudgedItems<Item>,
  ) => void;
}

/** Schema of everything a recipe can be told. */
export function recipeSettings<Item, TaskConfig, RewardConfig>({
  task,
  reward,
}: Recipe<Item, TaskConfig, RewardConfig>) {
  if (!Object.hasOwn(task.scores, task.accuracy)) {
    throw unknownName(
      `task ${task.name}`,
      "score as its accuracy",
      task.accuracy,
      Object.keys(task.scores),
    );
  }
  const settings = z.object({
    task: task.config.describe(`the task ${task.name}`),
    reward: reward.settings.describe("what the reward is made of"),
    model: modelSettings.prefault({}).describe("decoder trained from scratch"),
    ...postTrainSettings.shape,
    engine: engineSettings
      .prefault({})
      .describe("local engine; changes speed, and results only in the last bits"),
  });
  return settings.check(({ value: { model, grpo, evaluate }, issues }) => {
    const longest = Math.max(grpo.maxTokens, evaluate.maxTokens);
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
  readonly model: z.output<typeof modelSettings>;
  readonly engine: z.output<typeof engineSettings>;
}

function localEngine(model: DecoderConfig, settings: z.output<typeof engineSettings>): LocalEngine {
  const { device, threads, spinning, microBatchTokens, maxSampleRows, profile } = settings;
  configureRuntime({ device, threads, spinning });
  return new LocalEngine(model, { microBatchTokens, maxSampleRows, profile });
}

/** Trains from where the run directory stands to the end; saves the model. */
export async function trainRecipe<Item, TaskConfig, RewardConfig>(
  recipe: Recipe<Item, TaskConfig, RewardConfig>,
  context: TrainContext<RecipeConfig<TaskConfig, RewardConfig>>,
): Promise<PostTrainSummary> {
  const { config, seed, run, progress, signal } = context;
  const { task } = recipe;
  const tokenizer = ChatTokenizer.ofTokens(task.tokens?.(config.task) ?? []);
  const { onEvaluation } = recipe;
  const engine = localEngine(
    { ...config.model, vocabularySize: tokenizer.vocabularySize },
    config.engine,
  );
  try {
    progress.line(
      `model: ${config.model.layers} layers, width ${config.model.width}, ${engine.parameterCount.toLocaleString("en")} parameters, vocabulary ${tokenizer.vocabularySize}`,
    );
    const summary = await postTrain<Item, TaskConfig>({
      engine,
      environment: { task, config: config.task, tokenizer },
      run,
      progress,
      signal,
      seed,
      settings: config,
      weights: recipe.reward.weights(config.reward),
      initialise: async () => engine.initialise(randomStream(seed, "weights")),
      onEvaluation:
        onEvaluation &&
        ((stage, step, judged) => onEvaluation(run, config.task, stage, step, judged)),
    });
    await run.saveModel(async (directory) => {
      await engine.saveModel(directory);
      await tokenizer.write(directory);
    });
    if (summary.gain !== null) {
      const { mean, low, high, count } = summary.gain;
      const points = (value: number): string =>
        `${value >= 0 ? "+" : ""}${(100 * value).toFixed(1)}`;
      progress.line(
        `GRPO gains ${points(mean)} points over SFT  95 % [${points(low)}, ${points(high)}]  n ${count}, same items`,
      );
    }
    return summary;
  } finally {
    engine.dispose();
  }
}

/** Evaluates a saved model on fresh held-out items. */
export async function evaluateRecipe<Item, TaskConfig, RewardConfig>(
  { task }: Recipe<Item, TaskConfig, RewardConfig>,
  context: EvaluateContext<RecipeConfig<TaskConfig, RewardConfig>>,
): Promise<JudgedItems<Item>> {
  const { config, seed, modelDirectory, count, progress } = context;
  const tokenizer = await ChatTokenizer.read(modelDirectory);
  const engine = localEngine(await readModelConfig(modelDirectory), config.engine);
  try {
    await engine.loadWeights(modelDirectory);
    const environment = { task, config: config.task, tokenizer };
    const { maxTokens, temperature } = config.evaluate;
    const items = testItems(task, config.task, seed, count);
    const judged = await evaluateTask(engine, environment, items, {
      maxTokens,
      temperature,
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
