import { describe, expect, it } from "vitest";
import { ConfigError } from "../core/errors.ts";
import { drawPlot } from "./plot.ts";
import type { Raster } from "./raster.ts";

const options = { title: "t", x: "x", y: "y" };

/** Mean row of the pixels that are clearly red, which the first series is. */
function redRow({ shape: [height, width], data }: Raster): number {
  let [sum, count] = [0, 0];
  for (let y = 40; y < height; y++)
    for (let x = 0; x < width / 2; x++) {
      const at = (y * width + x) * 3;
      if (data[at]! > 0.5 && data[at + 1]! < -0.5) {
        sum += y;
        count++;
      }
    }
  return sum / count;
}

describe("a plot", () => {
  it("has larger values higher up", () => {
    const line = (y: number) => ({ name: "a", points: [0, 1].map((x) => ({ x, y })) });
    const frame = { name: "b", points: [0, 10].map((y) => ({ x: 0, y })) };
    const [low, high] = [1, 9].map((y) => redRow(drawPlot([line(y), frame], options)));
    expect(low! - high!).toBeGreaterThan(200);
  });

  it("is drawn for one point, and for points that are all alike", () => {
    for (const value of [0, 0.3, -5, 1e6])
      expect(drawPlot([{ name: "a", points: [{ x: value, y: value }] }], options).data).toSatisfy(
        (data: Float32Array) => data.every(Number.isFinite),
      );
  });

  it("wants points that are finite", () => {
    expect(() => drawPlot([], options)).toThrow(ConfigError);
    expect(() => drawPlot([{ name: "a", points: [{ x: 0, y: Number.NaN }] }], options)).toThrow(
      /finite/,
    );
  });
});
