// What a reward for redness does to the structure of images: numbers of one evaluation, and curves of many.
//
// Experiment: ViPO, arXiv:2511.18719, the redness test of its section 4; numbers and thresholds are our own.

import type { JudgedImage } from "../../evaluate/evaluate-images.ts";
import { drawPlot } from "../../image/plot.ts";
import type { Raster } from "../../image/raster.ts";
import type { EvaluationRecord } from "../../run/run-directory.ts";
import { foregroundOf, redness } from "../../tasks/image-generation/index.ts";

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * Growth of redness over the base model's images of the same seeds: everywhere, and where the base image has its objects and its
 * background. Images whose base has no objects count in the first and the last.
 */
export function rednessGains<Item>(
  base: readonly JudgedImage<Item, Raster>[],
  now: readonly JudgedImage<Item, Raster>[],
): Readonly<Record<string, number>> {
  const gains = base.map(({ image }, index) => {
    const mask = foregroundOf(image);
    const after = now[index]!.image;
    const gain = (side?: 0 | 1): number =>
      side === undefined
        ? redness(after) - redness(image)
        : redness(after, mask, side) - redness(image, mask, side);
    return { all: gain(), foreground: gain(1), background: gain(0) };
  });
  const over = (key: "all" | "foreground" | "background"): number =>
    mean(gains.map((gain) => gain[key]).filter((gain) => !Number.isNaN(gain)));
  return {
    rednessGain: over("all"),
    foregroundGain: over("foreground"),
    backgroundGain: over("background"),
  };
}

export interface StructurePoint {
  /** Growth of redness over the whole image, over the objects, over the background. */
  readonly gain: number;
  readonly foreground: number;
  readonly background: number;
  /** Share of images whose numbers and positions are right, whatever their colours. */
  readonly structure: number;
}

/** The evaluations of a stage on a suite, in order; the first one is that of the base model, whose gains are 0. */
export function structureCurve(
  evaluations: readonly EvaluationRecord[],
  { base, stage, suite }: { base: string; stage: string; suite: string },
): StructurePoint[] {
  const scoresOf = (name: string): readonly Readonly<Record<string, number>>[] =>
    evaluations
      .filter((one) => one.stage === name && one.split === suite)
      .map((one) => one["scores"] as Readonly<Record<string, number>>);
  const first = scoresOf(base).at(-1);
  const start =
    first === undefined
      ? []
      : [{ gain: 0, foreground: 0, background: 0, structure: first["structure"]! }];
  const later = scoresOf(stage).map((scores) => ({
    gain: scores["rednessGain"]!,
    foreground: scores["foregroundGain"]!,
    background: scores["backgroundGain"]!,
    structure: scores["structure"]!,
  }));
  return [...start, ...later];
}

/** The curve where its gain first reaches `gain`, between two evaluations on a straight line; null when it never does. */
export function atGain(curve: readonly StructurePoint[], gain: number): StructurePoint | null {
  const index = curve.findIndex((point) => point.gain >= gain);
  if (index < 0) return null;
  const [before, after] = [curve[Math.max(0, index - 1)]!, curve[index]!];
  const share = after.gain === before.gain ? 1 : (gain - before.gain) / (after.gain - before.gain);
  const between = (key: keyof StructurePoint): number =>
    before[key] + share * (after[key] - before[key]);
  return {
    gain,
    foreground: between("foreground"),
    background: between("background"),
    structure: between("structure"),
  };
}

/** Structure, and redness of the background, against redness. */
export function drawStructureCurves(
  curves: Readonly<Record<string, readonly StructurePoint[]>>,
  y: "structure" | "background",
): Raster {
  const series = Object.entries(curves).map(([name, points]) => ({
    name,
    points: points.map((point) => ({ x: point.gain, y: point[y] })),
  }));
  return drawPlot(series, {
    title: "ViPO: what a reward for redness does to images",
    x: "redness gain of the whole image",
    y: y === "structure" ? "structure" : "redness gain of the background",
  });
}
