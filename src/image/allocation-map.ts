// ViPO's perceptual structuring module: from the features of the patches of an image to a map M of where its advantage goes.
//
//   Z = the first K principal components of the features over the patches of this image, λ_j their shares of the variance
//   S = Σ_j λ_j (max z_j − z_j) / (max z_j − min z_j)      smoothed, resized to the latent grid, min-max after each: M in [0, 1]
//
// Paper: ViPO, arXiv:2511.18719, equations 5 and 6. The paper leaves open, and Tele-AI/TeleBoost chose (its `vipo.py`, followed
// here): the reversed min-max, K = 3, σ = 1, shares normalised over the kept K, sizes and order of resizing, "average" and
// "first-pc", ones for a constant map.
// Differs from TeleBoost in: the sign of a component, which a decomposition leaves open, follows a rule ("decomposition" gives
// TeleBoost's behaviour); features that cannot be had are the caller's error, not silently a map of ones.

import { ConfigError, ShapeError } from "../core/errors.ts";
import type { PixelAdvantage, Structuring } from "../core/flow-spec.ts";
import { gaussianSmooth, resizeFrames, resizeGrid, type Grid } from "./grid-filters.ts";
import { principalComponents } from "./principal-components.ts";
import type { Raster } from "./raster.ts";

/** Features of the patches of an image or frame, from a frozen backbone. */
export interface PatchFeatures {
  /** [height, width, channel] in patches, row-major. */
  readonly values: ArrayLike<number>;
  readonly height: number;
  readonly width: number;
}

/** A frozen network: features of the patches of each image, in order. What stands beside an image does not change its features. */
export type Backbone = (
  images: readonly Raster[],
) => readonly PatchFeatures[] | Promise<readonly PatchFeatures[]>;

/** Ranges below this are rounding. */
const SMALLEST_RANGE = 1e-8;

function range(values: Float64Array): { readonly low: number; readonly size: number } {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return { low, size: high - low };
}

/** (x − min) / (max − min); one value everywhere becomes `constant`. */
function unitInterval(values: Float64Array, constant: number): Float64Array {
  const { low, size } = range(values);
  // One pass over numbers that cannot be told from equal ones would blow their rounding up to a map.
  if (!(size > SMALLEST_RANGE)) return values.map(() => constant);
  return values.map((value) => (value - low) / size);
}

/** min-max of a map; a constant one becomes all ones, never zeros: no position is then preferred, and the loss stays. */
export const minMaxMap = (values: Float64Array): Float64Array => unitInterval(values, 1);

const isBorder = (index: number, height: number, width: number): boolean => {
  const [row, column] = [Math.floor(index / width), index % width];
  return row === 0 || column === 0 || row === height - 1 || column === width - 1;
};

/** Mean of a map over its border ring, one cell wide, and over the rest (NaN where there is none): what the sign rule is after. */
export function borderContrast({ height, width, values }: Grid): {
  readonly border: number;
  readonly interior: number;
} {
  const meanOf = (wanted: boolean): number => {
    const some = values.filter((_, index) => isBorder(index, height, width) === wanted);
    return some.reduce((sum, value) => sum + value, 0) / some.length;
  };
  return { border: meanOf(true), interior: meanOf(false) };
}

/**
 * The component with its sign chosen; low scores get high weights. "border": the inside of the image weighs more than its border
 * ring. "area", and "border" where these are equal: the side of the mean with fewer patches weighs more; if they are equal too,
 * the patch farthest from the mean. The result is the same for −z. Our own rule: neither paper nor TeleBoost has one.
 */
export function orientComponent(
  scores: Float64Array,
  { height, width }: Pick<Grid, "height" | "width">,
  rule: Structuring["sign"],
): Float64Array {
  if (rule === "decomposition") return scores;
  const negated = scores.map((score) => -score);
  const tolerance = 1e-9 * range(scores).size;
  if (rule === "border") {
    const { border, interior } = borderContrast({ height, width, values: scores });
    const difference = border - interior; // NaN where the grid has no inside
    if (Math.abs(difference) > tolerance) return difference > 0 ? scores : negated;
  }
  const below = scores.filter((score) => score < -tolerance).length;
  const above = scores.filter((score) => score > tolerance).length;
  if (below !== above) return below < above ? scores : negated;
  const farthest = scores.reduce((best, score) =>
    Math.abs(score) > Math.abs(best) + tolerance ? score : best,
  );
  return farthest <= 0 ? scores : negated;
}

/** S of oriented scores `[component][patch]`, in [0, 1] and not yet stretched. */
export function aggregateComponents(
  scores: readonly Float64Array[],
  shares: readonly number[],
  aggregation: Structuring["aggregation"],
): Float64Array {
  const negated = (z: Float64Array): Float64Array => z.map((value) => -value);
  switch (aggregation) {
    case "first-pc":
      return unitInterval(negated(scores[0]!), 0.5);
    case "average": {
      const mean = scores[0]!.map(
        (_, patch) => scores.reduce((sum, z) => sum + z[patch]!, 0) / scores.length,
      );
      return unitInterval(negated(mean), 0.5);
    }
    default: {
      // weighted
      const parts = scores.map((z) => unitInterval(negated(z), 0.5));
      return scores[0]!.map((_, patch) => {
        const sum = parts.reduce((total, part, j) => total + shares[j]! * part[patch]!, 0);
        return Math.min(Math.max(sum, 0), 1);
      });
    }
  }
}

/**
 * M of an image on a grid of `height` x `width` positions, in [0, 1].
 *
 * @throws ShapeError when the features do not fill their grid, ConfigError when one is no number.
 */
export function allocationMap(
  features: PatchFeatures,
  spec: Structuring,
  { height, width }: { readonly height: number; readonly width: number },
): Grid {
  const channels = features.values.length / (features.height * features.width);
  checkFeatures(features, channels);
  const { scores, shares } = principalComponents(features.values, channels, spec.components);
  const oriented = scores.map((z) => orientComponent(z, features, spec.sign));
  const structure = aggregateComponents(oriented, shares, spec.aggregation);
  const patches: Grid = { height: features.height, width: features.width, values: structure };
  const smooth = gaussianSmooth(patches, spec.smoothing);
  const stretched: Grid = { ...smooth, values: unitInterval(smooth.values, 0.5) };
  const resized = resizeGrid(stretched, height, width);
  return { ...resized, values: minMaxMap(resized.values) };
}

function checkFeatures({ values, height, width }: PatchFeatures, channels: number): void {
  if (!Number.isInteger(channels) || channels < 1) {
    throw new ShapeError({
      where: "allocationMap",
      expected: `features of ${height} x ${width} patches`,
      got: `${values.length} numbers`,
    });
  }
  for (let index = 0; index < values.length; index++) {
    if (Number.isFinite(values[index])) continue;
    const where = `allocationMap: feature ${index}`;
    throw new ConfigError({ where, expected: "a finite number", got: String(values[index]) });
  }
}

/**
 * M of a video `[frame]`: the map of each frame, as many frames as the latent has, one min-max over the whole clip.
 */
export function clipAllocationMap(
  frames: readonly PatchFeatures[],
  spec: Structuring,
  size: { readonly frames: number; readonly height: number; readonly width: number },
): Float64Array[] {
  const maps = resizeFrames(
    frames.map((frame) => allocationMap(frame, spec, size).values),
    size.frames,
  );
  const area = size.height * size.width;
  const whole = new Float64Array(maps.length * area);
  maps.forEach((map, frame) => whole.set(map, frame * area));
  const clip = minMaxMap(whole);
  return maps.map((_, frame) => clip.slice(frame * area, (frame + 1) * area));
}

/**
 * The map as it multiplies advantages: cut off at both ends, turned round where the spec says so (1 − M), and of mean 1 for
 * "mean1". A map that is the same everywhere prefers nothing, either way: it is not turned round, since ones would become zeros
 * and train nothing. The cut is our own: a background is large and alike, so 0.04 of every push on it adds up to a push on all of it.
 */
export function finishedMap(
  map: Float64Array,
  { cut, flip, mapNorm }: Pick<PixelAdvantage, "cut" | "flip" | "mapNorm">,
): Float64Array {
  const isFlat = map.every((weight) => weight === map[0]);
  const sharp =
    cut === 0 || isFlat
      ? map
      : map.map((weight) => Math.min(Math.max((weight - cut) / (1 - 2 * cut), 0), 1));
  const turned = flip && !isFlat ? sharp.map((weight) => 1 - weight) : sharp;
  if (mapNorm === "minmax") return turned;
  const mean = turned.reduce((sum, weight) => sum + weight, 0) / turned.length;
  // Where nothing weighs anything there is nothing to divide by.
  return mean === 0 ? turned : turned.map((weight) => weight / mean);
}
