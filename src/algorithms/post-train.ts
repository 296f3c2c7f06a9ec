// The life of a run on one task: measure the model it begins with, then train and measure stage by stage (SFT once or twice,
// rejection-sampling fine-tuning, DPO, GRPO). Every part knows where a checkpoint left it, so a resumed run takes the same path as one that was never
// stopped.

import { z } from "zod";
import type { Engine } from "../core/engine.ts";
import { DataError, RunError } from "../core/errors.ts";
import type { Progress } from "../core/progress.ts";
import { pairedDifference, type Estimate } from "../core/statistics.ts";
import { evaluateTask, type JudgedItems, type TaskEvaluation } from "../evaluate/evaluate-task.ts";
import type { RunItems } from "../rollout/item-sources.ts";
import { scoringSettings } from "../rollout/score-outputs.ts";
import type { Environment } from "../rollout/single-turn.ts";
import { readEvaluations, type ResumePosition, type RunDirectory } from "../run/run-directory.ts";
import { dpo, dpoSettings } from "./dpo.ts";
import type { RewardWeights } from "./generation.ts";
import { grpo } from "./grpo.ts";
import { grpoSettings, needsReference } from "./grpo-settings.ts";
import { rejectionSampling, rftSettings } from "./rejection-sampling.ts";
import { sft, sftSettings } from "./sft.ts";
import type { StageContext } from "./stage.ts";
import { readBuffer } from "./training-buffer.ts";

export const evaluateSettings = z.object({
  count: z.int().min(1).default(500).describe("held-out items"),
  every: z
    .int()
    .min(0)
    .default(0)
    .describe("also evaluate after every n-th step of a stage; 0: only at its end"),
  maxTokens: z.int().min(1).describe("most tokens of an answer"),
  temperature: z.number().min(0).default(0).describe("0 is greedy"),
  samples: z
    .int()
    .min(1)
    .default(1)
    .describe("answers to every item; the first one counts, the others are for pass@k"),
});

export const postTrainSettings = z.object({
  sft: sftSettings.describe("supervised fine-tuning on gold answers"),
  sft2: sftSettings
    .extend({ steps: sftSettings.shape.steps.default(0) })
    .prefault({})
    .describe("a second supervised stage, on rows of its own (data.sft2)"),
  rft: rftSettings
    .prefault({})
    .describe("rejection-sampling fine-tuning on the policy's own completions that pass"),
  dpo: dpoSettings
    .prefault({})
    .describe("preference optimisation on pairs of the policy's own completions"),
  grpo: grpoSettings.describe("reinforcement learning on the task's scores"),
  evaluate: evaluateSettings.describe("accuracy on held-out items"),
  scoring: scoringSettings.prefault({}).describe("how scorers are asked, in GRPO and evaluation"),
  checkpointEvery: z.int().min(1).default(50).describe("steps between checkpoints"),
});
export type PostTrainSettings = z.output<typeof postTrainSettings>;

export interface PostTrainContext<Item, Config> {
  readonly engine: Engine;
  readonly environment: Environment<Item, Config>;
  readonly items: RunItems<Item>;
  readonly run: RunDirectory;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  readonly seed: number;
  readonly settings: PostTrainSettings;
  readonly weights: RewardWeights;
  /** What evaluations before training are filed as: random weights, or a model that was trained before. */
  readonly startsAs: "untrained" | "start";
  /** Gives a new run its weights; not called on a resume. */
  readonly initialise: () => Promise<void>;
  /** Looks ahead once a new run has its weights; changes nothing of them. */
  readonly rehearse?: (() => Promise<void>) | undefined;
  /** Sees every evaluation with its outputs, for results in a published format; may have a line for people. */
  readonly onEvaluation?:
    | ((stage: StageName, step: number, judged: JudgedItems<Item>) => string | void)
    | undefined;
}

const TRAINING = ["sft", "sft2", "rft", "dpo", "grpo"] as const;
/** Stages that train, in their order. */
export type TrainingStage = (typeof TRAINING)[number];
const isSupervised = (stage: TrainingStage): stage is "sft" | "sft2" =>
  stage === "sft" || stage === "sft2";
/** What evaluations are filed as. */
export type StageName = PostTrainContext<unknown, unknown>["startsAs"] | TrainingStage;

export interface PostTrainSummary {
  /** Accuracy at the end of each stage. */
  readonly accuracy: Readonly<
    Partial<Record<StageName, { accuracy: number; ci95: readonly [number, number]; count: number }>>
  >;
  /**
   * The last stage (`of`) less the last supervised one, or where there was none less the start (`over`), on the same items, with
   * its 95 % interval; null: nothing was trained beyond SFT.
   */
  readonly gain: (Estimate & { readonly of: StageName; readonly over: StageName }) | null;
}

const percent = (value: number): string => `${(100 * value).toFixed(1)} %`;
const interval = ([low, high]: readonly [number, number]): string =>
  `[${percent(low)}, ${percent(high)}]`;

/** One line for people: accuracy, interval, count, levels. */
export function describeEvaluation(label: string, evaluation: TaskEvaluation): string {
  const levels = Object.entries(evaluation.levels).map(
    ([level, one]) => `${level} ${percent(one.accuracy)}`,
  );
  const failed = Object.entries(evaluation.scorerFailures ?? {}).map(
    ([name, kinds]) => `${name} failed on ${Object.values(kinds).reduce((a, b) => a + b, 0)}`,
  );
  const parts = [
    `${label.padEnd(10)} ${percent(evaluation.accuracy).padStart(7)}  95 % ${interval(evaluation.ci95)}  n ${evaluation.count}`,
    ...(levels.length > 1 ? [levels.join(", ")] : []),
    ...failed,
  ];
  return parts.join("   ");
}

export async function postTrain<Item, Config>(
  context: PostTrainContext<Item, Config>,
): Promise<PostTrainSummary> {
  const { engine, environment, run, progress, settings, seed } = context;
  const { task } = environment;
  const position = await loadNewest(context);

  const measure = async (stage: StageName, step: number, isEnd: boolean): Promise<void> => {
    const { maxTokens, temperature, samples } = settings.evaluate;
    const judged = await evaluateTask(engine, environment, context.items.test, {
      maxTokens,
      temperature,
      samples,
      seed,
      progress,
      label: "evaluating",
    });
    const { accuracy, correct: _correct, ...rest } = judged.evaluation;
    run.logEvaluation({ step, stage, task: task.name, split: "test", correct: accuracy, ...rest });
    progress.line(describeEvaluation(isEnd ? stage : `  ${stage} ${step}`, judged.evaluation));
    const more = context.onEvaluation?.(stage, step, judged);
    if (typeof more === "string") progress.line(more);
  };

  if (position === null) {
    await context.initialise();
    await context.rehearse?.();
    await measure(context.startsAs, 0, true);
  }

  for (const stage of TRAINING) {
    const { steps } = settings[stage];
    const done = stepsDone(stage, position?.state);
    if (steps === 0 || done >= steps) continue;
    const isResumed = position?.state.stage === stage;
    if (!isResumed) await beginStage(context, stage);
    await trainStage(context, stage, {
      ...context,
      items: isSupervised(stage) ? context.items[stage] : context.items.grpo,
      done,
      state: isResumed ? position.state : {},
      directory: isResumed ? position.directory : undefined,
      checkpointEvery: settings.checkpointEvery,
      evaluateEvery: settings.evaluate.every,
      evaluate: (step: number) => measure(stage, step, step === steps),
    });
  }
  return summarise(run);
}

function trainStage<Item, Config>(
  { settings, weights }: PostTrainContext<Item, Config>,
  stage: TrainingStage,
  context: StageContext<Item, Config>,
): Promise<void> {
  if (isSupervised(stage)) return sft(context, settings[stage], stage);
  if (stage === "rft") return rejectionSampling(context, settings.rft, weights);
  if (stage === "dpo") return dpo(context, settings.dpo, weights);
  return grpo(context, settings.grpo, weights);
}

/** Loads the newest checkpoint that can be read and names those that cannot; null: the run has none. */
async function loadNewest<Item, Config>({
  engine,
  run,
  progress,
}: PostTrainContext<Item, Config>): Promise<ResumePosition | null> {
  const newest = run.resume();
  if (newest === null) return null;
  const damaged: string[] = [];
  let cause: DataError | undefined;
  for (const position of run.positions()) {
    try {
      await engine.load(position.directory);
      if (position.state["inBuffer"] === true) readBuffer(position.directory);
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      damaged.push(position.name);
      cause ??= error;
      progress.line(`checkpoint ${position.name} cannot be read: ${error.message}`);
      continue;
    }
    if (damaged.length > 0) {
      progress.line(`going on from the checkpoint before it, ${position.name}`);
      run.resumeAt(position);
    }
    return position;
  }
  throw new RunError({
    where: `${run.path}/checkpoints`,
    expected: "a checkpoint that can be read",
    got: `${damaged.join(", ")}: ${cause?.message}`,
    hint: "without this folder the run starts again from its beginning",
    cause,
  });
}

/** Steps of a stage that the checkpoint has behind it. */
function stepsDone(
  stage: TrainingStage,
  state: { readonly stage: string; readonly step: number } | undefined,
): number {
  if (state === undefined) return 0;
  if (state.stage === stage) return state.step;
  return TRAINING.indexOf(state.stage as TrainingStage) > TRAINING.indexOf(stage) ? Infinity : 0;
}

async function beginStage<Item, Config>(
  { engine, settings }: PostTrainContext<Item, Config>,
  stage: TrainingStage,
): Promise<void> {
  await engine.resetOptimiser();
  if (stage === "grpo" && needsReference(settings.grpo)) await engine.freezeReference();
}

const outcomeList = ({ outcomes }: TaskEvaluation): number[] => Array.from(outcomes, Number);

/** The last evaluation of each stage, and the gain of the last one over SFT or the start. */
function summarise(run: RunDirectory): PostTrainSummary {
  const last = new Map<StageName, TaskEvaluation & { correct: number }>();
  for (const record of readEvaluations(run.path)) {
    last.set(
      record["stage"] as StageName,
      record as unknown as TaskEvaluation & { correct: number },
    );
  }
  const accuracy = Object.fromEntries(
    [...last].map(([stage, { correct, ci95, count }]) => [
      stage,
      { accuracy: correct, ci95, count },
    ]),
  );
  const before = ["sft2", "sft", "start", "untrained"] as const;
  const over = before.find((stage) => last.has(stage));
  const of = TRAINING.findLast((stage) => !isSupervised(stage) && last.has(stage));
  if (over === undefined || of === undefined) return { accuracy, gain: null };
  const gain = pairedDifference(outcomeList(last.get(over)!), outcomeList(last.get(of)!));
  return { accuracy, gain: { ...gain, of, over } };
}
