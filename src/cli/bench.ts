// alidade bench: how fast the engine is, against the matmul ceiling of the same run.

import { execFile } from "node:child_process";
import { cpus } from "node:os";
import { promisify } from "node:util";
import type { Command } from "commander";
import { unknownName } from "../core/errors.ts";
import { now } from "../run/run-directory.ts";
import { configureRuntime } from "../tensor/index.ts";
import type { BenchmarkResult } from "./benchmark-timing.ts";
import { decoderBenchmarks, flowBenchmarks } from "./benchmarks.ts";
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

const names = [...Object.keys(decoderBenchmarks), ...Object.keys(flowBenchmarks)];

/** Of decoders, or of flow models: a process has one choice of threads. */
async function measureHere(
  context: CommandContext,
  chosen: readonly string[],
  threads: number,
): Promise<BenchmarkResult[]> {
  const areFlows = Object.hasOwn(flowBenchmarks, chosen[0]!);
  configureRuntime({ threads: areFlows ? 1 : threads, spinning: !areFlows });
  const progress = new TerminalProgress(context.stderr, now);
  progress.begin("bench", chosen.length);
  const results: BenchmarkResult[] = [];
  for (const [index, name] of chosen.entries()) {
    const measure = decoderBenchmarks[name] ?? (() => flowBenchmarks[name]!(threads));
    results.push({ name, ...(await measure()) });
    progress.advance(index + 1, name);
  }
  progress.end();
  return results;
}

/** The same in a process of its own. */
async function measureElsewhere(
  chosen: readonly string[],
  threads: number,
): Promise<BenchmarkResult[]> {
  const only = chosen.flatMap((name) => ["--only", name]);
  const args = [process.argv[1]!, "bench", "--json", "--threads", String(threads), ...only];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return (JSON.parse(stdout) as { results: BenchmarkResult[] }).results;
}

async function bench(
  context: CommandContext,
  { only, threads }: BenchOptions,
): Promise<CommandResult> {
  const wanted = only ?? names;
  const stranger = wanted.find((name) => !names.includes(name));
  if (stranger !== undefined) throw unknownName("bench", "benchmark", stranger, names);
  const isFlow = (name: string): boolean => Object.hasOwn(flowBenchmarks, name);
  const groups = [wanted.filter((name) => !isFlow(name)), wanted.filter(isFlow)];
  const [first, second] = groups.filter((group) => group.length > 0);
  const results = await measureHere(context, first!, threads);
  if (second !== undefined) results.push(...(await measureElsewhere(second, threads)));
  const machine = {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    threads,
    spinning: groups[0]!.length > 0,
  };
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
    .option("--only <name>", `one benchmark (repeatable): ${names.join(", ")}`, collect)
    .option(
      "--threads <number>",
      "threads of one operator; lanes of flow models",
      wholeNumber(1),
      2,
    )
    .action(async (options: BenchOptions) =>
      printResult(context, options, await bench(context, options)),
    );
}
