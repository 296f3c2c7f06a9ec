// Rejection-sampling fine-tuning: in rounds, the current policy answers new prompts, and is fine-tuned on those of its answers that
// pass:
//
//   L = −mean over the tokens of the batch's completions of log p(token)
//
// Papers: RFT, arXiv:2308.01825; RAFT, arXiv:2304.06767; STaR, arXiv:2203.14465.
// Differs from the papers in: every round goes on with the weights of the one before and trains on its own samples (as RAFT; STaR
// starts from the base model, RFT has one round); all different completions that pass are alike, up to a number a prompt (RAFT
// takes the one with the largest reward); gold answers are not mixed in (RFT does).

import { z } from "zod";
import type { Example } from "../core/engine.ts";
import { RunError } from "../core/errors.ts";
import { supervisedLoss } from "../core/loss-spec.ts";
import { randomStream } from "../core/random.ts";
import { mean } from "../core/statistics.ts";
import { now } from "../run/run-directory.ts";
import { epochOrder } from "./epoch-order.ts";
import type { RewardWeights } from "./generation.ts";
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
  different,
  samplingSettings,
  sequenceOf,
  storedSamples,
  type StoredSample,
} from "./stored-samples.ts";

export const rftSettings = z.object({
  steps: z.int().min(0).default(0).describe("optimiser steps; 0 leaves the stage out"),
  roundSteps: z.int().min(1).default(50).describe("steps until the policy answers new prompts"),
  batch: z.int().min(1).default(64).describe("completions a step"),
  prompts: z.int().min(1).default(512).describe("prompts a round"),
  ...samplingSettings,
  score: z
    .string()
    .nullable()
    .default(null)
    .describe("score that decides; null: the one that evaluation reports as accuracy"),
  threshold: z.number().default(1).describe("a completion passes when its score is at least this"),
  kept: z.int().min(1).default(4).describe("most different completions kept of a prompt"),
  optimiser: optimiserSettings.prefault({ learningRate: 1e-4 }).describe("AdamW or Muon"),
});
export type RftSettings = z.output<typeof rftSettings>;

/** What the stage decided about a sample. */
const choiceSchema = z.object({ passes: z.boolean(), kept: z.boolean() });
type Choice = z.output<typeof choiceSchema>;

/** What a round trains on, with facts about how it was made. */
interface Round {
  /** Its first step. */
  readonly step: number;
  readonly examples: readonly Example[];
  readonly metrics: Readonly<Record<string, number>>;
}

/** At most `kept` different passing completions of each prompt, drawn from the round's stream. A score that abstains does not pass. */
function choose(
  samples: readonly StoredSample[],
  score: string,
  { threshold, kept: most }: RftSettings,
  seed: number,
): Choice[] {
  const passes = ({ scores }: StoredSample): boolean => (scores[score] ?? -Infinity) >= threshold;
  const kept = new Set(
    byPrompt(samples.filter(passes)).flatMap((group) => {
      const { step, prompt } = group[0]!;
      const random = randomStream(seed, "rft kept", step, prompt);
      return random.shuffle(different(group)).slice(0, most);
    }),
  );
  return samples.map((sample) => ({ passes: passes(sample), kept: kept.has(sample) }));
}

/** The round that a step belongs to. */
async function openRound<Item, Config>(
  context: StageContext<Item, Config>,
  step: number,
  settings: RftSettings,
  weights: RewardWeights,
): Promise<Round> {
  const { environment, seed, progress } = context;
  const { prompts, threshold, roundSteps } = settings;
  const score = settings.score ?? environment.task.accuracy;
  const round = Math.floor((step - 1) / roundSteps);
  const first = round * roundSteps + 1;
  const firstItem = round * prompts;
  const request = { stage: "rft", step: first, firstItem, settings, weights };
  const samples = await storedSamples(context, request, choiceSchema, async (fresh) =>
    choose(fresh, score, settings, seed),
  );
  const kept = samples.filter((sample) => sample.kept);
  const passed = samples.filter((sample) => sample.passes).length;
  progress.line(
    `round ${round + 1}: ${passed} of ${samples.length} completions have ${score} >= ${threshold}, ${kept.length} are kept`,
  );
  if (kept.length === 0) {
    throw new RunError({
      where: `rft step ${first}`,
      expected: `a completion with ${score} >= ${threshold}`,
      got: `none among ${samples.length}`,
      hint: "more rft.prompts, a larger rft.group, or a lower rft.threshold",
    });
  }
  const metrics = {
    "round/number": round + 1,
    "round/passing": passed / samples.length,
    "round/kept": kept.length,
    "round/length": mean(kept.map(({ tokens }) => tokens.length)),
  };
  return { step: first, examples: kept.map(sequenceOf), metrics };
}

/** Trains from `context.done` to the last step. */
export async function rejectionSampling<Item, Config>(
  context: StageContext<Item, Config>,
  settings: RftSettings,
  weights: RewardWeights,
): Promise<void> {
  const { engine, run, progress, seed } = context;
  const { steps, roundSteps, batch: size, optimiser } = settings;
  let round: Round | undefined;
  for (let step = context.done + 1; step <= steps; step++) {
    if (round === undefined || step === round.step + roundSteps) {
      round = await openRound(context, step, settings, weights);
      progress.begin("RFT", steps);
    }
    const { step: first, examples } = round;
    const startMs = now();
    const order = epochOrder(examples.length, (step - first) * size, size, (epoch) =>
      randomStream(seed, "rft order", first, epoch),
    );
    const batch = order.map((index) => examples[index]!);
    const result = await engine.accumulate(batch, supervisedLoss);
    checkFinite(result, "rft", step, run);
    const options = stepOptions(optimiser, step, steps);
    const { gradientNorm } = await guardedStep(engine, options, "rft", step, run);
    progress.advance(step, `loss ${result.loss.toFixed(3)}`);
    await finishStep(
      context,
      {
        step,
        stage: "rft",
        loss: result.loss,
        ...round.metrics,
        gradientNorm,
        learningRate: options.learningRate,
        tokens: batch.reduce((total, { tokens }) => total + tokens.length, 0),
        "time/stepMs": now() - startMs,
      },
      { label: "RFT", steps },
    );
  }
  progress.end();
}
