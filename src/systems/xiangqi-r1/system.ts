// Xiangqi-R1: a text model learns Chinese chess in three stages: legal moves, moves with a judgement, GRPO on verified rewards.

import { resolve } from "node:path";
import { z } from "zod";
import { ConfigError, DataError } from "../../core/errors.ts";
import type { Progress } from "../../core/progress.ts";
import type { JudgedItems } from "../../evaluate/evaluate-task.ts";
import { openItemRows } from "../../rollout/item-sources.ts";
import { Interrupted } from "../../run/interrupted.ts";
import type { XiangqiConfig } from "../../tasks/xiangqi/config.ts";
import { variantOf, type XiangqiItem } from "../../tasks/xiangqi/item.ts";
import { xiangqiTask } from "../../tasks/xiangqi/task.ts";
import {
  evaluateRecipe,
  openTrainedModel,
  prepareRecipe,
  recipeSettings,
  trainRecipe,
  type Recipe,
  type RecipeConfig,
} from "../recipe.ts";
import type { EvaluateContext, System, TrainContext } from "../system.ts";
import { type MatchResult, playMatch } from "./games.ts";
import { ensureLabelFiles, labelSettings, type LabelSettings } from "./label-files.ts";
import { modelPlayer, type Player, randomPlayer, searchPlayer } from "./player.ts";
import { type RewardConfig, rewardSettings, rewardWeights } from "./rewards.ts";
import { type AnsweredItem, describeResult, xiangqiResult } from "./result.ts";
import { scales } from "./scales.ts";

const answersOf = ({ outputs }: JudgedItems<XiangqiItem>): AnsweredItem[] =>
  outputs.map(({ item, output, others }) => ({ item, outputs: [output, ...others] }));

const recipe: Recipe<XiangqiItem, XiangqiConfig, RewardConfig> = {
  task: xiangqiTask,
  reward: { settings: rewardSettings, weights: rewardWeights },
  onEvaluation: (run, config, stage, step, judged) => {
    const { system, scale } = run.record;
    const model = `${system}-${scale}-${stage}-${step}`;
    const result = xiangqiResult(model, answersOf(judged), config);
    run.writeResult(`xiangqi-${stage}`, (timestamp) => ({ timestamp, ...result }));
    return describeResult(result);
  },
};

const gameSettings = z.object({
  count: z
    .int()
    .min(0)
    .default(0)
    .describe("games of `alidade evaluate` against each opponent, half with each colour; 0: none"),
  maxPlies: z.int().min(1).default(120).describe("a game that lasts longer is a draw"),
  attempts: z
    .int()
    .min(1)
    .default(8)
    .describe("answers until one has a legal move; after the last one the game is lost"),
});

export interface XiangqiR1Config extends RecipeConfig<XiangqiConfig, RewardConfig> {
  readonly labels: LabelSettings;
  readonly games: z.output<typeof gameSettings>;
}

const settings: z.ZodType<XiangqiR1Config> = recipeSettings(recipe).safeExtend({
  labels: labelSettings
    .prefault({})
    .describe("rows that are made by self-play where `data` names no files"),
  games: gameSettings
    .prefault({})
    .describe("games against random moves and the search at one and two plies"),
});

/** The uses of `data` that name no file. */
const unnamed = ({ data }: XiangqiR1Config): string[] =>
  Object.entries(data).flatMap(([use, path]) => (path === null ? [use] : []));

/** The config with the files of our own labels where the settings name none. `heed` throws when the work is to stop. */
async function withLabels(
  config: XiangqiR1Config,
  progress: Progress,
  heed: () => void = () => undefined,
): Promise<XiangqiR1Config> {
  const { data, labels, task } = config;
  if (unnamed(config).length === 0) return config;
  const made = await ensureLabelFiles(labels, task, progress, heed);
  return {
    ...config,
    data: {
      sft: data.sft ?? made.legal,
      sft2: data.sft2 ?? made.annotated,
      grpo: data.grpo ?? made.rl,
      test: data.test ?? made.test,
    },
  };
}

/** Throws where rewards would be asked of rows that cannot tell: without the value of every move, only illegal ones are known. */
async function checkRewardRows({ data, task, reward }: XiangqiR1Config): Promise<void> {
  if (data.grpo === null || (reward.good === 0 && reward.best === 0)) return;
  const rows = await openItemRows(xiangqiTask, task, data.grpo, "train", "answer");
  const { values } = await rows.read(0);
  if (values !== undefined) return;
  throw new DataError({
    where: rows.place(0),
    expected: "values, the value of every legal move, for the rewards good and best",
    got: "none",
    hint: "alidade xiangqi label --values; or reward.good=0 and reward.best=0",
  });
}

async function prepare(given: XiangqiR1Config): Promise<XiangqiR1Config> {
  const missing = unnamed(given);
  if (!given.labels.make && missing.length > 0) {
    throw new ConfigError({
      where: `settings.data.${missing[0]!}`,
      expected: "files of rows",
      got: "none",
      hint: "alidade xiangqi label makes them of game records; labels.make=true, of self-play",
    });
  }
  const labels = { ...given.labels, folder: resolve(given.labels.folder) };
  const config = { ...given, ...(await prepareRecipe(recipe, given)), labels };
  await checkRewardRows(config);
  return config;
}

/** Opens a trained model as a player; the caller disposes of its engine. */
export async function openPlayer(
  config: XiangqiR1Config,
  modelDirectory: string,
): Promise<{ readonly player: Player; readonly dispose: () => void }> {
  const model = await openTrainedModel(recipe, config, modelDirectory);
  const { maxTokens, temperature } = config.evaluate;
  const { attempts } = config.games;
  return {
    player: modelPlayer(model, { maxTokens, temperature, attempts }),
    dispose: () => model.engine.dispose(),
  };
}

async function playGames(
  config: XiangqiR1Config,
  { modelDirectory, seed, progress }: EvaluateContext<XiangqiR1Config>,
): Promise<Readonly<Record<string, MatchResult>>> {
  const { task, games } = config;
  const variant = variantOf(task);
  const { player, dispose } = await openPlayer(config, modelDirectory);
  const match = { ...games, variant, selfPlay: task.selfPlay, seed };
  const results: Record<string, MatchResult> = {};
  try {
    for (const opponent of [randomPlayer, searchPlayer(variant, 1), searchPlayer(variant, 2)]) {
      results[opponent.name] = await playMatch(player, opponent, match, progress);
    }
  } finally {
    dispose();
  }
  return results;
}

/** legal@1, good@1, best@1, 3-class@1 and 5-class@1 of Qwen2.5-7B and after each stage. */
const paperTable = [
  ["Qwen2.5-7B-Instruct: legal, good, best, 3-class, 5-class @1", "1.2, 0.4, 0.1, 0.3, 0.1 %"],
  ["stage 1: legal, good, best @1", "92.2, 44.9, 19.4 %"],
  ["stage 2: legal, good, best, 3-class, 5-class @1", "86.4, 35.3, 11.9, 43.1, 38.9 %"],
  ["all stages: legal, good, best, 3-class, 5-class @1", "95.2, 46.1, 18.1, 62.9, 61.0 %"],
] as const;

export const xiangqiR1System: System<XiangqiR1Config> = {
  name: "xiangqi-r1",
  title:
    "Xiangqi-R1: Enhancing Spatial Strategic Reasoning in LLMs for Chinese Chess via Reinforcement Learning",
  summary: "moves and judgements on a Chinese chess board: legal moves, annotated moves, then GRPO",
  paper: {
    title:
      "Xiangqi-R1: Enhancing Spatial Strategic Reasoning in LLMs for Chinese Chess via Reinforcement Learning",
    arxiv: "2507.12215",
  },
  settings,
  scales,
  stages: ["untrained", "sft", "sft2", "rft", "dpo", "grpo"],
  claims: paperTable.map(([metric, paper]) => ({
    metric,
    paper,
    source: "Table 1, as a re-implementation quotes it",
  })),
  task: xiangqiTask,
  prepare,
  scoring: ({ task, reward, scoring, grpo }) => ({
    task: xiangqiTask,
    taskConfig: task,
    weights: rewardWeights(reward),
    settings: scoring,
    grpo,
  }),
  train: async (context: TrainContext<XiangqiR1Config>) => {
    const { progress, run, signal } = context;
    const config = await withLabels(context.config, progress, () => {
      if (signal.aborted) throw new Interrupted(run.path);
    });
    return { ...(await trainRecipe(recipe, { ...context, config })) };
  },
  evaluate: async (context: EvaluateContext<XiangqiR1Config>) => {
    const config = await withLabels(context.config, context.progress);
    const judged = await evaluateRecipe(recipe, { ...context, config });
    const { outcomes: _outcomes, ...evaluation } = judged.evaluation;
    const metrics = xiangqiResult(context.modelDirectory, answersOf(judged), config.task);
    context.progress.line(describeResult(metrics));
    const games = config.games.count === 0 ? {} : { games: await playGames(config, context) };
    return { ...evaluation, metrics, ...games };
  },
};
