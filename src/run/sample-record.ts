// One stored completion: a line of `samples/<stage>.jsonl`. The completions of one prompt (a group) stand one after the other
// and share `step` and `prompt`.

import { z } from "zod";
import type { Message } from "../core/messages.ts";
import { DataError, shownJson } from "../core/errors.ts";
import { storedNumber } from "./append-log.ts";

/** Who wrote a token of a completion. */
export type TokenOrigin = "model" | "environment" | "tool";

/** A list as runs of equal values: `[["model", 57], ["tool", 12]]`. */
export type RunLengths<Value> = readonly (readonly [Value, number])[];

/** How a score failed: a kind (error, timeout, notFinite) and what was said. */
export interface StoredFailure {
  readonly kind: string;
  readonly message: string;
}

export interface SampleRecord {
  /** Step of the stage, counted from 1. */
  readonly step: number;
  /** Index of the prompt within its step: with `step` the identity of the group. */
  readonly prompt: number;
  /** Index of the completion within its group. */
  readonly sample: number;
  /** The item as the task made it. */
  readonly item: unknown;
  /** The prompt as it was shown. */
  readonly messages: readonly Message[];
  /** File names of the images of the prompt. */
  readonly images?: readonly string[] | undefined;
  readonly promptTokens: readonly number[];
  /** The completion as the task saw it. */
  readonly text: string;
  /** Token ids of the completion `[time]`. */
  readonly tokens: readonly number[];
  /** Who wrote each token. */
  readonly origin?: RunLengths<TokenOrigin> | undefined;
  /** Weight of each token in the loss: 1 counts, 0 does not. */
  readonly lossMask?: RunLengths<number> | undefined;
  /** Log-probability of each token as it was sampled, nats `[time]`. */
  readonly samplerLogProbs: readonly number[];
  /** The same, computed again by the trainer before its first optimiser step; absent where it was not trained on `[time]`. */
  readonly trainerLogProbs?: readonly number[] | undefined;
  /** Under the reference policy, where the run has one `[time]`. */
  readonly referenceLogProbs?: readonly number[] | undefined;
  /** What the scorers said about the output, without those that failed; absent in older records of a failed scorer. */
  readonly scores?: Readonly<Record<string, number | null>> | undefined;
  /** Scores that failed, by name; absent when none did. */
  readonly failures?: Readonly<Record<string, StoredFailure>> | undefined;
  /** Message of the error of a scorer, in records of older versions. */
  readonly error?: string | undefined;
  /** A failed reward took the sample out of the training. */
  readonly dropped?: boolean | undefined;
  /** weight · score of every score with a weight, null where it abstained. */
  readonly rewardParts?: Readonly<Record<string, number | null>> | undefined;
  /** Taken off the reward before the advantage was computed, by name; absent when nothing was. */
  readonly penalties?: Readonly<Record<string, number>> | undefined;
  /** Sum of the parts; null when all abstained or the sample was dropped. */
  readonly reward: number | null;
  /** NaN: its stage compares no rewards (DPO, rejection sampling). */
  readonly advantage: number;
  readonly stopReason: "stop" | "length";
  /** What is wrong with the output; null: nothing; absent: the task has no classes, or could not tell. */
  readonly errorClass?: string | null | undefined;
  /** Difficulty of the item. */
  readonly level?: string | undefined;
}

const isNumbers = (value: unknown): value is (number | string)[] =>
  Array.isArray(value) &&
  value.every((one) => typeof one === "number" || storedNumber(one) !== undefined);

/** A list of numbers; NaN and infinities are stored as text. One check a list: a file has millions of them. */
const numbers = z
  .custom<(number | string)[]>(isNumbers, "expected a list of numbers")
  .transform((list): readonly number[] => list.map((one) => storedNumber(one)!));

const count = z.int().min(0);
const named = z.record(z.string(), z.number().nullable());

/** What a record must have to be read; fields that later versions added may be absent, unknown ones are kept. */
const schema = z.looseObject({
  step: count,
  prompt: count,
  sample: count,
  item: z.unknown(),
  messages: z.array(
    z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() }),
  ),
  images: z.array(z.string()).optional(),
  promptTokens: numbers,
  text: z.string(),
  tokens: numbers,
  origin: z.array(z.tuple([z.enum(["model", "environment", "tool"]), count])).optional(),
  lossMask: z.array(z.tuple([z.number(), count])).optional(),
  samplerLogProbs: numbers,
  trainerLogProbs: numbers.optional(),
  referenceLogProbs: numbers.nullish().transform((list) => list ?? undefined),
  scores: named.optional(),
  failures: z.record(z.string(), z.object({ kind: z.string(), message: z.string() })).optional(),
  error: z.string().optional(),
  dropped: z.boolean().optional(),
  penalties: z.record(z.string(), z.number()).optional(),
  rewardParts: named.optional(),
  reward: z.number().nullable(),
  advantage: z.number().default(Number.NaN),
  stopReason: z.enum(["stop", "length"]),
  errorClass: z.string().nullable().optional(),
  level: z.string().optional(),
}) satisfies z.ZodType<SampleRecord>;

/** A stored line as a record. Throws a DataError that begins with `where` and names the field. */
export function parseSampleRecord(value: unknown, where: string): SampleRecord {
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    let got = value;
    for (const key of issue.path) got = (got as Record<PropertyKey, unknown> | undefined)?.[key];
    const field = issue.path.length === 0 ? "" : ` at ${issue.path.map(String).join(".")}`;
    throw new DataError({
      where: `${where}${field}`,
      expected: "a stored sample",
      got: shownJson(got),
      hint: issue.message,
      cause: parsed.error,
    });
  }
  const record: SampleRecord = parsed.data;
  for (const name of ["samplerLogProbs", "trainerLogProbs", "referenceLogProbs"] as const) {
    const list = record[name];
    if (list === undefined || list.length === record.tokens.length) continue;
    const expected = `${record.tokens.length} numbers, one a token`;
    throw new DataError({ where: `${where} at ${name}`, expected, got: String(list.length) });
  }
  return record;
}

/** `[1, 1, 0]` as `[[1, 2], [0, 1]]`. */
export function runLengths<Value>(values: Iterable<Value>): [Value, number][] {
  const runs: [Value, number][] = [];
  for (const value of values) {
    const last = runs.at(-1);
    if (last !== undefined && last[0] === value) last[1]++;
    else runs.push([value, 1]);
  }
  return runs;
}

/** The list that runs stand for. */
export function expandRuns<Value>(runs: RunLengths<Value>): Value[] {
  return runs.flatMap(([value, length]) => new Array<Value>(length).fill(value));
}
