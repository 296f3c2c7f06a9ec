// How rewards and advantages move when the samples of a run are weighed anew.

import { mean, standardDeviation } from "../core/statistics.ts";
import { FailureCounts, type FailureTable } from "../run/failure-counts.ts";
import { classOf } from "../run/sample-query.ts";
import {
  type Disagreement,
  disagreements,
  type Moved,
  type RescoredGroup,
  type RescoredSample,
  TOLERANCE,
} from "./rescore.ts";

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
  /** Samples without a reward: all scores abstain, one with a weight failed, or the run left it out. */
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
  /** Samples by score and kind of failure, in the new scoring. */
  readonly failures: FailureTable;
  /** Scores that came out otherwise than stored: how many samples, by score, and the first examples. */
  readonly disagreeing: Readonly<Record<string, number>>;
  readonly examples: readonly Disagreement[];
}

const numbersOf = (list: readonly (number | null)[]): number[] =>
  list.filter((one) => one !== null);

function correlationOf(a: readonly number[], b: readonly number[]): number {
  const [meanA, meanB] = [mean(a), mean(b)];
  const covariance = mean(a.map((value, index) => (value - meanA) * (b[index]! - meanB)));
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
        before: mean(numbersOf(reward.before)),
        after: mean(numbersOf(reward.after)),
      },
      advantage: { before: mean(advantage.before), after: mean(advantage.after) },
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
  readonly #failures = new FailureCounts();
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
      this.#failures.add(sample.scored.failures);
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
      failures: this.#failures.table,
      disagreeing: Object.fromEntries(this.#disagreeing),
      examples: this.#examples,
    };
  }
}
