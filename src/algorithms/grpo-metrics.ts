// The numbers a person needs to see whether GRPO works, from one step.

import { mean, standardDeviation } from "../core/statistics.ts";
import type { MeasuredStep } from "./grpo.ts";

const flat = (rows: readonly Float32Array[]): number[] => rows.flatMap((row) => Array.from(row));
const share = (list: readonly boolean[]): number => list.filter(Boolean).length / list.length;

/** k3 estimate of KL(policy || reference), mean over tokens: exp(d) − d − 1, d = log π_ref − log π. */
function klToReference(
  policy: readonly Float32Array[],
  reference: readonly Float32Array[],
): number {
  const other = flat(reference);
  return mean(
    flat(policy).map((logProb, index) => {
      const difference = other[index]! - logProb;
      return Math.exp(difference) - difference - 1;
    }),
  );
}

/** Share of tokens whose ratio left the clip range on the side where clipping stops the gradient, in the last optimiser step. */
function clipShares({ passes, groups, settings }: MeasuredStep): Record<string, number> {
  const { clip } = settings;
  if (clip === null || passes.length < 2) return { "clip/low": 0, "clip/high": 0 };
  const advantages = groups.flatMap((group) => group.advantages);
  const [first, last] = [passes[0]!.logProbs, passes.at(-1)!.logProbs];
  const low: boolean[] = [];
  const high: boolean[] = [];
  last.forEach((row, sequence) =>
    row.forEach((logProb, time) => {
      const ratio = Math.exp(logProb - first[sequence]![time]!);
      low.push(ratio < 1 - clip.low && advantages[sequence]! < 0);
      high.push(ratio > 1 + clip.high && advantages[sequence]! > 0);
    }),
  );
  return { "clip/low": share(low), "clip/high": share(high) };
}

/**
 * reward/mean, reward/std: over completions whose reward does not abstain; reward/<score>: weight · score, mean.
 * score/<name>: mean where it does not abstain. kl, entropy: nats a token. groups/withoutSpread: share of groups whose rewards
 * are all equal. completion/*: tokens. mismatch/*: |sampler − trainer| log-probability, nats: should be about 1e-6.
 */
export function grpoMetrics(measured: MeasuredStep): Record<string, number> {
  const { rollouts, rewards, groups, passes, reference, weights } = measured;
  const completions = rollouts.flatMap((rollout) => rollout.completions);
  const scores = completions.flatMap(({ scored }) => ("scores" in scored ? [scored.scores] : []));
  const known = rewards.flat().filter((reward) => reward !== null);
  const metrics: Record<string, number> = {
    loss: passes[0]!.loss,
    "reward/mean": mean(known),
    "reward/std": standardDeviation(known, "sample"),
  };
  for (const name of new Set(scores.flatMap((one) => Object.keys(one)))) {
    const values = scores.flatMap((one) => (typeof one[name] === "number" ? [one[name]] : []));
    if (values.length === 0) continue;
    metrics[`score/${name}`] = mean(values);
    if (name in weights) metrics[`reward/${name}`] = weights[name]! * mean(values);
  }
  const first = passes[0]!;
  if (reference !== undefined) metrics["kl"] = klToReference(first.logProbs, reference);
  metrics["entropy"] = mean(flat(first.entropy));
  const lengths = completions.map(({ tokens }) => tokens.length);
  metrics["completion/length"] = mean(lengths);
  metrics["completion/maxLength"] = Math.max(...lengths);
  metrics["completion/truncated"] = share(
    completions.map(({ stopReason }) => stopReason === "length"),
  );
  metrics["groups/withoutSpread"] = share(groups.map(({ withoutSpread }) => withoutSpread));
  metrics["scorer/errors"] = completions.length - scores.length;
  Object.assign(metrics, clipShares(measured));
  const sampler = flat(completions.map(({ logProbs }) => logProbs));
  const mismatch = flat(first.logProbs).map((logProb, index) =>
    Math.abs(logProb - sampler[index]!),
  );
  metrics["mismatch/mean"] = mean(mismatch);
  metrics["mismatch/max"] = mismatch.reduce((largest, value) => Math.max(largest, value), 0);
  return metrics;
}
