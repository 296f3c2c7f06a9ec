// What a person asks when the numbers of a GRPO step look odd, answered beside them.

import type { RewardMonitor } from "./reward-monitor.ts";

/** A loss of float32 noise. */
const ZERO_LOSS = 1e-6;

/** Of an optimiser step; the first one of a generation batch has the metrics of that, resumed or not. */
interface ReportedStep {
  readonly metrics: Readonly<Record<string, number>>;
  /** Groups of a generation batch. */
  readonly groups: number;
}

const flatGroups = ({ metrics, groups }: ReportedStep): number =>
  Math.round((metrics["groups/withoutSpread"] ?? 0) * groups);

/** The latest numbers of a step in a few words, for the progress line. */
export function stepNote(step: ReportedStep, accuracy: string): string {
  const { metrics, groups } = step;
  if (!("reward/mean" in metrics)) return `loss ${metrics["loss"]!.toFixed(3)}`;
  const [flat, left] = [flatGroups(step), metrics["samples/dropped"]!];
  return [
    `reward ${(metrics["reward/mean"] ?? Number.NaN).toFixed(3)}`,
    `${accuracy} ${(metrics[`score/${accuracy}`] ?? Number.NaN).toFixed(2)}`,
    ...(2 * flat > groups ? [`${flat} of ${groups} groups without spread`] : []),
    ...(left > 0 ? [`${left} samples dropped`] : []),
  ].join("  ");
}

/** Explains, once in a run, a loss of 0 and groups that teach nothing. */
export function explainStep(
  monitor: RewardMonitor,
  step: ReportedStep,
  gradientNorm: number,
): void {
  const { metrics, groups } = step;
  if (!("groups/withoutSpread" in metrics)) return;
  const flat = flatGroups(step);
  if (flat < groups && Math.abs(metrics["loss"]!) < ZERO_LOSS && gradientNorm > 0) {
    monitor.tellOnce(
      ["zero loss"],
      "loss 0 is expected at the first step of a generation batch: ratio 1, centred advantages; the gradient is not 0",
    );
  }
  if (2 * flat > groups) {
    monitor.tellOnce(
      ["groups without spread"],
      `${flat} of ${groups} groups without spread (all rewards equal): nothing to learn from them`,
    );
  }
}
