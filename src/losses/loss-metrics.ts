// What a policy loss did to a batch, as plain numbers: how far the policy has moved, and what clipping and corrections cut off.

import type { PolicySpec } from "../core/loss-spec.ts";
import { mean, quantile } from "../core/statistics.ts";

type Rows = readonly ArrayLike<number>[];

/** Arrays are ragged `[sequence][time]`, log-probabilities in nats. */
export interface MeasuredBatch {
  readonly logProbs: Rows;
  readonly mask: Rows;
  readonly advantages: Rows;
  /** Absent: the policy has not moved since the batch was made. */
  readonly old?: Rows | undefined;
  readonly reference?: Rows | undefined;
  readonly sampler?: Rows | undefined;
}

const QUANTILES = { min: 0, q01: 0.01, q50: 0.5, q99: 0.99, max: 1 } as const;

const quantiles = (name: string, values: readonly number[]): Record<string, number> =>
  Object.fromEntries(
    Object.entries(QUANTILES).map(([key, share]) => [`${name}/${key}`, quantile(values, share)]),
  );

const share = (list: readonly boolean[]): number =>
  list.length === 0 ? 0 : list.filter(Boolean).length / list.length;

const sum = (values: readonly number[]): number =>
  values.reduce((total, value) => total + value, 0);

/** One number for every loss token, or one a sequence. */
interface Ratio {
  readonly value: number;
  readonly advantage: number;
}

/** Calls `visit` for the loss tokens of a sequence. */
function tokensOf(mask: ArrayLike<number>, visit: (time: number) => void): void {
  for (let time = 0; time < mask.length; time++) if (mask[time]! > 0) visit(time);
}

/** a − b over the loss tokens of a sequence; 0 where one of them is no number. */
function differences(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  mask: ArrayLike<number>,
): number[] {
  const result: number[] = [];
  tokensOf(mask, (time) => {
    const value = a[time]! - b[time]!;
    result.push(Number.isNaN(value) ? 0 : value);
  });
  return result;
}

/** The ratios of the loss before anything limits them. */
function ratios({ ratio, sampler: use }: PolicySpec, batch: MeasuredBatch): Ratio[] {
  const start = use.type === "denominator" ? batch.sampler : (batch.old ?? batch.logProbs);
  return batch.logProbs.flatMap((row, sequence) => {
    const mask = batch.mask[sequence]!;
    const logs = differences(row, start![sequence]!, mask);
    const advantages: number[] = [];
    tokensOf(mask, (time) => advantages.push(batch.advantages[sequence]![time]!));
    if (logs.length === 0) return [];
    if (ratio !== "token") {
      const log = ratio === "sequence-product" ? sum(logs) : mean(logs);
      return [{ value: Math.exp(log), advantage: advantages[0]! }];
    }
    return logs.map((log, index) => ({ value: Math.exp(log), advantage: advantages[index]! }));
  });
}

/**
 * clip/low, clip/high: share of ratios where clipping stops the gradient (TRL: after the cap, so a cap below 1 + high hides
 * the high ones); clip/dual: share at the dual limit.
 */
function clipShares({ surrogate }: PolicySpec, list: readonly Ratio[]): Record<string, number> {
  if (surrogate.type === "cispo") {
    const { low, high } = surrogate;
    return {
      "clip/low": share(list.map(({ value }) => low !== null && value < low)),
      "clip/high": share(list.map(({ value }) => value > high)),
    };
  }
  if (surrogate.type !== "clip") return {};
  const { low, high, cap, dual } = surrogate;
  const capped = list.map(({ value, advantage }) => ({
    value: cap === null ? value : Math.min(value, cap),
    advantage,
  }));
  return {
    "clip/low": share(capped.map(({ value, advantage }) => value < 1 - low && advantage < 0)),
    "clip/high": share(capped.map(({ value, advantage }) => value > 1 + high && advantage > 0)),
    ...(dual !== null && {
      "clip/dual": share(capped.map(({ value, advantage }) => value > dual && advantage < 0)),
    }),
  };
}

/** sampler/…: quantiles of p_old / p_sampler before it is limited, and the share outside of the limits. */
function correctionMetrics({ sampler: use }: PolicySpec, batch: MeasuredBatch) {
  const { sampler } = batch;
  if (use.type !== "correction" || sampler === undefined) return {};
  const old = batch.old ?? batch.logProbs;
  const factors = old.flatMap((row, sequence) => {
    const logs = differences(row, sampler[sequence]!, batch.mask[sequence]!);
    if (use.level === "token") return logs.map(Math.exp);
    return [Math.exp(sum(logs))];
  });
  const outside = factors.map(
    (factor) => factor < (use.min ?? 0) || factor > (use.max ?? Number.POSITIVE_INFINITY),
  );
  return { ...quantiles("sampler/ratio", factors), "sampler/outside": share(outside) };
}

/** An estimate of KL(policy || reference) at a token, from log p_ref − log p. */
export function klEstimate(
  {
    estimator,
    clampDifference,
    clampValue,
  }: {
    readonly estimator: "k1" | "k2" | "k3";
    readonly clampDifference: number | null;
    readonly clampValue: number | null;
  },
  difference: number,
): number {
  const limit = (x: number, bound: number | null): number =>
    bound === null ? x : Math.min(Math.max(x, -bound), bound);
  const d = limit(difference, clampDifference);
  const value = { k1: -d, k2: (d * d) / 2, k3: Math.exp(d) - d - 1 }[estimator];
  return limit(value, clampValue);
}

const plainK3 = { estimator: "k3", clampDifference: null, clampValue: null } as const;

/** Mean over loss tokens of the KL estimate of the loss, k3 where the loss has none. */
function klMetrics({ kl }: PolicySpec, { reference, logProbs, mask }: MeasuredBatch) {
  if (reference === undefined) return {};
  const estimate = kl.type === "none" ? plainK3 : kl;
  const values = logProbs.flatMap((row, sequence) =>
    differences(reference[sequence]!, row, mask[sequence]!).map((difference) =>
      klEstimate(estimate, difference),
    ),
  );
  return { kl: mean(values) };
}

/** offPolicy/dropped: share of sequences that the off-policy mask takes out. */
function offPolicyMetrics({ offPolicyMask }: PolicySpec, batch: MeasuredBatch) {
  if (offPolicyMask === null) return {};
  const start = batch.sampler ?? batch.old ?? batch.logProbs;
  const dropped = batch.logProbs.map((row, sequence) => {
    const behind = differences(start[sequence]!, row, batch.mask[sequence]!);
    const isNegative = (batch.advantages[sequence]![0] ?? 0) < 0;
    return isNegative && behind.length > 0 && mean(behind) > offPolicyMask.threshold;
  });
  return { "offPolicy/dropped": share(dropped) };
}

/**
 * ratio/min … ratio/max: quantiles of ρ before any clipping or masking, over loss tokens (over sequences for sequence ratios);
 * clip/*, sampler/*, offPolicy/*: shares cut off; kl: nats a token.
 */
export function lossMetrics(spec: PolicySpec, batch: MeasuredBatch): Record<string, number> {
  const list = ratios(spec, batch);
  return {
    ...quantiles(
      "ratio",
      list.map(({ value }) => value),
    ),
    ...clipShares(spec, list),
    ...correctionMetrics(spec, batch),
    ...offPolicyMetrics(spec, batch),
    ...klMetrics(spec, batch),
  };
}
