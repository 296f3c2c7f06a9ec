// Flow-GRPO: policy gradients for rectified flows. An epoch samples trajectories of a stochastic sampler and trains on them:
//
//   A_i = (r_i − mean of the prompt) / (deviation + ε)
//   L   = mean_{i, steps} max(−A ρ, −clip(ρ, 1 − low, 1 + high) A) + β KL,   ρ = exp(log p(x_t' | x_t) − log p_old)
//
// or, on the same samples, by DiffusionNFT, online DPO, reward-weighted regression, the best of each group (core/flow-spec.ts).
//
// Paper: Flow-GRPO, arXiv:2505.05470, section 4.
// Differs from the paper and its repository in: one sampling batch an epoch, so a random window is drawn once an epoch; samples
// are dealt to the optimiser steps of an epoch in random order; an optimiser step that has no samples is left out. A stop waits for
// the end of the epoch, so a checkpoint never holds half of one.

import { standardDeviation, mean, quantile } from "../core/statistics.ts";
import { ConfigError } from "../core/errors.ts";
import type { FlowAccumulateResult, FlowEngine } from "../core/flow-engine.ts";
import type { Drawing } from "../core/image-task.ts";
import { randomStream } from "../core/random.ts";
import { taskScores } from "../core/task.ts";
import { oldDecay } from "../losses/diffusion-nft.ts";
import type { FlowLoss, FlowRule } from "../losses/flow-loss.ts";
import { now } from "../run/run-directory.ts";
import { promptGroups, trainedSamples } from "./flow-advantages.ts";
import {
  generateFlows,
  type FlowGeneration,
  type FlowGenerationContext,
} from "./flow-generation.ts";
import { needsFlowReference, samplerWeights, type FlowGrpoSettings } from "./flow-grpo-settings.ts";
import { accumulateUpdate } from "./flow-updates.ts";
import { outcomeCounts } from "./grpo-metrics.ts";
import { RewardMonitor } from "./reward-monitor.ts";
import {
  brokenNumber,
  finishStep,
  guardedStep,
  stepOptions,
  type StageState,
  type StepContext,
} from "./stage.ts";

export interface FlowGrpoContext<Item, Config, Image extends Drawing>
  extends StepContext, FlowGenerationContext<Item, Config, Image> {
  readonly engine: FlowEngine<FlowLoss, FlowRule>;
  /** Name of the stage in metrics and checkpoints. */
  readonly stage: string;
  /** Epochs that are done already (a resume), and what the stage gave its checkpoint beside them. */
  readonly done: number;
  readonly state: StageState;
}

/** What one optimiser step did. */
interface FlowUpdate extends FlowAccumulateResult {
  readonly gradientNorm: number;
}

/** Trains from `context.done` to the last epoch. A stage that begins takes its reference policy from the present weights. */
export async function flowGrpo<Item, Config, Image extends Drawing>(
  context: FlowGrpoContext<Item, Config, Image>,
  settings: FlowGrpoSettings,
): Promise<void> {
  const { engine, environment, run, progress, stage, weights, state, done } = context;
  if (done >= settings.epochs) return;
  checkMaps(context.maps !== undefined, settings);
  const monitor = new RewardMonitor(
    settings.rewards,
    {
      rewards: Object.keys(weights),
      accuracy: environment.task.accuracy,
      run,
      tell: (line) => progress.line(line),
    },
    state["rewards"],
  );
  if (done === 0) {
    if (needsFlowReference(settings.objective)) await engine.copyWeights("reference");
    if (samplerWeights(settings.objective) === "old") await engine.copyWeights("old");
  }
  progress.begin(stage, settings.epochs);
  for (let epoch = done + 1; epoch <= settings.epochs; epoch++) {
    const startMs = now();
    const generation = await generateFlows(context, settings, monitor, epoch);
    const trainMs = now();
    const updates = await trainEpoch(context, settings, generation, epoch);
    const doneMs = now();
    const metrics = {
      ...generationNumbers(generation, taskScores(environment.task)),
      ...updateNumbers(updates, settings),
    };
    const { accuracy } = environment.task;
    progress.advance(
      epoch,
      `reward ${metrics["reward/mean"]?.toFixed(3)}  ${accuracy} ${metrics[`score/${accuracy}`]?.toFixed(2)}`,
    );
    const record = {
      step: epoch,
      stage,
      ...metrics,
      learningRate: optionsOf(settings, epoch * settings.updates).learningRate,
      "time/sampleMs": trainMs - startMs,
      "time/trainMs": doneMs - trainMs,
      "time/stepMs": doneMs - startMs,
      "time/imagesPerSecond": (1000 * generation.images.length) / (doneMs - startMs),
    };
    const kept = { rewards: monitor.toJSON() };
    await finishStep(context, record, { label: stage, steps: settings.epochs, state: kept });
  }
  progress.end();
}

/** @throws ConfigError where ratios of positions have no maps, or ratios of samples have some. */
export function checkMaps(hasMaps: boolean, { objective }: FlowGrpoSettings): void {
  const isDense = objective.type === "policy" && objective.ratio.type === "position";
  if (hasMaps === isDense) return;
  throw new ConfigError({
    where: "grpo.objective.ratio.type",
    expected: hasMaps ? "position, since advantages have maps" : "sample, since there are no maps",
    got: objective.type === "policy" ? objective.ratio.type : `objective ${objective.type}`,
    hint: "a map of ones is a map too",
  });
}

const optionsOf = (settings: FlowGrpoSettings, step: number) =>
  stepOptions(settings.optimiser, step, settings.epochs * settings.updates);

/** The optimiser steps of an epoch; none where no sample has anything to teach. */
async function trainEpoch<Item, Config, Image extends Drawing>(
  context: FlowGrpoContext<Item, Config, Image>,
  settings: FlowGrpoSettings,
  generation: FlowGeneration<Item, Image>,
  epoch: number,
): Promise<FlowUpdate[]> {
  const { engine, run, seed, stage, environment } = context;
  const { updates } = settings;
  const random = randomStream(seed, "flow-grpo order", epoch);
  const order = trainingOrder(generation, settings, random);
  const shape = environment.task.shape(environment.config);
  const results: FlowUpdate[] = [];
  for (let update = 0; update < updates; update++) {
    const cut = (part: number): number => Math.round((part * order.length) / updates);
    const samples = order.slice(cut(update), cut(update + 1)).flat();
    const step = (epoch - 1) * updates + update + 1;
    const from = { engine, generation, settings, shape };
    const result = await accumulateUpdate(from, samples, random.fork("update", update));
    if (result !== null) {
      if (!Number.isFinite(result.loss)) {
        throw brokenNumber(stage, epoch, run, `a loss of ${result.loss}`);
      }
      const options = optionsOf(settings, step);
      const { gradientNorm } = await guardedStep(engine, options, stage, epoch, run);
      results.push({ ...result, gradientNorm });
    }
    await moveSampler(engine, settings, step); // also where nothing was trained: its turn would not come again
  }
  return results;
}

type Compared = Pick<
  FlowGeneration<unknown, Drawing>,
  "advantages" | "dense" | "prompts" | "rewards"
>;

/** How strongly each sample is trained: its advantage, or the largest of its positions; null: not at all. */
const strengths = ({ advantages, dense }: Pick<Compared, "advantages" | "dense">) =>
  dense?.map((row) => row && row.reduce((most, one) => Math.max(most, Math.abs(one)), 0)) ??
  advantages;

/** What is dealt to the optimiser steps: single samples, or whole groups for objectives that compare within them. */
function trainingOrder(
  generation: Compared,
  { updates, objective }: FlowGrpoSettings,
  random: ReturnType<typeof randomStream>,
): number[][] {
  if (objective.type === "policy" || objective.type === "diffusion-nft") {
    const trained = trainedSamples(strengths(generation), updates, random.fork("idle"));
    return random.shuffle(trained).map((sample) => [sample]);
  }
  const { prompts, rewards, advantages } = generation;
  // Of a group all or nothing: weights of RWR are shares of it, and the best of a part is not the best.
  const groups = promptGroups(prompts.map((prompt) => ({ prompt: prompt.join(" ") })))
    .map((group) => group.filter((sample) => rewards[sample] !== null))
    .filter((group) =>
      objective.type === "rwr"
        ? group.length > 0
        : group.some((sample) => advantages[sample] !== 0),
    );
  return random.shuffle(groups);
}

/** Brings the weights that sample after those that are trained, where they are not the same. */
async function moveSampler(
  engine: FlowEngine<FlowLoss, FlowRule>,
  { objective }: FlowGrpoSettings,
  step: number,
): Promise<void> {
  if (objective.type === "policy") return;
  if (objective.type === "diffusion-nft") {
    await engine.blendWeights("old", oldDecay(objective.old, step));
  } else if (step % objective.refresh === 0) await engine.copyWeights("old");
}

function generationNumbers(
  generation: FlowGeneration<unknown, Drawing>,
  names: Readonly<Record<string, string>>,
): Record<string, number> {
  const { rewards, scored, withoutSpread, promptCount, dropped } = generation;
  const known = rewards.filter((reward) => reward !== null);
  const scores = Object.keys(names).flatMap((name) => {
    const values = scored.flatMap(({ scores: all }) => all[name] ?? []);
    return values.length === 0 ? [] : [[`score/${name}`, mean(values)] as const];
  });
  return {
    ...(known.length > 0 && {
      "reward/mean": mean(known),
      "reward/deviation": standardDeviation(known, "population"),
    }),
    ...Object.fromEntries(scores),
    ...outcomeCounts(scored),
    "groups/withoutSpread": withoutSpread / promptCount,
    "samples/dropped": dropped,
    "samples/idle": strengths(generation).filter((strength) => strength === 0).length,
  };
}

/** ρ of the first update is 1 where sampler and trainer agree to the bit: `ratio/first` is its largest distance from 1. */
function updateNumbers(
  updates: readonly FlowUpdate[],
  { objective }: FlowGrpoSettings,
): Record<string, number> {
  const [first] = updates;
  if (first === undefined) return { gradientNorm: 0, loss: 0 };
  const base = {
    loss: mean(updates.map(({ loss }) => loss)),
    gradientNorm: mean(updates.map(({ gradientNorm }) => gradientNorm)),
  };
  if (objective.type !== "policy") return base;
  const { low, high } = objective.ratio;
  const far = first.outputs["ratio"]!.reduce((a, b) => Math.max(a, Math.abs(b - 1)), 0);
  // Those of the last update have moved most.
  const ratios = updates.at(-1)!.outputs["ratio"]!;
  const clipped = ratios.filter((ratio) => ratio < 1 - low || ratio > 1 + high).length;
  const kl = updates.flatMap(({ outputs }) => Array.from(outputs["kl"] ?? []));
  return {
    ...base,
    "ratio/first": far,
    "ratio/mean": mean(ratios),
    "ratio/p01": quantile(ratios, 0.01),
    "ratio/p99": quantile(ratios, 0.99),
    "ratio/clipped": clipped / ratios.length,
    ...(kl.length > 0 && { kl: mean(kl) }),
  };
}
