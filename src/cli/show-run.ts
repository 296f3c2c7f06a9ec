// alidade show DIR: status, evaluations, curves and an output of a run.

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { mainSeries, sparkline } from "../run/curves.ts";
import type { MetricsRecord } from "../run/run-directory.ts";
import { RunDirectory, readEvaluations } from "../run/run-directory.ts";
import { readLastSamples, readMetrics } from "../run/run-directory.ts";
import type { CommandResult } from "./command.ts";
import { howToResume } from "./custom-run.ts";
import { evaluationTable } from "./evaluation-table.ts";
import { formatDuration, formatNumber, formatTable, indentText } from "./output.ts";

/** Status in words; a run that says it is running but has no process was killed. */
function statusOf(run: RunDirectory): string {
  const { status } = run.record;
  return status === "running" && !run.isActive ? "killed" : status;
}

function curveTable(metrics: readonly MetricsRecord[]): string {
  const rows = mainSeries(metrics).map(({ stage, metric, points }) => {
    const values = points.map(({ y }) => y);
    const ends = `${formatNumber(values[0]!)} → ${formatNumber(values.at(-1)!)}`;
    return [`  ${stage}`, metric, sparkline(values), ends];
  });
  return formatTable(rows);
}

/** One stored sample: text as it is, short values in one line each, long lists left out. */
function sampleText(sample: Readonly<Record<string, unknown>>): string {
  return Object.entries(sample)
    .flatMap(([name, value]) => {
      if (typeof value === "string") {
        const isShort = !value.includes("\n") && value.length < 80;
        return [isShort ? `  ${name}: ${value}` : `  ${name}:\n${indentText(value, "    ")}`];
      }
      const text = JSON.stringify(value);
      return text.length > 160 ? [] : [`  ${name}: ${text}`];
    })
    .join("\n");
}

function lastSamples(path: string): { stage: string; sample: Record<string, unknown> }[] {
  const folder = join(path, "samples");
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith(".jsonl"))
    .sort()
    .flatMap((name) => {
      const stage = name.slice(0, -".jsonl".length);
      return readLastSamples(path, stage, 1).map((sample) => ({ stage, sample }));
    });
}

export function showRun(path: string): CommandResult {
  const run = RunDirectory.open(path);
  const metrics = readMetrics(path);
  const evaluations = readEvaluations(path);
  const { record } = run;
  const status = statusOf(run);
  const last = metrics.at(-1);
  const samples = lastSamples(path);
  const checkpoints = run.checkpointNames();
  const endMs = record.end === null ? "" : Date.parse(record.end) - Date.parse(record.start);
  const facts = [
    ["  system", `${record.system}, scale ${record.scale}, seed ${record.seed}`],
    ["  changed", record.overrides.join(" ") || "nothing"],
    ["  status", status],
    ["  started", record.start + (endMs === "" ? "" : `, took ${formatDuration(endMs)}`)],
    ["  steps", last === undefined ? "none yet" : `${last.stage} ${last.step}`],
    ["  checkpoints", checkpoints.join(", ") || "none"],
  ];
  const canResume = status === "killed" || status === "interrupted" || status === "failed";
  const numbers = Object.entries(last ?? {}).filter(([, value]) => typeof value === "number");
  const numberRows = numbers.map(([name, value]) => [`  ${name}`, formatNumber(Number(value))]);
  return {
    json: { path, ...record, status, checkpoints, last: last ?? null, evaluations, samples },
    text: [
      `${path}\n${formatTable(facts)}`,
      ...(evaluations.length === 0 ? [] : [`Evaluations\n${evaluationTable(evaluations, "  ")}`]),
      ...(metrics.length === 0 ? [] : [`Curves (first → last)\n${curveTable(metrics)}`]),
      ...(numberRows.length === 0 ? [] : [`Last step\n${formatTable(numberRows)}`]),
      ...samples.map(({ stage, sample }) => `Last sample of ${stage}\n${sampleText(sample)}`),
      ...(canResume ? [`Continue it with: ${howToResume(record, path)}`] : []),
    ].join("\n\n"),
  };
}
