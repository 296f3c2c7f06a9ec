// Settings of a flow recipe: its model, its engine, and of each level the task, the base model, the policy and the evaluation.

import { z } from "zod";
import { flowGrpoSettings } from "../algorithms/flow-grpo-settings.ts";
import { flowMatchingSettings } from "../algorithms/flow-matching.ts";
import { flowScheduleSettings } from "../core/flow-spec.ts";
import type { Drawing, ImageTask } from "../core/image-task.ts";
import { taskScores } from "../core/task.ts";
import { loraTargets } from "../models/decoder.ts";
import { scoringSettings } from "../rollout/score-outputs.ts";
import { deviceNames } from "../tensor/index.ts";

const size = (value: number, help: string) => z.int().min(1).default(value).describe(help);

export const flowModelSettings = z.object({
  type: z
    .enum(["transformer", "mlp"])
    .default("transformer")
    .describe("a transformer over patches of an image, or an MLP over a point"),
  patch: size(4, "pixels along the edge of a patch (a point has none)"),
  width: size(64, "width of the layers"),
  layers: size(4, "layers"),
  heads: size(4, "heads of the attention (an MLP has none)"),
  predicts: z
    .enum(["velocity", "sample"])
    .default("sample")
    .describe("what the transformer predicts; the clean sample is easier for a narrow one"),
  promptWidth: size(64, "width of the prompt encoder"),
  promptNeighbours: z
    .int()
    .min(0)
    .default(0)
    .describe(
      "words on either side that a word is told of before the first layer: without them a small encoder does not learn whose colour is whose",
    ),
  promptWords: z
    .boolean()
    .default(true)
    .describe("whether a transformer attends to the words of the prompt, beside their mean"),
  promptLayers: z.int().min(0).default(2).describe("its layers; 0: the mean of the words"),
});

export const flowEngineSettings = z.object({
  device: z
    .enum(deviceNames as [string, ...string[]])
    .default("cpu")
    .describe("execution provider"),
  lanes: z
    .int()
    .min(1)
    .max(4)
    .default(2)
    .describe("micro-batches that are worked on at the same time; best as many as cores"),
  threads: z.int().min(1).default(1).describe("threads of one operator"),
  spinning: z.boolean().default(false).describe("busy-wait between operators: for idle machines"),
  microBatch: z
    .int()
    .min(1)
    .nullable()
    .default(null)
    .describe("images of a micro-batch; null: as many as fit the cache"),
  profile: z
    .string()
    .nullable()
    .default(null)
    .describe("prefix of files for ONNX Runtime's profile of every program; null: none"),
});
export type FlowEngineSettings = z.output<typeof flowEngineSettings>;

const evaluateSettings = z.object({
  suites: z
    .array(z.string())
    .min(1)
    .default(["test"])
    .describe("sets of prompts; the first one is what counts"),
  images: z.int().min(1).default(4).describe("images of every prompt"),
  steps: z.int().min(1).default(40).describe("steps of the ODE"),
  solver: z.enum(["euler", "heun", "dpm2"]).default("euler").describe("its solver"),
  schedule: flowScheduleSettings.prefault({ type: "uniform" }).describe("times of the steps"),
  guidance: z.number().min(0).default(1).describe("classifier-free guidance; 1: none"),
  every: z.int().min(0).default(0).describe("also after every n-th epoch; 0: only at the end"),
});

/** Settings of one level: a task with its model and its two stages. */
export function flowLevelSettings<Item, Config, Image extends Drawing>(
  task: ImageTask<Item, Config, Image>,
  weights: Readonly<Record<string, number>>,
  lengths: { readonly base: number; readonly epochs: number },
) {
  const reward = Object.entries(taskScores(task)).map(([name, help]) => [
    name,
    z
      .number()
      .default(weights[name] ?? 0)
      .describe(`weight of: ${help}`),
  ]);
  return z.object({
    task: task.config.describe(`the task ${task.name}`),
    reward: z
      .object(Object.fromEntries(reward) as Record<string, z.ZodDefault<z.ZodNumber>>)
      .prefault({})
      .describe("weight of each score in the reward; 0: it is none"),
    model: flowModelSettings.prefault({}).describe("the velocity model"),
    base: z
      .object({
        from: z
          .string()
          .nullable()
          .default(null)
          .describe(
            "folder of a base model to begin with (the base/ of a run); null: one is trained",
          ),
        ...flowMatchingSettings.shape,
        steps: flowMatchingSettings.shape.steps.default(lengths.base),
        average: z.number().min(0).lt(1).default(0.999).describe("decay of its moving average"),
      })
      .describe("flow matching on images some of which are wrong"),
    lora: z
      .object({
        rank: size(32, "rank of each adapter"),
        alpha: z
          .number()
          .positive()
          .default(64)
          .describe("their products are scaled by alpha / rank"),
        targets: z
          .array(z.enum(loraTargets))
          .min(1)
          .default(["q_proj", "k_proj", "v_proj", "o_proj"])
          .describe("projections that get one"),
      })
      .nullable()
      .default(null)
      .describe("adapters that GRPO trains; null: it trains all weights"),
    grpo: flowGrpoSettings
      .extend({ epochs: flowGrpoSettings.shape.epochs.default(lengths.epochs) })
      .describe("reinforcement learning on the task's scores"),
    evaluate: evaluateSettings.prefault({}).describe("accuracy along the ODE, averaged weights"),
    scoring: scoringSettings.prefault({}).describe("how scorers are asked"),
    checkpointEvery: z.int().min(1).default(200).describe("steps between checkpoints"),
  });
}

export interface FlowLevelConfig<Config> extends Omit<
  z.output<ReturnType<typeof flowLevelSettings>>,
  "task"
> {
  readonly task: Config;
}
