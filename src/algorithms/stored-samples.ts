// Completions that the policy wrote once and a stage then trains on for many steps: sampled, scored, stored in the run. A resume
// reads them back instead of sampling again.

import { z } from "zod";
import type { Sequence } from "../core/engine.ts";
import { DataError, RunError } from "../core/errors.ts";
import { randomStream } from "../core/random.ts";
import type { Scores } from "../core/task.ts";
import { weighScores } from "../rollout/items.ts";
import { rollOut } from "../rollout/single-turn.ts";
import type { Environment, Rollout, ScoredCompletion } from "../rollout/single-turn.ts";
import { Interrupted } from "../run/interrupted.ts";
import { readSamples } from "../run/run-directory.ts";
import type { RewardWeights } from "./generation.ts";
import { errorClassOf, rewardPartsOf } from "./sample-records.ts";
import { itemsOrCheckpoint, newestCheckpoint, type StageContext } from "./stage.ts";

/** Settings of stages that sample. */
export const samplingSettings = {
  group: z.int().min(2).default(8).describe("completions a prompt"),
  maxTokens: z.int().min(1).default(256).describe("most tokens of a completion"),
  temperature: z
    .number()
    .positive()
    .default(1)
    .describe("sampling temperature; the loss is that of temperature 1"),
  topK: z
    .int()
    .min(1)
    .nullable()
    .default(null)
    .describe("sample among the k most likely tokens; null: all"),
  topP: z
    .number()
    .positive()
    .max(1)
    .nullable()
    .default(null)
    .describe("sample among the tokens that reach this probability; null: all"),
};

interface SamplingSettings {
  readonly prompts: number;
  readonly group: number;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK: number | null;
  readonly topP: number | null;
}

/** What a stage wants to sample: `settings.prompts` items from `firstItem` on, for its steps from `step` on. */
export interface SamplingRequest {
  readonly stage: string;
  readonly step: number;
  readonly firstItem: number;
  readonly settings: SamplingSettings;
  readonly weights: RewardWeights;
}

/** One completion, as samples/<stage>.jsonl holds it; a stage adds what it decided about it. */
export interface StoredSample {
  /** First step that may train on it. */
  readonly step: number;
  readonly prompt: number;
  readonly sample: number;
  readonly promptTokens: readonly number[];
  readonly tokens: readonly number[];
  readonly scores: Scores;
  /** Weighted sum of the scores; null: all of them abstain. */
  readonly reward: number | null;
}

const storedSchema = z.object({
  step: z.int(),
  prompt: z.int(),
  sample: z.int(),
  promptTokens: z.array(z.int()),
  tokens: z.array(z.int()),
  scores: z.record(z.string(), z.number().nullable()),
  reward: z.number().nullable(),
});

/** Completions sampled between two looks at the display and at Ctrl-C. */
const COMPLETIONS_AT_ONCE = 256;

/** The scores of a completion. A reward that fails stops the stage: a failure is not a low score. */
function scoresOf(
  { scores, failures }: ScoredCompletion,
  weights: RewardWeights,
  where: string,
  hint: string,
): Scores {
  const failed = Object.keys(weights).find((name) => name in failures);
  if (failed === undefined) return scores;
  const { kind, error } = failures[failed]!;
  const got = `${kind} of score ${failed}: ${error.message}`;
  throw new RunError({ where, expected: "scores", got, cause: error, hint });
}

function records(
  { item, messages, promptTokens, completions }: Rollout<unknown>,
  prompt: number,
  { stage, step, weights }: SamplingRequest,
  { task, config }: Environment<unknown, unknown>,
  hint: string,
): StoredSample[] {
  const level = task.level?.(item, config);
  return completions.map((completion, sample) => {
    const where = `${stage} step ${step}: prompt ${prompt}, sample ${sample}`;
    const scores = scoresOf(completion, weights, where, hint);
    const reward = weighScores(scores, weights);
    if (reward !== null && !Number.isFinite(reward)) {
      throw new RunError({ where, expected: "a finite reward", got: String(reward), hint });
    }
    const { text, tokens, logProbs, stopReason } = completion;
    return {
      step,
      prompt,
      sample,
      item,
      messages,
      promptTokens: Array.from(promptTokens),
      text,
      tokens: Array.from(tokens),
      samplerLogProbs: Array.from(logProbs, (value) => Number(value.toPrecision(6))),
      scores,
      rewardParts: rewardPartsOf(scores, weights),
      reward,
      stopReason,
      ...errorClassOf({ task, config }, item, completion),
      ...(level !== undefined && { level }),
    };
  });
}

/** What was trained since the stage began or went on is kept in a checkpoint before it stops. */
async function stopWhenAsked<Item, Config>(
  { signal, run, engine, done }: StageContext<Item, Config>,
  { stage, step }: SamplingRequest,
): Promise<void> {
  if (!signal.aborted) return;
  if (step - 1 > done) {
    await run.saveCheckpoint({ stage, step: step - 1 }, (directory) => engine.save(directory));
  }
  throw new Interrupted(run.path);
}

/** Completions of the current policy with their scores and rewards, ordered by prompt, then by sample. */
async function sampleAndScore<Item, Config>(
  context: StageContext<Item, Config>,
  request: SamplingRequest,
): Promise<StoredSample[]> {
  const { engine, environment, run, progress, seed } = context;
  const { stage, step, firstItem, settings } = request;
  const { prompts, group, maxTokens, temperature } = settings;
  const atOnce = Math.max(1, Math.floor(COMPLETIONS_AT_ONCE / group));
  const samples: StoredSample[] = [];
  progress.begin(`${stage.toUpperCase()} samples`, prompts);
  for (let start = 0; start < prompts; start += atOnce) {
    await stopWhenAsked(context, request);
    const count = Math.min(atOnce, prompts - start);
    const indices = Array.from({ length: count }, (_, index) => firstItem + start + index);
    const reading = Promise.all(indices.map((index) => context.items(index)));
    const items = await itemsOrCheckpoint(context, stage, step, reading);
    const rollouts = await rollOut(engine, environment, items, {
      group,
      maxTokens,
      temperature,
      topK: settings.topK ?? undefined,
      topP: settings.topP ?? undefined,
      random: (prompt, sample) =>
        randomStream(seed, `${stage} sample`, step, start + prompt, sample),
    });
    const hint = newestCheckpoint(run);
    const described = environment as Environment<unknown, unknown>;
    rollouts.forEach((rollout, index) => {
      samples.push(...records(rollout, start + index, request, described, hint));
    });
    progress.advance(start + count);
  }
  progress.end();
  return samples;
}

/** The stored samples for the steps from `step` on; none: they are yet to be sampled. */
function readStored<Choice>(
  path: string,
  { stage, step }: SamplingRequest,
  choice: z.ZodType<Choice>,
): (StoredSample & Choice)[] {
  const schema = z.intersection(storedSchema, choice);
  return readSamples(path, stage)
    .filter((record) => record["step"] === step)
    .map((record, index) => {
      const parsed = schema.safeParse(record);
      if (parsed.success) return parsed.data;
      const issue = parsed.error.issues[0]!;
      throw new DataError({
        where: `${path}: samples of ${stage} step ${step}, record ${index + 1}`,
        expected: "a stored sample",
        got: `${issue.path.join(".")}: ${issue.message}`,
      });
    });
}

/**
 * The samples that a stage trains on from a step on, each with the choice that the stage made about it. New ones are stored with a
 * checkpoint, so that a run that goes on neither samples again nor trains on others.
 */
export async function storedSamples<Item, Config, Choice extends object>(
  context: StageContext<Item, Config>,
  request: SamplingRequest,
  choice: z.ZodType<Choice>,
  choose: (samples: readonly StoredSample[]) => Promise<readonly Choice[]>,
): Promise<(StoredSample & Choice)[]> {
  const { run, engine } = context;
  const { stage, step } = request;
  const stored = readStored(run.path, request, choice);
  if (stored.length > 0) return stored;
  const samples = await sampleAndScore(context, request);
  const choices = await choose(samples);
  const chosen = samples.map((sample, index) => ({ ...sample, ...choices[index]! }));
  run.logSamples(stage, chosen);
  await run.saveCheckpoint({ stage, step: step - 1 }, (directory) => engine.save(directory));
  return chosen;
}

/** A stored sample as an engine takes it. */
export function sequenceOf({ promptTokens, tokens }: StoredSample): Sequence {
  return {
    tokens: Int32Array.from([...promptTokens, ...tokens]),
    promptLength: promptTokens.length,
  };
}

/** Samples of one prompt each, in their order. */
export function byPrompt<Sample extends StoredSample>(samples: readonly Sample[]): Sample[][] {
  const groups = new Map<number, Sample[]>();
  for (const sample of samples) {
    const group = groups.get(sample.prompt);
    if (group === undefined) groups.set(sample.prompt, [sample]);
    else group.push(sample);
  }
  return [...groups.values()];
}

/** One of each completion: what a policy wrote twice counts once. */
export function different<Sample extends StoredSample>(samples: readonly Sample[]): Sample[] {
  return [...new Map(samples.map((sample) => [sample.tokens.join(), sample])).values()];
}
