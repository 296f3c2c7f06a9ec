// alidade bench: how fast the engine is, against the matmul ceiling of the same run.

import { cpus } from "node:os";
import type { Command } from "commander";
import { unknownName } from "../core/errors.ts";
import { now } from "../run/run-directory.ts";
import { configureRuntime } from "../tensor/index.ts";
import type { BenchmarkResult } from "./benchmark-timing.ts";
import { benchmarks } from "./benchmarks.ts";
import {
  collect,
  type CommandContext,
  type CommandResult,
  printResult,
  subcommand,
  wholeNumber,
} from "./command.ts";
import { TerminalProgress } from "./progress.ts";

interface BenchOptions {
  readonly json?: boolean;
  readonly only?: readonly string[];
  readonly threads: number;
}

const whole = (value: number): string => Math.round(value).toLocaleString("en");

const row = (result: BenchmarkResult): string =>
  [
    result.title.padEnd(48),
    `${result.ratio.toFixed(2)} of ceiling`,
    `${whole(result.gigaflopsPerSecond)} GFLOP/s`,
    `best ${result.bestMs.toFixed(2)} ms, median ${result.medianMs.toFixed(2)} ms`,
    result.tokensPerSecond === undefined
      ? `${whole(result.imagesPerSecond!)} images/s`
      : `${whole(result.tokensPerSecond)} tokens/s`,
    `peak ${whole(result.peakMemoryBytes / 2 ** 20)} MiB`,
  ].join("  ");

async function bench(
  context: CommandContext,
  { only, threads }: BenchOptions,
): Promise<CommandResult> {
  const names = only ?? Object.keys(benchmarks);
  const stranger = names.find((name) => !Object.hasOwn(benchmarks, name));
  if (stranger !== undefined)
    throw unknownName("bench", "benchmark", stranger, Object.keys(benchmarks));
  configureRuntime({ threads, spinning: true });
  const progress = new TerminalProgress(context.stderr, now);
  progress.begin("bench", names.length);
  const results: BenchmarkResult[] = [];
  for (const [index, name] of names.entries()) {
    results.push({ name, ...(await benchmarks[name]!()) });
    progress.advance(index + 1, name);
  }
  progress.end();
  const machine = { cpu: cpus()[0]?.model.trim() ?? "unknown", threads, spinning: true };
  const ceilings = results.map((one) => one.ceilingGigaflopsPerSecond);
  return {
    json: { machine, results },
    text: [
      ...results.map(row),
      `ceiling: ${Math.round(Math.min(...ceilings))} to ${Math.round(Math.max(...ceilings))} GFLOP/s (${machine.cpu}, ${threads} threads)`,
    ].join("\n"),
  };
}

export function registerBench(program: Command, context: CommandContext): void {
  const summary = "measure the engine against the matmul ceiling of this machine";
  subcommand(program, "bench", summary, "alidade bench --only train-256 --json")
    .option(
      "--only <name>",
      `one benchmark (repeatable): ${Object.keys(benchmarks).join(", ")}`,
      collect,
    )
    .option("--threads <number>", "threads of one operator", wholeNumber(1), 2)
    .action(async (options: BenchOptions) =>
      printResult(context, options, await bench(context, options)),
    );
}
