// What images are like, beside right or wrong.

import { clampUnit, type Raster } from "../../../image/raster.ts";
import { type DetectedObject } from "./detector.ts";
import { SIDE } from "./scene.ts";

/**
 * Mean of red - (green + blue) / 2, after clamping to [-1, 1], over the pixels where `mask` is `side`; over all without a mask. NaN
 * where there are none.
 */
export function redness({ data }: Raster, mask?: Uint8Array, side: 0 | 1 = 1): number {
  let [sum, count] = [0, 0];
  for (let pixel = 0; pixel * 3 < data.length; pixel++) {
    if (mask !== undefined && mask[pixel] !== side) continue;
    count++;
    const at = pixel * 3;
    sum += clampUnit(data[at]!) - (clampUnit(data[at + 1]!) + clampUnit(data[at + 2]!)) / 2;
  }
  return sum / count;
}

/** Mean IoU of the detected objects with the shapes they are taken for; 0 when there is none. */
export function templateIou(objects: readonly DetectedObject[]): number {
  if (objects.length === 0) return 0;
  return objects.reduce((sum, { confidence }) => sum + confidence, 0) / objects.length;
}

/** Mean purity of the colours of the detected objects; 0 when there is none. */
export function colorPurity(objects: readonly DetectedObject[]): number {
  if (objects.length === 0) return 0;
  return objects.reduce((sum, { purity }) => sum + purity, 0) / objects.length;
}

/** Mean over the prompts of the layout entropy of their images: how different the images of one prompt are. */
export function promptLayoutEntropy(
  images: readonly { readonly prompt: string; readonly objects: readonly DetectedObject[] }[],
): number {
  const byPrompt = new Map<string, (readonly DetectedObject[])[]>();
  for (const { prompt, objects } of images)
    byPrompt.set(prompt, [...(byPrompt.get(prompt) ?? []), objects]);
  const entropies = [...byPrompt.values()].map(layoutEntropy).filter((one) => !Number.isNaN(one));
  return entropies.reduce((sum, one) => sum + one, 0) / entropies.length;
}

/** Cells along a side in which the centres of objects are counted. */
const CELLS = 4;

/**
 * How different the layouts of many images are: entropy, in nats, of the cell (of 4x4) in which the centre of an object lies, over
 * all objects, by ln 16. 1: everywhere alike; 0: always in one cell; NaN without objects. Compare images of the same prompts.
 */
export function layoutEntropy(images: readonly (readonly DetectedObject[])[]): number {
  const counts = new Float64Array(CELLS * CELLS);
  let total = 0;
  const cell = (low: number, high: number): number =>
    Math.min(CELLS - 1, Math.floor((((low + high) / 2) * CELLS) / SIDE));
  for (const { box } of images.flat()) {
    counts[cell(box[1], box[3]) * CELLS + cell(box[0], box[2])]!++;
    total++;
  }
  if (total === 0) return Number.NaN;
  const entropy = counts.reduce((sum, count) => {
    const p = count / total;
    return p === 0 ? sum : sum - p * Math.log(p);
  }, 0);
  return entropy / Math.log(counts.length);
}
