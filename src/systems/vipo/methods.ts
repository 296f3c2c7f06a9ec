// The methods that are compared: one advantage a sample, or a map of where in the image it goes. All begin at the same base model.

import type { FlowGrpoSettings } from "../../algorithms/flow-grpo-settings.ts";
import type { PixelAdvantage } from "../../core/flow-spec.ts";

/** What each method changes about the pixel advantages of the config; null: it has none. */
const changes = {
  scalar: () => null,
  vipo: (pixels) => pixels,
  flipped: (pixels) => ({ ...pixels, flip: true }),
  ones: (pixels) => ({ ...pixels, map: { type: "ones" } }),
  oracle: (pixels) => ({ ...pixels, map: { type: "oracle" } }),
  "reward-map": (pixels) => ({ ...pixels, target: "reward" }),
  average: (pixels) => aggregated(pixels, "average"),
  "first-pc": (pixels) => aggregated(pixels, "first-pc"),
} as const satisfies Readonly<Record<string, (pixels: PixelAdvantage) => PixelAdvantage | null>>;

const aggregated = (
  pixels: PixelAdvantage,
  aggregation: "average" | "first-pc",
): PixelAdvantage => ({
  ...pixels,
  map: pixels.map.type === "psm" ? { ...pixels.map, aggregation } : pixels.map,
});

export type MethodName = keyof typeof changes;
export const methodNames = Object.keys(changes) as [MethodName, ...MethodName[]];

/** Pixel advantages of a method; null: one advantage a sample. */
export const pixelsOf = (method: MethodName, pixels: PixelAdvantage): PixelAdvantage | null =>
  changes[method](pixels);

/**
 * Clip range of a position's ratio that is as wide, in deviations, as `clip` is for the ratio of a whole sample: the latter is the
 * mean over D numbers, the former the sum over C, so the log-ratios are √(C D) times as large (for independent numbers).
 */
export const denseClip = (clip: number, shape: readonly number[]): number =>
  clip * Math.sqrt(shape.at(-1)! * shape.reduce((product, extent) => product * extent, 1));

/** GRPO settings of a method: the ratio of positions where advantages have maps. */
export function settingsOf(
  grpo: FlowGrpoSettings,
  pixels: PixelAdvantage | null,
  clip: number | null,
  shape: readonly number[],
): FlowGrpoSettings {
  const { objective } = grpo;
  if (pixels === null || objective.type !== "policy") return grpo;
  const { low, high } = objective.ratio;
  const ratio = {
    ...objective.ratio,
    type: "position",
    low: clip ?? denseClip(low, shape),
    high: clip ?? denseClip(high, shape),
  } as const;
  return { ...grpo, objective: { ...objective, ratio } };
}
