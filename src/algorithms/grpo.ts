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
import { RunError } from "../core/errors.ts";
import { randomStream } from "../core/random.ts";
import { weighScores } from "../rollout/items.ts";
import { sampleGroups, scoreGroups, type Rollout } from "../rollout/single-turn.ts";
import { now, type RunDirectory } from "../run/run-directory.ts";
import { groupAdvantages } from "./advantages.ts";
import { grpoMetrics } from "./grpo-metrics.ts";
import {
  brokenNumber,
  checkFinite,
  finishStep,
  guardedStep,
  itemsOrCheckpoint,
  newestCheckpoint,
  optimiserSettings,
  stepOptions,
  type StageContext,
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
  onScorerError: z
    .enum(["stop", "drop-sample"])
    .default("stop")
    .describe(
      "when a scorer fails: stop the run, or go on without that reward (it is left out of its group's statistics and gets no advantage, as in TRL); never a zero",
    ),
  samplesEvery: z.int().min(1).default(1).describe("store the samples of every n-th step"),
  optimiser: optimiserSettings
    .prefault({ learningRate: 1e-4, schedule: "constant" })
    .describe("AdamW or Muon"),
});
export type GrpoSettings = z.output<typeof grpoSettings>;

/** What a reward is made of: weight of each score. */
export type RewardWeights = Readonly<Record<string, number>>;

/** Reward of each completion, null where it abstains or its scorer failed (policy "drop-sample"). */
function groupRewards(
  rollout: Rollout<unknown>,
  prompt: number,
  step: number,
  weights: RewardWeights,
  settings: GrpoSettings,
  run: RunDirectory,
): (number | null)[] {
  return rollout.completions.map(({ scored }, sample) => {
    const where = `grpo step ${step}: prompt ${prompt}, sample ${sample}`;
    if ("error" in scored) {
      if (settings.onScorerError === "drop-sample") return null;
      const got = `an error of the scorer: ${scored.error.message}`;
      throw new RunError({
        where,
        expected: "scores",
        got,
        cause: scored.error,
        hint: `grpo.onScorerError=drop-sample goes on without it; ${newestCheckpoint(run)}`,
      });
    }
    const reward = weighScores(scored.scores, weights);
    if (reward !== null && !Number.isFinite(reward)) {
      throw brokenNumber(
        "grpo",
        step,
        run,
        `a reward of ${reward} for prompt ${prompt}, sample ${sample} (scores ${scoresText(scored.scores)})`,
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
  progress.begin("GRPO", steps);
  const read = (step: number): Promise<Item[]> => {
    const indices = Array.from({ length: prompts }, (_, index) => (step - 1) * prompts + index);
    return Promise.all(indices.map((index) => context.items(index)));
  };
  let reading = read(context.done + 1);
  for (let step = context.done + 1; step <= steps; step++) {
    const startMs = now();
    const items = await itemsOrCheckpoint(context, "grpo", step, reading);
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
    const rewards = rollouts.map((rollout, prompt) =>
      groupRewards(rollout, prompt, step, weights, settings, run),
    );
    const groups = rewards.map((list) => groupAdvantages(list));
    const advantages = groups.flatMap((one) => one.advantages);
    let batch: Example[] = sequences.map((sequence, index) => ({
      ...sequence,
      advantage: advantages[index]!,
      ...(reference && { reference: reference[index]! }),
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

    const measured = { rollouts, rewards, groups, reference, passes, weights, settings };
    if (step % settings.samplesEvery === 0) run.logSamples("grpo", sampleRecords(step, measured));
    const metrics = grpoMetrics(measured);
    progress.advance(
      step,
      `reward ${metrics["reward/mean"]!.toFixed(3)}  ${environment.task.accuracy} ${(metrics[`score/${environment.task.accuracy}`] ?? Number.NaN).toFixed(2)}`,
    );
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
    );
  }
  progress.end();
}

/** What one rollout and its optimiser steps left behind. */
export interface MeasuredStep {
  readonly rollouts: readonly Rollout<unknown>[];
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
  { rollouts, rewards, groups, passes }: MeasuredStep,
): object[] {
  const trainer = passes[0]!.logProbs;
  let sequence = 0;
  return rollouts.flatMap(({ item, messages, promptTokens, completions }, prompt) =>
    completions.map(({ tokens, logProbs, text, stopReason, scored }, sample) => ({
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
      ...("error" in scored ? { error: scored.error.message } : { scores: scored.scores }),
      reward: rewards[prompt]![sample],
      advantage: groups[prompt]!.advantages[sample],
      stopReason,
    })),
  );
}

/** Six digits are more than float32 sampling noise needs, and a third of the bytes. */
const rounded = (values: Float32Array): number[] =>
  Array.from(values, (value) => Number(value.toPrecision(6)));
