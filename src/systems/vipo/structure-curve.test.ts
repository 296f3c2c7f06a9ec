import { describe, expect, it } from "vitest";
import { blankRaster, type Raster } from "../../image/raster.ts";
import type { EvaluationRecord } from "../../run/run-directory.ts";
import { atGain, rednessGains, structureCurve, type StructurePoint } from "./structure-curve.ts";

const judged = (image: Raster) => ({ item: null, image, isRight: true, level: "one" });

/** Grey with a green square of 4x4 pixels in the middle of 12x12. */
function squared(): Raster {
  const image = blankRaster(12, 12, [0, 0, 0]);
  for (let y = 4; y < 8; y++)
    for (let x = 4; x < 8; x++) image.data.set([-0.7, 0.7, -0.7], (y * 12 + x) * 3);
  return image;
}

describe("redness gains", () => {
  it("are told apart by where the base image has its objects", () => {
    const base = squared();
    const now = squared();
    for (let y = 4; y < 8; y++) for (let x = 4; x < 8; x++) now.data[(y * 12 + x) * 3] = 0.3;
    const gains = rednessGains([judged(base)], [judged(now)]);
    expect(gains["foregroundGain"]).toBeCloseTo(1, 6);
    expect(gains["backgroundGain"]).toBe(0);
    expect(gains["rednessGain"]).toBeCloseTo(16 / 144, 6);
  });

  it("leave images without objects out of the objects' mean alone", () => {
    const empty = blankRaster(12, 12, [0, 0, 0]);
    const red = blankRaster(12, 12, [0.5, 0, 0]);
    const gains = rednessGains(
      [judged(squared()), judged(empty)],
      [judged(squared()), judged(red)],
    );
    expect(gains["foregroundGain"]).toBe(0);
    expect(gains["backgroundGain"]).toBeCloseTo(0.25, 6);
    expect(gains["rednessGain"]).toBeCloseTo(0.25, 6);
  });
});

const point = (gain: number, structure: number): StructurePoint => ({
  gain,
  structure,
  foreground: 2 * gain,
  background: gain / 2,
});

describe("a structure curve", () => {
  it("is read between two evaluations, where it first gets so far", () => {
    const curve = [point(0, 0.8), point(0.2, 0.6), point(0.1, 0.9), point(0.4, 0.2)];
    expect(atGain(curve, 0.1)).toEqual({
      gain: 0.1,
      structure: expect.closeTo(0.7, 9),
      foreground: 0.2,
      background: 0.05,
    });
    expect(atGain(curve, 0.3)!.structure).toBeCloseTo(0.9 - (0.7 * 2) / 3, 9);
    expect(atGain(curve, 0.5)).toBeNull();
  });

  it("begins at the base model and has the evaluations of its stage and suite", () => {
    const record = (stage: string, split: string, scores: object) =>
      ({ step: 1, stage, split, scores }) as unknown as EvaluationRecord;
    const later = { structure: 0.5, rednessGain: 0.1, foregroundGain: 0.3, backgroundGain: 0 };
    const curve = structureCurve(
      [
        record("base", "test", { structure: 0.7 }),
        record("scalar", "test", later),
        record("scalar", "other", later),
        record("vipo", "test", later),
      ],
      { base: "base", stage: "scalar", suite: "test" },
    );
    expect(curve).toEqual([
      { gain: 0, foreground: 0, background: 0, structure: 0.7 },
      { gain: 0.1, foreground: 0.3, background: 0, structure: 0.5 },
    ]);
  });
});
