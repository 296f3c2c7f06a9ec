// GenEval-mini: GenEval with shapes on 24x24 pixels, small enough to train an image model of one's own.
//
// Prompts, records, reward, verdict and relations are those of GenEval (arXiv:2310.11513) and Flow-GRPO (arXiv:2505.05470);
// objects, detector and thresholds are our own.

import { unknownName } from "../../../core/errors.ts";
import { defineImageTask, wordsOf } from "../../../core/image-task.ts";
import type { Random } from "../../../core/random.ts";
import type { Scores } from "../../../core/task.ts";
import type { Raster } from "../../../image/raster.ts";
import { type Detections, keepDetections } from "../detections.ts";
import { officialVerdict } from "../official-metric.ts";
import { drawTag, trainingWeights } from "../prompt-generator.ts";
import { type GenevalRecord, orderlessKey } from "../record.ts";
import { trainingReward } from "../training-reward.ts";
import { type Tag, tags } from "../vocabulary.ts";
import { illustrate } from "./base-data.ts";
import { detectShapes, structureScore } from "./color-blind-detector.ts";
import { type MiniConfig, miniConfig } from "./config.ts";
import { byClass, detect, miniThresholds } from "./detector.ts";
import { colorPurity, redness, templateIou } from "./image-metrics.ts";
import { type MiniItem, miniSuites, type MiniSuite, promptsOf } from "./prompts.ts";
import { drawScene, renderScene, SIDE } from "./scene.ts";

function itemsOf(suite: string, config: MiniConfig): readonly MiniItem[] {
  const records = promptsOf(config).suites[suite as MiniSuite] as
    | readonly GenevalRecord[]
    | undefined;
  if (records === undefined) throw unknownName("GenEval-mini", "suite", suite, miniSuites);
  return records.map((record) => ({ record }));
}

function make(random: Random, config: MiniConfig): MiniItem {
  const { trainByTag } = promptsOf(config);
  // Of two classes there is one pair, and that is held out.
  const weights = Object.fromEntries(
    tags.map((tag) => [tag, trainByTag[tag].length === 0 ? 0 : trainingWeights[tag]]),
  ) as Record<Tag, number>;
  return { record: random.pick(trainByTag[drawTag(random, weights)]) };
}

function gold({ record }: MiniItem, config: MiniConfig, random: Random): Raster {
  return renderScene(drawScene(record, random, config), config.noise, random).image;
}

function score({ record }: MiniItem, image: Raster, { compat, floor }: MiniConfig): Scores {
  const { objects, unknownParts, backgroundDeviation } = detect(image);
  const kept = keepDetections(byClass(objects), record.tag, miniThresholds);
  const { reward, isStrictlyCorrect } = trainingReward(record, kept, { compat, floor });
  return {
    geneval: reward,
    correct: Number(officialVerdict(record, kept).isCorrect),
    strict: Number(isStrictlyCorrect),
    structure: structureScore(record, detectShapes(image)),
    unknownParts,
    templateIou: templateIou(objects),
    colorPurity: colorPurity(objects),
    backgroundDeviation,
    redness: redness(image),
  };
}

function faultOf({ include, exclude = [] }: GenevalRecord, found: Detections): string {
  const count = (name: string): number => found.get(name)?.length ?? 0;
  if (include.some((entry) => count(entry.class) < entry.count)) return "missing object";
  if (exclude.some((entry) => count(entry.class) >= entry.count)) return "too many";
  const isColored = include.every(({ class: name, color, count: n }) => {
    const top = (found.get(name) ?? []).slice(0, n);
    return color === undefined || top.every((one) => one.color === color);
  });
  return isColored ? "wrong position" : "wrong color";
}

function errorClass({ record }: MiniItem, image: Raster): string | null {
  const kept = keepDetections(byClass(detect(image).objects), record.tag, miniThresholds);
  return officialVerdict(record, kept).isCorrect ? null : faultOf(record, kept);
}

function vocabulary(config: MiniConfig): readonly string[] {
  const records = Object.values(promptsOf(config).suites).flat();
  return [...new Set(records.flatMap(({ prompt }) => wordsOf(prompt)))].sort();
}

export const genevalMini = defineImageTask<MiniItem, MiniConfig, Raster>({
  name: "geneval-mini",
  summary:
    "draw shapes as GenEval's prompts ask for them: number, colour, position, on 24x24 pixels",
  config: miniConfig,
  scores: {
    geneval:
      "training reward of Flow-GRPO: mean over what is asked for; below 0 when far too many objects are there",
    correct:
      "1 when GenEval's own verdict is right (more objects than asked are fine, but in counting)",
    strict: "1 when numbers are exact, and colours and positions right",
    structure: "1 when numbers and positions are right for a detector that sees no colours",
    unknownParts: "number of parts that look like no shape or have no known colour",
    templateIou: "mean IoU of the objects with the shapes they are taken for; 0 without objects",
    colorPurity: "mean closeness of the objects' pixels to their colour, 0 to 1; 0 without objects",
    backgroundDeviation: "deviation of the background's pixels; 0 is clean",
    redness: "mean of red - (green + blue) / 2 over all pixels",
  },
  accuracy: "correct",
  shape: () => [SIDE, SIDE, 3],
  vocabulary,
  suites: miniSuites,
  items: itemsOf,
  make,
  prompt: ({ record }) => record.prompt,
  gold,
  illustrate,
  score,
  key: ({ record }) => orderlessKey(record),
  levels: tags,
  level: ({ record }) => record.tag,
  errorClass,
});
