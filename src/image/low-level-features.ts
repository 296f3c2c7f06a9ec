// Features that nobody trained: colours, edges, contrast.
//
//   of a pixel   red, green, blue;  |∇|, the Sobel gradient over all channels;  the deviation from the mean of 5x5 pixels
//   of a patch   the mean over its pixels
//
// The image is continued beyond its edges by the pixels there, so that an edge of the image is no edge in it.

import { ShapeError } from "../core/errors.ts";
import type { Backbone, PatchFeatures } from "./allocation-map.ts";
import { checkRaster, clampUnit, type Raster } from "./raster.ts";

const CHANNELS = 3;
const FEATURES = CHANNELS + 2;
/** Pixels to each side over which contrast is taken. */
const CONTRAST_REACH = 2;

/** Value of a channel at a place; places outside are those at the edge. */
type Pixels = (y: number, x: number, channel: number) => number;

function pixelsOf({ shape: [height, width], data }: Raster): Pixels {
  const inside = (at: number, extent: number): number => Math.min(Math.max(at, 0), extent - 1);
  return (y, x, channel) =>
    clampUnit(data[(inside(y, height) * width + inside(x, width)) * CHANNELS + channel]!);
}

/** Change a pixel along both axes, smoothed across them (Sobel), as a length over all channels. */
function gradientAt(at: Pixels, y: number, x: number): number {
  let squares = 0;
  for (let c = 0; c < CHANNELS; c++) {
    const column = (dx: number): number =>
      at(y - 1, x + dx, c) + 2 * at(y, x + dx, c) + at(y + 1, x + dx, c);
    const row = (dy: number): number =>
      at(y + dy, x - 1, c) + 2 * at(y + dy, x, c) + at(y + dy, x + 1, c);
    squares += ((column(1) - column(-1)) / 8) ** 2 + ((row(1) - row(-1)) / 8) ** 2;
  }
  return Math.sqrt(squares);
}

/** Standard deviation of the pixels around, as a length over all channels. */
function contrastAt(at: Pixels, y: number, x: number): number {
  const side = 2 * CONTRAST_REACH + 1;
  let variance = 0;
  for (let c = 0; c < CHANNELS; c++) {
    let [sum, squares] = [0, 0];
    for (let place = 0; place < side * side; place++) {
      const [dy, dx] = [Math.floor(place / side), place % side];
      const value = at(y + dy - CONTRAST_REACH, x + dx - CONTRAST_REACH, c);
      sum += value;
      squares += value * value;
    }
    variance += Math.max(squares / side ** 2 - (sum / side ** 2) ** 2, 0);
  }
  return Math.sqrt(variance);
}

/**
 * Features [height / patch, width / patch, 5] of an image, clamped to [-1, 1].
 * @throws ShapeError when patches of that many pixels do not tile the image.
 */
export function lowLevelFeatures(image: Raster, patch = 2): PatchFeatures {
  checkRaster(image, "low-level features");
  const [height, width] = image.shape;
  if (height % patch !== 0 || width % patch !== 0) {
    throw new ShapeError({
      where: "low-level features",
      expected: `sides that ${patch} divides`,
      got: `${height} x ${width}`,
    });
  }
  const at = pixelsOf(image);
  const columns = width / patch;
  const values = new Float64Array((height / patch) * columns * FEATURES);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const start = (Math.floor(y / patch) * columns + Math.floor(x / patch)) * FEATURES;
      const colors = [0, 1, 2].map((channel) => at(y, x, channel));
      const pixel = [...colors, gradientAt(at, y, x), contrastAt(at, y, x)];
      pixel.forEach((value, index) => (values[start + index]! += value / patch ** 2));
    }
  }
  return { values, height: height / patch, width: columns };
}

/** As a backbone, on patches of 2x2 pixels; plays SAM in ViPO's ablation. */
export const lowLevelBackbone: Backbone = (images) =>
  images.map((image) => lowLevelFeatures(image));
