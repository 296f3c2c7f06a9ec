import { describe, expect, it } from "vitest";
import { ShapeError } from "../core/errors.ts";
import { structuringSettings } from "../core/flow-spec.ts";
import { randomStream } from "../core/random.ts";
import { allocationMap } from "./allocation-map.ts";
import { lowLevelBackbone, lowLevelFeatures } from "./low-level-features.ts";
import { blankRaster, type Raster } from "./raster.ts";

const FEATURES = 5;

/** Grey 0 to the left, 0.6 in the red channel from column `from` on. */
function step(side: number, from: number): Raster {
  const image = blankRaster(side, side, [0, 0, 0]);
  for (let pixel = 0; pixel < side * side; pixel++) {
    if (pixel % side >= from) image.data[pixel * 3] = 0.6;
  }
  return image;
}

const featureOf = (image: Raster, row: number, column: number, feature: number): number => {
  const { values, width } = lowLevelFeatures(image);
  return values[(row * width + column) * FEATURES + feature]!;
};

describe("low-level features", () => {
  it("are colour, edge and contrast of a step, worked by hand", () => {
    const image = step(12, 6);
    const [red, gradient, contrast] = [0, 3, 4].map((feature) =>
      [0, 1, 2, 3, 4, 5].map((column) => featureOf(image, 3, column, feature)),
    );
    expect(red).toEqual([0, 0, 0, 0.6, 0.6, 0.6].map((x) => expect.closeTo(x, 6)));
    // Sobel / 8 over a step of 0.6 is 0.3 in the two columns at it; half of each patch.
    expect(gradient).toEqual([0, 0, 0.15, 0.15, 0, 0].map((x) => expect.closeTo(x, 6)));
    // Of 25 pixels 5 or 10 are on the other side: 0.6 √(p (1 − p)), p = 0.2 and 0.4.
    const half = (0.6 * (Math.sqrt(0.16) + Math.sqrt(0.24))) / 2;
    expect(contrast).toEqual([0, 0, half, half, 0, 0].map((x) => expect.closeTo(x, 6)));
  });

  it("of an image of one colour are the same everywhere, so its map is ones", () => {
    const image = blankRaster(24, 24, [0.3, -0.2, 0.7]);
    const features = lowLevelFeatures(image);
    const map = allocationMap(features, structuringSettings.parse({}), { height: 24, width: 24 });
    expect(map.values.every((weight) => weight === 1)).toBe(true);
  });

  it("see nothing beyond [-1, 1]", () => {
    const bright = step(12, 6);
    const brighter = { ...bright, data: bright.data.map((x) => (x > 0 ? 3 : x)) };
    const brightest = { ...bright, data: bright.data.map((x) => (x > 0 ? 1 : x)) };
    expect(lowLevelFeatures(brighter)).toEqual(lowLevelFeatures(brightest));
  });

  it("do not depend on what stands beside an image", async () => {
    const random = randomStream("low-level");
    const images = Array.from({ length: 3 }, (): Raster => {
      const image = blankRaster(8, 6, [0, 0, 0]);
      random.fork(random.integer(1000)).fillNormal(image.data);
      return image;
    });
    const all = await lowLevelBackbone(images);
    const turned = await lowLevelBackbone([images[2]!, images[0]!, images[1]!]);
    expect(turned).toEqual([all[2], all[0], all[1]]);
    expect(all[0]).toMatchObject({ height: 4, width: 3 });
  });

  it("need patches that tile the image", () => {
    expect(() => lowLevelFeatures(blankRaster(5, 4, [0, 0, 0]))).toThrow(ShapeError);
  });
});
