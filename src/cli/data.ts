// alidade data: items of a task as a model sees them, with gold outputs and their scores.

import type { Command } from "commander";
import { randomStream } from "../core/random.ts";
import type { Scores } from "../core/task.ts";
import { describeSettings, resolveSettings } from "../core/settings.ts";
import type { Setting } from "../core/settings.ts";
import { type AnyTask, findTask } from "../tasks/registry.ts";
import { collect, type CommandContext, type CommandResult } from "./command.ts";
import { printResult, subcommand, wholeNumber } from "./command.ts";
import { formatNumber, formatValue, indentText } from "./output.ts";

interface DataOptions {
  readonly json?: boolean;
  readonly count: number;
  readonly seed: number;
  readonly set?: readonly string[];
}

const ownFlags: ReadonlySet<string> = new Set(["json", "count", "seed", "set", "help"]);

const flagOf = (path: string): string =>
  path.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** Settings that are also flags: those at the top level whose name is free. */
function flagSettings(task: AnyTask): Setting[] {
  return describeSettings(task.config).filter(
    ({ path }) => !path.includes(".") && !ownFlags.has(path),
  );
}

const scoresText = (scores: Scores): string =>
  Object.entries(scores)
    .map(([name, value]) => `${name} ${value === null ? "abstains" : formatNumber(value)}`)
    .join(", ");

function makeItem(task: AnyTask, config: unknown, seed: number, index: number) {
  const random = randomStream(seed, "data", index);
  const item = task.make(random.fork("item"), config);
  const gold = task.gold(item, config, random.fork("gold"));
  const level = task.level?.(item, config) ?? null;
  const prompt = task.prompt(item, config);
  const scores = task.score(item, { text: gold, stopReason: "stop" }, config);
  return { index, level, prompt, gold, scores, item };
}

function showData(task: AnyTask, overrides: string[], { count, seed }: DataOptions): CommandResult {
  const config = resolveSettings(task.config, {}, overrides);
  const items = Array.from({ length: count }, (_, index) => makeItem(task, config, seed, index));
  const text = items.map(({ index, level, prompt, gold, scores }) =>
    [
      `${task.name} ${index + 1}${level === null ? "" : `, ${level}`}`,
      ...prompt.map(({ role, content }) => `  ${role}\n${indentText(content, "    ")}`),
      `  gold output\n${indentText(gold, "    ")}`,
      `  scores of the gold output\n    ${scoresText(scores)}`,
    ].join("\n"),
  );
  return { json: { task: task.name, seed, config, items }, text: text.join("\n\n") };
}

/**
 * The flags of `data` depend on its task, so the task is looked up in the arguments before they are
 * parsed: `--size 5` then stands for `--set size=5`, and help and errors know every setting.
 */
export function registerData(
  program: Command,
  context: CommandContext,
  argv: readonly string[],
): void {
  const command = subcommand(
    program,
    "data <task>",
    "items of a task, gold outputs and scores",
    "alidade data maze --count 3 --size 5",
  )
    .option("--count <number>", "items to show", wholeNumber(1), 3)
    .option("--seed <number>", "seed of the items", wholeNumber(0), 1)
    .option("--set <path=value>", "change a setting of the task (repeatable)", collect);
  const named = context.tasks.find(({ name }) => argv[0] === "data" && argv.includes(name));
  const settings = named === undefined ? [] : flagSettings(named);
  for (const { path, range, help, default: value } of settings) {
    const limits = range === "" ? "" : ` [${range}]`;
    const text = `${help}${limits} (default: ${formatValue(value)})`;
    command.option(`--${flagOf(path)} <value>`, text);
  }
  command.action((name: string, options: DataOptions & Readonly<Record<string, unknown>>) => {
    const task = findTask(name, context.tasks);
    const flags = settings.filter(({ path }) => typeof options[path] === "string");
    const overrides = flags.map(({ path }) => `${path}=${String(options[path])}`);
    printResult(context, options, showData(task, [...overrides, ...(options.set ?? [])], options));
  });
}
