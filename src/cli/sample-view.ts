// One stored sample as a person reads it.

import { formatNumber, indentText } from "./output.ts";
import { expandRuns, type SampleRecord } from "../run/sample-record.ts";
import { classOf, mismatchOf, type SampleInGroup, surpriseOf } from "../run/sample-query.ts";

/** How a sample is named on the command line: step/prompt/sample. */
export function sampleName({ step, prompt, sample }: SampleRecord): string {
  return `${step}/${prompt}/${sample}`;
}

/** A number with its sign; the last bits that a sum of advantages leaves are zero. */
export const signed = (value: number): string => {
  if (Math.abs(value) < 1e-9) return "0";
  return value > 0 ? `+${formatNumber(value)}` : formatNumber(value);
};

const rewardText = (reward: number | null): string =>
  reward === null ? "none" : formatNumber(reward);

function rewardLine({ reward, rewardParts, error }: SampleRecord): string {
  if (error !== undefined) return `none: the scorer failed with ${JSON.stringify(error)}`;
  const parts = Object.entries(rewardParts ?? {}).map(
    ([name, part]) => `${name} ${part === null ? "abstains" : formatNumber(part)}`,
  );
  return parts.length === 0 ? rewardText(reward) : `${rewardText(reward)} = ${parts.join(" + ")}`;
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

function probabilityLine(record: SampleRecord, tokenText: TokenText): string {
  const surprise = surpriseOf(record);
  if (surprise === null) return "no tokens";
  const { mean, max, time } = surprise;
  const rarest = JSON.stringify(tokenText(record.tokens[time]!));
  const mismatch = mismatchOf(record);
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
}

/** Everything about a sample that a person asks first. */
export function sampleView(sample: SampleInGroup, options: SampleViewOptions): string {
  const { record } = sample;
  const { level, stopReason, text, messages, scores, images, tokens } = record;
  const head = [
    sampleName(record),
    ...(level === undefined ? [] : [level]),
    classOf(record),
    `reward ${rewardText(record.reward)}`,
    `advantage ${signed(record.advantage)}`,
    stopReason === "length" ? "cut at the token limit" : "ended by itself",
  ];
  const shown = options.tokens ? tokensText(record, options.tokenText, options.isColoured) : text;
  const scoreText = Object.entries(scores ?? {})
    .map(([name, score]) => `${name} ${score === null ? "abstains" : formatNumber(score)}`)
    .join(", ");
  return [
    head.join("  "),
    ...messages.map(({ role, content }) => `  ${role}\n${indentText(content, "    ")}`),
    ...(images?.length ? [`  images       ${images.join(", ")}`] : []),
    `  completion, ${tokens.length} tokens\n${indentText(shown, "    ")}`,
    ...(scoreText === "" ? [] : [`  scores       ${scoreText}`]),
    `  reward       ${rewardLine(record)}`,
    `  group        ${groupLine(sample)}`,
    `  surprise     ${probabilityLine(record, options.tokenText)}`,
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
