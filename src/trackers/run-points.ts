// The numbers of a run, point by point, as trackers of experiments want them: with names, steps and times.

import { storedNumber } from "../run/append-log.ts";
import type { Histogram } from "../core/histogram.ts";
import {
  type EvaluationRecord,
  type HistogramRecord,
  type MetricsRecord,
  readEvaluations,
  readHistograms,
  readMetrics,
} from "../run/records.ts";
import { readRunRecord, type RunRecord } from "../run/run-record.ts";

export interface RunPoint {
  readonly stage: string;
  /** Step of the stage, counted from 1; 0: before it. */
  readonly step: number;
  /** Steps of all stages, laid end to end. */
  readonly globalStep: number;
  /**
   * Milliseconds since 1970. The log has no times but the start of the run and how long each step took, so this is their sum:
   * evaluations, checkpoints and a pause before a resume take no time.
   */
  readonly timeMs: number;
  /** By name, for example `grpo/reward/mean`. */
  readonly metrics: Readonly<Record<string, number>>;
  /** By name, for example `evaluation/maze/test/accuracy`. */
  readonly evaluations: Readonly<Record<string, number>>;
  /** By name, for example `grpo/histogram/entropy`. */
  readonly histograms: Readonly<Record<string, Histogram>>;
}

export interface RunPoints {
  readonly record: RunRecord;
  readonly points: readonly RunPoint[];
}

const key = ({ stage, step }: { stage: string; step: number }): string => `${stage} ${step}`;

const stageOf = ({ stage }: MetricsRecord | EvaluationRecord): string =>
  typeof stage === "string" ? stage : "run";

function metricsOf(record: MetricsRecord | undefined): Record<string, number> {
  return Object.fromEntries(
    Object.entries(record ?? {}).flatMap(([name, value]) =>
      typeof value === "number" && name !== "step" ? [[`${record!.stage}/${name}`, value]] : [],
    ),
  );
}

function histogramsOf(record: HistogramRecord | undefined): Record<string, Histogram> {
  return Object.fromEntries(
    Object.entries(record ?? {}).flatMap(([name, value]) =>
      typeof value === "object" ? [[`${record!.stage}/histogram/${name}`, value]] : [],
    ),
  );
}

/** Accuracy with the ends of its interval, and of every level. */
function evaluationOf({
  task,
  split,
  correct,
  ci95,
  levels,
}: EvaluationRecord): Record<string, number> {
  const [low, high] = Array.isArray(ci95) ? (ci95 as unknown[]) : [];
  const parts: Record<string, unknown> = {
    accuracy: correct,
    "accuracy/low": low,
    "accuracy/high": high,
  };
  for (const [level, one] of Object.entries((levels ?? {}) as Record<string, unknown>)) {
    parts[`accuracy/${level}`] = (one as { accuracy?: unknown } | null)?.accuracy;
  }
  return Object.fromEntries(
    Object.entries(parts).flatMap(([name, value]) => {
      const number = storedNumber(value);
      return number === undefined ? [] : [[`evaluation/${task}/${split}/${name}`, number]];
    }),
  );
}

/** The points of a run in the order of its stages. Throws a ConfigError when there is no run, a DataError when a line is broken. */
export function readRunPoints(directory: string): RunPoints {
  const record = readRunRecord(directory);
  const metrics = readMetrics(directory);
  const evaluations = readEvaluations(directory);
  const histograms = new Map(readHistograms(directory).map((one) => [key(one), one]));
  const byPoint = new Map(metrics.map((one) => [key(one), one]));
  const judged = new Map<string, EvaluationRecord[]>();
  for (const one of evaluations) {
    const at = key({ stage: stageOf(one), step: one.step });
    judged.set(at, [...(judged.get(at) ?? []), one]);
  }
  const stages = [...new Set([...evaluations.map(stageOf), ...metrics.map(stageOf)])];
  // A stage that only measures (untrained) comes first in the log of evaluations; the others train in the order of metrics.
  const trained = [...new Set(metrics.map(stageOf))];
  const order = [...stages.filter((stage) => !trained.includes(stage)), ...trained];
  const points: RunPoint[] = [];
  let [offset, timeMs] = [0, Date.parse(record.start)];
  for (const stage of order) {
    const steps = [...metrics, ...evaluations].filter((one) => stageOf(one) === stage);
    for (const step of [...new Set(steps.map((one) => one.step))].sort((a, b) => a - b)) {
      const at = key({ stage, step });
      const stepMs = byPoint.get(at)?.["time/stepMs"];
      if (typeof stepMs === "number" && Number.isFinite(stepMs)) timeMs += stepMs;
      points.push({
        stage,
        step,
        globalStep: offset + step,
        timeMs,
        metrics: metricsOf(byPoint.get(at)),
        evaluations: Object.assign({}, ...(judged.get(at) ?? []).map(evaluationOf)) as Record<
          string,
          number
        >,
        histograms: histogramsOf(histograms.get(at)),
      });
    }
    offset = points.at(-1)?.globalStep ?? offset;
  }
  return { record, points };
}
