// alidade rescore: the stored samples of a run under a changed reward.

import { closeSync, existsSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import type { Command } from "commander";
import {
  rescoreBatch,
  type RescoredGroup,
  type RescoredSample,
  type RewardRule,
  scoreAgain,
  type ScoreOrFailure,
  storedScores,
  unexplained,
} from "../algorithms/rescore.ts";
import { RescoreSums, type RescoreSummary } from "../algorithms/rescore-sums.ts";
import { ConfigError } from "../core/errors.ts";
import { taskScores } from "../core/task.ts";
import { resolveConfig } from "../algorithms/resolve-config.ts";
import { jsonLine } from "../run/append-log.ts";
import { RunDirectory } from "../run/run-directory.ts";
import { readSampleBatches, type SampleGroup } from "../run/sample-groups.ts";
import { findSystem } from "../systems/registry.ts";
import type { Scoring, System } from "../systems/system.ts";
import { collect, type CommandContext, type CommandResult } from "./command.ts";
import { printResult, subcommand, wholeNumber } from "./command.ts";
import { refuseCustomRun } from "./custom-run.ts";
import { formatNumber, formatTable } from "./output.ts";
import { failuresText, sampleName, signed } from "./sample-view.ts";
import { findSampleStage } from "./samples.ts";
import { storedConfig } from "./stored-config.ts";

interface RescoreOptions {
  readonly json?: boolean;
  readonly set?: readonly string[];
  readonly stored?: boolean;
  readonly count: number;
  readonly out?: string;
}

/** The run's system, with its scoring as it was and as the changes make it. */
function findScoring(
  context: CommandContext,
  path: string,
  changes: readonly string[],
): { system: System; before: Scoring; after: Scoring } {
  const { record } = RunDirectory.open(path);
  const hint = "its samples can be read with: alidade samples";
  refuseCustomRun(record, path, `the command line does not have its task; ${hint}`);
  const system = findSystem(record.system, context.systems);
  if (system.scoring === undefined) {
    const expected = "a run of a system whose samples can be scored again";
    throw new ConfigError({ where: path, expected, got: system.name, hint });
  }
  const stranger = changes.find((text) => !text.startsWith("reward."));
  if (stranger !== undefined) {
    const expected = "a setting of the reward, for example --set reward.correct=2";
    const why = "what was sampled stays as it is, so nothing else can change";
    throw new ConfigError({ where: "--set", expected, got: JSON.stringify(stranger), hint: why });
  }
  const stored = storedConfig(system, record, path);
  const before = system.scoring(stored);
  refuseGreedyBaseline(before, path, hint);
  const after = system.scoring(resolveConfig(system.settings, stored as object, changes));
  return { system, before, after };
}

/** ReMax compares with the greedy completion of the prompt, whose reward under other weights nobody knows. */
function refuseGreedyBaseline({ grpo }: Scoring, path: string, hint: string): void {
  const { advantages } = grpo;
  if (advantages.type !== "reward" || advantages.baseline !== "greedy") return;
  const expected = "a run whose advantages follow from its stored samples";
  const got = "grpo.advantages.baseline=greedy: greedy completions are not stored";
  throw new ConfigError({ where: path, expected, got, hint });
}

const ruleOf = ({ weights, grpo }: Scoring): RewardRule => ({ weights, ...grpo });

const outLine = ({ record, scored, reward, advantage }: RescoredSample): object => {
  const { step, prompt, sample } = record;
  const { scores, failures } = scored;
  const failed = Object.keys(failures).length > 0 && { failures };
  return { step, prompt, sample, scores, ...failed, reward, advantage };
};

/** Writes the samples to a new file, which has its name once it is whole. */
async function writeSamples(path: string, groups: AsyncIterable<RescoredGroup>): Promise<void> {
  if (existsSync(path)) {
    const expected = "a path that does not exist yet";
    throw new ConfigError({ where: path, expected, got: "one that does" });
  }
  const partial = `${path}.partial`;
  let file: number;
  try {
    file = openSync(partial, "w");
  } catch (cause) {
    const got = (cause as Error).message;
    throw new ConfigError({ where: path, expected: "a path that can be written", got, cause });
  }
  try {
    for await (const { samples } of groups) {
      writeSync(file, samples.map((sample) => jsonLine(outLine(sample))).join(""));
    }
    closeSync(file);
    renameSync(partial, path);
  } catch (error) {
    rmSync(partial, { force: true });
    throw error;
  }
}

const percent = (value: number): string => `${(100 * value).toFixed(1)} %`;
const number = (value: number): string => value.toLocaleString("en");
function shown(value: ScoreOrFailure): string {
  if (value === undefined) return "absent";
  if (value === null) return "none";
  return typeof value === "number" ? formatNumber(value) : value.kind;
}

function weightsText(before: Scoring["weights"], after: Scoring["weights"]): string {
  const rows = [...new Set([...Object.keys(before), ...Object.keys(after)])].map((name) => [
    `  ${name}`,
    shown(before[name] ?? 0),
    shown(after[name] ?? 0),
    (before[name] ?? 0) === (after[name] ?? 0) ? "" : "changed",
  ]);
  return formatTable([["  WEIGHT", "BEFORE", "AFTER"], ...rows]);
}

function failedText({ failures }: RescoreSummary): string[] {
  const text = failuresText(failures);
  return text === "" ? [] : [`Failed scores, no number before or after: ${text}`];
}

function agreementText(
  { samples, disagreeing, examples }: RescoreSummary,
  stored: boolean,
): string {
  if (stored) return "Scores: as stored; nothing was scored again.";
  const names = Object.entries(disagreeing);
  if (names.length === 0) {
    return `Scores: ${number(samples)} outputs were scored again; all scores are as stored.`;
  }
  const counts = names.map(([name, count]) => `${name} ${number(count)}`).join(", ");
  const rows = examples.map(({ record, score, stored: old, again }) => [
    `  ${sampleName(record)}`,
    score,
    shown(old),
    shown(again),
  ]);
  return [
    `Scores DISAGREE with the stored ones (samples by score: ${counts}): task or scorers have changed since.`,
    formatTable([["  SAMPLE", "SCORE", "STORED", "AGAIN"], ...rows]),
  ].join("\n");
}

function movesText(summary: RescoreSummary): string {
  const { reward, rewardDeviation, withoutReward, withoutSpread, samples } = summary;
  const rows = [
    ["  mean reward", formatNumber(reward.before), formatNumber(reward.after)],
    [
      "  deviation of the reward",
      formatNumber(rewardDeviation.before),
      formatNumber(rewardDeviation.after),
    ],
    ["  groups without spread", percent(withoutSpread.before), percent(withoutSpread.after)],
    ["  samples without a reward", number(withoutReward.before), number(withoutReward.after)],
  ];
  const share = (count: number, what: string): string =>
    `${number(count)} ${what} (${percent(count / samples)})`;
  const { correlation, flipped, gained, lost } = summary;
  return [
    formatTable([["", "BEFORE", "AFTER"], ...rows]),
    `\nAdvantages: correlation ${correlation.toFixed(3)}; the sign flips for ${share(flipped, "samples")},`,
    `${share(gained, "samples")} gain an advantage, ${share(lost, "lose theirs")}.`,
  ].join("\n");
}

function classesText({ classes }: RescoreSummary): string {
  const rows = classes.map(({ name, count, reward, advantage }) => [
    `  ${name}`,
    number(count),
    `${formatNumber(reward.before)} → ${formatNumber(reward.after)}`,
    `${signed(advantage.before)} → ${signed(advantage.after)}`,
  ]);
  return formatTable([["  CLASS", "SAMPLES", "MEAN REWARD", "MEAN ADVANTAGE"], ...rows]);
}

function moversText({ movers }: RescoreSummary): string {
  if (movers.length === 0) return "No advantage moves.";
  const rows = movers.map(({ record, reward, advantage }) => [
    `  ${sampleName(record)}`,
    record.errorClass === null ? "right" : (record.errorClass ?? ""),
    `${shown(reward.before)} → ${shown(reward.after)}`,
    `${signed(advantage.before)} → ${signed(advantage.after)}`,
  ]);
  return `Samples that move most\n\n${formatTable([["  SAMPLE", "CLASS", "REWARD", "ADVANTAGE"], ...rows])}`;
}

function unexplainedText({ rewards, advantages }: Unexplained): string[] {
  if (rewards + advantages === 0) return [];
  const line = `By the rule of the run, ${number(rewards)} rewards and ${number(advantages)} advantages are not as stored:`;
  return [
    `${line}\nits scores, weights or advantage rule were others, so part of what moves below comes from that.`,
  ];
}

function summaryJson({ movers, examples, ...numbers }: RescoreSummary): object {
  return {
    ...numbers,
    examples: examples.map(({ record, ...one }) => ({ sample: sampleName(record), ...one })),
    movers: movers.map(outLine),
  };
}

/** Counts of `unexplained`, summed over batches. */
type Unexplained = ReturnType<typeof unexplained>;

/** The groups of a run under the changed rule, batch by batch; sums and unexplained are counted on the way. */
async function* rescoredGroups(
  path: string,
  stage: string,
  score: (batch: readonly SampleGroup[]) => ReturnType<typeof scoreAgain>,
  { before, after }: { readonly before: Scoring; readonly after: Scoring },
  count: (group: RescoredGroup) => void,
  odd: Unexplained,
): AsyncGenerator<RescoredGroup, void> {
  const rules = { before: ruleOf(before), after: ruleOf(after) };
  for (const batch of readSampleBatches(path, stage)) {
    const scored = await score(batch);
    const { rewards, advantages } = unexplained(batch, scored, rules.before);
    odd.rewards += rewards;
    odd.advantages += advantages;
    for (const group of rescoreBatch(batch, scored, rules)) {
      count(group);
      yield group;
    }
  }
}

async function rescore(
  context: CommandContext,
  path: string,
  options: RescoreOptions,
): Promise<CommandResult> {
  const changes = options.set ?? [];
  const { before, after } = findScoring(context, path, changes);
  const { task } = after;
  const stage = findSampleStage(path, undefined);
  if (stage !== "grpo") {
    const got = `those of ${stage}, which compares no rewards`;
    const hint = "they can be read with: alidade samples";
    throw new ConfigError({ where: path, expected: "samples of GRPO", got, hint });
  }
  const isStored = options.stored === true;
  const names = Object.keys(taskScores(task));
  const sums = new RescoreSums(options.count);
  const odd = { rewards: 0, advantages: 0 };
  const groups = rescoredGroups(
    path,
    stage,
    async (batch) =>
      isStored
        ? batch.map(({ samples }) => samples.map((record) => storedScores(record, names)))
        : scoreAgain(task, after.taskConfig, batch, after.settings),
    { before, after },
    (group) => sums.add(group),
    odd,
  );
  if (options.out === undefined) for await (const _ of groups);
  else await writeSamples(options.out, groups);
  const { summary } = sums;
  return {
    json: {
      run: path,
      stage,
      changes,
      weights: { before: before.weights, after: after.weights },
      scored: isStored ? "stored" : "again",
      unexplained: odd,
      ...summaryJson(summary),
    },
    text: [
      `${path}, ${stage}: ${number(summary.samples)} samples in ${number(summary.groups)} groups`,
      weightsText(before.weights, after.weights),
      agreementText(summary, isStored),
      ...failedText(summary),
      ...unexplainedText(odd),
      movesText(summary),
      classesText(summary),
      moversText(summary),
    ].join("\n\n"),
  };
}

export function registerRescore(program: Command, context: CommandContext): void {
  const summary = "the stored samples of a run under a changed reward: what would move";
  const example = "alidade rescore runs/alphamaze-tiny-1 --set reward.exactMoves=0.5";
  subcommand(program, "rescore <dir>", summary, example)
    .option("--set <path=value>", "change a setting of the reward (repeatable)", collect)
    .option("--stored", "take the stored scores instead of scoring the outputs again")
    .option("--count <number>", "samples to name among those that move most", wholeNumber(0), 8)
    .option("--out <file>", "write every sample's new scores, rewards, advantages to a new .jsonl")
    .action(async (path: string, options: RescoreOptions) =>
      printResult(context, options, await rescore(context, path, options)),
    );
}
