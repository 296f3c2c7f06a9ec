// A detector that sees shapes whatever their colour: whether an image keeps its structure while a reward changes its colours.
//
// Foreground is what lies farther than 0.35 from the colour of the background, the median of every channel along the border.
// Made for the redness experiment of ViPO (arXiv:2511.18719, section 4).

import { checkFinite, clampUnit, type Raster, type Rgb } from "../../../image/raster.ts";
import type { GenevalRecord } from "../record.ts";
import { relationsOf, type Box } from "../relative-position.ts";
import { componentsOf, hasObjectSize, matchShape } from "./components.ts";
import { type Shape, shapes } from "./shapes.ts";

const FAR = 0.35;
const LEAST_IOU = 0.6;

export interface SeenShape {
  readonly shape: Shape;
  readonly box: Box;
  readonly iou: number;
}

/** Median of every channel along the border, after clamping. */
export function borderColor({ data, shape: [height, width] }: Raster): Rgb {
  const pixels: number[] = [];
  for (let x = 0; x < width; x++) pixels.push(x, (height - 1) * width + x);
  for (let y = 1; y + 1 < height; y++) pixels.push(y * width, y * width + width - 1);
  const median = (channel: number): number => {
    const values = Float64Array.from(pixels, (pixel) => clampUnit(data[pixel * 3 + channel]!));
    values.sort();
    const middle = values.length >> 1;
    return values.length % 2 === 1 ? values[middle]! : (values[middle - 1]! + values[middle]!) / 2;
  };
  return [median(0), median(1), median(2)];
}

/** 1 where a pixel is foreground, row by row. Throws a DataError for an image that is not finite. */
export function foregroundOf(image: Raster): Uint8Array {
  checkFinite(image, "colour-blind detector");
  const { data, shape } = image;
  const [red, green, blue] = borderColor(image);
  const kinds = new Uint8Array(shape[0] * shape[1]);
  for (let pixel = 0; pixel < kinds.length; pixel++) {
    const at = pixel * 3;
    const squared =
      (clampUnit(data[at]!) - red) ** 2 +
      (clampUnit(data[at + 1]!) - green) ** 2 +
      (clampUnit(data[at + 2]!) - blue) ** 2;
    kinds[pixel] = Number(squared > FAR * FAR);
  }
  return kinds;
}

/** Everything with a shape. Throws a DataError for an image that is not finite. */
export function detectShapes(image: Raster): SeenShape[] {
  const kinds = foregroundOf(image);
  const { shape } = image;
  return componentsOf(kinds, shape[1])
    .filter((part) => hasObjectSize(part, kinds.length))
    .map((part) => ({ ...matchShape(part, shape[1]), box: part.box }))
    .filter(({ iou }) => iou >= LEAST_IOU);
}

/** 1 when there are exactly as many of every class as the record asks for, and all positions are right; else 0. Colours do not count. */
export function structureScore({ include }: GenevalRecord, seen: readonly SeenShape[]): 0 | 1 {
  const of = (name: string): readonly SeenShape[] => seen.filter(({ shape }) => shape === name);
  const asked = (name: Shape): number =>
    include.filter((entry) => entry.class === name).reduce((sum, { count }) => sum + count, 0);
  if (shapes.some((name) => of(name).length !== asked(name))) return 0;
  for (const { class: name, position } of include) {
    if (position === undefined) continue;
    const [relation, index] = position;
    const targets = of(include[index]!.class);
    const isRight = of(name).every((a) =>
      targets.every((b) => relationsOf(a.box, b.box).includes(relation)),
    );
    if (!isRight) return 0;
  }
  return 1;
}
