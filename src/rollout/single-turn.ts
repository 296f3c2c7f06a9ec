// One prompt, one completion: samples groups from an engine and lets the task score them.

import type { Completion, Engine, SampleOptions } from "../core/engine.ts";
import type { Message } from "../core/messages.ts";
import type { Random } from "../core/random.ts";
import type { Output, Task } from "../core/task.ts";
import type { ChatTokenizer } from "../text/chat-tokenizer.ts";
import { scoreOutputs, type ScoredOutput, type ScoringSettings } from "./score-outputs.ts";

/** A completion, its text, its scores by name, and the scores that failed, by name. */
export interface ScoredCompletion extends Completion, Output, ScoredOutput {}

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

/** A task with what is needed to show its items to a model and to judge what it writes. */
export interface Environment<Item, Config> {
  readonly task: Task<Item, Config>;
  readonly config: Config;
  readonly tokenizer: ChatTokenizer;
  /** How long, how often and how many at once; absent: the defaults. */
  readonly scoring?: ScoringSettings;
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

/** Lets the scorers of the task judge sampled completions. */
export async function scoreGroups<Item, Config>(
  { task, config, tokenizer, scoring }: Environment<Item, Config>,
  groups: readonly SampledGroup<Item>[],
): Promise<Rollout<Item>[]> {
  const outputs = groups.flatMap(({ item, completions }) =>
    completions.map(({ tokens, stopReason }) => ({
      item,
      output: { text: tokenizer.decodeAnswer(tokens), stopReason },
    })),
  );
  const scored = await scoreOutputs(task, config, outputs, scoring);
  let next = 0;
  return groups.map((group) => ({
    ...group,
    completions: group.completions.map((completion) => {
      const index = next++;
      return { ...completion, ...outputs[index]!.output, ...scored[index]! };
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
