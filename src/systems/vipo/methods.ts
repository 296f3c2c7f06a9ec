// The methods that are compared: one advantage a sample, or a map of where in the image it goes. All begin at the same base model.

import type { FlowGrpoSettings } from "../../algorithms/flow-grpo-settings.ts";
import { ConfigError } from "../../core/errors.ts";
import type { PixelAdvantage } from "../../core/flow-spec.ts";
import { denseClip } from "../../losses/flow-policy.ts";

/** What each method changes about the pixel advantages of the config; null: it has none. */
const changes = {
  scalar: () => null,
  vipo: (pixels) => pixels,
  flipped: (pixels) => ({ ...pixels, flip: !pixels.flip }),
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

/** @throws ConfigError for two methods that do the same under these settings: one of them would seem to confirm the other. */
export function checkMethods(methods: readonly MethodName[], pixels: PixelAdvantage): void {
  const known = new Map<string, MethodName>();
  for (const method of methods) {
    const key = JSON.stringify(pixelsOf(method, pixels));
    const same = known.get(key);
    if (same !== undefined) {
      throw new ConfigError({
        where: "methods",
        expected: "methods that differ",
        got: `${same} and ${method}, which are the same with these pixels`,
        hint: "average and first-pc change maps of type psm",
      });
    }
    known.set(key, method);
  }
}

/** GRPO settings of a method: the ratio of positions where advantages have maps; one that is of positions already keeps its limits. */
export function settingsOf(
  grpo: FlowGrpoSettings,
  pixels: PixelAdvantage | null,
  clip: number | null,
  shape: readonly number[],
): FlowGrpoSettings {
  const { objective } = grpo;
  if (pixels === null || objective.type !== "policy") return grpo;
  const { type, low, high } = objective.ratio;
  const dimensions = shape.reduce((product, extent) => product * extent, 1);
  const wide = (limit: number): number =>
    type === "position" ? limit : denseClip(limit, shape.at(-1)!, dimensions);
  const ratio = { type: "position", low: clip ?? wide(low), high: clip ?? wide(high) } as const;
  return { ...grpo, objective: { ...objective, ratio } };
}
