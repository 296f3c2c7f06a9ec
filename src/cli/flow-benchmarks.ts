// What `alidade bench` and bench/peers measure of flow models: sampling and training of the image model of Flow-GRPO's scale
// `small` (src/systems/flow-grpo/scales.ts), by the code that a run executes. Rewards are not measured: in place of a detector
// stands the mean of all numbers of an image, which costs nothing and differs within a group.

import { clippedAdvantages, flowAdvantages } from "../algorithms/flow-advantages.ts";
import { drawTrajectories, type Trajectories } from "../algorithms/flow-generation.ts";
import { flowGrpoSettings } from "../algorithms/flow-grpo-settings.ts";
import { flowMatchingBatch, flowMatchingSettings } from "../algorithms/flow-matching.ts";
import { accumulateUpdate } from "../algorithms/flow-updates.ts";
import type { StepOptions, TokenIds } from "../core/engine.ts";
import { randomStream, type Random } from "../core/random.ts";
import { mean } from "../core/statistics.ts";
import { LocalFlowEngine } from "../engine/flow-engine.ts";
import { flowMatchingLoss } from "../losses/flow-loss.ts";
import type { FlowTransformerConfig } from "../models/flow-transformer.ts";
import { flowSteps, type FlowStep } from "../rollout/flow-schedule.ts";
import { measured, type Measured, type Product } from "./benchmark-timing.ts";

/** 24x24 pixels in patches of 4, width 64, 4 layers, 4 heads; vocabulary, longest prompt and prompt encoder of GenEval-mini. */
export const flowBenchmarkModel: FlowTransformerConfig = {
  type: "transformer",
  sample: [24, 24, 3],
  patch: 4,
  width: 64,
  layers: 4,
  heads: 4,
  hiddenWidth: 256,
  activation: "gelu",
  predicts: "sample",
  prompt: {
    vocabularySize: 25,
    promptTokens: 10,
    width: 64,
    layers: 2,
    heads: 4,
    hiddenWidth: 128,
    words: true,
    neighbours: 2,
  },
};

/** 24 prompts x 16 images, ten steps, three of them drawn and trained, two updates. */
export const flowBenchmarkSettings = flowGrpoSettings.parse({
  epochs: 1,
  prompts: 24,
  group: 16,
  updates: 2,
  sampling: {
    steps: 10,
    noise: { type: "cps", level: 0.8 },
    window: { type: "random", size: 3, high: 8 },
  },
  objective: { type: "policy", ratio: { type: "sample", low: 6e-5, high: 6e-5 } },
});
const { prompts: PROMPTS, group: GROUP, updates: UPDATES, sampling } = flowBenchmarkSettings;
const IMAGES = PROMPTS * GROUP;
const WINDOW = 3;
/** Images of a step of flow matching. */
const MATCHING_IMAGES = 128;

/** AdamW of the stage; its learning rate at the peak. */
export const flowBenchmarkOptimiser: StepOptions = {
  learningRate: 2e-4,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 1e-4,
  clipNorm: 1,
};

/** An engine whose weights are all in use: what begins at 0 or 1 is moved away from it, the head and the gates too. */
export function openFlowBenchmarkEngine(lanes: number): LocalFlowEngine {
  const engine = new LocalFlowEngine(flowBenchmarkModel, { lanes });
  engine.initialise(randomStream("bench", "flow", "weights"));
  for (const name of engine.parameterNames) {
    const values = engine.parameter(name);
    const noise = new Float32Array(values.length);
    randomStream("bench", "flow", name).fillNormal(noise);
    values.forEach((value, index) => (values[index] = value + 0.05 * noise[index]!));
  }
  return engine;
}

const randomPrompt = (random: Random): TokenIds => {
  const { vocabularySize, promptTokens } = flowBenchmarkModel.prompt;
  const length = 5 + random.integer(promptTokens - 4);
  return Int32Array.from({ length }, () => random.integer(vocabularySize));
};

/** The prompt of every image of an epoch, group after group. */
export function flowBenchmarkPrompts(): TokenIds[] {
  const random = randomStream("bench", "flow", "prompts");
  return Array.from({ length: PROMPTS }, () => randomPrompt(random)).flatMap((prompt) =>
    Array.from({ length: GROUP }, () => prompt),
  );
}

/** The stream of an image's noise: forks "noise" and ("step", index), as `FlowEngine.denoise` says. */
export const flowBenchmarkStream = (epoch: number, image: number): Random =>
  randomStream("bench", "flow", "trajectory", epoch, image);

export const flowBenchmarkSteps = (epoch: number): FlowStep[] =>
  flowSteps(sampling, epoch - 1, randomStream("bench", "flow", "steps", epoch));

/** The images of each update, in order. */
export function flowBenchmarkOrder(epoch: number): number[][] {
  const random = randomStream("bench", "flow", "order", epoch);
  const order = random.shuffle(Array.from({ length: IMAGES }, (_, image) => image));
  const share = IMAGES / UPDATES;
  return Array.from({ length: UPDATES }, (_, update) =>
    order.slice(update * share, (update + 1) * share),
  );
}

/** The first half of an epoch: a trajectory of every image. */
export const rollOutEpoch = (
  engine: LocalFlowEngine,
  prompts: readonly TokenIds[],
  epoch: number,
): Promise<Trajectories> =>
  drawTrajectories(engine, prompts, flowBenchmarkSettings, {
    steps: flowBenchmarkSteps(epoch),
    random: (image) => flowBenchmarkStream(epoch, image),
  });

export interface EpochUpdates {
  readonly losses: readonly number[];
  readonly gradientNorms: readonly number[];
}

/** The second half: advantages, then the updates, each on its share of the images. */
export async function trainEpoch(
  engine: LocalFlowEngine,
  prompts: readonly TokenIds[],
  trajectories: Trajectories,
  epoch: number,
): Promise<EpochUpdates> {
  const { samples } = trajectories;
  const size = engine.sampleSize;
  const rewards = prompts.map((_, image) =>
    mean(samples.subarray(image * size, (image + 1) * size)),
  );
  const spec = flowBenchmarkSettings.advantages;
  const compared = flowAdvantages(
    rewards.map((reward, image) => ({ prompt: prompts[image]!.join(), reward })),
    spec,
  );
  const advantages = clippedAdvantages(compared.advantages, spec.clip);
  const generation = { ...trajectories, prompts, rewards, advantages };
  const from = {
    engine,
    generation,
    settings: flowBenchmarkSettings,
    shape: flowBenchmarkModel.sample,
  };
  const [losses, gradientNorms]: [number[], number[]] = [[], []];
  for (const images of flowBenchmarkOrder(epoch)) {
    const result = await accumulateUpdate(from, images, randomStream("bench"));
    losses.push(result?.loss ?? 0);
    gradientNorms.push((await engine.step(flowBenchmarkOptimiser)).gradientNorm);
  }
  return { losses, gradientNorms };
}

/** Noisy images of a step of flow matching: x, t, prompts (a tenth of them none), target. */
export function flowBenchmarkBatch(): ReturnType<typeof flowMatchingBatch> {
  const random = randomStream("bench", "flow", "examples");
  const examples = Array.from({ length: MATCHING_IMAGES }, () => {
    const sample = new Float32Array(24 * 24 * 3);
    random.fillNormal(sample);
    return { sample, prompt: randomPrompt(random) };
  });
  const settings = flowMatchingSettings.parse({ steps: 1, batch: MATCHING_IMAGES });
  return flowMatchingBatch(examples, settings, 1, 1);
}

/** A step of flow matching on a batch. */
export async function matchVelocities(
  engine: LocalFlowEngine,
  { target, ...batch }: ReturnType<typeof flowMatchingBatch>,
): Promise<{ readonly loss: number; readonly gradientNorm: number }> {
  const count = batch.t.length;
  const weights = new Float32Array(count).fill(1 / count);
  const options = { arrays: { target, weights }, guidance: 1 };
  const { loss } = await engine.accumulate(batch, flowMatchingLoss, options);
  return { loss, gradientNorm: (await engine.step(flowBenchmarkOptimiser)).gradientNorm };
}

const patches = ({ sample, patch }: FlowTransformerConfig): number =>
  sample.slice(0, -1).reduce((product, extent) => product * extent, 1) / patch ** 2;

/**
 * FLOPs of one forward pass of one image, two for each multiply-add. With L layers of width d and MLP width f, N patches of P
 * numbers, τ sinusoids of the time and a prompt vector of p numbers, T words that attention reads too (or none, T = 0):
 *
 *   2 N (L (4 d² + 2 d f) + 2 P d)  +  4 L N (N + T) d  +  2 (6 L d² + 2 d² + (τ + d + p) d)  +  4 L T p d
 *   layers, patches in and out         attention           modulations, time and prompt: once    keys and values of words
 *
 * A SwiGLU has 3 d f. Norms, activations, residuals, the loss, the optimiser and the prompt encoder with its neighbouring words,
 * which runs once a prompt of a rollout or of a micro-batch, are work that is not counted. Backward counts twice, as for decoders.
 */
export function flowForwardFlops(config: FlowTransformerConfig): number {
  const { layers, width, hiddenWidth, activation, patch, sample, prompt } = config;
  const tokens = patches(config);
  const pixels = patch * patch * sample.at(-1)!;
  const sinusoids = 2 ** Math.round(Math.log2(width));
  const mlp = (activation === "swiglu" ? 3 : 2) * width * hiddenWidth;
  const ofPatch = layers * (4 * width * width + mlp) + 2 * pixels * width;
  const words = prompt.words === true ? prompt.promptTokens : 0;
  const attention = layers * 4 * tokens * (tokens + words) * width;
  const ofWords = layers * 2 * words * prompt.width * width;
  const ofImage = (6 * layers + 2) * width * width + (sinusoids + width + prompt.width) * width;
  return 2 * tokens * ofPatch + attention + 2 * (ofImage + ofWords);
}

/** The largest products of one micro-batch. */
function productsOf(engine: LocalFlowEngine): Product[] {
  const { width, hiddenWidth } = flowBenchmarkModel;
  const rows = engine.microBatch * patches(flowBenchmarkModel);
  return [
    [1024, 1024, 1024],
    [rows, width, hiddenWidth],
    [rows, hiddenWidth, width],
  ];
}

async function withEngine(
  lanes: number,
  measure: (engine: LocalFlowEngine) => Promise<Measured>,
): Promise<Measured> {
  const engine = openFlowBenchmarkEngine(lanes);
  try {
    return await measure(engine);
  } finally {
    engine.dispose();
  }
}

/** The rollout of an epoch: noise, 10 velocities of every image, log-probabilities of 3 steps. */
export const flowRollout = (lanes: number): Promise<Measured> =>
  withEngine(lanes, (engine) => {
    const prompts = flowBenchmarkPrompts();
    let epoch = 0;
    const what = {
      title: `rollout of ${IMAGES} images, width 64, ${sampling.steps} steps`,
      repetitions: 8,
      flops: IMAGES * sampling.steps * flowForwardFlops(flowBenchmarkModel),
      count: { images: IMAGES },
    };
    return measured(what, { products: productsOf(engine), lanes: engine.lanes }, async () => {
      await rollOutEpoch(engine, prompts, ++epoch);
    });
  });

/** The updates of an epoch: forward and backward of the policy loss on 3 steps of every image, two optimiser steps. */
export const flowUpdates = (lanes: number): Promise<Measured> =>
  withEngine(lanes, async (engine) => {
    const prompts = flowBenchmarkPrompts();
    const trajectories = await rollOutEpoch(engine, prompts, 1);
    const what = {
      title: `updates on ${IMAGES} images x ${WINDOW} steps, width 64`,
      repetitions: 8,
      flops: IMAGES * WINDOW * 3 * flowForwardFlops(flowBenchmarkModel),
      count: { images: IMAGES },
    };
    return measured(what, { products: productsOf(engine), lanes: engine.lanes }, async () => {
      await trainEpoch(engine, prompts, trajectories, 1);
    });
  });

/** A step of flow matching: forward, backward, optimiser. */
export const flowMatchingStep = (lanes: number): Promise<Measured> =>
  withEngine(lanes, (engine) => {
    const batch = flowBenchmarkBatch();
    const what = {
      title: `flow matching step, width 64, ${MATCHING_IMAGES} images`,
      repetitions: 12,
      flops: MATCHING_IMAGES * 3 * flowForwardFlops(flowBenchmarkModel),
      count: { images: MATCHING_IMAGES },
    };
    return measured(what, { products: productsOf(engine), lanes: engine.lanes }, async () => {
      await matchVelocities(engine, batch);
    });
  });
