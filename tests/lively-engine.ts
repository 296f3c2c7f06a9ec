// Local engines whose small models have values that matter, what they are trained on, and their gradients.

import { afterAll } from "vitest";
import type { Example, StepOptions } from "../src/core/engine.ts";
import { policySettings, type PolicyLoss } from "../src/core/loss-spec.ts";
import { randomStream } from "../src/core/random.ts";
import { LocalEngine, type LocalEngineOptions } from "../src/engine/local-engine.ts";
import type { DecoderConfig } from "../src/models/decoder.ts";
import { livelyValues, smallModels } from "./plain-decoder.ts";

export const small: DecoderConfig = smallModels["Qwen3, grouped heads"]!;

/** Engines that live until the tests of the file are over. */
export function livelyEngines() {
  const engines: LocalEngine[] = [];
  afterAll(() => engines.forEach((engine) => engine.dispose()));
  const kept = (engine: LocalEngine): LocalEngine => {
    engines.push(engine);
    return engine;
  };
  const lively = (
    config: DecoderConfig = small,
    options: Partial<LocalEngineOptions> = {},
  ): LocalEngine => {
    const engine = kept(new LocalEngine(config, options));
    for (const name of engine.parameterNames) {
      const values = engine.parameter(name);
      values.set(livelyValues(name, values.length));
    }
    return engine;
  };
  return { kept, lively };
}

/** Sequences of random tokens, other ones at every call. */
export function randomSequences(...name: readonly string[]) {
  const random = randomStream(1, ...name);
  const sequence = (promptLength: number, length: number): Example => ({
    tokens: Int32Array.from({ length }, () => random.integer(small.vocabularySize)),
    promptLength,
  });
  const ragged = (): Example[] => [sequence(3, 7), sequence(1, 5), sequence(4, 8), sequence(2, 3)];
  return { random, sequence, ragged };
}

export const byTokens = { type: "token-mean", tokens: "loss", of: "step" } as const;
export const bySequences = { type: "sequence-mean", empty: "count" } as const;

export const policyGradient: PolicyLoss = {
  type: "policy-gradient",
  temperature: 0.8,
  ...policySettings.parse({
    surrogate: { type: "clip", low: 0.2, high: 0.28 },
    kl: { type: "loss", weight: 0.07 },
    aggregation: bySequences,
  }),
};

export const firstPass: PolicyLoss = {
  ...policyGradient,
  surrogate: { type: "unclipped" },
  kl: { type: "none" },
  aggregation: byTokens,
};

export const adam: StepOptions = {
  learningRate: 3e-3,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clipNorm: 1,
};

export const isSame = (a: Float32Array, b: Float32Array): boolean =>
  a.length === b.length && a.every((value, index) => Object.is(value, b[index]));

/** What a policy loss needs beside the tokens; `old` and `reference` are near the current log-probabilities of the examples. */
export async function policyExamples(
  engine: LocalEngine,
  list: readonly Example[],
  temperature: number,
): Promise<Example[]> {
  const current = await engine.logProbs(list, { policy: "current", temperature });
  return list.map((example, index) => ({
    ...example,
    advantage: [1.3, -0.8, 0.4, -1.7, 0][index % 5] as number,
    // Far enough for the clip to act on some tokens, and never near its corner.
    old: current[index]!.map(
      (value, at) => value + [0.05, -0.6, 0.5, -0.1, 0.3][(at + index) % 5]!,
    ),
    reference: current[index]!.map((value, at) => value + [0.2, -0.3, 0][at % 3]!),
    mask: current[index]!.map((_, at) => (at === 1 && index === 0 ? 0 : 1)),
  }));
}

export type Gradients = Readonly<Record<string, Float32Array>>;

/** A copy of the accumulated gradient, by parameter. */
export const gradientsOf = (engine: LocalEngine): Gradients =>
  Object.fromEntries(
    engine.parameterNames.map((name) => [name, Float32Array.from(engine.gradient(name))]),
  );

export function clearGradient(engine: LocalEngine): void {
  for (const name of engine.parameterNames) engine.gradient(name).fill(0);
}

/** Largest difference of two gradients, the other one times a factor, as a share of the largest entry of the same parameter. */
export function farthest(ours: Gradients, theirs: Gradients, factor = 1): number {
  let worst = 0;
  for (const [name, values] of Object.entries(ours)) {
    const other = theirs[name]!;
    const size = other.reduce((most, value) => Math.max(most, Math.abs(value * factor)), 1e-4);
    values.forEach((value, index) => {
      worst = Math.max(worst, Math.abs(value - factor * other[index]!) / size);
    });
  }
  return worst;
}
