// Stored samples under another reward: the same completions, scored again, weighted otherwise, compared with their groups
// otherwise. Plain numbers; no model.

import { standardDeviation } from "../core/statistics.ts";
import type { Scores, Task } from "../core/task.ts";
import { weighScores } from "../rollout/items.ts";
import type { SampleGroup } from "../run/sample-groups.ts";
import { classOf } from "../run/sample-query.ts";
import type { SampleRecord } from "../run/sample-record.ts";
import { groupAdvantages } from "./advantages.ts";
import type { RewardWeights } from "./generation.ts";

/** Numbers that were stored with six digits or summed in another order are the same within this. */
const TOLERANCE = 1e-5;

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

/** Mean reward and advantage of a part of the samples. */
export interface MovedMeans {
  readonly name: string;
  readonly count: number;
  /** Over samples with a reward; NaN: none has one. */
  readonly reward: Moved<number>;
  readonly advantage: Moved<number>;
}

export interface RescoreSummary {
  readonly samples: number;
  readonly groups: number;
  readonly reward: Moved<number>;
  /** Population deviation over all samples. */
  readonly rewardDeviation: Moved<number>;
  /** Samples without a reward: all scores abstain, or the scorer failed. */
  readonly withoutReward: Moved<number>;
  /** Share of groups. */
  readonly withoutSpread: Moved<number>;
  /** Pearson correlation of the advantages before and after; NaN where one of them is constant. */
  readonly correlation: number;
  /** Samples whose advantage changes its sign: what was learned is now unlearned. */
  readonly flipped: number;
  /** Samples whose advantage was zero and now is not. */
  readonly gained: number;
  /** Samples whose advantage now is zero and was not. */
  readonly lost: number;
  /** By error class, the most frequent first. */
  readonly classes: readonly MovedMeans[];
  /** Samples whose advantage moves most, most first. */
  readonly movers: readonly RescoredSample[];
  /** Scores that came out otherwise than stored: how many samples, by score, and the first examples. */
  readonly disagreeing: Readonly<Record<string, number>>;
  readonly examples: readonly Disagreement[];
}

const numbersOf = (list: readonly (number | null)[]): number[] =>
  list.filter((one) => one !== null);

const meanOf = (list: readonly number[]): number =>
  list.reduce((sum, value) => sum + value, 0) / list.length;

function correlationOf(a: readonly number[], b: readonly number[]): number {
  const [meanA, meanB] = [meanOf(a), meanOf(b)];
  const covariance = meanOf(a.map((value, index) => (value - meanA) * (b[index]! - meanB)));
  return covariance / (standardDeviation(a, "population") * standardDeviation(b, "population"));
}

/** Rewards and advantages of a part of the samples, before and after. */
class Column {
  readonly reward: Moved<(number | null)[]> = { before: [], after: [] };
  readonly advantage: Moved<number[]> = { before: [], after: [] };

  add({ reward, advantage }: RescoredSample): void {
    this.reward.before.push(reward.before);
    this.reward.after.push(reward.after);
    this.advantage.before.push(advantage.before);
    this.advantage.after.push(advantage.after);
  }

  means(name: string): MovedMeans {
    const { reward, advantage } = this;
    return {
      name,
      count: advantage.before.length,
      reward: {
        before: meanOf(numbersOf(reward.before)),
        after: meanOf(numbersOf(reward.after)),
      },
      advantage: { before: meanOf(advantage.before), after: meanOf(advantage.after) },
    };
  }
}

/** A reward at the mean of its group has an advantage of some last bits: that is zero. */
const signOf = (advantage: number): number =>
  Math.abs(advantage) <= 1e-9 ? 0 : Math.sign(advantage);

const move = ({ advantage }: RescoredSample): number =>
  Math.abs(advantage.after - advantage.before);

/** Takes groups one by one and says how rewards and advantages move; keeps four numbers a sample. */
export class RescoreSums {
  readonly #all = new Column();
  readonly #classes = new Map<string, Column>();
  readonly #disagreeing = new Map<string, number>();
  readonly #examples: Disagreement[] = [];
  readonly #most: number;
  #movers: RescoredSample[] = [];
  #groups = 0;
  #flat = { before: 0, after: 0 };

  /** @param most Movers and examples to keep. */
  constructor(most: number) {
    this.#most = most;
  }

  add({ samples, withoutSpread }: RescoredGroup): void {
    this.#groups++;
    this.#flat.before += Number(withoutSpread.before);
    this.#flat.after += Number(withoutSpread.after);
    for (const sample of samples) {
      this.#all.add(sample);
      const name = classOf(sample.record);
      const column = this.#classes.get(name) ?? new Column();
      this.#classes.set(name, column);
      column.add(sample);
      for (const one of disagreements(sample.record, sample.scored)) {
        this.#disagreeing.set(one.score, (this.#disagreeing.get(one.score) ?? 0) + 1);
        if (this.#examples.length < this.#most) this.#examples.push(one);
      }
    }
    this.#movers = [...this.#movers, ...samples.filter((sample) => move(sample) > TOLERANCE)]
      .sort((a, b) => move(b) - move(a))
      .slice(0, this.#most);
  }

  get summary(): RescoreSummary {
    const { reward, advantage } = this.#all;
    const deviation = (list: readonly (number | null)[]): number =>
      standardDeviation(numbersOf(list), "population");
    const missing = (list: readonly (number | null)[]): number =>
      list.length - numbersOf(list).length;
    const pairs = advantage.before.map(
      (before, index) => [before, advantage.after[index]!] as const,
    );
    const count = (test: (before: number, after: number) => boolean): number =>
      pairs.filter(([before, after]) => test(before, after)).length;
    const { before, after } = this.#flat;
    return {
      samples: pairs.length,
      groups: this.#groups,
      reward: this.#all.means("").reward,
      rewardDeviation: { before: deviation(reward.before), after: deviation(reward.after) },
      withoutReward: { before: missing(reward.before), after: missing(reward.after) },
      withoutSpread: { before: before / this.#groups, after: after / this.#groups },
      correlation: correlationOf(advantage.before, advantage.after),
      flipped: count((old, now) => signOf(old) * signOf(now) < 0),
      gained: count((old, now) => signOf(old) === 0 && signOf(now) !== 0),
      lost: count((old, now) => signOf(old) !== 0 && signOf(now) === 0),
      classes: [...this.#classes]
        .map(([name, column]) => column.means(name))
        .sort((a, b) => b.count - a.count),
      movers: this.#movers,
      disagreeing: Object.fromEntries(this.#disagreeing),
      examples: this.#examples,
    };
  }
}
