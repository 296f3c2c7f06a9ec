// What a person asks when the numbers of a GRPO step look odd, answered beside them.

import type { Generation } from "./generation.ts";
import type { RewardMonitor } from "./reward-monitor.ts";

/** A loss of float32 noise. */
const ZERO_LOSS = 1e-6;

const countOf = (list: readonly boolean[]): number => list.filter(Boolean).length;

/** The latest numbers of a step in a few words, for the progress line. */
export function stepNote(
  generation: Pick<Generation, "groups" | "dropped"> | undefined,
  metrics: Readonly<Record<string, number>>,
  accuracy: string,
): string {
  if (generation === undefined) return `loss ${metrics["loss"]!.toFixed(3)}`;
  const { groups, dropped } = generation;
  const flat = countOf(groups.map(({ withoutSpread }) => withoutSpread));
  const left = countOf(dropped.flat());
  return [
    `reward ${metrics["reward/mean"]!.toFixed(3)}`,
    `${accuracy} ${(metrics[`score/${accuracy}`] ?? Number.NaN).toFixed(2)}`,
    ...(2 * flat > groups.length ? [`${flat} of ${groups.length} groups without spread`] : []),
    ...(left > 0 ? [`${left} samples dropped`] : []),
  ].join("  ");
}

/** Explains, once in a run, a loss of 0 and groups that teach nothing. */
export function explainStep(
  monitor: RewardMonitor,
  { groups }: Pick<Generation, "groups">,
  { loss }: Readonly<Record<string, number>>,
  gradientNorm: number,
): void {
  const flat = countOf(groups.map(({ withoutSpread }) => withoutSpread));
  if (flat < groups.length && Math.abs(loss!) < ZERO_LOSS && gradientNorm > 0) {
    monitor.tellOnce(
      ["zero loss"],
      "loss 0 is expected at the first optimiser step of a rollout: the ratio is 1 and advantages are centred; the gradient is not 0 (metric gradientNorm)",
    );
  }
  if (2 * flat > groups.length) {
    monitor.tellOnce(
      ["groups without spread"],
      `${flat} of ${groups.length} groups without spread (all rewards equal): nothing to learn from them (metric groups/withoutSpread)`,
    );
  }
}
