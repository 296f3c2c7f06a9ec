// The reward that Flow-GRPO trains with: the mean over what the record asks for of
//
//   1 - |n - k| / n                     number of a class: n asked, k found; negative when far too many are there
//   1 - |n - k_c| / n                   number of them with the colour, where the number is right
//   0 or 1                              position, where number and colour are right
//   0                                   colour and position, where the number is wrong
//
// Paper: Flow-GRPO, arXiv:2505.05470, section 4; code: repository yifan123/reward-server, evaluate_reward.
// The code differs from the paper in: a wrong position counts 0 and then 1 more, as one that is right counts (`compat: "repo"`);
// `"paper"` counts the 0 alone. Neither looks at `exclude`: numbers must be exact anyway.

import { countColor, type Detection, type Detections } from "./detections.ts";
import type { GenevalRecord, Requirement } from "./record.ts";
import { relationsOf } from "./relative-position.ts";

export const rewardCompats = ["repo", "paper"] as const;
export type RewardCompat = (typeof rewardCompats)[number];

export interface RewardOptions {
  readonly compat: RewardCompat;
  /** Least reward; null: none, as published. Numbers far too large make a reward as low as they like, and its deviation large. */
  readonly floor: number | null;
}

export interface TrainingReward {
  readonly reward: number;
  /** Nothing is missing, nothing of an asked class too much, all colours and positions right. */
  readonly isStrictlyCorrect: boolean;
  /** What is wrong, in the words of the released code. */
  readonly reasons: readonly string[];
}

/** Why an object does not stand as asked, or null when all pairs do. */
export function positionFault(
  { class: name, position }: Requirement,
  found: readonly Detection[],
  targets: readonly Detection[],
): string | null {
  const [relation] = position!;
  for (const { box } of found) {
    for (const target of targets) {
      const held = relationsOf(box, target.box);
      if (!held.includes(relation)) {
        return `expected ${name} ${relation} target, found ${held.join(" and ")} target`;
      }
    }
  }
  return null;
}

/** "1 red, 2 blue": the colours that were found, for a reason. */
export function colorCounts(found: readonly Detection[]): string {
  const counts = new Map<string, number>();
  for (const { color = "?" } of found) counts.set(color, (counts.get(color) ?? 0) + 1);
  return [...counts].map(([color, count]) => `${count} ${color}`).join(", ");
}

/** What one entry adds to the list, what is wrong with it, and its objects when nothing is. */
interface Judged {
  readonly parts: readonly number[];
  readonly reason: string | null;
}

function judge(
  entry: Requirement,
  found: readonly Detection[],
  groups: readonly (readonly Detection[] | null)[],
  compat: RewardCompat,
): Judged {
  const { class: name, count, color, position } = entry;
  const share = (k: number): number => 1 - Math.abs(count - k) / count;
  const parts = [share(found.length)];
  if (found.length !== count) {
    if (color !== undefined || position !== undefined) parts.push(0);
    return { parts, reason: `expected ${name}==${count}, found ${found.length}` };
  }
  if (color !== undefined) {
    const right = countColor(found, color, name);
    parts.push(share(right));
    if (right !== count) {
      const counts = `${right} ${color}; and ${colorCounts(found)}`;
      return { parts, reason: `expected ${color} ${name}>=${count}, found ${counts}` };
    }
  }
  if (position === undefined) return { parts, reason: null };
  const targets = groups[position[1]] ?? null;
  if (targets === null) {
    return { parts: [...parts, 0], reason: `no target for ${name} to be ${position[0]}` };
  }
  const reason = positionFault(entry, found, targets);
  if (reason === null) return { parts: [...parts, 1], reason };
  return { parts: compat === "repo" ? [...parts, 0, 1] : [...parts, 0], reason };
}

/** @param detections Those that count (keepDetections). */
export function trainingReward(
  { include }: GenevalRecord,
  detections: Detections,
  { compat, floor }: RewardOptions,
): TrainingReward {
  const parts: number[] = [];
  const reasons: string[] = [];
  const groups: (readonly Detection[] | null)[] = [];
  for (const entry of include) {
    const found = detections.get(entry.class) ?? [];
    const judged = judge(entry, found, groups, compat);
    parts.push(...judged.parts);
    groups.push(judged.reason === null ? found : null);
    if (judged.reason !== null) reasons.push(judged.reason);
  }
  const reward = parts.reduce((sum, part) => sum + part, 0) / parts.length;
  return {
    reward: floor === null ? reward : Math.max(reward, floor),
    isStrictlyCorrect: reasons.length === 0,
    reasons,
  };
}
