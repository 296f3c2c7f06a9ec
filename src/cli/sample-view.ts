// One stored sample as a person reads it.

import { formatNumber, indentText } from "./output.ts";
import type { FailureTable } from "../run/failure-counts.ts";
import { expandRuns, type SampleRecord } from "../run/sample-record.ts";
import { classOf, mismatchOf, type SampleInGroup, surpriseOf } from "../run/sample-query.ts";

/** How a sample is named on the command line: step/prompt/sample. */
export function sampleName({ step, prompt, sample }: SampleRecord): string {
  return `${step}/${prompt}/${sample}`;
}

/** A number with its sign; the last bits that a sum of advantages leaves are zero. */
export const signed = (value: number): string => {
  if (Number.isNaN(value)) return "-";
  if (Math.abs(value) < 1e-9) return "0";
  return value > 0 ? `+${formatNumber(value)}` : formatNumber(value);
};

/** `judge 3 (2 timeout, 1 error), slow 1 (1 timeout)`; empty: nothing failed. */
export function failuresText(failures: FailureTable): string {
  return Object.entries(failures)
    .map(([score, kinds]) => {
      const counts = Object.entries(kinds);
      const sum = counts.reduce((total, [, count]) => total + count, 0);
      return `${score} ${sum} (${counts.map(([kind, count]) => `${count} ${kind}`).join(", ")})`;
    })
    .join(", ");
}

const rewardText = (reward: number | null): string =>
  reward === null ? "none" : formatNumber(reward);

/** Names with their numbers; a score that abstained or failed says so. */
function numbersText(
  numbers: Readonly<Record<string, number | null>>,
  failures: SampleRecord["failures"],
  separator: string,
): string {
  const failed = Object.keys(failures ?? {}).filter((name) => !(name in numbers));
  const texts = Object.entries(numbers).map(([name, value]) => {
    const isFailed = failures?.[name] !== undefined;
    return `${name} ${isFailed ? "failed" : value === null ? "abstains" : formatNumber(value)}`;
  });
  return [...texts, ...failed.map((name) => `${name} failed`)].join(separator);
}

function rewardLine({ reward, rewardParts, failures, error, dropped }: SampleRecord): string {
  if (error !== undefined) return `none: the scorer failed with ${JSON.stringify(error)}`;
  const weighted = Object.keys(rewardParts ?? {});
  const failed = Object.entries(failures ?? {}).filter(([name]) => weighted.includes(name));
  const parts = numbersText(rewardParts ?? {}, Object.fromEntries(failed), " + ");
  if (dropped === true) {
    const why = failed.length > 0 ? parts : `another sample of its group failed; ${parts}`;
    return `none: left out of the training (${why})`;
  }
  return parts === "" ? rewardText(reward) : `${rewardText(reward)} = ${parts}`;
}

/** Lines of the failures and of what was taken off the reward; none when there is nothing. */
function oddLines({ failures = {}, penalties }: SampleRecord): string[] {
  const failed = Object.entries(failures).map(
    ([name, { kind, message }]) => `  failure      ${name}, ${kind}: ${message}`,
  );
  if (penalties === undefined) return failed;
  const parts = numbersText(penalties, {}, ", ");
  return [...failed, `  penalties    ${parts}, taken off the reward before it was compared`];
}

function groupLine({ record, groupRewards }: SampleInGroup): string {
  return groupRewards
    .map((reward, index) =>
      index === record.sample ? `[${rewardText(reward)}]` : rewardText(reward),
    )
    .join("  ");
}

/** Text of token ids; without a tokenizer their numbers. */
export type TokenText = (token: number) => string;

function probabilityLine(
  record: SampleRecord,
  { tokenText, isComparable }: Pick<SampleViewOptions, "tokenText" | "isComparable">,
): string {
  const surprise = surpriseOf(record);
  if (surprise === null) return "no tokens";
  const { mean, max, time } = surprise;
  const rarest = JSON.stringify(tokenText(record.tokens[time]!));
  const mismatch = isComparable ? mismatchOf(record) : null;
  return [
    `${formatNumber(mean)} nats a token, at most ${formatNumber(max)} (token ${time}, ${rarest})`,
    ...(mismatch === null
      ? []
      : [`sampler and trainer differ by at most ${formatNumber(mismatch)}`]),
  ].join("; ");
}

/** Red from pale to strong for probability 0.5, 0.2, 0.05, 0.01; 256-colour backgrounds. */
const colours: readonly (readonly [number, number])[] = [
  [0.01, 196],
  [0.05, 203],
  [0.2, 217],
  [0.5, 224],
];

function colouredToken(text: string, logProb: number): string {
  const colour = colours.find(([below]) => Math.exp(logProb) < below)?.[1];
  return colour === undefined ? text : `\u001B[48;5;${colour}m\u001B[30m${text}\u001B[0m`;
}

/**
 * The completion token by token. In colour: the less likely a token was, the redder. Plain: its log-probability behind it,
 * `right{-0.02}`. Tokens that the model did not write have none.
 */
export function tokensText(
  record: SampleRecord,
  tokenText: TokenText,
  isColoured: boolean,
): string {
  const origins = record.origin && expandRuns(record.origin);
  return record.tokens
    .map((token, time) => {
      const text = tokenText(token);
      const logProb = record.samplerLogProbs[time]!;
      const origin = origins?.[time] ?? "model";
      if (origin !== "model")
        return isColoured ? `\u001B[2m${text}\u001B[0m` : `${text}{${origin}}`;
      return isColoured ? colouredToken(text, logProb) : `${text}{${logProb.toFixed(2)}}`;
    })
    .join("");
}

export interface SampleViewOptions {
  /** Shows the completion token by token. */
  readonly tokens: boolean;
  readonly isColoured: boolean;
  readonly tokenText: TokenText;
  /** Log-probabilities of sampler and trainer are of one temperature. */
  readonly isComparable: boolean;
}

/** Everything about a sample that a person asks first. */
export function sampleView(sample: SampleInGroup, options: SampleViewOptions): string {
  const { record } = sample;
  const { level, stopReason, text, messages, scores, failures, images, tokens } = record;
  const head = [
    sampleName(record),
    ...(level === undefined ? [] : [level]),
    classOf(record),
    `reward ${rewardText(record.reward)}`,
    `advantage ${signed(record.advantage)}`,
    stopReason === "length" ? "cut at the token limit" : "ended by itself",
  ];
  const shown = options.tokens ? tokensText(record, options.tokenText, options.isColoured) : text;
  const scoreText = numbersText(scores ?? {}, failures, ", ");
  return [
    head.join("  "),
    ...messages.map(({ role, content }) => `  ${role}\n${indentText(content, "    ")}`),
    ...(images?.length ? [`  images       ${images.join(", ")}`] : []),
    `  completion, ${tokens.length} tokens\n${indentText(shown, "    ")}`,
    ...(scoreText === "" ? [] : [`  scores       ${scoreText}`]),
    `  reward       ${rewardLine(record)}`,
    ...oddLines(record),
    `  group        ${groupLine(sample)}`,
    `  surprise     ${probabilityLine(record, options)}`,
  ].join("\n");
}

/** A row of the list: the sample's name, its facts and how its completion ends. */
export function sampleRow({ record }: SampleInGroup, width: number): string[] {
  const line = record.text.replaceAll(/\s+/g, " ").trim();
  const end = line.length <= width ? line : `…${line.slice(line.length - width + 1)}`;
  return [
    sampleName(record),
    record.level ?? "",
    classOf(record),
    rewardText(record.reward),
    signed(record.advantage),
    String(record.tokens.length),
    end,
  ];
}
