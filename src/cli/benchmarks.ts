// What `alidade bench` measures; how: benchmark-timing.ts.

import type { StepOptions } from "../core/engine.ts";
import { supervisedLoss } from "../core/loss-spec.ts";
import { randomStream, type Random } from "../core/random.ts";
import { LocalEngine } from "../engine/local-engine.ts";
import type { DecoderConfig } from "../models/decoder.ts";
import {
  matmulCeiling,
  measured,
  result,
  timed,
  type Measured,
  type Product,
} from "./benchmark-timing.ts";
import { flowMatchingStep, flowRollout, flowUpdates } from "./flow-benchmarks.ts";

/** A GPT of four layers with an MLP four times as wide: the model of the measurements in docs/log.md. */
export function benchmarkModel(width: number): DecoderConfig {
  const headSize = width >= 256 ? 64 : 32;
  return {
    vocabularySize: 128,
    contextLength: 256,
    width,
    layers: 4,
    heads: width / headSize,
    kvHeads: width / headSize,
    headSize,
    hiddenWidth: 4 * width,
    ropeTheta: 10_000,
    normEpsilon: 1e-6,
    qkvBias: false,
    qkNorm: false,
    tiedEmbeddings: true,
  };
}

const step: StepOptions = {
  learningRate: 1e-4,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clipNorm: 1,
};

/** Multiply-adds of the matrices for one token, without attention. */
const matrixSize = ({ layers, width, hiddenWidth, vocabularySize }: DecoderConfig): number =>
  layers * (4 * width * width + 3 * width * hiddenWidth) + vocabularySize * width;

const randomTokens = (random: Random, length: number): Int32Array =>
  Int32Array.from({ length }, () => random.integer(128));

/** Forward, backward and optimiser over `rows` sequences of `time` tokens; the loss is on all but the first. */
async function trainingStep(width: number, rows: number, time: number): Promise<Measured> {
  const config = benchmarkModel(width);
  const engine = new LocalEngine(config);
  try {
    engine.initialise(randomStream("bench", "weights"));
    const random = randomStream("bench", "tokens");
    const batch = Array.from({ length: rows }, () => ({
      tokens: randomTokens(random, time),
      promptLength: 1,
    }));
    const work = async (): Promise<void> => {
      await engine.accumulate(batch, supervisedLoss);
      await engine.step(step);
    };
    const tokens = rows * time;
    const attention = config.layers * 4 * rows * time * time * width;
    const flops = 3 * (2 * matrixSize(config) * tokens + attention);
    const products: Product[] = [
      [1024, 1024, 1024],
      [tokens, width, config.hiddenWidth],
      [tokens, config.hiddenWidth, width],
    ];
    const title = `training step, width ${width}, ${rows} x ${time} tokens`;
    const what = { title, repetitions: 12, flops, count: { tokens } };
    return await measured(what, { products, lanes: 1 }, work);
  } finally {
    engine.dispose();
  }
}

/**
 * One token for each of `rows` sequences with a cache of 50 to 113 tokens, `group` of them after the same prompt; drawing
 * included.
 */
async function decodeStep(width: number, rows: number, group: number): Promise<Measured> {
  const config = benchmarkModel(width);
  const engine = new LocalEngine(config);
  try {
    engine.initialise(randomStream("bench", "weights"));
    const random = randomStream("bench", "prompts");
    const [promptLength, newTokens] = [50, 64];
    const prompts = Array.from({ length: rows / group }, () => randomTokens(random, promptLength));
    const run = async (maxTokens: number): Promise<void> => {
      await engine.sample(prompts, {
        group,
        maxTokens,
        temperature: 1,
        stop: [],
        random: (prompt, sample) => randomStream("bench", prompt, sample),
      });
    };
    const products: Product[] = [
      [1024, 1024, 1024],
      [rows, width, config.hiddenWidth],
      [rows, config.hiddenWidth, width],
    ];
    await run(newTokens);
    const before = await matmulCeiling({ products, lanes: 1 });
    const repetitions = 8;
    const prefill = await timed(repetitions, () => run(1));
    const whole = await timed(repetitions, () => run(newTokens));
    const ceiling = Math.max(before, await matmulCeiling({ products, lanes: 1 }));
    const steps = newTokens - 1;
    const timing = {
      bestMs: (whole.bestMs - prefill.bestMs) / steps,
      medianMs: (whole.medianMs - prefill.medianMs) / steps,
    };
    const attention = config.layers * 4 * rows * (promptLength + newTokens / 2) * width;
    const flops = 2 * matrixSize(config) * rows + attention;
    const title = `decode step, width ${width}, batch ${rows}${group === 1 ? "" : ` = ${rows / group} x ${group}`}`;
    return result({ title, repetitions, flops, count: { tokens: rows } }, timing, ceiling);
  } finally {
    engine.dispose();
  }
}

/** Decoders by name, smaller ones first, so that peak memory means something; operators run on all threads. */
export const decoderBenchmarks: Readonly<Record<string, () => Promise<Measured>>> = {
  "train-96": () => trainingStep(96, 64, 112),
  "decode-256-b16": () => decodeStep(256, 16, 1),
  "decode-256-b64": () => decodeStep(256, 64, 1),
  "decode-256-b64-g8": () => decodeStep(256, 64, 8),
  "train-256": () => trainingStep(256, 32, 128),
};

/** Flow models by name: an operator has one thread, and there are as many lanes as threads are asked for. */
export const flowBenchmarks: Readonly<Record<string, (lanes: number) => Promise<Measured>>> = {
  "flow-sample-64": flowRollout,
  "flow-update-64": flowUpdates,
  "flow-matching-64": flowMatchingStep,
};
