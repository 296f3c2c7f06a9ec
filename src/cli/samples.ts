// alidade samples: what a model wrote during a run, with scores, rewards and advantages.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { GrpoSettings } from "../algorithms/grpo-settings.ts";
import { ConfigError, unknownName } from "../core/errors.ts";
import { createParquet } from "../data/write-parquet.ts";
import { RunDirectory } from "../run/run-directory.ts";
import type { RunRecord } from "../run/run-record.ts";
import { readSampleGroups, sampleStages } from "../run/sample-groups.ts";
import {
  classOf,
  mismatchOf,
  querySamples,
  type SampleAnswer,
  type SampleFilters,
  type SampleInGroup,
  type SampleOrder,
  surpriseOf,
} from "../run/sample-query.ts";
import { ChatTokenizer } from "../text/chat-tokenizer.ts";
import { type CommandContext, type CommandResult, printResult } from "./command.ts";
import { collect, subcommand, wholeNumber } from "./command.ts";
import { formatNumber, formatTable } from "./output.ts";
import { sampleColumns } from "./sample-columns.ts";
import {
  failuresText,
  sampleRow,
  sampleView,
  type SampleViewOptions,
  signed,
  type TokenText,
} from "./sample-view.ts";

interface SamplesOptions extends Readonly<Partial<Record<"best" | "worst", number>>> {
  readonly json?: boolean;
  readonly stage?: string;
  readonly surprising?: number;
  readonly mismatch?: number;
  readonly count?: number;
  readonly sample?: readonly [number, number, number];
  readonly class?: string;
  readonly level?: string;
  readonly step?: readonly [number, number];
  readonly score?: readonly string[];
  readonly stop?: "stop" | "length";
  readonly tokens?: boolean;
  readonly parquet?: string;
}

/** Samples of the list when nothing else is asked for. */
const LISTED = 8;

/** Headings of the orders, in which they are printed. */
const headings: Readonly<Record<SampleOrder, string>> = {
  best: "Best: largest reward",
  worst: "Worst: smallest reward",
  surprising: "Most surprising: largest mean of −log π over the tokens the model wrote",
  mismatch: "Largest |sampler − trainer| log-probability of a token",
  newest: "Newest",
  groups: "Newest, one of each group",
};

/** `3`, `3..9`, `3..` or `..9`. */
function stepRange(text: string): [number, number] {
  const match = /^(\d*)(\.\.)?(\d*)$/.exec(text);
  if (match === null || text === "" || text === "..") {
    throw new InvalidArgumentError("Expected a step or a range of steps: 7, 10..20, 10.. or ..20.");
  }
  const [, from = "", dots, to = ""] = match;
  if (dots === undefined) return [Number(from), Number(from)];
  return [from === "" ? 0 : Number(from), to === "" ? Infinity : Number(to)];
}

function sampleOf(text: string): [number, number, number] {
  const match = /^(\d+)\/(\d+)\/(\d+)$/.exec(text);
  if (match !== null) return [Number(match[1]), Number(match[2]), Number(match[3])];
  throw new InvalidArgumentError("Expected STEP/PROMPT/SAMPLE, for example 80/3/5.");
}

function scoreFilter(texts: readonly string[]): Record<string, number | null> {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf("=");
      const value = text.slice(at + 1);
      const isNumber = value.trim() !== "" && Number.isFinite(Number(value));
      if (at <= 0 || !(isNumber || value === "null")) {
        const expected = "a score and its value, as name=1 or name=null (it abstained)";
        throw new ConfigError({ where: "--score", expected, got: JSON.stringify(text) });
      }
      return [text.slice(0, at), value === "null" ? null : Number(value)];
    }),
  );
}

/** The stage that is asked for; without one grpo, else the only or first one. */
export function findSampleStage(directory: string, asked: string | undefined): string {
  const stages = sampleStages(directory);
  if (stages.length === 0) {
    const hint = existsSync(join(directory, "images"))
      ? "image models leave pictures in its images/ instead"
      : "stages store them while they train; see grpo.samplesEvery";
    throw new ConfigError({ where: directory, expected: "stored samples", got: "none", hint });
  }
  if (asked === undefined) return stages.includes("grpo") ? "grpo" : stages[0]!;
  if (stages.includes(asked)) return asked;
  throw unknownName(directory, "stage with samples", asked, stages);
}

function filtersOf(options: SamplesOptions): SampleFilters {
  return {
    errorClass: options.class,
    level: options.level,
    steps: options.step,
    scores: scoreFilter(options.score ?? []),
    stop: options.stop,
    only: options.sample,
  };
}

/** How many samples of which order are wanted. */
function sizesOf(options: SamplesOptions): Partial<Record<SampleOrder, number>> {
  const { best, worst, surprising, mismatch, count, sample } = options;
  const asked = { best, worst, surprising, mismatch };
  const sizes = Object.fromEntries(Object.entries(asked).filter(([, size]) => size !== undefined));
  if (sample !== undefined) return { newest: 1 };
  if (count !== undefined) return { ...sizes, newest: count };
  return Object.keys(sizes).length > 0 ? sizes : { groups: LISTED };
}

/** Text of single tokens by the run's own tokenizer; a run has one once its model is saved. */
async function tokenTexts(directory: string): Promise<TokenText> {
  const { modelDirectory } = RunDirectory.open(directory);
  if (!existsSync(join(modelDirectory, "tokenizer.json"))) return (token) => `#${token} `;
  const tokenizer = await ChatTokenizer.read(modelDirectory);
  return (token) => tokenizer.decode([token]);
}

const columnOf = (value: number): string => (Number.isNaN(value) ? "-" : formatNumber(value));

function summaryText(path: string, stage: string, answer: SampleAnswer): string {
  const { total, count, groups, steps, classes, dropped, failures } = answer;
  const number = (value: number): string => value.toLocaleString("en");
  const of = count === total ? "" : ` of ${number(total)}`;
  const when = steps === null ? "" : `, steps ${steps[0]} to ${steps[1]}`;
  const line = `${path}, ${stage}: ${number(count)}${of} samples in ${number(groups)} groups${when}`;
  const rows = classes.map((one) => [
    `  ${one.name}`,
    number(one.count),
    `${((100 * one.count) / count).toFixed(1)} %`,
    columnOf(one.reward),
    signed(one.advantage),
    columnOf(one.tokens),
  ]);
  const header = ["  CLASS", "SAMPLES", "SHARE", "MEAN REWARD", "MEAN ADVANTAGE", "MEAN TOKENS"];
  if (rows.length === 0) return line;
  const failed = failuresText(failures);
  return [
    line,
    formatTable([header, ...rows]),
    ...(failed === "" ? [] : [`Failed scores: ${failed}`]),
    ...(dropped === 0 ? [] : [`${number(dropped)} samples were left out of the training.`]),
  ].join("\n\n");
}

function listText(list: readonly SampleInGroup[]): string {
  const rows = list.map((sample) =>
    sampleRow(sample, 60).map((cell, at) => (at === 0 ? `  ${cell}` : cell)),
  );
  const header = ["  SAMPLE", "LEVEL", "CLASS", "REWARD", "ADVANTAGE", "TOKENS", "COMPLETION ENDS"];
  return formatTable([header, ...rows]);
}

function answerText(
  path: string,
  stage: string,
  answer: SampleAnswer,
  options: SampleViewOptions & { readonly isOne: boolean },
): string {
  const views = (list: readonly SampleInGroup[]): string =>
    list.map((sample) => sampleView(sample, options)).join("\n\n");
  if (options.isOne) return views(answer.orders.newest ?? []);
  const sections = Object.entries(headings).flatMap(([order, heading]) => {
    const found = answer.orders[order as SampleOrder] ?? [];
    if (found.length === 0) return [];
    const isList = (order === "newest" || order === "groups") && !options.tokens;
    return [`${heading}\n\n${isList ? listText(found) : views(found)}`];
  });
  return [summaryText(path, stage, answer), ...sections].join("\n\n");
}

const sampleJson = ({ record, groupRewards }: SampleInGroup, isComparable: boolean): object => ({
  ...record,
  class: classOf(record),
  surprise: surpriseOf(record)?.mean ?? null,
  mismatch: isComparable ? mismatchOf(record) : null,
  groupRewards,
});

/** With plain logits the trainer's log-probabilities are of temperature 1, the sampler's of the one it sampled with. */
function speakOfOnePolicy({ config }: RunRecord): boolean {
  const { grpo } = config as { readonly grpo?: Partial<GrpoSettings> };
  return grpo?.logits !== "plain" || grpo.temperature === 1;
}

async function samples(
  context: CommandContext,
  path: string,
  options: SamplesOptions,
): Promise<CommandResult> {
  const isComparable = speakOfOnePolicy(RunDirectory.open(path).record);
  if (options.mismatch !== undefined && !isComparable) {
    const expected = "a run whose loss has the temperature of the sampling";
    const got = "grpo.logits=plain, so sampler and trainer differ by design";
    throw new ConfigError({ where: "--mismatch", expected, got });
  }
  const stage = findSampleStage(path, options.stage);
  const filters = filtersOf(options);
  const columns = sampleColumns.filter(({ name }) => isComparable || name !== "mismatch");
  const file = options.parquet === undefined ? null : createParquet(options.parquet, columns);
  let answer: SampleAnswer;
  let rows: number | undefined;
  try {
    answer = querySamples(readSampleGroups(path, stage), filters, sizesOf(options), file?.add);
    rows = file?.finish();
  } catch (error) {
    file?.discard();
    throw error;
  }
  if (options.sample !== undefined && answer.count === 0) {
    const expected = `a stored sample of ${stage} that the filters let through`;
    throw new ConfigError({ where: path, expected, got: options.sample.join("/") });
  }
  const { stdout } = context;
  const view = {
    tokens: options.tokens === true,
    isColoured: stdout.isTTY === true && process.env["NO_COLOR"] === undefined,
    tokenText: await tokenTexts(path),
    isOne: options.sample !== undefined,
    isComparable,
  };
  const { orders, ...summary } = answer;
  const shown = Object.entries(orders).map(
    ([order, list]) => [order, list.map((sample) => sampleJson(sample, isComparable))] as const,
  );
  const written = rows === undefined ? [] : [`${rows} samples written to ${options.parquet}`];
  return {
    json: {
      run: path,
      stage,
      ...summary,
      shown: Object.fromEntries(shown),
      ...(rows !== undefined && { parquet: options.parquet }),
    },
    text: [answerText(path, stage, answer, view), ...written].join("\n\n"),
  };
}

export function registerSamples(program: Command, context: CommandContext): void {
  const summary = "what the model wrote during a run: the best, the worst, by error class";
  const example = 'alidade samples runs/alphamaze-tiny-1 --class "hit wall" --worst 3';
  const size = wholeNumber(0);
  subcommand(program, "samples <dir>", summary, example)
    .option("--best <number>", "show the samples with the largest rewards", size)
    .option("--worst <number>", "show the samples with the smallest rewards", size)
    .option("--surprising <number>", "show those that the model found least likely itself", size)
    .option("--mismatch <number>", "show those where sampler and trainer differ most", size)
    .option("--count <number>", "list the newest", size)
    .option("--sample <name>", "show one, named STEP/PROMPT/SAMPLE as in the list", sampleOf)
    .option("--class <name>", "only this error class; right: those without one")
    .option("--level <name>", "only items of this level")
    .option("--step <range>", "only these steps: 7, 10..20, 10.. or ..20", stepRange)
    .option("--score <name=value>", "only where a score has this value (repeatable)", collect)
    .addOption(
      new Option("--stop <reason>", "only those that ended by themselves, or were cut").choices([
        "stop",
        "length",
      ]),
    )
    .option("--stage <name>", "stage of the run (default: grpo)")
    .option("--tokens", "show completions token by token with their log-probabilities")
    .option("--parquet <file>", "write the samples that pass the filters to a new Parquet file")
    .action(async (path: string, options: SamplesOptions) =>
      printResult(context, options, await samples(context, path, options)),
    );
}
