// The numbers a person needs to see whether GRPO works, from one step.

import { mean, standardDeviation } from "../core/statistics.ts";
import { scoreOutcome, scoreOutcomes, type ScoredOutput } from "../rollout/score-outputs.ts";
import type { Example } from "../core/engine.ts";
import type { PolicySpec } from "../core/loss-spec.ts";
import { lossMetrics } from "../losses/loss-metrics.ts";
import { masksOf } from "../losses/weights.ts";
import type { Generation, RewardWeights } from "./generation.ts";
import type { GrpoSettings } from "./grpo-settings.ts";
import type { Update } from "./grpo.ts";

const share = (list: readonly boolean[]): number => list.filter(Boolean).length / list.length;

/** What became of each score, counted; nothing of a score that was stated for every sample. */
export function outcomeCounts(scored: readonly ScoredOutput[]): Record<string, number> {
  const names = new Set(
    scored.flatMap(({ scores, failures }) => [...Object.keys(scores), ...Object.keys(failures)]),
  );
  const metrics: Record<string, number> = {};
  for (const name of names) {
    const outcomes = scored.map((one) => scoreOutcome(one, name));
    if (outcomes.every((outcome) => outcome === "ok")) continue;
    for (const kind of scoreOutcomes) {
      const count = outcomes.filter((outcome) => outcome === kind).length;
      if (count > 0 || kind === "ok") metrics[`scorer/${name}/${kind}`] = count;
    }
  }
  return metrics;
}

/** score/<name>: over every sample where it is known; reward/<name>: over those that stay in the step. */
function scoreMeans({ rollouts, dropped, weights }: MeasuredGeneration): Record<string, number> {
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

/** A generation batch with what its numbers mean. */
export interface MeasuredGeneration extends Omit<Generation, "trainer"> {
  /** Log-probabilities of the trainer before its first optimiser step, by prompt, then by sample; where they are known. */
  readonly trainer: readonly (Float32Array | undefined)[];
  readonly weights: RewardWeights;
  readonly settings: GrpoSettings;
}

/** |sampler − trainer| log-probability of every token, nats: should be about 1e-6. None where they speak of different temperatures. */
function mismatches({ rollouts, trainer, settings }: MeasuredGeneration): Record<string, number> {
  if (settings.logits === "plain" && settings.temperature !== 1) return {};
  const completions = rollouts.flatMap((rollout) => rollout.completions);
  const distances = completions.flatMap(({ logProbs }, index) =>
    Array.from(trainer[index] ?? [], (logProb, time) => Math.abs(logProb - logProbs[time]!)),
  );
  if (distances.length === 0) return {};
  const largest = distances.reduce((most, value) => Math.max(most, value), 0);
  return { "mismatch/mean": mean(distances), "mismatch/max": largest };
}

/** penalty/kl, penalty/overlong: taken off the reward, mean over completions. */
function penaltyMeans({ penalties }: MeasuredGeneration): Record<string, number> {
  const names = ["kl", "overlong"] as const;
  return Object.fromEntries(
    names
      .filter((name) => penalties[0]?.[name] !== undefined)
      .map((name) => [`penalty/${name}`, mean(penalties.map((one) => one[name] ?? 0))]),
  );
}

/**
 * Of a generation batch. reward/mean, reward/std: over completions that have a reward; reward/<score>: weight · score, mean over
 * those that stay in the step. score/<name>: mean where it is known. samples/dropped: completions that a failed reward took out.
 * scorer/<name>/<ok, null, error, timeout, notFinite>: completions by what became of a score; only those that are not 0, and ok
 * beside them; none for a score that was stated for every completion. groups/withoutSpread: share of groups that teach nothing;
 * groups/refilled: groups that others took the place of. completion/*: tokens. penalty/*: taken off the rewards.
 * mismatch/*: |sampler − trainer| log-probability, nats.
 */
export function generationMetrics(measured: MeasuredGeneration): Record<string, number> {
  const { rollouts, dropped, rewards, groups, settings, refilled } = measured;
  const completions = rollouts.flatMap((rollout) => rollout.completions);
  const known = rewards.flat().filter((reward) => reward !== null);
  const lengths = completions.map(({ tokens }) => tokens.length);
  return {
    "reward/mean": mean(known),
    "reward/std": standardDeviation(known, "sample"),
    ...scoreMeans(measured),
    ...penaltyMeans(measured),
    "completion/length": mean(lengths),
    "completion/maxLength": Math.max(...lengths),
    "completion/truncated": share(completions.map(({ stopReason }) => stopReason === "length")),
    "groups/withoutSpread": share(groups.map(({ withoutSpread }) => withoutSpread)),
    ...(settings.withoutSpread.type === "refill" && { "groups/refilled": refilled }),
    "samples/dropped": dropped.flat().filter(Boolean).length,
    ...outcomeCounts(completions),
    ...mismatches(measured),
  };
}

const rowsOf = ({ advantage }: Example, length: number): ArrayLike<number> =>
  typeof advantage === "number" ? new Float32Array(length).fill(advantage) : advantage!;

/** One array of every example, or undefined where there is none. */
const column = (
  examples: readonly Example[],
  name: "old" | "reference" | "sampler",
): Float32Array[] | undefined =>
  examples[0]?.[name] === undefined ? undefined : examples.map((example) => example[name]!);

/**
 * Of an optimiser step, over the loss tokens it was made of. entropy: nats a token. ratio/*, clip/*, kl, sampler/*, offPolicy/*:
 * see `lossMetrics`. update/skipped: 1 when there was nothing to learn and the weights stayed.
 */
export function updateMetrics(
  { examples, results, isSkipped }: Update,
  spec: PolicySpec,
): Record<string, number> {
  if (isSkipped) return { loss: 0, "update/skipped": 1 };
  const logProbs = results.flatMap((result) => result.logProbs);
  const mask = masksOf(examples);
  const entropy = results
    .flatMap((result) => result.entropy)
    .flatMap((row, sequence) => Array.from(row).filter((_, time) => mask[sequence]![time]! > 0));
  return {
    loss: results.reduce((total, { loss }) => total + loss, 0),
    entropy: mean(entropy),
    ...lossMetrics(spec, {
      logProbs,
      mask,
      advantages: examples.map((example, index) => rowsOf(example, logProbs[index]!.length)),
      old: column(examples, "old"),
      reference: column(examples, "reference"),
      sampler: column(examples, "sampler"),
    }),
  };
}
