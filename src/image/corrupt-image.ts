// What a network is shown that has to learn, without labels, what an image looks like: the image in other colours, with noise,
// some patches left out; and what it has to say: the colour that every pixel had.
//
// Colours are classes, a cube of levels per channel: with squared errors features keep colours as the numbers they are.
// Masked patches: BEiT, arXiv:2106.08254. Colours as classes: Colorful Image Colorization, arXiv:1603.08511; Generative
// Pretraining from Pixels (ICML 2020), which also predicts masked pixels.

import type { Random } from "../core/random.ts";
import { checkRaster, clampUnit, type Raster } from "./raster.ts";

export interface Corruption {
  /** Share of patches that are not shown. */
  readonly hidden: number;
  /** Each channel is shifted by at most this, uniformly. */
  readonly colorShift: number;
  /** Deviation of the noise on every value, at most; the image's own is uniform below it. */
  readonly noise: number;
}

export interface CorruptImage {
  /** [height, width, 3], clamped to [-1, 1]. */
  readonly pixels: Float32Array;
  /** 1 for patches that are not shown [height / patch, width / patch]; their pixels are still there. */
  readonly hidden: Float32Array;
}

/** Sides must be multiples of `patch`, pixels along the edge of a patch. */
export function corruptImage(
  { shape: [height, width], data }: Raster,
  patch: number,
  { hidden: share, colorShift, noise }: Corruption,
  random: Random,
): CorruptImage {
  const shift = [0, 1, 2].map(() => colorShift * (2 * random.uniform() - 1));
  const deviation = noise * random.uniform();
  const pixels = new Float32Array(data.length);
  random.fillNormal(pixels);
  for (let at = 0; at < data.length; at++) {
    pixels[at] = clampUnit(data[at]! + shift[at % 3]! + deviation * pixels[at]!);
  }
  const patches = (height / patch) * (width / patch);
  const hidden = Float32Array.from({ length: patches }, () => Number(random.uniform() < share));
  return { pixels, hidden };
}

/** Levels of a channel: dark, middle, bright. */
const LEVELS = 3;
/** Colours that pixels are sorted into. */
export const COLOR_CLASSES = LEVELS ** 3;

/** The colour class of every pixel, patch after patch [height / patch, width / patch, patch, patch]. */
export function colorClasses(image: Raster, patch: number): Int32Array {
  checkRaster(image, "colour classes");
  const {
    shape: [height, width],
    data,
  } = image;
  const classes = new Int32Array(height * width);
  const level = (value: number): number =>
    Math.min(LEVELS - 1, Math.floor(((clampUnit(value) + 1) / 2) * LEVELS));
  const columns = width / patch;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * 3;
      const cell = Math.floor(y / patch) * columns + Math.floor(x / patch);
      const within = (y % patch) * patch + (x % patch);
      classes[cell * patch * patch + within] =
        (level(data[at]!) * LEVELS + level(data[at + 1]!)) * LEVELS + level(data[at + 2]!);
    }
  }
  return classes;
}
