import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { gaussianSmooth, resizeFrames, resizeGrid, type Grid } from "./grid-filters.ts";

const grid = (height: number, width: number, ...values: number[]): Grid => ({
  height,
  width,
  values: Float64Array.from(values),
});
const close = (...values: number[]) => values.map((value) => expect.closeTo(value, 6));

describe("Gaussian smoothing", () => {
  it("is that of SciPy, mirrored at the edges", () => {
    // scipy.ndimage.gaussian_filter([[1, 0, 0, 0, 0]] or its transpose, sigma=1), by its definition: radius 4,
    // kernel w_k = exp(−k²/2) / Σ; element i gets w_i + w_{i+1} from the mirror.
    const kernel = [0, 1, 2, 3, 4].map((k) => Math.exp((-k * k) / 2));
    const total = 2 * kernel.reduce((a, b) => a + b) - 1;
    const wanted = [0, 1, 2, 3, 4].map((i) => (kernel[i]! + (kernel[i + 1] ?? 0)) / total);
    // The mirror of period 10 brings w_{5 − i − …} of the far side in nowhere: radius 4 < 5.
    expect([...gaussianSmooth(grid(1, 5, 1, 0, 0, 0, 0), 1).values]).toEqual(close(...wanted));
    expect([...gaussianSmooth(grid(5, 1, 1, 0, 0, 0, 0), 1).values]).toEqual(close(...wanted));
  });

  it("keeps the sum and a constant, also where the kernel is wider than the grid", () => {
    const values = fc.array(fc.double({ min: -1, max: 1, noNaN: true }), {
      minLength: 6,
      maxLength: 6,
    });
    const sigma = fc.double({ min: 0.3, max: 4, noNaN: true });
    fc.assert(
      fc.property(values, sigma, (numbers, width) => {
        const sum = (list: Iterable<number>) => [...list].reduce((a, b) => a + b, 0);
        const smooth = gaussianSmooth(grid(2, 3, ...numbers), width);
        expect(sum(smooth.values)).toBeCloseTo(sum(numbers), 9);
      }),
    );
    expect([...gaussianSmooth(grid(2, 2, 3, 3, 3, 3), 2).values]).toEqual(close(3, 3, 3, 3));
    const given = grid(1, 2, 1, 2);
    expect(gaussianSmooth(given, 0)).toBe(given);
  });
});

describe("resizing", () => {
  it("is bilinear upwards", () => {
    // torch interpolate of [0, 1] to 4, align_corners=False: 0, 0.25, 0.75, 1.
    expect([...resizeGrid(grid(1, 2, 0, 1), 1, 4).values]).toEqual(close(0, 0.25, 0.75, 1));
    expect([...resizeGrid(grid(2, 1, 0, 1), 4, 2).values]).toEqual(
      close(0, 0, 0.25, 0.25, 0.75, 0.75, 1, 1),
    );
  });

  it("downwards averages over a triangle as wide as the step", () => {
    // 4 to 2: centre 1, half width 2: distances 0.5, 0.5, 1.5 and the edge; weights 3, 3, 1 of 7.
    expect([...resizeGrid(grid(1, 4, 1, 0, 0, 0), 1, 2).values]).toEqual(close(3 / 7, 0));
    expect([...resizeGrid(grid(1, 4, 0, 0, 1, 0), 1, 2).values]).toEqual(close(1 / 7, 3 / 7));
    // 6 to 2: centre 4.5, half width 3, cut at the edge: weights 1, 2, 3, 2 of 8.
    expect([...resizeGrid(grid(1, 6, 0, 0, 0, 0, 0, 8), 1, 2).values]).toEqual(close(0, 2));
  });

  it("keeps constants and turns with the grid", () => {
    const constant = grid(3, 2, 5, 5, 5, 5, 5, 5);
    expect([...resizeGrid(constant, 2, 5).values].every((x) => Math.abs(x - 5) < 1e-12)).toBe(true);
    const up = resizeGrid(grid(2, 3, 1, 2, 3, 4, 5, 6), 5, 4);
    const turned = resizeGrid(grid(3, 2, 1, 4, 2, 5, 3, 6), 4, 5);
    expect([up.height, up.width]).toEqual([5, 4]);
    up.values.forEach((x, index) => {
      expect(turned.values[(index % 4) * 5 + Math.floor(index / 4)]).toBeCloseTo(x, 12);
    });
  });

  it("of frames is linear in time", () => {
    const frames = [Float64Array.of(0, 8), Float64Array.of(4, 0)];
    // 2 to 4: places −1/4 (taken as 0), 1/4, 3/4, 5/4 (the last frame).
    expect(resizeFrames(frames, 4).map((frame) => frame[0])).toEqual(close(0, 1, 3, 4));
    expect(resizeFrames(frames, 4).map((frame) => frame[1])).toEqual(close(8, 6, 2, 0));
    const five = [0, 1, 2, 3, 4].map((x) => Float64Array.of(x));
    expect(resizeFrames(five, 2).map((frame) => frame[0])).toEqual(close(0.75, 3.25));
    expect(resizeFrames(five, 5)).toEqual(five);
  });
});
