// alidade train: a new run of a system.

import { join } from "node:path";
import type { Command } from "commander";
import { unknownName } from "../core/errors.ts";
import { resolveConfig } from "../algorithms/resolve-config.ts";
import { RunDirectory } from "../run/run-directory.ts";
import { findSystem } from "../systems/registry.ts";
import type { Scale, System } from "../systems/system.ts";
import { collect, type CommandContext, type CommandResult } from "./command.ts";
import { printResult, subcommand, wholeNumber } from "./command.ts";
import { executeRun } from "./execute-run.ts";
import { twoDigits } from "./output.ts";

interface TrainOptions {
  readonly json?: boolean;
  readonly scale: string;
  readonly seed: number;
  readonly out?: string;
  readonly set?: readonly string[];
  readonly device?: string;
  readonly threads?: number;
}

export function findScale(system: System, name: string): Scale {
  const scale = Object.hasOwn(system.scales, name) ? system.scales[name] : undefined;
  if (scale !== undefined) return scale;
  throw unknownName(system.name, "scale", name, Object.keys(system.scales));
}

/** For example `runs/alphamaze-tiny-20260131-142530`, in local time. */
function defaultPath(system: string, scale: string): string {
  const time = new Date();
  const day = `${time.getFullYear()}${twoDigits(time.getMonth() + 1)}${twoDigits(time.getDate())}`;
  const clock =
    twoDigits(time.getHours()) + twoDigits(time.getMinutes()) + twoDigits(time.getSeconds());
  return join("runs", `${system}-${scale}-${day}-${clock}`);
}

/** `--device` and `--threads` are short for the settings of the engine; `--set` wins. */
function overridesOf({ device, threads, set }: TrainOptions): string[] {
  return [
    ...(device === undefined ? [] : [`engine.device=${device}`]),
    ...(threads === undefined ? [] : [`engine.threads=${threads}`]),
    ...(set ?? []),
  ];
}

async function train(
  context: CommandContext,
  name: string,
  options: TrainOptions,
): Promise<CommandResult> {
  const { scale, seed } = options;
  const system = findSystem(name, context.systems);
  const { settings } = findScale(system, scale);
  const overrides = overridesOf(options);
  const resolved = resolveConfig(system.settings, settings, overrides);
  const config = (await system.prepare?.(resolved)) ?? resolved;
  const path = options.out ?? defaultPath(name, scale);
  const run = RunDirectory.create(path, { system: name, scale, config, seed, overrides });
  context.stderr.write(`${name}, scale ${scale}, seed ${seed}; writing ${path}\n`);
  return executeRun(context, system, run, config);
}

export function registerTrain(program: Command, context: CommandContext): void {
  const example = "alidade train alphamaze --scale tiny --seed 7 --set grpo.profile=dapo";
  subcommand(program, "train <system>", "train a system in a new run directory", example)
    .option("--scale <name>", "size of the experiment (see: alidade show SYSTEM)", "tiny")
    .option("--seed <number>", "seed of every random draw", wholeNumber(0), 1)
    .option("--out <dir>", "run directory (default: runs/<system>-<scale>-<time>)")
    .option("--set <path=value>", "change a setting (repeatable)", collect)
    .option("--device <name>", "execution provider, short for --set engine.device=…")
    .option("--threads <number>", "short for --set engine.threads=…", wholeNumber(1))
    .action(async (name: string, options: TrainOptions) =>
      printResult(context, options, await train(context, name, options)),
    );
}
