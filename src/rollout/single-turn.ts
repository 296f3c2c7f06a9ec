// One prompt, one completion: samples groups from an engine and lets the task score them.

import type { Completion, Engine, SampleOptions } from "../core/engine.ts";
import { DataError } from "../core/errors.ts";
import type { Message } from "../core/messages.ts";
import type { Random } from "../core/random.ts";
import type { Output, Scores, Task } from "../core/task.ts";
import type { ChatTokenizer } from "../text/chat-tokenizer.ts";

export interface ScoredCompletion extends Completion, Output {
  /** Facts about the output, or the error that kept the task from stating them; never merged. */
  readonly scored: { readonly scores: Scores } | { readonly error: Error };
}

export interface Rollout<Item> {
  readonly item: Item;
  readonly messages: readonly Message[];
  readonly promptTokens: Int32Array;
  readonly completions: readonly ScoredCompletion[];
}

export interface RolloutOptions {
  readonly group: number;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK?: number | undefined;
  readonly topP?: number | undefined;
  readonly random: (prompt: number, sample: number) => Random;
}

/** A task with what is needed to show its items to a model. */
export interface Environment<Item, Config> {
  readonly task: Task<Item, Config>;
  readonly config: Config;
  readonly tokenizer: ChatTokenizer;
}

function scored<Item, Config>(
  { task, config }: Environment<Item, Config>,
  item: Item,
  output: Output,
): ScoredCompletion["scored"] {
  try {
    const scores = task.score(item, output, config);
    for (const name of Object.keys(task.scores)) checkScore(name, scores[name]);
    return { scores };
  } catch (error) {
    return { error: error instanceof Error ? error : new Error(String(error)) };
  }
}

/** A score is a finite number or null; anything else is a bug of the task, and bugs are not zeros. */
function checkScore(name: string, value: unknown): void {
  if (value === null || (typeof value === "number" && Number.isFinite(value))) return;
  throw new DataError({
    where: `score ${name}`,
    expected: "a finite number or null",
    got: typeof value === "number" ? String(value) : typeof value,
  });
}

/** A prompt with its completions, not scored yet. */
export interface SampledGroup<Item> extends Omit<Rollout<Item>, "completions"> {
  readonly completions: readonly Completion[];
}

/** `group` completions of every item. */
export async function sampleGroups<Item, Config>(
  engine: Engine,
  environment: Environment<Item, Config>,
  items: readonly Item[],
  options: RolloutOptions,
): Promise<SampledGroup<Item>[]> {
  const { task, config, tokenizer } = environment;
  const prompts = items.map((item) => {
    const messages = task.prompt(item, config);
    return { item, messages, promptTokens: tokenizer.encodePrompt(messages) };
  });
  const sampling: SampleOptions = {
    group: options.group,
    maxTokens: options.maxTokens,
    temperature: options.temperature,
    stop: tokenizer.stopTokens,
    random: options.random,
    ...(options.topK !== undefined && { topK: options.topK }),
    ...(options.topP !== undefined && { topP: options.topP }),
  };
  const groups = await engine.sample(
    prompts.map(({ promptTokens }) => promptTokens),
    sampling,
  );
  return prompts.map((prompt, index) => ({ ...prompt, completions: groups[index]! }));
}

/** Lets the task score sampled completions. */
export function scoreGroups<Item, Config>(
  environment: Environment<Item, Config>,
  groups: readonly SampledGroup<Item>[],
): Rollout<Item>[] {
  return groups.map((group) => ({
    ...group,
    completions: group.completions.map((completion) => {
      const output = {
        text: environment.tokenizer.decodeAnswer(completion.tokens),
        stopReason: completion.stopReason,
      };
      return { ...completion, ...output, scored: scored(environment, group.item, output) };
    }),
  }));
}

/** `group` scored completions of every item. */
export async function rollOut<Item, Config>(
  engine: Engine,
  environment: Environment<Item, Config>,
  items: readonly Item[],
  options: RolloutOptions,
): Promise<Rollout<Item>[]> {
  return scoreGroups(environment, await sampleGroups(engine, environment, items, options));
}
