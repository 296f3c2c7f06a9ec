// Advantages from rewards: plain numbers, outside the engine. A reward that is not known (null) is left out of every statistic
// and its completion gets 0.

import type { AdvantageSpec } from "../core/advantage-spec.ts";
import { mean, standardDeviation } from "../core/statistics.ts";

/** Completions of one prompt. */
export interface RewardGroup {
  /** Σ weight · score of each completion; null: not known. */
  readonly rewards: readonly (number | null)[];
  /** Each score by its name, with its weight (GDPO). */
  readonly parts?: Readonly<Record<string, RewardPart>>;
  /** Loss tokens of each completion (whitening over tokens). */
  readonly tokens?: readonly number[];
  /** Reward of the greedy completion of the prompt (ReMax). */
  readonly greedy?: number | null;
}

export interface RewardPart {
  readonly weight: number;
  readonly values: readonly (number | null)[];
}

export interface GroupAdvantages {
  /** One a completion; 0 where the reward is not known. */
  readonly advantages: readonly number[];
  /** All advantages come out as 0 because the rewards do not differ: the group teaches nothing. */
  readonly withoutSpread: boolean;
}

type RewardRule = Extract<AdvantageSpec, { type: "reward" }>;
type Row = readonly (number | null)[];

const isKnown = (value: number | null): value is number => value !== null;
const allEqual = (values: readonly number[]): boolean =>
  values.every((value) => value === values[0]);

/** A deviation of at least one value; 0 for equal ones, whatever rounding makes of their mean. */
function spread(values: readonly number[], kind: "sample" | "population"): number {
  return values.length < 2 || allEqual(values) ? 0 : standardDeviation(values, kind);
}

/**
 * Advantages `[group][completion]` of a batch, with b the baseline and s the scale of the spec:
 *
 * reward: A_i = (r_i − b) / s;  scale "group" and "batch": s = deviation(r) + ε, "none": s = 1
 * gdpo: z_ik = (r_ik − mean_k) / (deviation_k + ε) in the group, R_i = Σ_k w_k z_ik, A = (R − mean(R)) / (deviation(R) + ε) over the batch
 *
 * Papers: GRPO arXiv:2402.03300 (4.1.2), Dr. GRPO 2503.20783, RLOO 2402.14740, ReMax 2310.10505, REINFORCE++ 2501.03262,
 * GDPO 2601.05242. Deviations, ε and NaN rules of TRL 1.13 and verl 0.9 by the spec.
 *
 * @example batchAdvantages([{ rewards: [1, 0] }], spec)[0].advantages // [0.7070067953, -0.7070067953]
 */
export function batchAdvantages(
  groups: readonly RewardGroup[],
  spec: AdvantageSpec,
): GroupAdvantages[] {
  const raw = spec.type === "gdpo" ? decoupled(groups, spec) : compared(groups, spec);
  const { clip } = spec;
  return raw.map((row, index) => {
    const advantages = row.map((value) =>
      value === null ? 0 : clip === null ? value : Math.min(Math.max(value, -clip), clip),
    );
    return { advantages, withoutSpread: teachesNothing(groups[index]!, advantages, spec) };
  });
}

/** Rules that compare within the group say so exactly; the others when every advantage is 0. */
function teachesNothing(
  { rewards }: RewardGroup,
  advantages: readonly number[],
  spec: AdvantageSpec,
): boolean {
  const known = rewards.filter(isKnown);
  const within =
    spec.type === "reward" && (spec.baseline === "group-mean" || spec.baseline === "leave-one-out");
  const isLone = known.length === 1 && spec.type === "reward" && spec.lone === "raw";
  if (within && spec.scale.type !== "whiten-tokens" && !isLone) return allEqual(known);
  return advantages.every((value) => value === 0);
}

function compared(groups: readonly RewardGroup[], spec: RewardRule): (number | null)[][] {
  const all = groups.flatMap(({ rewards }) => rewards.filter(isKnown));
  const { scale } = spec;
  const batchScale =
    scale.type === "batch" ? spread(all, scale.deviation) + scale.epsilon : undefined;
  const rows = groups.map((group) => {
    const known = group.rewards.filter(isKnown);
    const ofGroup =
      scale.type === "group" ? spread(known, scale.deviation) + scale.epsilon : (batchScale ?? 1);
    const isLone = known.length === 1 && spec.lone === "raw";
    return group.rewards.map((reward) => {
      if (reward === null) return null;
      if (isLone) return scale.type === "group" ? reward / (1 + scale.epsilon) : reward;
      const difference = reward - baselineOf(spec, group, known, all, reward);
      return difference === 0 ? 0 : difference / ofGroup;
    });
  });
  return scale.type === "whiten-tokens" ? whitened(rows, groups) : rows;
}

/** What a reward is compared with. Equal rewards are compared with themselves, so that no rounding is left. */
function baselineOf(
  { baseline }: RewardRule,
  group: RewardGroup,
  known: readonly number[],
  all: readonly number[],
  reward: number,
): number {
  switch (baseline) {
    case "none":
      return 0;
    case "greedy":
      return group.greedy ?? reward;
    case "batch-mean":
      return allEqual(all) ? reward : mean(all);
    case "group-mean":
      return allEqual(known) ? reward : mean(known);
    default: // leave-one-out
      if (allEqual(known)) return reward;
      return (mean(known) * known.length - reward) / (known.length - 1);
  }
}

/** (A − mean) / √(variance + 1e-8) over the loss tokens of the batch, each token with the advantage of its completion. */
function whitened(rows: readonly Row[], groups: readonly RewardGroup[]): (number | null)[][] {
  const weighted = rows.flatMap((row, group) =>
    row.flatMap((value, index) =>
      value === null ? [] : [{ value, count: groups[group]!.tokens?.[index] ?? 1 }],
    ),
  );
  const count = weighted.reduce((total, one) => total + one.count, 0);
  if (count < 2) return rows.map((row) => row.map((value) => value && 0));
  const counted = weighted.filter((one) => one.count > 0).map(({ value }) => value);
  // Equal ones are compared with themselves: the small divisor would make much of a rounding error.
  const center = allEqual(counted)
    ? counted[0]!
    : weighted.reduce((total, one) => total + one.count * one.value, 0) / count;
  const squares = weighted.reduce((sum, one) => sum + one.count * (one.value - center) ** 2, 0);
  const scale = Math.sqrt(squares / (count - 1) + 1e-8);
  return rows.map((row) => row.map((value) => (value === null ? null : (value - center) / scale)));
}

function decoupled(
  groups: readonly RewardGroup[],
  { deviation, epsilon }: Extract<AdvantageSpec, { type: "gdpo" }>,
): (number | null)[][] {
  const rows = groups.map(({ rewards, parts = { reward: { weight: 1, values: rewards } } }) => {
    const normal = Object.values(parts).map(({ weight, values }) =>
      normalised(values, deviation, epsilon).map((value) => value && weight * value),
    );
    return rewards.map((reward, index) =>
      reward === null ? null : normal.reduce((sum, values) => sum + (values[index] ?? 0), 0),
    );
  });
  const flat = normalised(rows.flat(), deviation, epsilon);
  let start = 0;
  return rows.map((row) => {
    const ofGroup = flat.slice(start, (start += row.length));
    // Sums of a group add up to 0, so equal ones are 0 and their mean over the batch is: what else comes out is rounding.
    return allEqual(row.filter(isKnown)) ? row.map((value) => value && 0) : ofGroup;
  });
}

function normalised(
  values: Row,
  deviation: "sample" | "population",
  epsilon: number,
): (number | null)[] {
  const known = values.filter(isKnown);
  const center = mean(known);
  const scale = spread(known, deviation) + epsilon;
  return values.map((value) =>
    value === null ? null : allEqual(known) ? 0 : (value - center) / scale,
  );
}

const grpoRule = {
  type: "reward",
  baseline: "group-mean",
  scale: { type: "group", deviation: "sample", epsilon: 1e-4 },
  lone: "zero",
  clip: null,
} as const satisfies AdvantageSpec;

/** Advantages of one group by the rule of GRPO, as TRL computes them. */
export function groupAdvantages(rewards: readonly (number | null)[]): GroupAdvantages {
  return batchAdvantages([{ rewards }], grpoRule)[0]!;
}
