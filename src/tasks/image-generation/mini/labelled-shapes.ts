// Images of one kind of object with its class: what a classifier of GenEval-mini's shapes and colours is trained on.

import type { Random } from "../../../core/random.ts";
import type { Raster } from "../../../image/raster.ts";
import { countingRecord } from "../prompt-generator.ts";
import type { MiniConfig } from "./config.ts";
import { drawScene, renderScene } from "./scene.ts";
import { shapes } from "./shapes.ts";

/** Objects of an image, at most. */
const MOST_OBJECTS = 4;

export interface LabelledShapes {
  readonly image: Raster;
  /** Index of its shape times the number of colours plus index of its colour. */
  readonly label: number;
}

/** Labels that there are. */
export const shapeLabels = ({ colors }: Pick<MiniConfig, "colors">): number =>
  shapes.length * colors.length;

/** One to four objects of one shape, also of the unseen class, and one colour. */
export function labelledShapes(random: Random, config: MiniConfig): LabelledShapes {
  const label = random.integer(shapeLabels(config));
  const shape = shapes[Math.floor(label / config.colors.length)]!;
  const color = config.colors[label % config.colors.length]!;
  const record = countingRecord(shape, 1 + random.integer(MOST_OBJECTS), color);
  return {
    image: renderScene(drawScene(record, random, config), config.noise, random).image,
    label,
  };
}
