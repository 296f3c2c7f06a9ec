// ViPO: the advantage of an image is spread over its pixels by a map of its structure. One base model, then the same GRPO with one
// advantage an image and with maps, side by side.

import { resolve } from "node:path";
import { z } from "zod";
import { checkMaps } from "../../algorithms/flow-grpo.ts";
import { pixelAdvantageSettings } from "../../core/flow-spec.ts";
import type { ImageTask } from "../../core/image-task.ts";
import type { Random } from "../../core/random.ts";
import type { Backbone } from "../../image/allocation-map.ts";
import type { Raster } from "../../image/raster.ts";
import { readEvaluations } from "../../run/run-directory.ts";
import {
  foregroundOf,
  genevalMini,
  labelledShapes,
  quadrantTask,
  readSuppliedMaps,
  shapeLabels,
  suppliedAdvantageMaps,
} from "../../tasks/image-generation/index.ts";
import { configureRuntime } from "../../tensor/index.ts";
import { advantageMaps } from "../advantage-maps.ts";
import { gridOf, writePicture } from "../flow-pictures.ts";
import {
  evaluateFlowModel,
  levelStages,
  prepareFlowLevel,
  trainFlowLevel,
  type FlowLevel,
} from "../flow-recipe.ts";
import { backboneSettings, frozenBackbone } from "../frozen-backbone.ts";
import { flowEngineSettings, flowLevelSettings, type FlowLevelConfig } from "../flow-settings.ts";
import type { System, TrainContext } from "../system.ts";
import { compareRewards, compareStructure, type Comparison } from "./compare-methods.ts";
import { pictured } from "./map-pictures.ts";
import { checkMethods, methodNames, pixelsOf, settingsOf } from "./methods.ts";
import { scales } from "./scales.ts";
import { rednessGains } from "./structure-curve.ts";

const settings = z.object({
  level: z
    .enum(["quadrant", "mini"])
    .default("mini")
    .describe("what is drawn: one square on 12x12 pixels, or GenEval-mini"),
  quadrant: flowLevelSettings(quadrantTask, { redness: 1 }, { base: 800, epochs: 60 }).describe(
    "one square on 12x12 pixels",
  ),
  mini: flowLevelSettings(genevalMini, { redness: 1 }, { base: 8000, epochs: 150 }).describe(
    "GenEval-mini",
  ),
  methods: z
    .array(z.enum(methodNames))
    .min(1)
    .default(["scalar", "vipo", "flipped"])
    .describe("what is trained from the base model, one after the other"),
  pixels: pixelAdvantageSettings.prefault({}).describe("how advantages reach pixels"),
  clip: z
    .number()
    .positive()
    .nullable()
    .default(null)
    .describe("clip range of a position's ratio; null: as wide, in deviations, as that of samples"),
  backbone: backboneSettings
    .prefault({})
    .describe("the network whose features make maps; trained once, at the beginning of the run"),
  engine: flowEngineSettings
    .prefault({})
    .describe("local engine; changes speed, and results only in the last bits"),
});
type Config = z.output<typeof settings>;

/** The network that the maps are made of; undefined where no method needs one. */
async function openBackbone({
  config,
  run,
  seed,
  progress,
  signal,
}: TrainContext<Config>): Promise<Backbone | undefined> {
  const { task, config: level } = chosen(config);
  const { map } = config.pixels;
  const isNeeded = config.methods.some(
    (method) => pixelsOf(method, config.pixels)?.map.type === "psm",
  );
  if (map.type !== "psm" || !isNeeded) return undefined;
  const { device, threads, spinning } = config.engine;
  configureRuntime({ device, threads, spinning });
  const mini = config.mini.task;
  const images = {
    shape: task.shape(level.task),
    draw: (random: Random) => task.illustrate(random, level.task).image,
    ...(config.level === "mini" && {
      labelled: {
        labels: shapeLabels(mini),
        draw: (random: Random) => labelledShapes(random, mini),
      },
    }),
  };
  return frozenBackbone(map.backbone, images, config.backbone, { run, seed, progress, signal });
}

const tasks = { quadrant: quadrantTask, mini: genevalMini } as const;

/** Everything that is not the same for both tasks. */
interface Chosen {
  readonly task: ImageTask<unknown, unknown, Raster>;
  readonly config: FlowLevelConfig<unknown>;
}
const chosen = (config: Config): Chosen => ({
  task: tasks[config.level],
  config: config[config.level],
});

/** What the settings read, as large as the images; undefined where they read nothing. */
async function suppliedMaps(config: Config) {
  const { map } = config.pixels;
  if (map.type !== "files") return undefined;
  const { task, config: level } = chosen(config);
  const [height, width] = task.shape(level.task);
  const maps = await readSuppliedMaps(map.path, { shape: [height, width] });
  const { make } = suppliedAdvantageMaps<unknown, Raster>({
    promptOf: (item) => task.prompt(item),
    maps,
    target: config.pixels.target,
    cut: 0,
    mapNorm: "minmax",
    flip: false, // all maps are cut and turned round in one place
  });
  return make;
}

/** Draws and tells what the methods came to. */
function compareMethods({ config, run, progress }: TrainContext<Config>): Comparison["summary"] {
  const { config: level } = chosen(config);
  const { methods } = config;
  const compared = { methods, suite: level.evaluate.suites[0]!, reward: level.reward };
  const compare = level.reward["redness"] === 0 ? compareRewards : compareStructure;
  const { lines, pictures, summary } = compare(readEvaluations(run.path), compared);
  for (const [name, picture] of Object.entries(pictures)) writePicture(run, name, picture);
  for (const line of lines) progress.line(line);
  return summary;
}

export const vipoSystem: System<Config> = {
  name: "vipo",
  title: "ViPO: Visual Preference Policy Optimization",
  summary: "advantages spread over pixels by a map of structure, beside one advantage an image",
  paper: {
    title: "Seeing What Matters: Visual Preference Policy Optimization for Visual Generation",
    arxiv: "2511.18719",
    code: "https://github.com/Tele-AI/TeleBoost",
  },
  settings,
  scales,
  stages: ["base", ...methodNames],
  claims: [
    {
      metric: "HPSv2.1, FLUX base → DanceGRPO → ViPO",
      paper: "0.3121 → 0.3203 → 0.3321",
      source: "table of FLUX",
    },
    {
      metric: "ImageReward (out of domain)",
      paper: "1.1495 → 1.0392 → 1.1883",
      source: "table of FLUX",
    },
    { metric: "VBench total, Wan2.1", paper: "80.92 → 80.84 → 81.70", source: "table of Wan2.1" },
    { metric: "map of ones, HPSv2.1", paper: "0.3043", source: "ablation" },
  ],
  task: genevalMini,
  prepare: async (config) => {
    const { task, config: level } = chosen(config);
    const { methods, clip, pixels } = config;
    checkMethods(methods, pixels);
    for (const method of methods) {
      const own = pixelsOf(method, pixels);
      checkMaps(own, settingsOf(level.grpo, own, clip, task.shape(level.task)));
    }
    await suppliedMaps(config);
    const { map } = pixels;
    const absolute = map.type === "files" ? { ...map, path: resolve(map.path) } : map;
    return {
      ...config,
      pixels: { ...pixels, map: absolute },
      [config.level]: await prepareFlowLevel(task, level),
    };
  },
  train: async (context) => {
    const { config, run } = context;
    const { task, config: own } = chosen(config);
    const shape = task.shape(own.task);
    const backbone = await openBackbone(context);
    const files = await suppliedMaps(config);
    const level: FlowLevel<unknown, unknown, Raster> = {
      task,
      prefix: "",
      picture: (judged, title) => gridOf(judged, (item) => task.prompt(item), title),
      compare: rednessGains,
      policies: ({ grpo }) =>
        config.methods.map((method) => {
          const pixels = pixelsOf(method, config.pixels);
          const policy = {
            stage: method,
            settings: settingsOf(grpo, pixels, config.clip, shape),
          };
          if (pixels === null) return policy;
          const maps = advantageMaps<unknown>(pixels, {
            ...(backbone !== undefined && { backbone }),
            ...(files !== undefined && { files }),
            foreground: foregroundOf,
          });
          return { ...policy, maps: pictured(maps, run, `${method}-maps`) };
        }),
    };
    const stages = levelStages(level, own);
    const gains = await trainFlowLevel(level, own, config.engine, context, stages);
    return { gains, ...compareMethods(context) };
  },
  evaluate: async (context) => {
    const { task, config } = chosen(context.config);
    const { outcomes: _outcomes, ...evaluation } = await evaluateFlowModel(
      { task },
      config,
      context.config.engine,
      context,
    );
    return { ...evaluation };
  },
};
