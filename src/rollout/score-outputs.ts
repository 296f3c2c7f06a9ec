// Lets the scorers of a task judge outputs. What a scorer states, that it abstains and that it failed are different things and
// stay so; a scorer that fails takes no other scorer's numbers with it.

import { z } from "zod";
import { DataError, EngineError } from "../core/errors.ts";
import {
  taskScorers,
  type Output,
  type ScoredTask,
  type Scorer,
  type Scores,
} from "../core/task.ts";

/** What a timer can wait for. */
const LONGEST_MS = 2 ** 31 - 1;
/** Pause before a scorer is asked again; doubles with every retry. */
const FIRST_PAUSE_MS = 500;

export const scoringSettings = z.object({
  timeoutMs: z
    .int()
    .min(1)
    .max(LONGEST_MS)
    .default(60_000)
    .describe("most time for one answer of a scorer that answers later (a promise)"),
  retries: z
    .int()
    .min(0)
    .default(2)
    .describe("how often such a scorer is asked again after an error or a timeout"),
  concurrency: z
    .int()
    .min(1)
    .default(32)
    .describe("outputs that such scorers judge at the same time"),
});
export type ScoringSettings = z.output<typeof scoringSettings>;

/** How a score can fail: the scorer threw or returned no number; it did not answer in time; NaN or an infinity. */
export const failureKinds = ["error", "timeout", "notFinite"] as const;
export type FailureKind = (typeof failureKinds)[number];

export interface ScoreFailure {
  readonly kind: FailureKind;
  readonly error: Error;
}

/** What the scorers said of one output. A name of the task is in exactly one of the two. */
export interface ScoredOutput {
  /** A number, or null where the scorer abstains. */
  readonly scores: Scores;
  readonly failures: Readonly<Record<string, ScoreFailure>>;
}

export const scoreOutcomes = ["ok", "null", ...failureKinds] as const;
export type ScoreOutcome = (typeof scoreOutcomes)[number];

/** What became of one score of an output. */
export function scoreOutcome({ scores, failures }: ScoredOutput, name: string): ScoreOutcome {
  return failures[name]?.kind ?? (scores[name] === null ? "null" : "ok");
}

/** An item and what a model wrote about it, or drew. */
export interface Judgeable<Item, Judged = Output> {
  readonly item: Item;
  readonly output: Judged;
}

/** What a scorer returned, not looked at yet, or how it failed. */
type Answer = { readonly returned: unknown } | { readonly failure: ScoreFailure };

const asError = (thrown: unknown): Error =>
  thrown instanceof Error ? thrown : new Error(String(thrown));

const isPromiseLike = (value: unknown): value is PromiseLike<unknown> =>
  typeof (value as PromiseLike<unknown> | null | undefined)?.then === "function";

/** The answer, or a timeout: then the signal aborts, and what the scorer does later is not heard. */
async function answerInTime(
  returning: PromiseLike<unknown>,
  timeoutMs: number,
  abort: AbortController,
): Promise<Answer> {
  let timer: NodeJS.Timeout | undefined;
  const cutOff = new Promise<never>((_resolve, reject) => {
    // Not AbortSignal.timeout: its timer does not keep the process alive, which would end in silence.
    timer = setTimeout(() => {
      const where = "scorer";
      const got = "none (the time limit is scoring.timeoutMs)";
      const error = new EngineError({ where, expected: `scores within ${timeoutMs} ms`, got });
      reject(error); // before the abort, which may make the scorer reject too
      abort.abort(error);
    }, timeoutMs);
  });
  try {
    return { returned: await Promise.race([returning, cutOff]) };
  } catch (error) {
    const kind = abort.signal.aborted ? "timeout" : "error";
    return { failure: { kind, error: asError(error) } };
  } finally {
    clearTimeout(timer);
  }
}

/** A controller that no waiting scorer has yet: those that answer at once share it, since a thousand would cost milliseconds. */
interface Spare {
  abort: AbortController;
}

/** Asks once. A scorer that answers at once costs no timer and no promise; it cannot be cut off either. */
function ask<Item, Config, Judged>(
  scorer: Scorer<Item, Config, Judged>,
  { item, output }: Judgeable<Item, Judged>,
  config: Config,
  timeoutMs: number,
  spare: Spare,
): Answer | Promise<Answer> {
  const { abort } = spare;
  try {
    const returned = scorer.score(item, output, config, abort.signal);
    if (!isPromiseLike(returned)) return { returned };
    spare.abort = new AbortController();
    return answerInTime(returned, timeoutMs, abort);
  } catch (error) {
    return { failure: { kind: "error", error: asError(error) } };
  }
}

const pause = (durationMs: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, durationMs);
  });

async function askAgain(
  first: Promise<Answer>,
  again: () => Answer | Promise<Answer>,
  retries: number,
): Promise<Answer> {
  let answer = await first;
  for (let retry = 0; retry < retries && "failure" in answer; retry++) {
    await pause(FIRST_PAUSE_MS * 2 ** retry);
    answer = await again();
  }
  return answer;
}

/** The failure of a returned value that is no score, or null. */
function badValue(name: string, value: unknown): ScoreFailure | null {
  if (value === null || Number.isFinite(value)) return null;
  const isNumber = typeof value === "number";
  const got = isNumber ? String(value) : typeof value;
  const error = new DataError({ where: `score ${name}`, expected: "a finite number or null", got });
  return { kind: isNumber ? "notFinite" : "error", error };
}

/** Sorts the answers of all scorers by score name. */
function sortAnswers<Item, Config, Judged>(
  scorers: readonly Scorer<Item, Config, Judged>[],
  answers: readonly Answer[],
): ScoredOutput {
  const scores: Record<string, number | null> = {};
  const failures: Record<string, ScoreFailure> = {};
  scorers.forEach((scorer, index) => {
    const answer = answers[index]!;
    for (const name of Object.keys(scorer.scores)) {
      if ("failure" in answer) {
        failures[name] = answer.failure;
        continue;
      }
      const value = (answer.returned as Scores | null | undefined)?.[name];
      const failure = badValue(name, value);
      if (failure === null) scores[name] = value!;
      else failures[name] = failure;
    }
  });
  return { scores, failures };
}

function scoreOutput<Item, Config, Judged>(
  scorers: readonly Scorer<Item, Config, Judged>[],
  given: Judgeable<Item, Judged>,
  config: Config,
  { timeoutMs, retries }: ScoringSettings,
  spare: Spare,
): ScoredOutput | Promise<ScoredOutput> {
  const answers = scorers.map((scorer) => {
    const again = (): Answer | Promise<Answer> => ask(scorer, given, config, timeoutMs, spare);
    const first = again();
    return first instanceof Promise ? askAgain(first, again, retries) : first;
  });
  if (!answers.some((one) => one instanceof Promise)) {
    return sortAnswers(scorers, answers as readonly Answer[]);
  }
  const pending = answers.map(async (one) => one);
  return Promise.all(pending).then((all) => sortAnswers(scorers, all));
}

/**
 * Scores of every output, in the order of the outputs, whichever scorer answers first. All scorers of a task judge an output at the
 * same time. Never rejects because of a scorer. Throws a ConfigError when two scorers have a name in common.
 */
export async function scoreOutputs<Item, Config, Judged = Output>(
  task: ScoredTask<Item, Config, Judged>,
  config: Config,
  outputs: readonly Judgeable<Item, Judged>[],
  settings: ScoringSettings = scoringSettings.parse({}),
): Promise<ScoredOutput[]> {
  const scorers = taskScorers(task);
  const spare: Spare = { abort: new AbortController() };
  const results: ScoredOutput[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < outputs.length) {
      const index = next++;
      const scored = scoreOutput(scorers, outputs[index]!, config, settings, spare);
      results[index] = scored instanceof Promise ? await scored : scored;
    }
  };
  const workers = Math.min(settings.concurrency, outputs.length);
  await Promise.all(Array.from({ length: workers }, work));
  return results;
}
