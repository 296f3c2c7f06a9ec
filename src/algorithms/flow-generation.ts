// The samples of an epoch of Flow-GRPO: prompts are drawn, trajectories sampled and scored, rewards become advantages.

import type { TokenIds } from "../core/engine.ts";
import { RunError } from "../core/errors.ts";
import type { DenoiseOptions, DenoiseStep, FlowDraw, FlowEngine } from "../core/flow-engine.ts";
import type { PixelAdvantage } from "../core/flow-spec.ts";
import { stepCoefficients } from "../core/flow-transition.ts";
import type { Drawing } from "../core/image-task.ts";
import { randomStream } from "../core/random.ts";
import { mean, standardDeviation } from "../core/statistics.ts";
import type { FlowLoss, FlowRule } from "../losses/flow-loss.ts";
import { policyStep } from "../losses/flow-training.ts";
import { flowSteps, type FlowStep as ScheduledStep } from "../rollout/flow-schedule.ts";
import {
  imagesOf,
  promptEncoder,
  scoreImages,
  type ImageEnvironment,
} from "../rollout/image-environment.ts";
import { weighScores } from "../rollout/items.ts";
import type { ScoredOutput } from "../rollout/score-outputs.ts";
import type { RunDirectory } from "../run/run-directory.ts";
import {
  clippedAdvantages,
  denseAdvantages,
  epochAdvantages,
  mappedAdvantages,
} from "./flow-advantages.ts";
import { samplerWeights, type FlowGrpoSettings } from "./flow-grpo-settings.ts";
import type { RewardWeights } from "./generation.ts";
import type { RewardMonitor } from "./reward-monitor.ts";
import { brokenNumber } from "./stage.ts";

/** Where in an image an advantage goes (ViPO). */
export interface AdvantageMaps<Item, Image extends Drawing> {
  /** What the map multiplies. */
  readonly target: PixelAdvantage["target"];
  /** Weights of the positions of each image, row by row; at least 0. */
  readonly make: (
    images: readonly Image[],
    items: readonly Item[],
  ) => readonly ArrayLike<number>[] | Promise<readonly ArrayLike<number>[]>;
}

export interface FlowGenerationContext<Item, Config, Image extends Drawing> {
  readonly engine: FlowEngine<FlowLoss, FlowRule>;
  readonly environment: ImageEnvironment<Item, Config, Image>;
  readonly run: RunDirectory;
  readonly seed: number;
  readonly weights: RewardWeights;
  /** Absent: one advantage a sample. */
  readonly maps?: AdvantageMaps<Item, Image> | undefined;
}

/** One trained step of all samples. */
export interface TrainedStep extends ScheduledStep {
  /** x_t and x_t' `[row · sample]`. */
  readonly before: Float32Array;
  readonly after: Float32Array;
  readonly draw: FlowDraw;
}

/** What is sampled from a prompt, and what training needs of it. */
export interface Trajectories {
  /** x_0 `[row · sample]`. */
  readonly samples: Float32Array;
  /** Those that are trained; none where the objective has no use for them. */
  readonly steps: readonly TrainedStep[];
}

/** Of the weights of all maps of an epoch. */
interface MapNumbers {
  readonly mean: number;
  readonly deviation: number;
}

/** Everything by sample, group after group. */
export interface FlowGeneration<Item, Image extends Drawing> extends Trajectories {
  readonly items: readonly Item[];
  readonly prompts: readonly TokenIds[];
  readonly images: readonly Image[];
  readonly scored: readonly ScoredOutput[];
  /** null: not known, or its sample was dropped. */
  readonly rewards: readonly (number | null)[];
  /** Clipped; null: takes no part in the training. */
  readonly advantages: readonly (number | null)[];
  /** Of positions; absent without maps. */
  readonly dense?: readonly (Float64Array | null)[];
  readonly maps?: MapNumbers;
  readonly withoutSpread: number;
  readonly promptCount: number;
  readonly dropped: number;
}

/** Training items of an epoch: different ones while the task has so many. */
export function epochItems<Item, Config, Image extends Drawing>(
  { task, config }: ImageEnvironment<Item, Config, Image>,
  seed: number,
  epoch: number,
  count: number,
): Item[] {
  const random = randomStream(seed, "flow-grpo items", epoch);
  const items = new Map<string, Item>();
  const repeated: Item[] = [];
  for (let attempt = 0; items.size + repeated.length < count; attempt++) {
    const item = task.make(random.fork(attempt), config);
    if (!items.has(task.key(item))) items.set(task.key(item), item);
    else if (attempt >= 20 * count) repeated.push(item);
  }
  return [...items.values(), ...repeated];
}

function denoiseRules(
  steps: readonly ScheduledStep[],
  { sampling, objective }: Pick<FlowGrpoSettings, "sampling" | "objective">,
): DenoiseStep<FlowRule>[] {
  const ode = sampling.solver === "euler" ? "euler" : "dpm2";
  if (objective.type !== "policy" || sampling.noise.level === 0) return steps.map(() => ode);
  const rule = policyStep(sampling.noise, objective.ratio.type);
  return steps.map((one) => {
    if (!one.isStochastic) return ode;
    const values = { ...stepCoefficients(sampling.noise, one) };
    return values.deviation > 0 ? { rule, values } : ode;
  });
}

/** The same noise for all samples of a prompt. */
function sharedNoise(
  size: number,
  prompts: number,
  group: number,
  key: readonly (string | number)[],
) {
  const noise = new Float32Array(prompts * group * size);
  for (let prompt = 0; prompt < prompts; prompt++) {
    const first = noise.subarray(prompt * group * size, (prompt * group + 1) * size);
    randomStream(...key, "shared", prompt).fillNormal(first);
    for (let row = 1; row < group; row++) noise.set(first, (prompt * group + row) * size);
  }
  return noise;
}

/** One trajectory of each prompt along the steps of a schedule. */
export async function drawTrajectories(
  engine: FlowEngine<FlowLoss, FlowRule>,
  prompts: readonly TokenIds[],
  settings: Pick<FlowGrpoSettings, "sampling" | "objective" | "guidance">,
  given: { readonly steps: readonly ScheduledStep[] } & Pick<
    DenoiseOptions<FlowRule>,
    "random" | "noise"
  >,
): Promise<Trajectories> {
  const { steps, ...start } = given;
  const { objective, guidance } = settings;
  const { samples, states, draws } = await engine.denoise(prompts, {
    ...start,
    weights: samplerWeights(objective),
    guidance,
    times: [...steps.map(({ time }) => time), 0],
    steps: denoiseRules(steps, settings),
    keep: objective.type === "policy",
  });
  const trained = steps.flatMap((step, index): TrainedStep[] => {
    const draw = draws[index];
    if (!step.isTrained || draw == null) return [];
    return [{ ...step, before: states[index]!, after: states[index + 1]!, draw }];
  });
  return { samples, steps: trained };
}

export async function generateFlows<Item, Config, Image extends Drawing>(
  context: FlowGenerationContext<Item, Config, Image>,
  settings: FlowGrpoSettings,
  monitor: RewardMonitor,
  epoch: number,
): Promise<FlowGeneration<Item, Image>> {
  const { engine, environment, seed, run } = context;
  const { group, sampling, objective } = settings;
  const chosen = epochItems(environment, seed, epoch, settings.prompts);
  const items = chosen.flatMap((item) => Array.from({ length: group }, () => item));
  const encode = promptEncoder(environment);
  const prompts = items.map(encode);
  const steps = flowSteps(sampling, epoch - 1, randomStream(seed, "flow-grpo steps", epoch));
  const key = ["flow-grpo", seed, epoch] as const;
  const { samples, steps: trained } = await drawTrajectories(engine, prompts, settings, {
    steps,
    random: (row) => randomStream(...key, row),
    ...(sampling.initialNoise === "same" && {
      noise: sharedNoise(engine.sampleSize, chosen.length, group, key),
    }),
  });
  if (!samples.every(Number.isFinite)) {
    throw brokenNumber("flow-grpo", epoch, run, "samples with numbers that are not");
  }
  const images = imagesOf(environment, samples);
  const scored = await scoreImages(environment, items, images);
  const compared = await compare(context, settings, monitor, { epoch, items, images, scored });
  if (objective.type === "policy" && trained.length === 0) {
    throw new RunError({
      where: `flow-grpo epoch ${epoch}`,
      expected: "a stochastic step to train",
      got: "none",
      hint: "sampling.noise.level above 0",
    });
  }
  return { items, prompts, images, samples, scored, steps: trained, ...compared };
}

/** Mean and deviation of all weights of all maps. */
function mapNumbers(maps: readonly ArrayLike<number>[]): MapNumbers {
  const all = Float64Array.from(maps.flatMap((map) => Array.from(map)));
  return { mean: mean(all), deviation: standardDeviation(all, "population") };
}

interface Judged<Item, Image> {
  readonly epoch: number;
  readonly items: readonly Item[];
  readonly images: readonly Image[];
  readonly scored: readonly ScoredOutput[];
}

/** Rewards and advantages; samples whose reward failed are left out. */
async function compare<Item, Config, Image extends Drawing>(
  { environment: { task }, weights, maps }: FlowGenerationContext<Item, Config, Image>,
  { group, advantages: spec }: FlowGrpoSettings,
  monitor: RewardMonitor,
  { epoch, items, images, scored }: Judged<Item, Image>,
) {
  const groups = Array.from({ length: scored.length / group }, (_, index) => ({
    completions: scored.slice(index * group, (index + 1) * group),
  }));
  const left = monitor.drop(epoch, groups).flat();
  const rewards = scored.map(({ scores }, sample) =>
    left[sample] === true ? null : weighScores(scores, weights),
  );
  const rewarded = items.map((item, sample) => ({
    prompt: task.prompt(item),
    reward: rewards[sample]!,
    scores: scored[sample]!.scores,
  }));
  const { advantages, prompts, withoutSpread } = epochAdvantages(rewarded, weights, spec);
  const flat = Array.from({ length: prompts }, (_, index) => ({
    withoutSpread: index < withoutSpread,
  }));
  monitor.watch(epoch, groups, flat);
  const made = await maps?.make(images, items);
  const dense =
    maps?.target === "reward"
      ? denseAdvantages(rewarded, made!, spec, maps.target)
      : made && mappedAdvantages(advantages, made, spec.clip);
  return {
    rewards,
    advantages: clippedAdvantages(advantages, spec.clip),
    ...(made !== undefined && { dense: dense!, maps: mapNumbers(made) }),
    withoutSpread,
    promptCount: prompts,
    dropped: left.filter(Boolean).length,
  };
}
