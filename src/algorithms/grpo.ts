// Group Relative Policy Optimization.
//
//   L = (1/N) Σ_i (1/|o_i|) Σ_t [ −min(ρ A_i, clip(ρ, 1 − low, 1 + high) A_i) + β (exp(d) − d − 1) ]
//   A_i = (r_i − mean(r)) / (std(r) + 1e-4) within the group of one prompt,  ρ = π/π_old,  d = log π_ref − log π
//
// Paper: DeepSeekMath, arXiv:2402.03300, section 4.1.
// Differs from the paper in: the log-probabilities are those of the sampling temperature (TRL from 0.16 on); one optimiser
// step a rollout by default, so that ρ = 1 and nothing is clipped (DeepSeek-R1, TRL).

import { z } from "zod";
import type { AccumulateResult, Example } from "../core/engine.ts";
import { policySettings, type LossSpec } from "../core/loss-spec.ts";
import { randomStream } from "../core/random.ts";
import { weighScores } from "../rollout/items.ts";
import type { ScoredOutput } from "../rollout/score-outputs.ts";
import { sampleGroups, scoreGroups, type Rollout } from "../rollout/single-turn.ts";
import { now, type RunDirectory } from "../run/run-directory.ts";
import { groupAdvantages } from "./advantages.ts";
import { grpoMetrics } from "./grpo-metrics.ts";
import { RewardMonitor, rewardSettings } from "./reward-monitor.ts";
import { explainStep, stepNote } from "./step-hints.ts";
import {
  brokenNumber,
  checkFinite,
  finishStep,
  guardedStep,
  itemsOrCheckpoint,
  optimiserSettings,
  stepOptions,
  type StageContext,
  type StageState,
} from "./stage.ts";

export const grpoSettings = z.object({
  steps: z.int().min(0).describe("rollouts; 0 leaves the stage out"),
  prompts: z.int().min(1).default(16).describe("prompts a rollout"),
  group: z.int().min(2).default(8).describe("completions a prompt (G)"),
  iterations: z.int().min(1).default(1).describe("optimiser steps a rollout (μ)"),
  temperature: z
    .number()
    .positive()
    .default(1)
    .describe("sampling temperature; also divides the logits of the loss"),
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
  maxTokens: z.int().min(1).describe("most tokens of a completion"),
  klBeta: z
    .number()
    .min(0)
    .default(0.04)
    .describe("weight of the KL divergence from the policy before this stage; 0: no reference"),
  clip: z
    .object({
      low: z.number().min(0).max(1).default(0.2).describe("ratio is clipped below 1 - low"),
      high: z.number().min(0).default(0.2).describe("ratio is clipped above 1 + high"),
    })
    .nullable()
    .prefault({})
    .describe("PPO clip; null: none"),
  aggregation: z
    .enum(["sequence-mean", "token-mean"])
    .default("sequence-mean")
    .describe("mean over each completion, then over completions; or over all tokens"),
  rewards: rewardSettings
    .prefault({})
    .describe("what happens when a reward fails or says nothing; never is a failure a zero"),
  samplesEvery: z.int().min(1).default(1).describe("store the samples of every n-th step"),
  optimiser: optimiserSettings
    .prefault({ learningRate: 1e-4, schedule: "constant" })
    .describe("AdamW or Muon"),
});
export type GrpoSettings = z.output<typeof grpoSettings>;

/** What a reward is made of: weight of each score. */
export type RewardWeights = Readonly<Record<string, number>>;

/** Reward of each completion, null where it abstains or was dropped. */
function groupRewards(
  rollout: Rollout<unknown>,
  prompt: number,
  step: number,
  weights: RewardWeights,
  dropped: readonly boolean[],
  run: RunDirectory,
): (number | null)[] {
  return rollout.completions.map(({ scores }, sample) => {
    if (dropped[sample]!) return null;
    const reward = weighScores(scores, weights);
    if (reward !== null && !Number.isFinite(reward)) {
      throw brokenNumber(
        "grpo",
        step,
        run,
        `a reward of ${reward} for prompt ${prompt}, sample ${sample} (scores ${scoresText(scores)})`,
      );
    }
    return reward;
  });
}

const scoresText = (scores: Readonly<Record<string, number | null>>): string =>
  Object.entries(scores)
    .map(([name, score]) => `${name} ${score}`)
    .join(", ");

/** Trains from `context.done` to the last step. */
export async function grpo<Item, Config>(
  context: StageContext<Item, Config>,
  settings: GrpoSettings,
  weights: RewardWeights,
): Promise<void> {
  const { engine, environment, run, progress, seed } = context;
  const { steps, prompts, group, klBeta, temperature } = settings;
  const loss: LossSpec = {
    type: "policy-gradient",
    temperature,
    ...policySettings.parse({
      surrogate:
        settings.iterations === 1 || settings.clip === null
          ? { type: "unclipped" }
          : { type: "clip", ...settings.clip },
      kl: klBeta > 0 ? { type: "loss", weight: klBeta } : { type: "none" },
      aggregation: { type: settings.aggregation },
    }),
  };
  if (context.done >= steps) return;
  const { accuracy } = environment.task;
  const monitor = new RewardMonitor(
    settings.rewards,
    { rewards: Object.keys(weights), accuracy, run, tell: (line) => progress.line(line) },
    context.state["rewards"],
  );
  const state = (): StageState => ({ rewards: monitor.toJSON() });
  progress.begin("GRPO", steps);
  const read = (step: number): Promise<Item[]> => {
    const indices = Array.from({ length: prompts }, (_, index) => (step - 1) * prompts + index);
    return Promise.all(indices.map((index) => context.items(index)));
  };
  let reading = read(context.done + 1);
  for (let step = context.done + 1; step <= steps; step++) {
    const startMs = now();
    const items = await itemsOrCheckpoint(context, "grpo", step, reading, state());
    const sampled = await sampleGroups(engine, environment, items, {
      group,
      maxTokens: settings.maxTokens,
      temperature,
      topK: settings.topK ?? undefined,
      topP: settings.topP ?? undefined,
      random: (prompt, sample) => randomStream(seed, "rollout", step, prompt, sample),
    });
    const sampledMs = now();
    const sequences = sampled.flatMap(({ promptTokens, completions }) =>
      completions.map(({ tokens }) => ({
        tokens: Int32Array.from([...promptTokens, ...tokens]),
        promptLength: promptTokens.length,
      })),
    );
    // The reference's log-probabilities are computed while this thread scores.
    const referring =
      klBeta > 0 ? engine.logProbs(sequences, { policy: "reference", temperature }) : undefined;
    const scoring = Promise.resolve().then(() => scoreGroups(environment, sampled));
    const [reference, rollouts] = await Promise.all([referring, scoring]);
    const dropped = monitor.drop(step, rollouts);
    const rewards = rollouts.map((rollout, prompt) =>
      groupRewards(rollout, prompt, step, weights, dropped[prompt]!, run),
    );
    const groups = rewards.map((list) => groupAdvantages(list));
    monitor.watch(step, rollouts, groups);
    const isDropped = dropped.flat();
    const advantages = groups.flatMap((one) => one.advantages);
    let batch: Example[] = sequences.map((sequence, index) => ({
      ...sequence,
      advantage: advantages[index]!,
      ...(reference && { reference: reference[index]! }),
      ...(isDropped[index]! && {
        mask: new Float32Array(sequence.tokens.length - sequence.promptLength),
      }),
    }));
    if (step < steps) {
      reading = read(step + 1); // while the engine works
      reading.catch(() => {}); // the next step tells of it
    }
    const passes: AccumulateResult[] = [];
    let gradientNorm = 0;
    const options = stepOptions(settings.optimiser, step, steps);
    for (let iteration = 0; iteration < settings.iterations; iteration++) {
      const result = await engine.accumulate(batch, loss);
      checkFinite(result, "grpo", step, run);
      ({ gradientNorm } = await guardedStep(engine, options, "grpo", step, run));
      if (iteration === 0)
        batch = batch.map((example, index) => ({ ...example, old: result.logProbs[index]! }));
      passes.push(result);
    }
    const doneMs = now();

    const measured = { rollouts, dropped, rewards, groups, reference, passes, weights, settings };
    if (step % settings.samplesEvery === 0) run.logSamples("grpo", sampleRecords(step, measured));
    const metrics = grpoMetrics(measured);
    progress.advance(step, stepNote(measured, metrics, accuracy));
    explainStep(monitor, measured, gradientNorm);
    await finishStep(
      context,
      {
        step,
        stage: "grpo",
        ...metrics,
        gradientNorm,
        learningRate: options.learningRate,
        "time/sampleMs": sampledMs - startMs,
        "time/trainMs": doneMs - sampledMs,
        "time/stepMs": doneMs - startMs,
      },
      { label: "GRPO", steps },
      state(),
    );
  }
  progress.end();
}

/** What one rollout and its optimiser steps left behind. */
export interface MeasuredStep {
  readonly rollouts: readonly Rollout<unknown>[];
  /** Samples that a failed reward took out of the step `[prompt][sample]`. */
  readonly dropped: readonly (readonly boolean[])[];
  readonly rewards: readonly (readonly (number | null)[])[];
  readonly groups: readonly {
    readonly advantages: readonly number[];
    readonly withoutSpread: boolean;
  }[];
  /** Log-probabilities under the reference policy `[sequence][completion time]`. */
  readonly reference: readonly Float32Array[] | undefined;
  /** One an optimiser step; sequences are ordered by prompt, then by sample. */
  readonly passes: readonly AccumulateResult[];
  readonly weights: RewardWeights;
  readonly settings: GrpoSettings;
}

/** One record a completion, as samples/grpo.jsonl holds them. */
function sampleRecords(
  step: number,
  { rollouts, dropped, rewards, groups, passes }: MeasuredStep,
): object[] {
  const trainer = passes[0]!.logProbs;
  let sequence = 0;
  return rollouts.flatMap(({ item, messages, promptTokens, completions }, prompt) =>
    completions.map(({ tokens, logProbs, text, stopReason, scores, failures }, sample) => ({
      step,
      prompt,
      sample,
      item,
      messages,
      promptTokens: Array.from(promptTokens),
      text,
      tokens: Array.from(tokens),
      samplerLogProbs: rounded(logProbs),
      trainerLogProbs: rounded(trainer[sequence++]!),
      scores,
      ...(Object.keys(failures).length > 0 && { failures: failureTexts(failures) }),
      ...(dropped[prompt]![sample]! && { dropped: true }),
      reward: rewards[prompt]![sample],
      advantage: groups[prompt]!.advantages[sample],
      stopReason,
    })),
  );
}

/** Failures as a file holds them: kind and message, by score name. */
const failureTexts = (failures: ScoredOutput["failures"]): object =>
  Object.fromEntries(
    Object.entries(failures).map(([name, { kind, error }]) => [
      name,
      { kind, message: error.message },
    ]),
  );

/** Six digits are more than float32 sampling noise needs, and a third of the bytes. */
const rounded = (values: Float32Array): number[] =>
  Array.from(values, (value) => Number(value.toPrecision(6)));
