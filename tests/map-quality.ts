// How well maps of GenEval-mini's images agree with where its objects are.

import { structuringSettings, type Structuring } from "../src/core/flow-spec.ts";
import { randomStream } from "../src/core/random.ts";
import {
  meanEstimate,
  wilsonInterval,
  type Estimate,
  type Interval,
} from "../src/core/statistics.ts";
import {
  allocationMap,
  borderContrast,
  type Backbone,
  type PatchFeatures,
} from "../src/image/allocation-map.ts";
import type { Raster } from "../src/image/raster.ts";
import type { BackboneImages } from "../src/systems/frozen-backbone.ts";
import {
  genevalMini,
  labelledShapes,
  miniConfig,
  shapeLabels,
} from "../src/tasks/image-generation/index.ts";

const config = miniConfig.parse({});
const SIDE = 24;

/** What backbones of GenEval-mini are trained on. */
export const miniImages: BackboneImages = {
  shape: [SIDE, SIDE, 3],
  draw: (random) => genevalMini.illustrate(random, config).image,
  labelled: {
    labels: shapeLabels(config),
    draw: (random) => labelledShapes(random, config),
  },
};

/** What is done to images before a backbone sees them. */
export const changes = {
  none: (image: Raster): Raster => image,
  noise: (image: Raster, index: number): Raster => {
    const noise = new Float32Array(image.data.length);
    randomStream("map quality", "noise", index).fillNormal(noise);
    return { ...image, data: image.data.map((value, at) => value + 0.05 * noise[at]!) };
  },
  red: (image: Raster): Raster => ({
    ...image,
    data: image.data.map((value, at) => (at % 3 === 0 ? value + 0.3 : value)),
  }),
} as const;

interface MapQuality {
  /** Pearson's correlation of M with the true mask, mean over images. */
  readonly correlation: Estimate;
  /** Share of images whose map has a smaller mean on the border ring than inside. */
  readonly inward: Interval & { readonly share: number };
  /** Share of images whose map has the wrong side: a correlation below 0. */
  readonly inverted: number;
}

export interface MapOptions {
  readonly count: number;
  readonly structuring: Partial<Structuring>;
  readonly change?: keyof typeof changes;
}

export function correlation(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const mean = (list: ArrayLike<number>): number =>
    Array.from(list).reduce((sum, x) => sum + x, 0) / list.length;
  const [meanA, meanB] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  for (let index = 0; index < a.length; index++) {
    const [x, y] = [a[index]! - meanA, b[index]! - meanB];
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return aa === 0 || bb === 0 ? 0 : ab / Math.sqrt(aa * bb); // a constant map says nothing
}

/** The mask as one feature of patches of 2x2 pixels: what no backbone can beat. */
function maskFeatures(mask: Uint8Array): PatchFeatures {
  const side = SIDE / 2;
  const values = new Float64Array(side * side);
  mask.forEach((inside, pixel) => {
    const [row, column] = [Math.floor(pixel / SIDE), pixel % SIDE];
    values[Math.floor(row / 2) * side + Math.floor(column / 2)]! += inside / 4;
  });
  return { values, height: side, width: side };
}

/** Over images that no backbone was trained on; without one over their true masks. */
export async function mapQuality(
  backbone: Backbone | null,
  { count, structuring, change = "none" }: MapOptions,
): Promise<MapQuality> {
  const drawn = Array.from({ length: count }, (_, index) =>
    genevalMini.illustrate(randomStream("map quality", index), config),
  );
  const features =
    backbone === null
      ? drawn.map(({ mask }) => maskFeatures(mask))
      : await backbone(drawn.map(({ image }, index) => changes[change](image, index)));
  const spec = structuringSettings.parse(structuring);
  const maps = features.map((one) => allocationMap(one, spec, { height: SIDE, width: SIDE }));
  const inward = maps.filter((map) => {
    const { border, interior } = borderContrast(map);
    return border < interior;
  }).length;
  const agreement = maps.map(({ values }, index) => correlation(values, drawn[index]!.mask));
  return {
    correlation: meanEstimate(agreement),
    inward: { share: inward / count, ...wilsonInterval(inward, count) },
    inverted: agreement.filter((value) => value < 0).length / count,
  };
}
