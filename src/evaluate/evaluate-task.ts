// Accuracy of a model on items of a task, with intervals, levels and classes of errors.

import type { Engine } from "../core/engine.ts";
import { RunError } from "../core/errors.ts";
import type { Progress } from "../core/progress.ts";
import { randomStream } from "../core/random.ts";
import { wilsonInterval } from "../core/statistics.ts";
import type { Output, Task } from "../core/task.ts";
import type { FailureKind } from "../rollout/score-outputs.ts";
import { rollOut, type Environment, type ScoredCompletion } from "../rollout/single-turn.ts";

export interface EvaluateOptions {
  readonly maxTokens: number;
  /** 0 is greedy. */
  readonly temperature: number;
  /** Answers to every item; 1 unless told. The first one counts, the others are for pass@k. */
  readonly samples?: number;
  readonly seed: number;
  readonly progress: Progress;
  readonly label: string;
}

/** Share of correct answers with its 95 % interval (Wilson). */
export interface Accuracy {
  readonly count: number;
  readonly correct: number;
  readonly accuracy: number;
  readonly ci95: readonly [number, number];
}

export interface TaskEvaluation extends Accuracy {
  readonly levels: Readonly<Record<string, Accuracy>>;
  /** Wrong answers by class. */
  readonly errors: Readonly<Record<string, number>>;
  /** Mean of every score over the items where it neither abstains nor fails. */
  readonly scores: Readonly<Record<string, number>>;
  /** Items where a score failed, by score and kind; absent: none did. */
  readonly scorerFailures?: Readonly<
    Record<string, Readonly<Partial<Record<FailureKind, number>>>>
  >;
  readonly meanTokens: number;
  /** One character an item, in order: 1 right, 0 wrong. Two evaluations of the same items can be compared in pairs. */
  readonly outcomes: string;
  /** Items where at least one of `k` answers is right; absent: one was asked for. */
  readonly pass?: Accuracy & { readonly k: number };
}

/** An evaluation with the outputs it judged. */
export interface JudgedItems<Item> {
  readonly evaluation: TaskEvaluation;
  readonly outputs: readonly {
    readonly item: Item;
    readonly output: Output;
    readonly right: boolean;
    /** Further answers to the item, where more than one was asked for. */
    readonly others: readonly Output[];
  }[];
}

/** Items sampled together; large enough to fill the sampler, small enough to show progress. */
const ITEMS_AT_ONCE = 256;

export function accuracyOf(outcomes: readonly boolean[]): Accuracy {
  const correct = outcomes.filter(Boolean).length;
  const { low, high } = wilsonInterval(correct, outcomes.length);
  return {
    count: outcomes.length,
    correct,
    accuracy: correct / outcomes.length,
    ci95: [low, high],
  };
}

function grouped<T>(list: readonly T[], keyOf: (value: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const value of list) {
    const key = keyOf(value);
    groups.set(key, [...(groups.get(key) ?? []), value]);
  }
  return groups;
}

/** Whether the answer is right. Throws where that is not known: a failure is not a wrong answer. */
function isRight<Item, Config>(
  task: Task<Item, Config>,
  { scores, failures, logProbs }: ScoredCompletion,
  where: string,
): boolean {
  const broken = logProbs.find((value) => !Number.isFinite(value));
  if (broken !== undefined) {
    const got = String(broken);
    const hint = "the weights are broken";
    throw new RunError({ where, expected: "finite log-probabilities", got, hint });
  }
  const failure = failures[task.accuracy];
  if (failure !== undefined) {
    const got = `an error of the scorer: ${failure.error.message}`;
    throw new RunError({ where, expected: "scores", got, cause: failure.error });
  }
  if (scores[task.accuracy] === null) {
    const expected = `a number for ${task.accuracy}, which is the accuracy`;
    throw new RunError({ where, expected, got: "a scorer that abstains" });
  }
  return scores[task.accuracy] === 1;
}

/** Means of the scores that are known, and how often the others failed. */
function scoreMeans(
  completions: readonly ScoredCompletion[],
): Pick<TaskEvaluation, "scores" | "scorerFailures"> {
  const sums = new Map<string, { total: number; count: number }>();
  const failed: Record<string, Partial<Record<FailureKind, number>>> = {};
  for (const completion of completions) {
    for (const [name, score] of Object.entries(completion.scores)) {
      if (score === null) continue;
      const { total, count } = sums.get(name) ?? { total: 0, count: 0 };
      sums.set(name, { total: total + score, count: count + 1 });
    }
    for (const [name, { kind }] of Object.entries(completion.failures)) {
      failed[name] = { ...failed[name], [kind]: (failed[name]?.[kind] ?? 0) + 1 };
    }
  }
  return {
    scores: Object.fromEntries([...sums].map(([name, { total, count }]) => [name, total / count])),
    ...(Object.keys(failed).length > 0 && { scorerFailures: failed }),
  };
}

/**
 * One answer to every item. Where the accuracy is not known, because its scorer failed, the evaluation stops; other scores that
 * fail are counted and left out of their mean.
 */
export async function evaluateTask<Item, Config>(
  engine: Engine,
  environment: Environment<Item, Config>,
  items: readonly Item[],
  options: EvaluateOptions,
): Promise<JudgedItems<Item>> {
  const { task, config } = environment;
  const { samples = 1 } = options;
  const judged: {
    item: Item;
    output: Output;
    others: readonly Output[];
    right: boolean;
    level: string;
    tokens: number;
  }[] = [];
  const passed: boolean[] = [];
  const completions: ScoredCompletion[] = [];
  options.progress.begin(options.label, items.length);
  for (let start = 0; start < items.length; start += ITEMS_AT_ONCE) {
    const rollouts = await rollOut(engine, environment, items.slice(start, start + ITEMS_AT_ONCE), {
      group: samples,
      maxTokens: options.maxTokens,
      temperature: options.temperature,
      random: (prompt, sample) => {
        const stream = randomStream(options.seed, "evaluation", start + prompt);
        return sample === 0 ? stream : stream.fork("sample", sample);
      },
    });
    rollouts.forEach(({ item, completions: [completion, ...others] }, index) => {
      const { text, stopReason, tokens } = completion!;
      const where = `evaluation: item ${start + index} of task ${task.name}`;
      const right = isRight(task, completion!, where);
      completions.push(completion!);
      passed.push(right || others.some((other) => isRight(task, other, where)));
      judged.push({
        item,
        output: { text, stopReason },
        others: others.map((other) => ({ text: other.text, stopReason: other.stopReason })),
        right,
        level: task.level?.(item, config) ?? "all",
        tokens: tokens.length,
      });
    });
    const right = judged.filter((one) => one.right).length;
    options.progress.advance(
      judged.length,
      `${((100 * right) / judged.length).toFixed(1)} % right`,
    );
  }
  options.progress.end();
  const wrong = judged.filter((one) => !one.right);
  const classes = grouped(
    wrong,
    ({ item, output }) => task.errorClass?.(item, output, config) ?? "wrong",
  );
  const levels = grouped(judged, ({ level }) => level);
  const place = (level: string): number => (task.levels ?? []).indexOf(level);
  const inOrder = [...levels].sort(([a], [b]) => place(a) - place(b));
  const evaluation: TaskEvaluation = {
    ...accuracyOf(judged.map(({ right }) => right)),
    levels: Object.fromEntries(
      inOrder.map(([level, list]) => [level, accuracyOf(list.map(({ right }) => right))]),
    ),
    errors: Object.fromEntries([...classes].map(([name, list]) => [name, list.length])),
    ...scoreMeans(completions),
    meanTokens: judged.reduce((total, { tokens }) => total + tokens, 0) / judged.length,
    outcomes: judged.map(({ right }) => (right ? "1" : "0")).join(""),
    ...(samples > 1 && { pass: { k: samples, ...accuracyOf(passed) } }),
  };
  return { evaluation, outputs: judged };
}
