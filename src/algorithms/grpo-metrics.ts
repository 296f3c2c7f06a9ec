// The numbers a person needs to see whether GRPO works, from one step.

import { mean, standardDeviation } from "../core/statistics.ts";
import { scoreOutcome, scoreOutcomes } from "../rollout/score-outputs.ts";
import type { ScoredCompletion } from "../rollout/single-turn.ts";
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

/** What became of each score, counted; nothing of a score that was stated for every sample. */
function outcomeCounts(completions: readonly ScoredCompletion[]): Record<string, number> {
  const names = new Set(
    completions.flatMap(({ scores, failures }) => [
      ...Object.keys(scores),
      ...Object.keys(failures),
    ]),
  );
  const metrics: Record<string, number> = {};
  for (const name of names) {
    const outcomes = completions.map((one) => scoreOutcome(one, name));
    if (outcomes.every((outcome) => outcome === "ok")) continue;
    for (const kind of scoreOutcomes) {
      const count = outcomes.filter((outcome) => outcome === kind).length;
      if (count > 0 || kind === "ok") metrics[`scorer/${name}/${kind}`] = count;
    }
  }
  return metrics;
}

/** score/<name>: over every sample where it is known; reward/<name>: over those that stay in the step. */
function scoreMeans({ rollouts, dropped, weights }: MeasuredStep): Record<string, number> {
  const all = rollouts.flatMap(({ completions }) => completions.map(({ scores }) => scores));
  const isDropped = dropped.flat();
  const kept = all.filter((_, index) => !isDropped[index]!);
  const known = (list: typeof all, name: string): number[] =>
    list.map((one) => one[name]).filter((value) => typeof value === "number");
  const metrics: Record<string, number> = {};
  for (const name of new Set(all.flatMap((one) => Object.keys(one)))) {
    const [stated, rewarded] = [known(all, name), known(kept, name)];
    if (stated.length > 0) metrics[`score/${name}`] = mean(stated);
    const weight = weights[name];
    if (weight !== undefined && rewarded.length > 0)
      metrics[`reward/${name}`] = weight * mean(rewarded);
  }
  return metrics;
}

/**
 * reward/mean, reward/std: over completions that have a reward; reward/<score>: weight · score, mean over those that stay in the
 * step. score/<name>: mean where it is known. samples/dropped: completions that a failed reward took out of the step.
 * scorer/<name>/<ok, null, error, timeout, notFinite>: completions by what became of a score; only those that are not 0, and ok
 * beside them; none for a score that was stated for every completion. kl, entropy: nats a token. groups/withoutSpread: share of groups whose rewards
 * are all equal. completion/*: tokens. mismatch/*: |sampler − trainer| log-probability, nats: should be about 1e-6.
 */
export function grpoMetrics(measured: MeasuredStep): Record<string, number> {
  const { rollouts, dropped, rewards, groups, passes, reference } = measured;
  const completions = rollouts.flatMap((rollout) => rollout.completions);
  const known = rewards.flat().filter((reward) => reward !== null);
  const metrics: Record<string, number> = {
    loss: passes[0]!.loss,
    "reward/mean": mean(known),
    "reward/std": standardDeviation(known, "sample"),
  };
  Object.assign(metrics, scoreMeans(measured));
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
  metrics["samples/dropped"] = dropped.flat().filter(Boolean).length;
  Object.assign(metrics, outcomeCounts(completions));
  Object.assign(metrics, clipShares(measured));
  const sampler = flat(completions.map(({ logProbs }) => logProbs));
  const mismatch = flat(first.logProbs).map((logProb, index) =>
    Math.abs(logProb - sampler[index]!),
  );
  metrics["mismatch/mean"] = mean(mismatch);
  metrics["mismatch/max"] = mismatch.reduce((largest, value) => Math.max(largest, value), 0);
  return metrics;
}
