// Stored samples under another reward: the same completions, scored again, weighted otherwise, compared with their groups
// otherwise. Plain numbers; no model.

import type { Scores, Task } from "../core/task.ts";
import { weighScores } from "../rollout/items.ts";
import type { SampleGroup } from "../run/sample-groups.ts";
import type { SampleRecord } from "../run/sample-record.ts";
import { groupAdvantages } from "./advantages.ts";
import type { RewardWeights } from "./generation.ts";

/** Numbers that were rounded or summed in another order are the same within this. */
export const TOLERANCE = 1e-5;

/** Scores of a stored output, or the message of the error that kept the task from stating them. */
export type Rescored = { readonly scores: Scores } | { readonly error: string };

/** A score that came out otherwise than it is stored. `undefined`: there was none, because the scorer failed. */
export interface Disagreement {
  readonly record: SampleRecord;
  readonly score: string;
  readonly stored: number | null | undefined;
  readonly again: number | null | undefined;
}

/** A value as the run had it, and as it would be. */
export interface Moved<Value> {
  readonly before: Value;
  readonly after: Value;
}

export interface RescoredSample {
  readonly record: SampleRecord;
  readonly scored: Rescored;
  readonly reward: Moved<number | null>;
  readonly advantage: Moved<number>;
}

export interface RescoredGroup {
  readonly samples: readonly RescoredSample[];
  /** All rewards of the group are equal: it teaches nothing. */
  readonly withoutSpread: Moved<boolean>;
}

/** Scores a stored output again with the task of its run. An error is an error, never a score. */
export function scoreAgain(
  task: Pick<Task<unknown, unknown>, "score" | "scores">,
  config: unknown,
  { item, text, stopReason }: SampleRecord,
): Rescored {
  try {
    const signal = new AbortController().signal;
    const scores = task.score(item, { text, stopReason }, config, signal) as Scores;
    const broken = Object.keys(task.scores).find(
      (name) => scores[name] !== null && !Number.isFinite(scores[name]),
    );
    if (broken === undefined) return { scores };
    return { error: `score ${broken} is ${String(scores[broken])}, not a finite number or null` };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

/** What the run stored, instead of scoring again. */
export function storedScores({ scores, error }: SampleRecord): Rescored {
  return scores === undefined ? { error: error ?? "no scores are stored" } : { scores };
}

const isSame = (a: number | null | undefined, b: number | null | undefined): boolean =>
  typeof a === "number" && typeof b === "number"
    ? Math.abs(a - b) <= TOLERANCE * Math.max(1, Math.abs(a))
    : a === b;

/** The scores in which a stored sample and its new scoring differ. */
export function disagreements(record: SampleRecord, scored: Rescored): Disagreement[] {
  const again: Scores = "scores" in scored ? scored.scores : {};
  const stored: Scores = record.scores ?? {};
  return [...new Set([...Object.keys(stored), ...Object.keys(again)])]
    .filter((score) => !isSame(stored[score], again[score]))
    .map((score) => ({ record, score, stored: stored[score], again: again[score] }));
}

const rewardOf = (scored: Rescored, weights: RewardWeights): number | null =>
  "scores" in scored ? weighScores(scored.scores, weights) : null;

/** A group with rewards and advantages as the run stored them, and as `weights` make them. */
export function rescoreGroup(
  { samples }: SampleGroup,
  scored: readonly Rescored[],
  weights: RewardWeights,
): RescoredGroup {
  const rewards = scored.map((one) => rewardOf(one, weights));
  const after = groupAdvantages(rewards);
  const before = groupAdvantages(samples.map(({ reward }) => reward));
  return {
    samples: samples.map((record, index) => ({
      record,
      scored: scored[index]!,
      reward: { before: record.reward, after: rewards[index]! },
      advantage: { before: record.advantage, after: after.advantages[index]! },
    })),
    withoutSpread: { before: before.withoutSpread, after: after.withoutSpread },
  };
}

/**
 * Samples whose stored reward or advantage is not what the run's own weights and the group rule give: then the run had another
 * rule, or its scores have changed, and not all that moves comes from the new weights.
 */
export function unexplained(
  group: SampleGroup,
  scored: readonly Rescored[],
  weights: RewardWeights,
): { rewards: number; advantages: number } {
  const { samples } = rescoreGroup(group, scored, weights);
  return {
    rewards: samples.filter(({ reward }) => !isSame(reward.before, reward.after)).length,
    advantages: samples.filter(({ advantage }) => !isSame(advantage.before, advantage.after))
      .length,
  };
}
