// What a run has written down so far: metrics, histograms, evaluations, samples.

import { join } from "node:path";
import type { Histogram } from "../core/histogram.ts";
import { readJsonLines, readLastJsonLines, storedNumber } from "./append-log.ts";

export const metricsFile = "metrics.jsonl";
export const histogramsFile = "histograms.jsonl";
export const evaluationsFile = "evaluations.jsonl";

/** Path inside a run. */
export function samplesFile(stage: string): string {
  return join("samples", `${stage}.jsonl`);
}

/** One line of metrics.jsonl; beside `step` and `stage` every value is a number. */
export interface MetricsRecord {
  readonly step: number;
  readonly stage: string;
  readonly [metric: string]: number | string;
}

/** One line of histograms.jsonl: beside `step` and `stage` every value is a histogram. */
export interface HistogramRecord {
  readonly step: number;
  readonly stage: string;
  readonly [metric: string]: Histogram | number | string;
}

/** One line of evaluations.jsonl, for example `{step, stage, task, split, count, correct, ci95}`. */
export interface EvaluationRecord {
  readonly step: number;
  readonly task: string;
  readonly split: string;
  readonly count: number;
  readonly [key: string]: unknown;
}

/** The metrics of a run, in order; non-finite numbers come back as numbers. */
export function readMetrics(directory: string): MetricsRecord[] {
  return readJsonLines(join(directory, metricsFile)).map((record) =>
    Object.fromEntries(
      Object.entries(record as MetricsRecord).map(([name, value]) => [
        name,
        name === "stage" ? value : (storedNumber(value) ?? value),
      ]),
    ),
  ) as unknown as MetricsRecord[];
}

/** The histograms of a run, in order; none when it was written before there were any. */
export function readHistograms(directory: string): HistogramRecord[] {
  return readJsonLines(join(directory, histogramsFile)) as HistogramRecord[];
}

export function readEvaluations(directory: string): EvaluationRecord[] {
  return readJsonLines(join(directory, evaluationsFile)) as EvaluationRecord[];
}

/** The stored samples of a stage, in order. */
export function readSamples(directory: string, stage: string): Record<string, unknown>[] {
  return readJsonLines(join(directory, samplesFile(stage))) as Record<string, unknown>[];
}

/** The last stored samples of a stage, without reading the whole file. */
export function readLastSamples(
  directory: string,
  stage: string,
  count: number,
): Record<string, unknown>[] {
  const path = join(directory, samplesFile(stage));
  return readLastJsonLines(path, count) as Record<string, unknown>[];
}
