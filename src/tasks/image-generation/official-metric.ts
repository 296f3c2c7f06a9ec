// GenEval's own verdict on an image, and its summary over many.
//
// Benchmark: GenEval, arXiv:2310.11513; evaluate of evaluation/evaluate_images.py, evaluation/summary_scores.py.
// Of each class the most confident detections are looked at, as many as are asked for; more of them are fine unless `exclude` says
// otherwise. Overall is the mean over tags, not over images.

import { countColor, type Detection, type Detections } from "./detections.ts";
import type { GenevalRecord, Requirement } from "./record.ts";
import { colorCounts, positionFault } from "./training-reward.ts";
import type { Tag } from "./vocabulary.ts";

export interface Verdict {
  readonly isCorrect: boolean;
  /** What is wrong, in the words of the released code. */
  readonly reasons: readonly string[];
}

function fault(
  entry: Requirement,
  found: readonly Detection[],
  groups: readonly (readonly Detection[] | null)[],
): string | null {
  const { class: name, count, color, position } = entry;
  if (found.length < count) return `expected ${name}>=${count}, found ${found.length}`;
  if (color !== undefined) {
    const right = countColor(found, color, name);
    if (right < count) {
      return `expected ${color} ${name}>=${count}, found ${right} ${color}; and ${colorCounts(found)}`;
    }
  }
  if (position === undefined) return null;
  const targets = groups[position[1]] ?? null;
  if (targets === null) return `no target for ${name} to be ${position[0]}`;
  return positionFault(entry, found, targets);
}

/** @param detections Those that count (keepDetections), by falling confidence. */
export function officialVerdict(
  { include, exclude = [] }: GenevalRecord,
  detections: Detections,
): Verdict {
  const reasons: string[] = [];
  const groups: (readonly Detection[] | null)[] = [];
  for (const entry of include) {
    const found = (detections.get(entry.class) ?? []).slice(0, entry.count);
    const reason = fault(entry, found, groups);
    groups.push(reason === null ? found : null);
    if (reason !== null) reasons.push(reason);
  }
  for (const { class: name, count } of exclude) {
    const found = detections.get(name)?.length ?? 0;
    if (found >= count) reasons.push(`expected ${name}<${count}, found ${found}`);
  }
  return { isCorrect: reasons.length === 0, reasons };
}

/** One judged image. */
export interface JudgedImage {
  readonly tag: Tag;
  /** Images with one key were made from the same prompt. */
  readonly promptKey: string;
  readonly isCorrect: boolean;
}

export interface Summary {
  readonly images: number;
  readonly prompts: number;
  /** Share of images that are right. */
  readonly correctImages: number;
  /** Share of prompts of which at least one image is right. */
  readonly correctPrompts: number;
  /** In the order in which the tags first occur. */
  readonly byTag: ReadonlyMap<Tag, { readonly correct: number; readonly images: number }>;
  /** Unweighted mean over the tags that occur. NaN without images. */
  readonly overall: number;
}

export function summarise(images: readonly JudgedImage[]): Summary {
  const byTag = new Map<Tag, { correct: number; images: number }>();
  const prompts = new Map<string, boolean>();
  for (const { tag, promptKey, isCorrect } of images) {
    const counts = byTag.get(tag) ?? { correct: 0, images: 0 };
    counts.images++;
    counts.correct += Number(isCorrect);
    byTag.set(tag, counts);
    prompts.set(promptKey, (prompts.get(promptKey) ?? false) || isCorrect);
  }
  const shares = [...byTag.values()].map(({ correct, images: of }) => correct / of);
  const share = (list: readonly boolean[]): number => list.filter(Boolean).length / list.length;
  return {
    images: images.length,
    prompts: prompts.size,
    correctImages: share(images.map(({ isCorrect }) => isCorrect)),
    correctPrompts: share([...prompts.values()]),
    byTag,
    overall: shares.reduce((sum, one) => sum + one, 0) / shares.length,
  };
}
