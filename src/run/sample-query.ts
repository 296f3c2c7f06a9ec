// Questions to the stored samples of a run, answered in one pass over the file: which pass a filter, how they fare by error
// class, which are the best, the worst, the most surprising.

import { ConfigError, unknownName } from "../core/errors.ts";
import { FailureCounts, type FailureTable } from "./failure-counts.ts";
import type { SampleGroup } from "./sample-groups.ts";
import { expandRuns, type SampleRecord } from "./sample-record.ts";

/** What a sample must be to be shown; absent: anything. */
export interface SampleFilters {
  readonly errorClass?: string | undefined;
  readonly level?: string | undefined;
  /** First and last step, both included. */
  readonly steps?: readonly [number, number] | undefined;
  /** Scores by name; null: the scorer abstained. */
  readonly scores?: Readonly<Record<string, number | null>> | undefined;
  readonly stop?: "stop" | "length" | undefined;
  /** Step, prompt and sample of the only one. */
  readonly only?: readonly [number, number, number] | undefined;
}

/** Orders in which samples can be asked for; the first ones of an order have the largest key. */
export const sampleOrders = {
  /** Largest reward. */
  best: ({ reward }) => reward,
  /** Smallest reward. */
  worst: ({ reward }) => (reward === null ? null : -reward),
  /** Largest mean surprise. */
  surprising: (record) => surpriseOf(record)?.mean ?? null,
  /** Largest disagreement of sampler and trainer at one token. */
  mismatch: (record) => mismatchOf(record),
  /** Latest. */
  newest: () => 0,
  /** Latest, and of every group only the first. */
  groups: () => 0,
} as const satisfies Readonly<Record<string, (record: SampleRecord) => number | null>>;
export type SampleOrder = keyof typeof sampleOrders;

/** A sample among its group. */
export interface SampleInGroup {
  readonly record: SampleRecord;
  /** Rewards of the whole group, in the order of its samples. */
  readonly groupRewards: readonly (number | null)[];
}

/** How the samples of one error class fare. Means over those that have the number; NaN: none has. */
export interface ClassSummary {
  readonly name: string;
  readonly count: number;
  readonly reward: number;
  readonly advantage: number;
  readonly tokens: number;
}

export interface SampleAnswer {
  /** Samples in the file, and those that pass the filters. */
  readonly total: number;
  readonly count: number;
  readonly groups: number;
  /** First and last step of those that pass; null: there are none. */
  readonly steps: readonly [number, number] | null;
  /** Those that the run left out of the training because a reward failed. */
  readonly dropped: number;
  /** Failures of scores among those that pass. */
  readonly failures: FailureTable;
  /** The most frequent class first. */
  readonly classes: readonly ClassSummary[];
  readonly orders: Readonly<Partial<Record<SampleOrder, readonly SampleInGroup[]>>>;
}

/**
 * Surprise −log π of the tokens that the model wrote, as it was sampled: mean, and the largest with its time. Null without
 * such tokens.
 */
export function surpriseOf({
  samplerLogProbs,
  origin,
}: SampleRecord): { mean: number; max: number; time: number } | null {
  const origins = origin && expandRuns(origin);
  let [sum, count, max, time] = [0, 0, -Infinity, -1];
  samplerLogProbs.forEach((logProb, at) => {
    if (origins !== undefined && origins[at] !== "model") return;
    sum -= logProb;
    count++;
    if (-logProb > max) [max, time] = [-logProb, at];
  });
  return count === 0 ? null : { mean: sum / count, max, time };
}

/** max |sampler − trainer| log-probability over the tokens that count in the loss, nats; null without such tokens. */
export function mismatchOf(record: SampleRecord): number | null {
  const { trainerLogProbs } = record;
  if (trainerLogProbs === undefined) return null;
  const mask = record.lossMask && expandRuns(record.lossMask);
  let largest: number | null = null;
  record.samplerLogProbs.forEach((logProb, at) => {
    if (mask !== undefined && mask[at] === 0) return;
    largest = Math.max(largest ?? 0, Math.abs(logProb - trainerLogProbs[at]!));
  });
  return largest;
}

/** The class under which a sample is listed. */
export function classOf({ dropped, error, errorClass }: SampleRecord): string {
  if (dropped === true) return "dropped";
  if (error !== undefined) return "scorer failed";
  if (errorClass === undefined) return "no class";
  return errorClass ?? "right";
}

function passes(record: SampleRecord, filters: SampleFilters): boolean {
  const { errorClass, level, steps, scores, stop, only } = filters;
  if (steps !== undefined && (record.step < steps[0] || record.step > steps[1])) return false;
  if (errorClass !== undefined && classOf(record) !== errorClass) return false;
  if (level !== undefined && record.level !== level) return false;
  if (stop !== undefined && record.stopReason !== stop) return false;
  if (only !== undefined && only.join() !== [record.step, record.prompt, record.sample].join()) {
    return false;
  }
  return Object.entries(scores ?? {}).every(([name, wanted]) => {
    const score = record.scores?.[name];
    if (wanted === null || typeof score !== "number") return score === wanted;
    return Math.abs(score - wanted) <= 1e-9 * Math.max(1, Math.abs(wanted));
  });
}

/** The first `size` by descending key; of equal keys the later one stands first. */
class FirstOf {
  readonly #entries: { readonly key: number; readonly sample: SampleInGroup }[] = [];
  readonly #size: number;
  readonly #keyOf: (record: SampleRecord) => number | null;

  constructor(order: SampleOrder, size: number) {
    this.#keyOf = sampleOrders[order];
    this.#size = size;
  }

  offer(sample: SampleInGroup): void {
    const key = this.#keyOf(sample.record);
    if (key === null || this.#size === 0) return;
    const place = this.#entries.findIndex((entry) => entry.key <= key);
    if (place < 0 && this.#entries.length === this.#size) return;
    this.#entries.splice(place < 0 ? this.#entries.length : place, 0, { key, sample });
    this.#entries.length = Math.min(this.#entries.length, this.#size);
  }

  get samples(): SampleInGroup[] {
    return this.#entries.map(({ sample }) => sample);
  }
}

interface Sums {
  count: number;
  rewards: number;
  rewarded: number;
  advantages: number;
  tokens: number;
}

/** The sums of all classes seen so far. */
class ClassTable {
  readonly #sums = new Map<string, Sums>();

  add(record: SampleRecord): void {
    const name = classOf(record);
    let sums = this.#sums.get(name);
    if (sums === undefined) {
      this.#sums.set(
        name,
        (sums = { count: 0, rewards: 0, rewarded: 0, advantages: 0, tokens: 0 }),
      );
    }
    sums.count++;
    sums.advantages += record.advantage;
    sums.tokens += record.tokens.length;
    if (record.reward === null) return;
    sums.rewards += record.reward;
    sums.rewarded++;
  }

  get classes(): ClassSummary[] {
    return [...this.#sums]
      .map(([name, { count, rewards, rewarded, advantages, tokens }]) => ({
        name,
        count,
        reward: rewards / rewarded,
        advantage: advantages / count,
        tokens: tokens / count,
      }))
      .sort((a, b) => b.count - a.count);
  }
}

/** Names that occur in the file, so that a mistyped one is not an empty answer. */
class KnownNames {
  readonly #classes = new Set<string>();
  readonly #levels = new Set<string>();
  readonly #scores = new Set<string>();

  add(record: SampleRecord): void {
    this.#classes.add(classOf(record));
    if (record.level !== undefined) this.#levels.add(record.level);
    for (const name in { ...record.scores, ...record.failures }) this.#scores.add(name);
  }

  check({ errorClass, level, scores }: SampleFilters): void {
    const asked: readonly (readonly [string, string, ReadonlySet<string>])[] = [
      ...(errorClass === undefined ? [] : [["error class", errorClass, this.#classes] as const]),
      ...(level === undefined ? [] : [["level", level, this.#levels] as const]),
      ...Object.keys(scores ?? {}).map((name) => ["score", name, this.#scores] as const),
    ];
    for (const [kind, name, known] of asked) {
      if (known.has(name)) continue;
      if (known.size > 0) throw unknownName("samples", kind, name, known);
      const expected = `samples with a ${kind}`;
      throw new ConfigError({ where: "samples", expected, got: "none that records one" });
    }
  }
}

/**
 * Reads the groups once; `each` sees every sample that passes. Throws a ConfigError when the filters name a class, level or
 * score that does not occur.
 */
export function querySamples(
  groups: Iterable<SampleGroup>,
  filters: SampleFilters,
  sizes: Readonly<Partial<Record<SampleOrder, number>>>,
  each: (record: SampleRecord) => void = () => {},
): SampleAnswer {
  const orders = Object.entries(sizes).map(
    ([order, size]) => [order as SampleOrder, new FirstOf(order as SampleOrder, size)] as const,
  );
  const [table, known, failures] = [new ClassTable(), new KnownNames(), new FailureCounts()];
  let [total, count, groupCount, dropped] = [0, 0, 0, 0];
  let steps: [number, number] | null = null;
  for (const { step, samples } of groups) {
    const groupRewards = samples.map(({ reward }) => reward);
    const before = count;
    for (const record of samples) {
      total++;
      known.add(record);
      if (!passes(record, filters)) continue;
      count++;
      if (record.dropped === true) dropped++;
      failures.add(record.failures ?? {});
      table.add(record);
      each(record);
      for (const [order, first] of orders) {
        if (order === "groups" && count > before + 1) continue;
        first.offer({ record, groupRewards });
      }
    }
    if (count === before) continue;
    groupCount++;
    steps = [Math.min(steps?.[0] ?? step, step), Math.max(steps?.[1] ?? step, step)];
  }
  if (total > 0) known.check(filters);
  return {
    total,
    count,
    groups: groupCount,
    steps,
    dropped,
    failures: failures.table,
    classes: table.classes,
    orders: Object.fromEntries(orders.map(([order, first]) => [order, first.samples])),
  };
}
