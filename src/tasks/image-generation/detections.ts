// What a detector saw in an image, and what of it counts.

import { DataError } from "../../core/errors.ts";
import type { Box } from "./relative-position.ts";
import type { Tag } from "./vocabulary.ts";

export interface Detection {
  readonly box: Box;
  readonly confidence: number;
  /** Word of the colour classifier; absent where none has looked. */
  readonly color?: string;
}

/** Detections by class. */
export type Detections = ReadonlyMap<string, readonly Detection[]>;

export interface DetectionThresholds {
  /** A detection counts above this confidence … */
  readonly others: number;
  /** … and in counting prompts above this one. */
  readonly counting: number;
}

/** Those of GenEval for Mask2Former. */
export const genevalThresholds: DetectionThresholds = { others: 0.3, counting: 0.9 };

/** Most detections of a class that count. */
const MOST = 16;

/**
 * Detections above the threshold of the tag, by falling confidence, at most 16 a class; classes without any are left out. GenEval's
 * suppression of overlapping boxes has threshold 1, which suppresses nothing; it is left out here.
 */
export function keepDetections(
  detections: Detections,
  tag: Tag,
  thresholds: DetectionThresholds = genevalThresholds,
): Detections {
  const least = tag === "counting" ? thresholds.counting : thresholds.others;
  const kept = new Map<string, readonly Detection[]>();
  for (const [name, list] of detections) {
    const sure = list.filter(({ confidence }) => confidence > least);
    sure.sort((a, b) => b.confidence - a.confidence);
    if (sure.length > 0) kept.set(name, sure.slice(0, MOST));
  }
  return kept;
}

/** How many have the colour. Throws a DataError when a colour is not known: then there is no reward, rather than a small one. */
export function countColor(list: readonly Detection[], color: string, className: string): number {
  for (const one of list) {
    if (one.color !== undefined) continue;
    throw new DataError({
      where: `detected ${className}`,
      expected: `its colour, to compare with ${color}`,
      got: "none",
      hint: "detector results need colors where prompts name a colour",
    });
  }
  return list.filter((one) => one.color === color).length;
}
