// What the training stages share: where they run, the optimiser settings, the checks that keep a broken number from
// reaching the weights, and the bookkeeping between steps.

import { z } from "zod";
import type { AccumulateResult, Engine, StepOptions, StepResult } from "../core/engine.ts";
import { DataError, EngineError, RunError } from "../core/errors.ts";
import type { Progress } from "../core/progress.ts";
import { scheduleFactor } from "./schedule.ts";
import type { ItemSource } from "../rollout/item-sources.ts";
import type { Environment } from "../rollout/single-turn.ts";
import { Interrupted } from "../run/interrupted.ts";
import type { MetricsRecord, RunDirectory } from "../run/run-directory.ts";

/** What a stage needs for a resume beside the number of its steps: plain JSON. */
export type StageState = Readonly<Record<string, unknown>>;

/** What the end of every step needs, whatever the engine. */
export interface StepContext {
  readonly engine: Pick<Engine, "save">;
  readonly run: RunDirectory;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  readonly checkpointEvery: number;
  /** Called after a step that is due for an evaluation, and after the last one. */
  readonly evaluate: (step: number) => Promise<void>;
  readonly evaluateEvery: number;
}

export interface StageContext<Item, Config> extends StepContext {
  readonly engine: Engine;
  readonly environment: Environment<Item, Config>;
  /** What the stage trains on. */
  readonly items: ItemSource<Item>;
  readonly seed: number;
  /** Steps of this stage that are done already (a resume). */
  readonly done: number;
  /** What the stage gave its checkpoint beside that (a resume); empty when it begins. */
  readonly state: StageState;
  /** Folder of that checkpoint. */
  readonly directory?: string | undefined;
}

export const optimiserSettings = z.object({
  method: z
    .enum(["adamw", "muon"])
    .default("adamw")
    .describe("muon: hidden matrices by orthogonal momentum, the rest by AdamW"),
  momentum: z.number().min(0).lt(1).default(0.95).describe("Muon: decay of the momentum"),
  learningRate: z.number().positive().describe("peak learning rate"),
  schedule: z
    .enum(["constant", "linear", "cosine"])
    .default("cosine")
    .describe("how it falls after the warm-up"),
  warmup: z
    .number()
    .min(0)
    .max(1)
    .default(0.1)
    .describe("share of the steps that climb linearly to the peak"),
  floor: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe("share of the peak that is left at the last step"),
  beta1: z.number().min(0).lt(1).default(0.9).describe("AdamW: decay of the first moment"),
  beta2: z.number().min(0).lt(1).default(0.99).describe("AdamW: decay of the second moment"),
  epsilon: z.number().positive().default(1e-8).describe("AdamW: added to the denominator"),
  weightDecay: z.number().min(0).default(0.1).describe("AdamW: decoupled decay, on matrices only"),
  clipNorm: z.number().positive().default(1).describe("largest global L2 norm of the gradient"),
});
export type OptimiserSettings = z.output<typeof optimiserSettings>;

/** Optimiser options of a step, counted from 1. */
export function stepOptions(settings: OptimiserSettings, step: number, steps: number): StepOptions {
  const { schedule, warmup, floor, learningRate, ...rest } = settings;
  return {
    ...rest,
    learningRate: learningRate * scheduleFactor({ type: schedule, warmup, floor }, step, steps),
  };
}

/** Throws when a loss or a log-probability is not a number: before the optimiser runs, so the weights are still good. */
export function checkFinite(
  result: AccumulateResult,
  stage: string,
  step: number,
  run: RunDirectory,
): void {
  const sample = result.logProbs.findIndex((row) => !row.every(Number.isFinite));
  if (sample < 0 && Number.isFinite(result.loss)) return;
  throw brokenNumber(
    stage,
    step,
    run,
    sample < 0 ? `a loss of ${result.loss}` : `log-probabilities of sample ${sample} that are not`,
  );
}

/** What a run can be continued from, in words. */
export function newestCheckpoint(run: Pick<RunDirectory, "checkpointNames">): string {
  const [newest] = run.checkpointNames();
  return newest === undefined
    ? "no checkpoint was written yet"
    : `the newest checkpoint is ${newest}`;
}

/** The error of a run whose numbers broke; names the checkpoint that is still good. */
export function brokenNumber(
  stage: string,
  step: number,
  run: RunDirectory,
  got: string,
  cause?: unknown,
): RunError {
  return new RunError({
    where: `${stage} step ${step}`,
    expected: "finite numbers",
    got,
    hint: newestCheckpoint(run),
    cause,
  });
}

/** The optimiser step, with an error that names stage, step and checkpoint when the gradient is not finite. */
export async function guardedStep(
  engine: Pick<Engine, "step">,
  options: StepOptions,
  stage: string,
  step: number,
  run: RunDirectory,
): Promise<StepResult> {
  try {
    return await engine.step(options);
  } catch (error) {
    if (error instanceof EngineError) throw brokenNumber(stage, step, run, error.message, error);
    throw error;
  }
}

/**
 * What a step trains on. When a row turns out bad, what was trained until then is kept in a checkpoint before the error
 * goes on.
 */
export async function itemsOrCheckpoint<T, Item, Config>(
  { run, engine, done }: StageContext<Item, Config>,
  stage: string,
  step: number,
  items: Promise<T>,
  state: StageState = {},
): Promise<T> {
  try {
    return await items;
  } catch (error) {
    if (error instanceof DataError && step - 1 > done) {
      await run.saveCheckpoint({ ...state, stage, step: step - 1 }, (directory) =>
        engine.save(directory),
      );
    }
    throw error;
  }
}

export interface StepEnd {
  readonly label: string;
  readonly steps: number;
  /** What a resume needs beside the number of the step. */
  readonly state?: StageState;
  /** Writes what else it needs into the folder of a checkpoint. */
  readonly write?: (directory: string) => unknown;
}

/** What follows every step: metrics, an evaluation when due, a checkpoint when due or when asked to stop. */
export async function finishStep(
  context: StepContext,
  record: MetricsRecord,
  { label, steps, state = {}, write }: StepEnd,
): Promise<void> {
  const { run, engine, signal, progress } = context;
  const { stage, step } = record;
  run.logMetrics(record);
  const isLast = step === steps;
  if (isLast || (context.evaluateEvery > 0 && step % context.evaluateEvery === 0)) {
    await context.evaluate(step);
    if (!isLast) progress.begin(label, steps); // the evaluation had the display
  }
  if (isLast || signal.aborted || step % context.checkpointEvery === 0) {
    await run.saveCheckpoint({ ...state, stage, step }, async (directory) => {
      await engine.save(directory);
      write?.(directory);
    });
  }
  if (signal.aborted) throw new Interrupted(run.path);
}
