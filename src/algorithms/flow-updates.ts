// The gradient of one optimiser step of Flow-GRPO, of some samples of an epoch: by the clipped policy loss over their trained
// steps, or by the objectives that noise them again.

import type { TokenIds } from "../core/engine.ts";
import type { FlowAccumulateResult, FlowBatch, FlowEngine } from "../core/flow-engine.ts";
import type { FlowNoise, FlowObjective } from "../core/flow-spec.ts";
import { guardWeight, stepCoefficients } from "../core/flow-transition.ts";
import type { Drawing } from "../core/image-task.ts";
import type { Random } from "../core/random.ts";
import { optimality } from "../losses/diffusion-nft.ts";
import { flowMatchingLoss, type FlowLoss, type FlowRule } from "../losses/flow-loss.ts";
import { bestAndWorst, logitNormalTime, matchingWeights } from "../losses/flow-matching.ts";
import { nftTrainingLoss, policyTrainingLoss } from "../losses/flow-training.ts";
import { promptGroups } from "./flow-advantages.ts";
import type { FlowGeneration, TrainedStep } from "./flow-generation.ts";
import type { FlowGrpoSettings } from "./flow-grpo-settings.ts";

type Objective<Type extends FlowObjective["type"]> = Extract<FlowObjective, { type: Type }>;
/** What is read of an epoch's samples. */
type Generation = Pick<
  FlowGeneration<unknown, Drawing>,
  "prompts" | "samples" | "rewards" | "advantages" | "dense" | "steps"
>;

export interface UpdateContext {
  readonly engine: FlowEngine<FlowLoss, FlowRule>;
  readonly generation: Generation;
  readonly settings: FlowGrpoSettings;
  /** Extents of a sample. */
  readonly shape: readonly number[];
}

/** The gradient of these samples, accumulated in the engine; null: there is nothing to train on. */
export async function accumulateUpdate(
  context: UpdateContext,
  samples: readonly number[],
  random: Random,
): Promise<FlowAccumulateResult | null> {
  const { objective } = context.settings;
  if (samples.length === 0) return null;
  switch (objective.type) {
    case "policy":
      return policyUpdate(context, objective, samples);
    case "diffusion-nft":
      return nftUpdate(context, objective, samples, random);
    case "online-dpo":
      return dpoUpdate(context, objective, samples, random);
    default:
      return matchingUpdate(context, objective, samples, random);
  }
}

/** Rows of an array `[row · width]`, one after the other. */
function gathered(source: Float32Array, rows: readonly number[], width: number): Float32Array {
  const target = new Float32Array(rows.length * width);
  rows.forEach((row, index) =>
    target.set(source.subarray(row * width, (row + 1) * width), index * width),
  );
  return target;
}

/** What `part` gives for every step, one after the other. */
function joined(
  steps: readonly TrainedStep[],
  part: (step: TrainedStep) => Float32Array,
): Float32Array {
  const parts = steps.map(part);
  const target = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let start = 0;
  for (const one of parts) {
    target.set(one, start);
    start += one.length;
  }
  return target;
}

/** Weight of each step in the loss. */
const stepWeightOf = (
  { stepWeight }: Objective<"policy">,
  noise: FlowNoise,
  step: TrainedStep,
): number => (stepWeight === "equal" ? 1 : guardWeight(noise, step));

async function policyUpdate(
  { engine, generation, settings, shape }: UpdateContext,
  objective: Objective<"policy">,
  samples: readonly number[],
): Promise<FlowAccumulateResult> {
  const { noise } = settings.sampling;
  const { steps } = generation;
  const size = engine.sampleSize;
  const each = (value: (step: TrainedStep) => number): Float32Array =>
    joined(steps, (step) => new Float32Array(samples.length).fill(value(step)));
  const batch: FlowBatch = {
    x: joined(steps, ({ before }) => gathered(before, samples, size)),
    t: each(({ time }) => time),
    prompts: steps.flatMap(() => samples.map((sample) => generation.prompts[sample]!)),
  };
  const loss = policyTrainingLoss(noise, objective, shape);
  const numbers = generation.samples.length / size;
  const { guidance } = settings;
  const arrays: Record<string, Float32Array> = {
    next: joined(steps, ({ after }) => gathered(after, samples, size)),
    ofSample: each((step) => stepCoefficients(noise, step).ofSample),
    ofVelocity: each((step) => stepCoefficients(noise, step).ofVelocity),
    deviation: each((step) => stepCoefficients(noise, step).deviation),
    old: joined(steps, ({ draw: { logProbs } }) =>
      gathered(logProbs, samples, logProbs.length / numbers),
    ),
    advantage: advantageRows(generation, samples, steps.length),
    stepWeight: each((step) => stepWeightOf(objective, noise, step)),
    weights: each(() => 1 / (samples.length * steps.length)),
  };
  if ("oldMean" in loss.arrays) {
    arrays["oldMean"] = joined(steps, ({ draw }) => gathered(draw.means, samples, size));
  }
  if ("reference" in loss.arrays) {
    arrays["reference"] = await engine.velocity(batch, { weights: "reference", guidance });
    arrays["duration"] = each(({ time, next }) => time - next);
  }
  return engine.accumulate(batch, loss, { arrays, guidance });
}

/** Advantages of samples, or of their positions, the same at every step. */
function advantageRows(
  { advantages, dense }: Generation,
  samples: readonly number[],
  steps: number,
): Float32Array {
  const once = samples.flatMap((sample) =>
    dense === undefined ? [advantages[sample]!] : Array.from(dense[sample]!),
  );
  return Float32Array.from({ length: steps * once.length }, (_, at) => once[at % once.length]!);
}

interface NoisedBatch extends FlowBatch {
  readonly prompts: readonly TokenIds[];
  /** x_0 and ε − x_0 `[row · sample]`. */
  readonly clean: Float32Array;
  readonly target: Float32Array;
}

/** Every sample noised again, each at a time of its own; samples with one `stream` get the same time and noise. */
function noised(
  { engine, generation, settings }: UpdateContext,
  rows: readonly { readonly sample: number; readonly stream: number }[],
  random: Random,
): NoisedBatch {
  const size = engine.sampleSize;
  const clean = gathered(
    generation.samples,
    rows.map(({ sample }) => sample),
    size,
  );
  const [x, target] = [new Float32Array(clean.length), new Float32Array(clean.length)];
  const noise = new Float32Array(size);
  const t = Float32Array.from(rows, ({ stream }, row) => {
    const own = random.fork("noised", stream);
    own.fillNormal(noise);
    const time = logitNormalTime(own, settings.timeMean, settings.timeDeviation);
    for (let index = 0; index < size; index++) {
      const at = row * size + index;
      x[at] = (1 - time) * clean[at]! + time * noise[index]!;
      target[at] = noise[index]! - clean[at]!;
    }
    return time;
  });
  const prompts = rows.map(({ sample }) => generation.prompts[sample]!);
  return { x, t, prompts, clean, target };
}

const copies = (samples: readonly number[], count: number) =>
  samples.flatMap((sample, place) =>
    Array.from({ length: count }, (_, copy) => ({ sample, stream: place * count + copy })),
  );

async function nftUpdate(
  context: UpdateContext,
  objective: Objective<"diffusion-nft">,
  samples: readonly number[],
  random: Random,
): Promise<FlowAccumulateResult> {
  const { engine, generation, settings } = context;
  const { guidance, noisings } = settings;
  const rows = copies(samples, noisings);
  const { clean, target: _target, ...batch } = noised(context, rows, random);
  const old = await engine.velocity(batch, { weights: "old", guidance });
  const reference = await engine.velocity(batch, { weights: "reference", guidance });
  const q = Float32Array.from(rows, ({ sample }) =>
    optimality(generation.advantages[sample]!, objective.advantageClip),
  );
  const weights = new Float32Array(rows.length).fill(1 / rows.length);
  const arrays = { clean, old, reference, optimality: q, weights };
  return engine.accumulate(batch, nftTrainingLoss(objective), { arrays, guidance });
}

/** mean (v − target)² of each row. */
function errorsOf(velocity: Float32Array, target: Float32Array, size: number): number[] {
  return Array.from({ length: target.length / size }, (_, row) => {
    let sum = 0;
    for (let at = row * size; at < (row + 1) * size; at++)
      sum += (velocity[at]! - target[at]!) ** 2;
    return sum / size;
  });
}

/**
 * DPO over the best and the worst sample of each group: the loss is a function of four errors, so its gradient is that of the
 * errors of the trained model weighted by ±β/2 σ(β/2 h), which a first pass computes.
 */
async function dpoUpdate(
  context: UpdateContext,
  { beta }: Objective<"online-dpo">,
  samples: readonly number[],
  random: Random,
): Promise<FlowAccumulateResult | null> {
  const { engine, settings } = context;
  const { guidance, noisings } = settings;
  const pairs = groupsAmong(context, samples).flatMap(({ rewards, members }) => {
    const pair = bestAndWorst(rewards);
    return pair === null ? [] : [[members[pair.best]!, members[pair.worst]!]];
  });
  const rows = pairs.flatMap((pair, place) =>
    Array.from({ length: noisings }, (_, copy) =>
      pair.map((sample) => ({ sample, stream: place * noisings + copy })),
    ).flat(),
  );
  if (rows.length === 0) return null;
  const { clean: _clean, target, ...batch } = noised(context, rows, random);
  const [current, reference] = [
    await engine.velocity(batch, { weights: "current", guidance }),
    await engine.velocity(batch, { weights: "reference", guidance }),
  ].map((velocity) => errorsOf(velocity, target, engine.sampleSize)) as [number[], number[]];
  const change = current.map((error, row) => error - reference[row]!);
  const count = rows.length / 2;
  const weights = new Float32Array(rows.length);
  let loss = 0;
  for (let pair = 0; pair < count; pair++) {
    const h = (beta / 2) * (change[2 * pair]! - change[2 * pair + 1]!);
    const slope = beta / 2 / (1 + Math.exp(-h)) / count;
    weights.set([slope, -slope], 2 * pair);
    loss += (Math.max(h, 0) + Math.log1p(Math.exp(-Math.abs(h)))) / count; // −log σ(−h)
  }
  await engine.accumulate(batch, flowMatchingLoss, { arrays: { target, weights }, guidance });
  return { loss, outputs: {} };
}

/** The groups of some samples, each with its rewards. */
function groupsAmong({ generation }: UpdateContext, samples: readonly number[]) {
  const keyed = samples.map((sample) => ({ prompt: generation.prompts[sample]!.join(" ") }));
  return promptGroups(keyed).map((group) => {
    const members = group.map((index) => samples[index]!);
    return { members, rewards: members.map((sample) => generation.rewards[sample]!) };
  });
}

/** Velocity matching on own samples, weighted by reward or on the best of a group; weights of a batch have the mean 1 / rows. */
async function matchingUpdate(
  context: UpdateContext,
  objective: Objective<"rwr" | "best-of-group">,
  samples: readonly number[],
  random: Random,
): Promise<FlowAccumulateResult | null> {
  const { engine, settings } = context;
  const { guidance, noisings } = settings;
  const rule = objective.type === "rwr" ? objective.weights : ({ type: "best" } as const);
  const weighted = groupsAmong(context, samples).flatMap(({ members, rewards }) => {
    const weights = matchingWeights(rewards, rule);
    return members.map((sample, index) => ({ sample, weight: weights[index]! }));
  });
  const total = weighted.reduce((sum, { weight }) => sum + Math.abs(weight), 0);
  const kept = weighted.filter(({ weight }) => weight !== 0);
  if (kept.length === 0) return null;
  const rows = kept.flatMap(({ sample, weight }, place) =>
    Array.from({ length: noisings }, (_, copy) => ({
      sample,
      weight: weight / (total * noisings),
      stream: place * noisings + copy,
    })),
  );
  const { clean: _clean, target, ...batch } = noised(context, rows, random);
  const weights = Float32Array.from(rows, ({ weight }) => weight);
  return engine.accumulate(batch, flowMatchingLoss, { arrays: { target, weights }, guidance });
}
