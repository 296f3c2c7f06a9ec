// alidade data: items of a task as a model sees them, with gold outputs and their scores; made by the task or read from
// published rows, and written as such rows.

import { existsSync } from "node:fs";
import { type Command, Option } from "commander";
import { ConfigError, DataError } from "../core/errors.ts";
import { type Random, randomStream } from "../core/random.ts";
import { describeSettings, resolveSettings } from "../core/settings.ts";
import type { Setting } from "../core/settings.ts";
import { writeJsonLines } from "../data/write-json-lines.ts";
import { openItemRows } from "../rollout/item-sources.ts";
import { scoreOutputs, type ScoredOutput } from "../rollout/score-outputs.ts";
import { type AnyTask, findTask } from "../tasks/registry.ts";
import { collect, type CommandContext, type CommandResult } from "./command.ts";
import { printResult, subcommand, wholeNumber } from "./command.ts";
import { formatNumber, formatValue, indentText } from "./output.ts";

interface DataOptions {
  readonly json?: boolean;
  readonly count: number;
  readonly seed: number;
  readonly set?: readonly string[];
  readonly from?: string;
  readonly split: "train" | "test";
  readonly write?: string;
}

const ownFlags = new Set(["json", "count", "seed", "set", "from", "split", "write", "help"]);

const flagOf = (path: string): string =>
  path.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** Settings that are also flags: those at the top level whose name is free. */
function flagSettings(task: AnyTask): Setting[] {
  return describeSettings(task.config).filter(
    ({ path }) => !path.includes(".") && !ownFlags.has(path),
  );
}

const scoresText = ({ scores, failures }: ScoredOutput): string =>
  [
    ...Object.entries(scores).map(
      ([name, value]) => `${name} ${value === null ? "abstains" : formatNumber(value)}`,
    ),
    ...Object.entries(failures).map(([name, { error }]) => `${name} failed: ${error.message}`),
  ].join(", ");

/** An item and where it comes from. */
interface Numbered {
  readonly item: unknown;
  readonly index: number;
  /** Where a row stands; null: made by the task. */
  readonly place: string | null;
}

/** Items by index: rows of a path, or made by the task. */
async function* numberedItems(
  task: AnyTask,
  config: unknown,
  { from, split, count, seed }: DataOptions,
): AsyncGenerator<Numbered> {
  if (from === undefined) {
    for (let index = 0; index < count; index++) {
      const item = task.make(randomStream(seed, "data", index).fork("item"), config);
      yield { item, index, place: null };
    }
    return;
  }
  const rows = await openItemRows(task, config, from, split, "any");
  for (let index = 0; index < Math.min(count, rows.length); index++) {
    yield { item: await rows.read(index), index, place: rows.place(index) };
  }
}

const goldStream = (seed: number, index: number) => randomStream(seed, "data", index).fork("gold");

/** The gold output; of a published row that does not say what is right, why there is none. */
function goldOf(
  task: AnyTask,
  item: unknown,
  config: unknown,
  random: Random,
): { readonly text: string } | { readonly text: null; readonly why: string } {
  try {
    return { text: task.gold(item, config, random) };
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    return { text: null, why: error.message };
  }
}

async function judgedItem(
  task: AnyTask,
  config: unknown,
  seed: number,
  { item, index, place }: Numbered,
) {
  const gold = goldOf(task, item, config, goldStream(seed, index));
  const level = task.level?.(item, config) ?? null;
  const prompt = task.prompt(item, config);
  if (gold.text === null) return { index, place, level, prompt, gold, scored: null, item };
  const output = { text: gold.text, stopReason: "stop" as const };
  const [scored] = await scoreOutputs(task, config, [{ item, output }]);
  return { index, place, level, prompt, gold, scored: scored!, item };
}

type JudgedItem = Awaited<ReturnType<typeof judgedItem>>;

/** An item as `--json` prints it; a score that failed is not among the scores. */
function itemJson({ index, place, level, prompt, gold, scored, item }: JudgedItem): object {
  const common = { index, ...(place !== null && { place }), level, prompt };
  if (scored === null) return { ...common, gold: null, item };
  const failures = Object.entries(scored.failures).map(
    ([name, { kind, error }]) => [name, { kind, message: error.message }] as const,
  );
  return {
    ...common,
    gold: gold.text,
    scores: scored.scores,
    ...(failures.length > 0 && { failures: Object.fromEntries(failures) }),
    item,
  };
}

async function showData(
  task: AnyTask,
  config: unknown,
  options: DataOptions,
): Promise<CommandResult> {
  const items: JudgedItem[] = [];
  for await (const one of numberedItems(task, config, options)) {
    items.push(await judgedItem(task, config, options.seed, one));
  }
  const text = items.map(({ index, place, level, prompt, gold, scored }) =>
    [
      `${place ?? `${task.name} ${index + 1}`}${level === null ? "" : `, ${level}`}`,
      ...prompt.map(({ role, content }) => `  ${role}\n${indentText(content, "    ")}`),
      `  gold output\n${indentText(gold.text ?? `none: ${gold.why}`, "    ")}`,
      ...(scored === null ? [] : [`  scores of the gold output\n    ${scoresText(scored)}`]),
    ].join("\n"),
  );
  return {
    json: { task: task.name, seed: options.seed, config, items: items.map(itemJson) },
    text: text.join("\n\n"),
  };
}

async function* publishedRows(
  task: AnyTask,
  config: unknown,
  format: NonNullable<AnyTask["rows"]>,
  options: DataOptions,
): AsyncGenerator {
  for await (const { item, index } of numberedItems(task, config, options)) {
    yield format.write(item, config, goldStream(options.seed, index));
  }
}

/** Writes items as published rows, one JSON object a line. */
async function writeData(
  task: AnyTask,
  config: unknown,
  path: string,
  options: DataOptions,
): Promise<CommandResult> {
  const refuse = (expected: string, got: string): ConfigError =>
    new ConfigError({ where: path, expected, got });
  const { rows } = task;
  if (rows === undefined) throw refuse("a task with published rows", task.name);
  if (!path.endsWith(".jsonl")) throw refuse("a path that ends in .jsonl", "another ending");
  if (existsSync(path)) throw refuse("a path that does not exist yet", "one that does");
  const count = await writeJsonLines(path, publishedRows(task, config, rows, options));
  return { json: { task: task.name, path, count }, text: `${count} rows written to ${path}` };
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
    .option("--from <path>", "show rows of a file, a pattern or a folder instead of making items")
    .addOption(
      new Option("--split <name>", "rows of a folder").choices(["train", "test"]).default("train"),
    )
    .option("--write <path>", "write the items as published rows to a new .jsonl file")
    .option("--set <path=value>", "change a setting of the task (repeatable)", collect);
  const named = context.tasks.find(({ name }) => argv[0] === "data" && argv.includes(name));
  const settings = named === undefined ? [] : flagSettings(named);
  for (const { path, range, help, default: value } of settings) {
    const limits = range === "" ? "" : ` [${range}]`;
    const text = `${help}${limits} (default: ${formatValue(value)})`;
    command.option(`--${flagOf(path)} <value>`, text);
  }
  command.action(async (name: string, options: DataOptions & Readonly<Record<string, unknown>>) => {
    const task = findTask(name, context.tasks);
    const flags = settings.filter(({ path }) => typeof options[path] === "string");
    const overrides = flags.map(({ path }) => `${path}=${String(options[path])}`);
    const config = resolveSettings(task.config, [], [...overrides, ...(options.set ?? [])]);
    const { write } = options;
    printResult(
      context,
      options,
      write === undefined
        ? await showData(task, config, options)
        : await writeData(task, config, write, options),
    );
  });
}
