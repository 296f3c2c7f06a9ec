// A task: a pure description of a problem. No tensors, no clock, no disk.

import type { z } from "zod";
import { ConfigError } from "./errors.ts";
import type { Message } from "./messages.ts";
import type { Random } from "./random.ts";

/** Why a completion ended: a stop token, or the token limit. */
export type StopReason = "stop" | "length";

/** What a task scores: the text a model wrote, and why it ended. */
export interface Output {
  readonly text: string;
  readonly stopReason: StopReason;
}

/** Named facts about one output. `null`: this scorer abstains; neither a zero nor an error. */
export type Scores = Readonly<Record<string, number | null>>;

/**
 * States facts about an output beside the task's own: a judge on another machine, a slow check. Its failure leaves the scores
 * of the others as they are. `signal` aborts at the time limit; what comes later is not heard. `Judged` is what it looks at:
 * the text a model wrote, or the image it drew (image-task.ts).
 */
export interface Scorer<Item, Config, Judged = Output> {
  /** Every score name that `score` can return, with what it means. */
  readonly scores: Readonly<Record<string, string>>;
  score(
    item: Item,
    output: Judged,
    config: Config,
    signal: AbortSignal,
  ): Scores | PromiseLike<Scores>;
}

/** What scoring needs to know of a task, whatever its outputs are. */
export interface ScoredTask<Item, Config, Judged> extends Scorer<Item, Config, Judged> {
  readonly name: string;
  /** Further scorers, each with names of its own. */
  readonly scorers?: readonly Scorer<Item, Config, Judged>[];
}

/** The held-out part is decided by `splitKey`, so no training item is ever a test item. */
export type Split = "train" | "test";

/**
 * How published rows become items and back. Pure; a row is an object of named fields, read from a file elsewhere.
 */
export interface RowFormat<Item, Config> {
  /** Fields of every row: what is asked and what is right. */
  readonly fields: readonly string[];
  /** Fields that rows to imitate have beside those: the whole gold output. */
  readonly goldFields: readonly string[];
  /** Fields that are read where a file has them; those of gold rows alone. */
  readonly optionalFields: readonly string[];
  readonly optionalGoldFields: readonly string[];
  /** The item of a row. Throws a DataError that begins with `where` (file and row) and names the field. */
  read(row: Readonly<Record<string, unknown>>, where: string, config: Config): Item;
  /** A test item that brings no wording of its own, asked in the words of a training row. */
  inWordsOf?(item: Item, example: Item, config: Config): Item;
  /** The row of an item, as a data set would publish it. */
  write(item: Item, config: Config, random: Random): Readonly<Record<string, unknown>>;
}

/**
 * A problem with a verifiable answer. Every method is pure: the same arguments give the same result.
 * `Item` is plain data (JSON), so that it can be stored beside its samples.
 */
export interface Task<Item, Config> extends ScoredTask<Item, Config, Output> {
  readonly name: string;
  /** One line for `alidade list`. */
  readonly summary: string;
  /** Schema with defaults and help for every setting. */
  readonly config: z.ZodType<Config>;
  /** Every score name that `score` can return, with what it means. `taskScores` has those of all scorers. */
  readonly scores: Readonly<Record<string, string>>;
  /** Score (0 or 1) that evaluation reports as accuracy. */
  readonly accuracy: string;
  /** Strings that a tokenizer made for this task must keep whole. */
  tokens?(config: Config): readonly string[];
  /** Strings that a published model's tokenizer gets as new tokens, in the order of their ids. */
  addedTokens?(config: Config): readonly string[];
  make(random: Random, config: Config): Item;
  /** What the model is shown. */
  prompt(item: Item, config: Config): readonly Message[];
  /** An output with full marks; supervised training uses it. May draw from `random` where several are right. */
  gold(item: Item, config: Config, random: Random): string;
  /**
   * Facts about an output. Malformed output is a low score, never an exception; an exception is a failure of the scorer. Names
   * that `scores` does not list are left out.
   */
  score(
    item: Item,
    output: Output,
    config: Config,
    signal: AbortSignal,
  ): Scores | PromiseLike<Scores>;
  /** Published rows of this task; absent: there are none. */
  readonly rows?: RowFormat<Item, Config>;
  /** Two items with one key are the same problem. */
  key(item: Item): string;
  /** Items with one split key stay in one split. Default: `key`. */
  splitKey?(item: Item): string;
  /** Names of the difficulty levels, easy to hard; tables keep this order. */
  readonly levels?: readonly string[];
  /** Difficulty level, for tables. */
  level?(item: Item, config: Config): string;
  /** Class of a wrong output ("hit wall", "too long", …), for tables; null when it is right. */
  errorClass?(item: Item, output: Output, config: Config): string | null;
}

/** A task whose own scores need no waiting. */
export interface SyncTask<Item, Config> extends Task<Item, Config> {
  score(item: Item, output: Output, config: Config): Scores;
}

/** Gives a task literal its types; one that scores at once can be asked so. */
export function defineTask<Item, Config>(task: SyncTask<Item, Config>): SyncTask<Item, Config>;
export function defineTask<Item, Config>(task: Task<Item, Config>): Task<Item, Config>;
export function defineTask<Item, Config>(task: Task<Item, Config>): Task<Item, Config> {
  return task;
}

/** The task's own scorer, then the further ones. Throws a ConfigError when two have a name in common. */
export function taskScorers<Item, Config, Judged>(
  task: ScoredTask<Item, Config, Judged>,
): readonly Scorer<Item, Config, Judged>[] {
  const scorers = [task, ...(task.scorers ?? [])];
  const names = scorers.flatMap(({ scores }) => Object.keys(scores));
  const twice = names.find((name, index) => names.indexOf(name) < index);
  if (twice === undefined) return scorers;
  throw new ConfigError({
    where: `task ${task.name}`,
    expected: "every score name once",
    got: `two scorers of ${JSON.stringify(twice)}`,
  });
}

/** Every score that an output of the task gets, with what it means. */
export function taskScores<Item, Config, Judged>(
  task: ScoredTask<Item, Config, Judged>,
): Readonly<Record<string, string>> {
  return Object.assign({}, ...taskScorers(task).map(({ scores }) => scores)) as Readonly<
    Record<string, string>
  >;
}
