// Flow matching: trains a velocity model on samples and their prompts, the pretraining of a flow policy.
//
//   x_t = (1 - t) x0 + t eps      L = mean (v(x_t, t, prompt) - (eps - x0))²      logit(t) ~ N(m, s²)
//
// Papers: Flow Matching, arXiv:2210.02747; Rectified Flow, arXiv:2209.03003; logit-normal times: Scaling Rectified Flow
// Transformers (SD3), arXiv:2403.03206, section 3.1. A share of the prompts is left out, so that the model also learns the
// velocity without one (arXiv:2207.12598).

import { z } from "zod";
import type { TokenIds } from "../core/engine.ts";
import type { FlowBatch, FlowEngine, FlowPrompt } from "../core/flow-engine.ts";
import { randomStream } from "../core/random.ts";
import { flowMatchingLoss, type FlowLoss, type FlowRule } from "../losses/flow-loss.ts";
import { logitNormalTime } from "../losses/flow-matching.ts";
import { now } from "../run/run-directory.ts";
import {
  brokenNumber,
  finishStep,
  guardedStep,
  optimiserSettings,
  stepOptions,
  type StepContext,
} from "./stage.ts";

export const flowMatchingSettings = z.object({
  steps: z.int().min(0).describe("optimiser steps; 0 leaves the stage out"),
  batch: z.int().min(1).default(128).describe("samples a step"),
  dropPrompt: z.number().min(0).max(1).default(0.1).describe("share of samples without a prompt"),
  timeMean: z.number().default(0).describe("mean of logit(t); above 0: more noise"),
  timeDeviation: z.number().positive().default(1).describe("standard deviation of logit(t)"),
  optimiser: optimiserSettings
    .prefault({ learningRate: 1e-3, weightDecay: 0 })
    .describe("AdamW or Muon"),
});
export type FlowMatchingSettings = z.output<typeof flowMatchingSettings>;

/** A sample in the numbers of the model, and its prompt. */
export interface FlowExample {
  readonly sample: Float32Array;
  readonly prompt: TokenIds;
}

export interface FlowMatchingContext extends StepContext {
  readonly engine: FlowEngine<FlowLoss, FlowRule>;
  /** The example of this index; the same for the same index. */
  readonly examples: (index: number) => Promise<FlowExample>;
  readonly seed: number;
  /** Name in metrics and checkpoints; absent: flow-matching. */
  readonly stage?: string;
  /** Steps of this stage that are done already (a resume). */
  readonly done: number;
}

interface TrainingBatch extends FlowBatch {
  readonly target: Float32Array;
}

/** Noisy samples of a step and the velocities to learn, each row from a stream of its own. */
export function flowMatchingBatch(
  examples: readonly FlowExample[],
  { dropPrompt, timeMean, timeDeviation }: FlowMatchingSettings,
  seed: number,
  step: number,
): TrainingBatch {
  const size = examples[0]!.sample.length;
  const [x, target] = [1, 2].map(() => new Float32Array(examples.length * size)) as [
    Float32Array,
    Float32Array,
  ];
  const t = new Float32Array(examples.length);
  const noise = new Float32Array(size);
  const prompts = examples.map(({ sample, prompt }, row): FlowPrompt => {
    const random = randomStream(seed, "flow-matching", step, row);
    random.fillNormal(noise);
    t[row] = logitNormalTime(random, timeMean, timeDeviation);
    const time = t[row];
    for (let index = 0; index < size; index++) {
      const data = sample[index]!;
      const eps = noise[index]!;
      x[row * size + index] = (1 - time) * data + time * eps;
      target[row * size + index] = eps - data;
    }
    return random.uniform() < dropPrompt ? null : prompt;
  });
  return { x, t, prompts, target };
}

/** Trains from `context.done` to the last step. */
export async function flowMatching(
  context: FlowMatchingContext,
  settings: FlowMatchingSettings,
): Promise<void> {
  const { engine, run, progress, seed, stage = "flow-matching" } = context;
  const { steps, batch: size, optimiser } = settings;
  const weights = new Float32Array(size).fill(1 / size);
  const makeBatch = async (step: number): Promise<TrainingBatch> => {
    const indices = Array.from({ length: size }, (_, row) => (step - 1) * size + row);
    const examples = await Promise.all(indices.map(async (index) => context.examples(index)));
    return flowMatchingBatch(examples, settings, seed, step);
  };
  if (context.done >= steps) return;
  progress.begin(stage, steps);
  let next = makeBatch(context.done + 1);
  for (let step = context.done + 1; step <= steps; step++) {
    const { target, ...batch } = await next;
    const startMs = now();
    const accumulating = engine.accumulate(batch, flowMatchingLoss, {
      arrays: { target, weights },
      guidance: 1,
    });
    if (step < steps) next = makeBatch(step + 1); // prepared while the engine works
    next.catch(() => undefined); // a bad example counts when its step comes
    const { loss } = await accumulating;
    if (!Number.isFinite(loss)) throw brokenNumber(stage, step, run, `a loss of ${loss}`);
    const options = stepOptions(optimiser, step, steps);
    const { gradientNorm } = await guardedStep(engine, options, stage, step, run);
    progress.advance(step, `loss ${loss.toFixed(3)}`);
    const stepMs = now() - startMs;
    await finishStep(
      context,
      {
        step,
        stage,
        loss,
        gradientNorm,
        learningRate: options.learningRate,
        "time/stepMs": stepMs,
        "time/samplesPerSecond": (1000 * size) / stepMs,
      },
      { label: stage, steps },
    );
  }
  progress.end();
}
