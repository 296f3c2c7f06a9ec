// alidade evaluate: a trained model on held-out items.

import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import { ConfigError, unknownName } from "../core/errors.ts";
import { resolveConfig } from "../algorithms/resolve-config.ts";
import { now, RunDirectory } from "../run/run-directory.ts";
import { findSystem } from "../systems/registry.ts";
import type { System } from "../systems/system.ts";
import { collect, type CommandContext, type CommandResult } from "./command.ts";
import { printResult, subcommand, wholeNumber } from "./command.ts";
import { refuseCustomRun } from "./custom-run.ts";
import { findModel } from "./find-model.ts";
import { formatNumber, formatTable, formatValue } from "./output.ts";
import { TerminalProgress } from "./progress.ts";
import { storedConfig } from "./stored-config.ts";
import { findScale } from "./train.ts";

interface EvaluateOptions {
  readonly json?: boolean;
  readonly task?: string;
  readonly count: number;
  readonly seed: number;
  readonly system?: string;
  readonly scale: string;
  readonly set?: readonly string[];
}

/** The system and its settings: as the run recorded them, else as the options say. */
function findSettings(
  context: CommandContext,
  model: string,
  options: EvaluateOptions,
): { system: System; settings: Readonly<Record<string, unknown>> } {
  const parent = dirname(resolve(model));
  if (options.system === undefined && existsSync(join(parent, "run.json"))) {
    const { record } = RunDirectory.open(parent);
    refuseCustomRun(record, parent, "evaluate it in a program of your own with evaluateTask");
    const system = findSystem(record.system, context.systems);
    return {
      system,
      settings: storedConfig(system, record, parent) as Readonly<Record<string, unknown>>,
    };
  }
  const byTask = context.systems.find((system) => system.task.name === options.task);
  if (options.system === undefined && byTask === undefined) {
    const expected = "--system for a model that is not part of a run";
    throw new ConfigError({ where: model, expected, got: "none" });
  }
  const system =
    options.system === undefined ? byTask! : findSystem(options.system, context.systems);
  return { system, settings: findScale(system, options.scale).settings };
}

/** Names and values, nested ones by their path. */
function resultRows(value: unknown, path = ""): string[][] {
  if (typeof value === "number") return [[path, formatNumber(value)]];
  if (Array.isArray(value))
    return [[path, value.map((one) => formatNumber(Number(one))).join(" to ")]];
  if (typeof value !== "object" || value === null) return [[path, formatValue(value)]];
  return Object.entries(value).flatMap(([name, part]) =>
    resultRows(part, path === "" ? name : `${path}.${name}`),
  );
}

async function evaluate(
  context: CommandContext,
  path: string,
  options: EvaluateOptions,
): Promise<CommandResult> {
  const modelDirectory = findModel(path);
  const { system, settings } = findSettings(context, modelDirectory, options);
  const task = options.task ?? system.task.name;
  if (task !== system.task.name) {
    throw unknownName("evaluate", `task of ${system.name}`, task, [system.task.name]);
  }
  const { count, seed } = options;
  const config = resolveConfig(system.settings, settings, options.set ?? []);
  const progress = new TerminalProgress(context.stderr, now);
  try {
    const result = await system.evaluate({ config, seed, modelDirectory, count, progress });
    progress.end();
    return {
      json: { model: modelDirectory, system: system.name, task, seed, ...result },
      text: formatTable(resultRows(result)),
    };
  } finally {
    progress.end();
  }
}

export function registerEvaluate(program: Command, context: CommandContext): void {
  const summary = "measure a trained model on held-out items";
  const example = "alidade evaluate runs/alphamaze-tiny-1 --task maze --count 1000";
  subcommand(program, "evaluate <dir>", summary, example)
    .option("--task <name>", "task (default: the task of the system)")
    .option("--count <number>", "items", wholeNumber(1), 1000)
    .option("--seed <number>", "seed of the items", wholeNumber(0), 1)
    .option("--system <name>", "system, for a model folder outside a run")
    .option("--scale <name>", "scale, for a model folder outside a run", "tiny")
    .option("--set <path=value>", "change a setting (repeatable)", collect)
    .action(async (path: string, options: EvaluateOptions) =>
      printResult(context, options, await evaluate(context, path, options)),
    );
}
