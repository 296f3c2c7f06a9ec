import { describe, expect, it } from "vitest";
import { randomStream } from "../core/random.ts";
import { COLOR_CLASSES, colorClasses, corruptImage } from "./corrupt-image.ts";
import { blankRaster, type Raster } from "./raster.ts";

const nothing = { hidden: 0, colorShift: 0, noise: 0 };
const stream = (...key: (string | number)[]) => randomStream("corrupt image", ...key);

function noisy(height: number, width: number): Raster {
  const image = blankRaster(height, width, [0, 0, 0]);
  stream("image").fillNormal(image.data);
  return { ...image, data: image.data.map((value) => Math.max(-1, Math.min(1, value))) };
}

describe("a corrupt image", () => {
  it("is the image where nothing is asked for", () => {
    const image = noisy(4, 6);
    const { pixels, hidden } = corruptImage(image, 2, nothing, stream(1));
    expect(pixels).toEqual(image.data);
    expect([...hidden]).toEqual([0, 0, 0, 0, 0, 0]);
  });

  it("has the asked share of hidden patches and shifts of channels, within [-1, 1]", () => {
    const grey = blankRaster(24, 24, [0, 0, 0.9]);
    const corruption = { hidden: 0.15, colorShift: 0.4, noise: 0 };
    let hiddenCount = 0;
    const shifts: number[] = [];
    for (let key = 0; key < 200; key++) {
      const { pixels, hidden } = corruptImage(grey, 2, corruption, stream("share", key));
      hiddenCount += hidden.filter((x) => x === 1).length;
      shifts.push(pixels[0]!);
      expect(new Set([...pixels].filter((_, at) => at % 3 === 1)).size).toBe(1);
      expect(Math.max(...pixels)).toBeLessThanOrEqual(1);
    }
    expect(hiddenCount / (200 * 144)).toBeCloseTo(0.15, 1);
    expect(Math.max(...shifts)).toBeGreaterThan(0.35);
    expect(Math.max(...shifts)).toBeLessThanOrEqual(0.4);
    expect(Math.min(...shifts)).toBeLessThan(-0.35);
  });

  it("has noise below the asked deviation", () => {
    const grey = blankRaster(24, 24, [0, 0, 0]);
    const deviations = Array.from({ length: 50 }, (_, key) => {
      const { pixels } = corruptImage(grey, 2, { ...nothing, noise: 0.05 }, stream("noise", key));
      return Math.sqrt(pixels.reduce((sum, x) => sum + x * x, 0) / pixels.length);
    });
    expect(Math.max(...deviations)).toBeLessThan(0.055);
    expect(Math.max(...deviations)).toBeGreaterThan(0.04);
    expect(Math.min(...deviations)).toBeLessThan(0.01);
  });

  it("is the same for the same stream", () => {
    const image = noisy(4, 6);
    const use = (key: number) =>
      corruptImage(image, 2, { hidden: 0.5, colorShift: 0.4, noise: 0.1 }, stream(key));
    expect(use(1)).toEqual(use(1));
    expect(use(1)).not.toEqual(use(2));
  });
});

describe("colour classes", () => {
  it("are levels of red, green and blue, patch after patch", () => {
    const image = blankRaster(2, 4, [0, 0, 0]); // 13, the middle of all
    const set = (x: number, y: number, rgb: readonly number[]) =>
      image.data.set(rgb, (y * 4 + x) * 3);
    set(0, 0, [-1, -1, -1]);
    set(1, 0, [1, 1, 1]);
    set(3, 1, [0.9, -0.7, -0.7]);
    set(2, 0, [-5, 0.3, 5]);
    expect([...colorClasses(image, 2)]).toEqual([0, 26, 13, 13, 0 + 3 + 2, 13, 13, 18]);
    expect(COLOR_CLASSES).toBe(27);
  });
});
