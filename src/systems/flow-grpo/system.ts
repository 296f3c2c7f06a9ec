// Flow-GRPO: a flow model learns to draw what prompts ask for; flow matching on images that are often wrong, then GRPO.

import { z } from "zod";
import { checkMaps } from "../../algorithms/flow-grpo.ts";
import type { ImageTask } from "../../core/image-task.ts";
import type { JudgedImage } from "../../evaluate/evaluate-images.ts";
import type { Raster } from "../../image/raster.ts";
import {
  detect,
  genevalMini,
  promptLayoutEntropy,
  quadrantTask,
  ringTask,
  type Point,
  type RingConfig,
  type RingItem,
} from "../../tasks/image-generation/index.ts";
import {
  evaluateFlowModel,
  levelStages,
  prepareFlowLevel,
  trainFlowLevel,
  type FlowLevel,
} from "../flow-recipe.ts";
import { flowEngineSettings, flowLevelSettings } from "../flow-settings.ts";
import type { System } from "../system.ts";
import { gridOf, scatterOf } from "../flow-pictures.ts";
import { scales } from "./scales.ts";

/** How different the images of a prompt are. */
const layoutNumbers = <Item>(
  task: ImageTask<Item, unknown, Raster>,
  judged: readonly JudgedImage<Item, Raster>[],
): Readonly<Record<string, number>> => {
  const entropy = promptLayoutEntropy(
    judged.map(({ item, image }) => ({
      prompt: task.prompt(item),
      objects: detect(image).objects,
    })),
  );
  return Number.isNaN(entropy) ? {} : { layoutEntropy: entropy };
};

const imageLevel = <Item, TaskConfig>(
  task: ImageTask<Item, TaskConfig, Raster>,
  prefix: string,
): FlowLevel<Item, TaskConfig, Raster> => ({
  task,
  prefix,
  picture: (judged, title) => gridOf(judged, (item) => task.prompt(item), title),
  numbers: (judged) => layoutNumbers(task as ImageTask<Item, unknown, Raster>, judged),
});

const levels = {
  ring: {
    task: ringTask,
    prefix: "ring-",
    picture: (judged, title) => scatterOf(judged, (item) => ringTask.prompt(item), title),
  } as FlowLevel<RingItem, RingConfig, Point>,
  quadrant: imageLevel(quadrantTask, "quadrant-"),
  mini: imageLevel(genevalMini, ""),
};
const names = ["ring", "quadrant", "mini"] as const;
type LevelName = (typeof names)[number];

const settings = z.object({
  levels: z
    .array(z.enum(names))
    .min(1)
    .refine((list) => new Set(list).size === list.length, "different levels")
    .default(["mini"])
    .describe("what is trained, in this order: points on a ring, 12x12 pixels, GenEval-mini"),
  ring: flowLevelSettings(ringTask, { hit: 1 }, { base: 1200, epochs: 150 }).describe(
    "points on a ring",
  ),
  quadrant: flowLevelSettings(quadrantTask, { parts: 1 }, { base: 1500, epochs: 120 }).describe(
    "one square on 12x12 pixels",
  ),
  mini: flowLevelSettings(genevalMini, { geneval: 1 }, { base: 8000, epochs: 400 }).describe(
    "GenEval-mini",
  ),
  engine: flowEngineSettings
    .prefault({})
    .describe("local engine; changes speed, and results only in the last bits"),
});
type Config = z.output<typeof settings>;

/** A level whose types only its own name knows. */
interface AnyLevel {
  readonly level: FlowLevel<unknown, unknown, never>;
  readonly config: Parameters<typeof trainFlowLevel<unknown, unknown, never>>[1];
}
const levelOf = (name: LevelName, config: Config): AnyLevel =>
  ({ level: levels[name], config: config[name] }) as unknown as AnyLevel;

export const flowGrpoSystem: System<Config> = {
  name: "flow-grpo",
  title: "Flow-GRPO: Training Flow Matching Models via Online RL",
  summary:
    "a flow model learns to draw what prompts ask for: flow matching, then GRPO on its samples",
  paper: {
    title: "Flow-GRPO: Training Flow Matching Models via Online RL",
    arxiv: "2505.05470",
    code: "https://github.com/yifan123/flow_grpo",
  },
  settings,
  scales,
  stages: ["base", "grpo"],
  claims: [
    { metric: "GenEval overall, SD3.5-M", paper: "0.63", source: "table 1" },
    { metric: "GenEval overall, SD3.5-M + Flow-GRPO", paper: "0.95", source: "table 1" },
    { metric: "GenEval position", paper: "0.24 → 0.99", source: "table 1" },
    { metric: "GenEval counting", paper: "0.50 → 0.95", source: "table 1" },
    { metric: "unseen classes", paper: "0.64 → 0.90", source: "generalisation" },
  ],
  task: genevalMini,
  prepare: async (config) => {
    const prepared = await Promise.all(
      config.levels.map(async (name) => {
        const { level, config: own } = levelOf(name, config);
        checkMaps(false, own.grpo);
        return [name, await prepareFlowLevel(level.task, own)] as const;
      }),
    );
    return { ...config, ...Object.fromEntries(prepared) };
  },
  train: async (context) => {
    const { config } = context;
    const chosen = config.levels.map((name) => levelOf(name, config));
    const stages = chosen.flatMap(({ level, config: own }) => levelStages(level, own));
    const summary: Record<string, unknown> = {};
    for (const { level, config: own } of chosen) {
      Object.assign(summary, await trainFlowLevel(level, own, config.engine, context, stages));
    }
    return summary;
  },
  evaluate: async (context) => {
    const { config } = context;
    const { level, config: own } = levelOf(config.levels.at(-1)!, config);
    const { outcomes: _outcomes, ...evaluation } = await evaluateFlowModel(
      level,
      own,
      config.engine,
      context,
    );
    return { ...evaluation };
  },
};
