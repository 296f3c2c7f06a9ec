// Stored samples under another reward: the same completions, scored again, weighted otherwise, compared with each other by the
// rule of their run. Plain numbers; no model.

import type { Scores, Task } from "../core/task.ts";
import { weighScores } from "../rollout/items.ts";
import { scoreOutputs, type ScoringSettings } from "../rollout/score-outputs.ts";
import type { SampleGroup } from "../run/sample-groups.ts";
import type { SampleRecord, StoredFailure } from "../run/sample-record.ts";
import { batchAdvantages, type GroupAdvantages, type RewardGroup } from "./advantages.ts";
import type { RewardWeights } from "./generation.ts";
import type { GrpoSettings } from "./grpo-settings.ts";
import { failureTexts } from "./sample-records.ts";

/** Numbers that were rounded or summed in another order are the same within this. */
export const TOLERANCE = 1e-5;

/** What the scorers say of a stored output. A name is in one of the two; a failure is never a number. */
export interface Rescored {
  readonly scores: Scores;
  readonly failures: Readonly<Record<string, StoredFailure>>;
}

/** A number, null where the scorer abstains, a failure; `undefined`: the score was not there. */
export type ScoreOrFailure = number | null | StoredFailure | undefined;

/** A score that came out otherwise than it is stored. */
export interface Disagreement {
  readonly record: SampleRecord;
  readonly score: string;
  readonly stored: ScoreOrFailure;
  readonly again: ScoreOrFailure;
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
  /** The group teaches nothing. */
  readonly withoutSpread: Moved<boolean>;
}

/** How a run makes rewards of scores, and advantages of rewards. */
export interface RewardRule extends Pick<GrpoSettings, "advantages" | "overlong"> {
  readonly weights: RewardWeights;
}

/** A generation batch `[group]`: some rules compare over all of its groups. */
type Batch = readonly SampleGroup[];
/** `[group][sample]` */
type ByGroup<T> = readonly (readonly T[])[];

/** Scores the outputs of a batch again with the task of its run, asked as its run asked. */
export async function scoreAgain(
  task: Task<unknown, unknown>,
  config: unknown,
  batch: Batch,
  settings: ScoringSettings,
): Promise<ByGroup<Rescored>> {
  const outputs = batch.flatMap(({ samples }) =>
    samples.map(({ item, text, stopReason }) => ({ item, output: { text, stopReason } })),
  );
  const scored = await scoreOutputs(task, config, outputs, settings);
  let next = 0;
  return batch.map(({ samples }) =>
    samples.map(() => {
      const { scores, failures } = scored[next++]!;
      return { scores, failures: failureTexts(failures) };
    }),
  );
}

/** What the run stored. Where an older version kept nothing but one error, it is that of every name. */
export function storedScores(
  { scores, failures = {}, error }: SampleRecord,
  names: readonly string[],
): Rescored {
  if (scores !== undefined) return { scores, failures };
  const failure = { kind: "error", message: error ?? "no scores are stored" };
  return { scores: {}, failures: Object.fromEntries(names.map((name) => [name, failure])) };
}

const isFailure = (one: ScoreOrFailure): one is StoredFailure =>
  typeof one === "object" && one !== null;

function isSame(a: ScoreOrFailure, b: ScoreOrFailure): boolean {
  if (typeof a === "number" && typeof b === "number") {
    return Math.abs(a - b) <= TOLERANCE * Math.max(1, Math.abs(a));
  }
  return isFailure(a) && isFailure(b) ? a.kind === b.kind : a === b;
}

/** The scores in which a stored sample and its new scoring differ. */
export function disagreements(record: SampleRecord, scored: Rescored): Disagreement[] {
  const again: Readonly<Record<string, ScoreOrFailure>> = { ...scored.scores, ...scored.failures };
  const { scores, failures } = storedScores(record, Object.keys(again));
  const stored: Readonly<Record<string, ScoreOrFailure>> = { ...scores, ...failures };
  return Object.keys({ ...stored, ...again })
    .filter((score) => !isSame(stored[score], again[score]))
    .map((score) => ({ record, score, stored: stored[score], again: again[score] }));
}

/** What the run left out stays out; a failed score with a weight leaves no reward. */
function rewardOf(
  { dropped }: SampleRecord,
  { scores, failures }: Rescored,
  weights: RewardWeights,
): number | null {
  const isFailed = Object.keys(weights).some((name) => name in failures);
  return dropped === true || isFailed ? null : weighScores(scores, weights);
}

const rewardsOf = (
  batch: Batch,
  scored: ByGroup<Rescored>,
  { weights }: RewardRule,
): ByGroup<number | null> =>
  batch.map(({ samples }, group) =>
    samples.map((record, index) => rewardOf(record, scored[group]![index]!, weights)),
  );

/**
 * What advantages are made of, as in the training: rewards less the stored penalties, the parts of the rewards, loss tokens.
 * (Not from `lossMask`: that one is 0 too where a group without spread left the batch after it was compared.)
 */
function rewardGroup(
  samples: readonly SampleRecord[],
  scored: readonly Rescored[],
  rewards: readonly (number | null)[],
  { weights, overlong }: RewardRule,
): RewardGroup {
  const less = (reward: number, { penalties = {} }: SampleRecord): number =>
    reward - Object.values(penalties).reduce((sum, penalty) => sum + penalty, 0);
  const parts = Object.entries(weights).map(([name, weight]) => {
    const values = rewards.map((reward, index) =>
      reward === null ? null : (scored[index]!.scores[name] ?? null),
    );
    return [name, { weight, values }] as const;
  });
  return {
    rewards: rewards.map((reward, index) =>
      reward === null ? null : less(reward, samples[index]!),
    ),
    parts: Object.fromEntries(parts),
    tokens: samples.map(({ tokens, stopReason }) =>
      overlong.mask && stopReason === "length" ? 0 : tokens.length,
    ),
  };
}

const advantagesOf = (
  batch: Batch,
  scored: ByGroup<Rescored>,
  rewards: ByGroup<number | null>,
  rule: RewardRule,
): GroupAdvantages[] =>
  batchAdvantages(
    batch.map(({ samples }, group) => rewardGroup(samples, scored[group]!, rewards[group]!, rule)),
    rule.advantages,
  );

/**
 * A generation batch with rewards and advantages as the run stored them, and as the rule `after` makes them. Not for the
 * baseline "greedy": greedy completions are not stored.
 */
export function rescoreBatch(
  batch: Batch,
  scored: ByGroup<Rescored>,
  { before, after }: Moved<RewardRule>,
): RescoredGroup[] {
  const names = Object.keys(before.weights);
  const stored = batch.map(({ samples }) => samples.map((record) => storedScores(record, names)));
  const storedRewards = batch.map(({ samples }) => samples.map(({ reward }) => reward));
  const old = advantagesOf(batch, stored, storedRewards, before);
  const rewards = rewardsOf(batch, scored, after);
  const fresh = advantagesOf(batch, scored, rewards, after);
  return batch.map(({ samples }, group) => ({
    samples: samples.map((record, index) => ({
      record,
      scored: scored[group]![index]!,
      reward: { before: record.reward, after: rewards[group]![index]! },
      advantage: { before: record.advantage, after: fresh[group]!.advantages[index]! },
    })),
    withoutSpread: {
      before: old[group]!.withoutSpread,
      after: fresh[group]!.withoutSpread,
    },
  }));
}

/**
 * Samples whose stored reward or advantage is not what the run's own rule gives: then the run had another one, or its scores
 * have changed, and not all that moves comes from the new rule.
 */
export function unexplained(
  batch: Batch,
  scored: ByGroup<Rescored>,
  rule: RewardRule,
): { rewards: number; advantages: number } {
  const samples = rescoreBatch(batch, scored, { before: rule, after: rule }).flatMap(
    (group) => group.samples,
  );
  return {
    rewards: samples.filter(({ reward }) => !isSame(reward.before, reward.after)).length,
    advantages: samples.filter(({ advantage }) => !isSame(advantage.before, advantage.after))
      .length,
  };
}
