// alidade metrics: the numbers of a run, as a table and in the formats of other programs.

import { existsSync, writeFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import type { Command } from "commander";
import { ConfigError } from "../core/errors.ts";
import { pointsCsv } from "../trackers/csv.ts";
import { readRunPoints, type RunPoints } from "../trackers/run-points.ts";
import { writeTensorboard } from "../trackers/tensorboard.ts";
import { writeWandb } from "../trackers/wandb.ts";
import { type CommandContext, type CommandResult, printResult, subcommand } from "./command.ts";
import { formatNumber, formatTable } from "./output.ts";

interface MetricsOptions {
  readonly json?: boolean;
  readonly tensorboard?: string;
  readonly wandb?: string;
  readonly csv?: string;
}

interface SeriesSummary {
  readonly name: string;
  readonly count: number;
  readonly first: number;
  readonly last: number;
  readonly min: number;
  readonly max: number;
}

/** First, last and extreme values of every metric and evaluation, in the order in which they appear. */
function summarise({ points }: RunPoints): SeriesSummary[] {
  const series = new Map<string, number[]>();
  for (const { metrics, evaluations } of points) {
    for (const [name, value] of Object.entries({ ...metrics, ...evaluations })) {
      const values = series.get(name);
      if (values === undefined) series.set(name, [value]);
      else values.push(value);
    }
  }
  return [...series].map(([name, values]) => {
    const finite = values.filter(Number.isFinite);
    const min = finite.reduce((low, value) => Math.min(low, value), Infinity);
    const max = finite.reduce((high, value) => Math.max(high, value), -Infinity);
    return { name, count: values.length, first: values[0]!, last: values.at(-1)!, min, max };
  });
}

function writeCsv(path: string, run: RunPoints): void {
  try {
    writeFileSync(path, pointsCsv(run), { flag: "wx" });
  } catch (cause) {
    const expected = "a new file that can be written";
    throw new ConfigError({ where: path, expected, got: (cause as Error).message, cause });
  }
}

function metricsResult(path: string, options: MetricsOptions): CommandResult {
  const run = readRunPoints(path);
  if (run.points.length === 0) {
    throw new ConfigError({ where: path, expected: "a run with metrics", got: "none yet" });
  }
  for (const folder of [options.tensorboard, options.wandb]) {
    if (folder === undefined || !existsSync(folder)) continue;
    if (resolve(folder) !== resolve(path)) continue;
    const expected = "a folder outside of the run";
    throw new ConfigError({ where: folder, expected, got: "the run itself" });
  }
  const written: Record<string, string> = {};
  if (options.tensorboard !== undefined) {
    written["tensorboard"] = writeTensorboard(options.tensorboard, run);
  }
  if (options.wandb !== undefined) {
    written["wandb"] = writeWandb(options.wandb, run, basename(resolve(path))).directory;
  }
  if (options.csv !== undefined) {
    writeCsv(options.csv, run);
    written["csv"] = options.csv;
  }
  const series = summarise(run);
  const number = (value: number): string => formatNumber(value);
  const rows = series.map(({ name, count, first, last, min, max }) =>
    [name, String(count), number(first), number(last), number(min), number(max)].map((cell, at) =>
      at === 0 ? `  ${cell}` : cell,
    ),
  );
  const table = formatTable([["  METRIC", "POINTS", "FIRST", "LAST", "LEAST", "MOST"], ...rows]);
  const files = Object.entries(written);
  return {
    json: { run: path, points: run.points.length, series, written },
    text: files.length === 0 ? `${path}\n\n${table}` : formatTable(files),
  };
}

export function registerMetrics(program: Command, context: CommandContext): void {
  const summary = "the numbers of a run; also for TensorBoard, W&B and as CSV";
  const example = "alidade metrics runs/alphamaze-tiny-1 --tensorboard logs";
  subcommand(program, "metrics <dir>", summary, example)
    .option("--tensorboard <dir>", "write a TensorBoard event file into a folder")
    .option("--wandb <dir>", "write an offline run for `wandb sync` below a folder")
    .option("--csv <file>", "write a table to a new file")
    .action((path: string, options: MetricsOptions) =>
      printResult(context, options, metricsResult(path, options)),
    );
}
