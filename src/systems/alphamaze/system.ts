// AlphaMaze: a text model learns to walk mazes written as tokens; SFT on traces, then GRPO on three verifiable rewards.

import { z } from "zod";
import type { RewardWeights } from "../../algorithms/generation.ts";
import type { JudgedItems } from "../../evaluate/evaluate-task.ts";
import type { MazeConfig } from "../../tasks/maze/config.ts";
import { mazeTask, type MazeItem } from "../../tasks/maze/task.ts";
import {
  evaluateRecipe,
  prepareRecipe,
  recipeSettings,
  trainRecipe,
  type Recipe,
  type RecipeConfig,
} from "../recipe.ts";
import type { EvaluateContext, System } from "../system.ts";
import { mazeBenchResult, type MazeBenchResult } from "./maze-bench.ts";
import { rewardPresetNames, rewardPresets } from "./rewards.ts";
import { scales } from "./scales.ts";

const rewardSettings = z.object({
  preset: z
    .enum(rewardPresetNames)
    .default("head")
    .describe(
      "weights of the released script (head), of an earlier one (older), of the paper's text (paper)",
    ),
  ...Object.fromEntries(
    Object.entries(mazeTask.scores).map(([name, help]) => [
      name,
      z
        .number()
        .nullable()
        .default(null)
        .describe(`weight of: ${help}; null: as the preset has it`),
    ]),
  ),
});

type RewardConfig = z.output<typeof rewardSettings>;

function weightsOf({ preset, ...changed }: RewardConfig): RewardWeights {
  const own = Object.entries(changed).filter(
    (entry): entry is [string, number] => typeof entry[1] === "number",
  );
  return { ...rewardPresets[preset], ...Object.fromEntries(own) };
}

function mazeBench(
  modelName: string,
  timestamp: string,
  config: MazeConfig,
  { outputs }: JudgedItems<MazeItem>,
): MazeBenchResult {
  const rows = outputs.map(({ item, output }) => ({
    item,
    output,
    level: mazeTask.level!(item, config),
  }));
  return mazeBenchResult(modelName, timestamp, rows, config);
}

const recipe: Recipe<MazeItem, MazeConfig, RewardConfig> = {
  task: mazeTask,
  reward: { settings: rewardSettings, weights: weightsOf },
  onEvaluation: (run, config, stage, step, judged) => {
    run.writeResult(`mazebench-${stage}`, (timestamp) =>
      mazeBench(
        `${run.record.system}-${run.record.scale}-${stage}-${step}`,
        timestamp,
        config,
        judged,
      ),
    );
  },
};

type Config = RecipeConfig<MazeConfig, RewardConfig>;

export const alphamaze: System<Config> = {
  name: "alphamaze",
  title: "AlphaMaze: Enhancing Large Language Models' Spatial Intelligence via GRPO",
  summary: "a text model finds its way through token mazes: SFT on traces, then GRPO",
  paper: {
    title: "AlphaMaze: Enhancing Large Language Models' Spatial Intelligence via GRPO",
    arxiv: "2502.14669",
    code: "https://github.com/menloresearch/visual-thinker",
  },
  settings: recipeSettings(recipe),
  scales,
  profile: "trl-0.14",
  stages: ["untrained", "sft", "rft", "dpo", "grpo"],
  claims: [
    {
      metric: "MazeBench accuracy, untrained",
      paper: "0 %",
      source: "summaries of the paper (the abstract says only that it fails)",
    },
    { metric: "MazeBench accuracy, SFT", paper: "86 %", source: "abstract" },
    { metric: "MazeBench accuracy, SFT + GRPO", paper: "93 %", source: "abstract" },
  ],
  task: mazeTask,
  prepare: (config) => prepareRecipe(recipe, config),
  scoring: ({ task, reward, scoring, grpo }) => ({
    task: mazeTask,
    taskConfig: task,
    weights: weightsOf(reward),
    settings: scoring,
    grpo,
  }),
  train: async (context) => ({ ...(await trainRecipe(recipe, context)) }),
  evaluate: async (context: EvaluateContext<Config>) => {
    const judged = await evaluateRecipe(recipe, context);
    const { outcomes: _outcomes, ...evaluation } = judged.evaluation;
    return { ...evaluation };
  },
};
