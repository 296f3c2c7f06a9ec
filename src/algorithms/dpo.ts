// Direct Preference Optimization on the policy's own completions:
//
//   L = −mean over the pairs of log σ(β h)              (sigmoid)
//   L = mean over the pairs of (h − 1/(2β))²            (IPO)
//   h = [log p(chosen) − log p_ref(chosen)] − [log p(rejected) − log p_ref(rejected)]
//
// The policy at the start of the stage is the reference policy. It also writes the completions: once, a best and a worst one of
// each prompt make a pair, and all steps train on these pairs.
//
// Papers: DPO, arXiv:2305.18290, equation 7; IPO, arXiv:2310.12036, equation 17.
// Differs from the papers in: rewards of a program take the place of people's judgement.

import { z } from "zod";
import type { Sequence } from "../core/engine.ts";
import { RunError } from "../core/errors.ts";
import { preferenceSettings } from "../core/loss-spec.ts";
import { randomStream } from "../core/random.ts";
import { evaluateLoss } from "../losses/index.ts";
import { now } from "../run/run-directory.ts";
import { dpoMetrics } from "./dpo-metrics.ts";
import { epochOrder } from "./epoch-order.ts";
import type { RewardWeights } from "./generation.ts";
import { preferencePairs, type Pair } from "./preference-pairs.ts";
import {
  checkFinite,
  finishStep,
  guardedStep,
  optimiserSettings,
  stepOptions,
  type StageContext,
} from "./stage.ts";
import {
  byPrompt,
  samplingSettings,
  sequenceOf,
  storedSamples,
  type StoredSample,
} from "./stored-samples.ts";

export const dpoSettings = z.object({
  steps: z.int().min(0).default(0).describe("optimiser steps; 0 leaves the stage out"),
  batch: z.int().min(1).default(32).describe("pairs a step"),
  prompts: z.int().min(1).default(512).describe("prompts that are sampled before the first step"),
  ...samplingSettings,
  pairs: z.int().min(1).default(2).describe("most pairs a prompt"),
  ...preferenceSettings.shape,
  optimiser: optimiserSettings.prefault({ learningRate: 1e-5 }).describe("AdamW or Muon"),
});
export type DpoSettings = z.output<typeof dpoSettings>;

/** A completion of a pair, with its log-probabilities under the reference policy. */
export interface Preferred extends Sequence {
  readonly reference: Float32Array;
}

/** What the stage decided about a sample. */
interface Choice {
  /** Samples of the same prompt that this one is preferred to. */
  readonly chosenOver: readonly number[];
  /** Nats; null: the sample is in no pair. */
  readonly referenceLogProbs: Float32Array | null;
}

const choiceSchema: z.ZodType<Choice> = z.object({
  chosenOver: z.array(z.int()),
  referenceLogProbs: z
    .array(z.number())
    .transform((values) => Float32Array.from(values))
    .nullable(),
});

/** The log-probabilities that the loss reads are those of the policy itself, whatever it was sampled with. */
const TEMPERATURE = 1;

/** Log-probabilities of the reference policy are computed for so many sequences at once. */
const SEQUENCES_AT_ONCE = 256;

async function logProbsOf<Item, Config>(
  { engine, run }: StageContext<Item, Config>,
  sequences: readonly Sequence[],
  step: number,
): Promise<Float32Array[]> {
  const logProbs = await engine.logProbs(sequences, {
    policy: "current",
    temperature: TEMPERATURE,
  });
  checkFinite({ loss: 0, logProbs, entropy: [] }, "dpo", step, run);
  return logProbs;
}

/** Pairs the samples, and asks the policy, which is still the reference, for the log-probabilities of those in a pair. */
async function choose<Item, Config>(
  context: StageContext<Item, Config>,
  samples: readonly StoredSample[],
  { pairs: most }: DpoSettings,
): Promise<Choice[]> {
  const pairs = byPrompt(samples).flatMap((group) =>
    preferencePairs(group, most, randomStream(context.seed, "dpo pairs", group[0]!.prompt)),
  );
  const paired = pairs.flatMap(({ chosen, rejected }) => [chosen, rejected]);
  const reference = new Map<StoredSample, Float32Array>();
  for (let start = 0; start < paired.length; start += SEQUENCES_AT_ONCE) {
    const part = paired.slice(start, start + SEQUENCES_AT_ONCE);
    const logProbs = await logProbsOf(context, part.map(sequenceOf), 1);
    part.forEach((sample, index) => reference.set(sample, logProbs[index]!));
  }
  const over = new Map(pairs.map(({ chosen, rejected }) => [chosen, [rejected.sample]]));
  return samples.map((sample) => ({
    chosenOver: over.get(sample) ?? [],
    referenceLogProbs: reference.get(sample) ?? null,
  }));
}

/** The pairs that stored samples tell of, in their order. */
function pairsOf(samples: readonly (StoredSample & Choice)[]): Pair<Preferred>[] {
  const preferred = (sample: StoredSample & Choice): Preferred => ({
    ...sequenceOf(sample),
    reference: sample.referenceLogProbs!,
  });
  return byPrompt(samples).flatMap((group) =>
    group.flatMap((sample) =>
      sample.chosenOver.map((other) => ({
        chosen: preferred(sample),
        rejected: preferred(group.find((one) => one.sample === other)!),
      })),
    ),
  );
}

/** The pairs of the whole stage; tells how many prompts have one. */
async function openPairs<Item, Config>(
  context: StageContext<Item, Config>,
  settings: DpoSettings,
  weights: RewardWeights,
): Promise<Pair<Preferred>[]> {
  const request = { stage: "dpo", step: 1, firstItem: 0, settings, weights };
  const samples = await storedSamples(context, request, choiceSchema, (fresh) =>
    choose(context, fresh, settings),
  );
  const pairs = pairsOf(samples);
  const told = byPrompt(samples.filter(({ chosenOver }) => chosenOver.length > 0)).length;
  context.progress.line(
    `${pairs.length} pairs from ${told} of ${settings.prompts} prompts; the others have equal rewards`,
  );
  if (pairs.length > 0) return pairs;
  throw new RunError({
    where: "dpo step 1",
    expected: "a prompt with completions of different rewards",
    got: `none among ${settings.prompts} of ${settings.group} completions`,
    hint: "more dpo.prompts, a larger dpo.group or dpo.temperature, or a reward that tells more apart",
  });
}

/**
 * Adds the gradient of the batch (chosen, rejected, chosen, rejected, …) to that of the engine. h needs both completions of a pair
 * before either has a gradient: a forward pass gives the log-probabilities, the loss dL/dlog p, and a second pass takes it from there.
 */
async function accumulatePairs<Item, Config>(
  context: StageContext<Item, Config>,
  batch: readonly Preferred[],
  step: number,
  { loss: kind, beta, logProbs: over }: DpoSettings,
): Promise<{ readonly loss: number; readonly metrics: Record<string, number> }> {
  const logprobs = await logProbsOf(context, batch, step);
  const reference = batch.map((one) => one.reference);
  const { loss, gradient } = evaluateLoss(
    { logprobs, reference },
    { type: "preference", loss: kind, beta, logProbs: over },
  );
  checkFinite({ loss, logProbs: logprobs, entropy: [] }, "dpo", step, context.run);
  const examples = batch.map(({ tokens, promptLength }, index) => ({
    tokens,
    promptLength,
    slope: Float32Array.from(gradient[index]!),
  }));
  await context.engine.accumulate(examples, { type: "linear", temperature: TEMPERATURE });
  return { loss, metrics: dpoMetrics({ logProbs: logprobs, reference, over }) };
}

/** Trains from `context.done` to the last step. */
export async function dpo<Item, Config>(
  context: StageContext<Item, Config>,
  settings: DpoSettings,
  weights: RewardWeights,
): Promise<void> {
  const { engine, run, progress, seed } = context;
  const { steps, batch: size } = settings;
  if (context.done >= steps) return;
  const pairs = await openPairs(context, settings, weights);
  progress.begin("DPO", steps);
  for (let step = context.done + 1; step <= steps; step++) {
    const startMs = now();
    const order = epochOrder(pairs.length, (step - 1) * size, size, (epoch) =>
      randomStream(seed, "dpo order", epoch),
    );
    const batch = order.flatMap((pair) => [pairs[pair]!.chosen, pairs[pair]!.rejected]);
    const { loss, metrics } = await accumulatePairs(context, batch, step, settings);
    const options = stepOptions(settings.optimiser, step, steps);
    const { gradientNorm } = await guardedStep(engine, options, "dpo", step, run);
    const right = metrics["margin/right"]!.toFixed(2);
    progress.advance(step, `loss ${loss.toFixed(3)}  right order ${right}`);
    const record = {
      step,
      stage: "dpo",
      loss,
      ...metrics,
      gradientNorm,
      learningRate: options.learningRate,
      "time/stepMs": now() - startMs,
    };
    await finishStep(context, record, { label: "DPO", steps });
  }
  progress.end();
}
