import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  livelyValues,
  plainLogits,
  plainLogSoftmax,
  smallModels,
} from "../../tests/plain-decoder.ts";
import type { Example, StepOptions, Workload } from "../core/engine.ts";
import { policySettings, supervisedLoss, type LossSpec } from "../core/loss-spec.ts";
import { DataError, EngineError } from "../core/errors.ts";
import { randomStream } from "../core/random.ts";
import { evaluateLoss, resolveLoss, type PolicyChoice } from "../losses/index.ts";
import { completionLength, wholeWindow } from "../losses/weights.ts";
import type { DecoderConfig } from "../models/decoder.ts";
import { LocalEngine, type LocalEngineOptions } from "./local-engine.ts";

const models = Object.entries(smallModels);
const small = smallModels["Qwen3, grouped heads"]!;

const engines: LocalEngine[] = [];
afterAll(() => engines.forEach((engine) => engine.dispose()));

function lively(
  config: DecoderConfig = small,
  options: Partial<LocalEngineOptions> = {},
): LocalEngine {
  const engine = new LocalEngine(config, options);
  engines.push(engine);
  for (const name of engine.parameterNames) {
    const values = engine.parameter(name);
    values.set(livelyValues(name, values.length));
  }
  return engine;
}

const random = randomStream(1, "engine test");

function sequence(promptLength: number, length: number): Example {
  const tokens = Int32Array.from({ length }, () => random.integer(small.vocabularySize));
  return { tokens, promptLength };
}

/** What a policy loss needs beside the tokens; `old` and `reference` are near the current log-probabilities of the examples. */
async function policyExamples(
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

const crossEntropy = supervisedLoss;
type PolicyLoss = Extract<LossSpec, { type: "policy-gradient" }>;
const policyGradient: PolicyLoss = {
  type: "policy-gradient",
  temperature: 0.8,
  ...policySettings.parse({
    surrogate: { type: "clip", low: 0.2, high: 0.28 },
    kl: { type: "loss", weight: 0.07 },
    aggregation: { type: "sequence-mean" },
  }),
};
const byTokens = { type: "token-mean", tokens: "loss", of: "step" } as const;
const bySequences = { type: "sequence-mean", empty: "count" } as const;
const firstPass: PolicyLoss = {
  ...policyGradient,
  surrogate: { type: "unclipped" },
  kl: { type: "none" },
  aggregation: byTokens,
};

const ragged = (): Example[] => [sequence(3, 7), sequence(1, 5), sequence(4, 8), sequence(2, 3)];

type PlainParameters = Record<string, Float64Array>;
const parametersOf = (engine: LocalEngine): PlainParameters =>
  Object.fromEntries(
    engine.parameterNames.map((name) => [name, Float64Array.from(engine.parameter(name))]),
  );

/** log-distribution of every completion token `[sequence][completion time][vocabulary]`. */
const plainDistributions = (
  config: DecoderConfig,
  parameters: PlainParameters,
  list: readonly Example[],
  temperature: number,
): number[][][] =>
  list.map(({ tokens, promptLength }) =>
    plainLogits(config, parameters, tokens.subarray(0, -1))
      .slice(promptLength - 1)
      .map((logits) => plainLogSoftmax(logits, temperature)),
  );

/** The losses of the papers, written out over a whole batch. */
function plainLoss(
  config: DecoderConfig,
  parameters: PlainParameters,
  list: readonly Example[],
  loss: PolicyLoss | typeof crossEntropy,
): number {
  const temperature = loss.type === "policy-gradient" ? loss.temperature : 1;
  const sums = plainDistributions(config, parameters, list, temperature).map((rows, index) => {
    const { tokens, promptLength, mask, old, reference } = list[index]!;
    const advantage = Number(list[index]!.advantage ?? 0);
    let [total, count] = [0, 0];
    rows.forEach((row, at) => {
      const logProb = row[tokens[promptLength + at]!]!;
      let value = -logProb;
      if (loss.type === "policy-gradient") {
        const ratio = old === undefined ? 1 : Math.exp(logProb - old[at]!);
        const { surrogate, kl } = loss;
        const clipped =
          surrogate.type === "clip"
            ? Math.min(1 + surrogate.high, Math.max(1 - surrogate.low, ratio))
            : ratio;
        const difference = (reference?.[at] ?? logProb) - logProb;
        value =
          -Math.min(ratio * advantage, clipped * advantage) +
          (kl.type === "loss" ? kl.weight : 0) * (Math.exp(difference) - difference - 1);
      }
      const weight = mask?.[at] ?? 1;
      total += weight * value;
      count += weight;
    });
    return { total, count };
  });
  if ((loss as PolicyLoss).aggregation.type === "token-mean") {
    return (
      sums.reduce((sum, { total }) => sum + total, 0) /
      sums.reduce((sum, { count }) => sum + count, 0)
    );
  }
  return sums.reduce((sum, { total, count }) => sum + total / Math.max(count, 1), 0) / sums.length;
}

const gradientsOf = (engine: LocalEngine): Record<string, Float32Array> =>
  Object.fromEntries(
    engine.parameterNames.map((name) => [name, Float32Array.from(engine.gradient(name))]),
  );

async function clearGradient(engine: LocalEngine): Promise<void> {
  for (const name of engine.parameterNames) engine.gradient(name).fill(0);
}

/** Largest difference of two gradients, as a share of the largest entry of the same parameter. */
function farthest(
  ours: Record<string, Float32Array>,
  theirs: Record<string, Float32Array>,
  factor = 1,
): number {
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

describe.each(models)("%s", (_name, config) => {
  it.each([
    ["cross-entropy", crossEntropy],
    ["a clipped policy gradient with KL", policyGradient],
    ["a policy gradient on the first pass", firstPass],
  ] as const)("has the loss and the gradient of %s", async (title, loss) => {
    const engine = lively(config);
    const isFirst = title.endsWith("first pass");
    const temperature = loss.type === "policy-gradient" ? loss.temperature : 1;
    let batch = ragged();
    if (loss.type === "policy-gradient") {
      batch = (await policyExamples(engine, batch, temperature)).map(
        ({ old, reference, ...rest }) =>
          isFirst ? rest : { ...rest, old: old!, reference: reference! },
      );
    }
    const result = await engine.accumulate(batch, loss);
    const parameters = parametersOf(engine);
    const plain = (): number => plainLoss(config, parameters, batch, loss);
    expect(Math.abs(result.loss - plain())).toBeLessThan(1e-5);

    plainDistributions(config, parameters, batch, temperature).forEach((rows, index) => {
      const { tokens, promptLength } = batch[index]!;
      rows.forEach((row, at) => {
        const logProb = row[tokens[promptLength + at]!]!;
        expect(Math.abs(result.logProbs[index]![at]! - logProb)).toBeLessThan(1e-5);
        const entropy = -row.reduce((sum, value) => sum + Math.exp(value) * value, 0);
        expect(Math.abs(result.entropy[index]![at]! - entropy)).toBeLessThan(1e-5);
      });
      expect(result.logProbs[index]!.length).toBe(rows.length);
      expect(result.entropy[index]!.length).toBe(rows.length);
    });

    // On the first pass old is the current policy itself, held fixed while the weights move.
    if (isFirst) batch = batch.map((one, index) => ({ ...one, old: result.logProbs[index]! }));
    for (const name of engine.parameterNames) {
      const [values, gradient] = [parameters[name]!, engine.gradient(name)];
      const size = gradient.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect(size, name).toBeGreaterThan(1e-5);
      const start = Float64Array.from(values);
      const slope = (along: (index: number) => number): number => {
        const at = (distance: number): number => {
          start.forEach((value, index) => (values[index] = value + distance * along(index)));
          return plain();
        };
        const step = 1e-5;
        const difference = (at(step) - at(-step)) / (2 * step);
        values.set(start);
        return difference;
      };
      const element = random.integer(values.length);
      const numeric = slope((index) => Number(index === element));
      expect(Math.abs(gradient[element]! - numeric), `${name}[${element}]`).toBeLessThan(
        2e-5 * size + 1e-7,
      );
      // Every element at once, along the gradient itself.
      const length = Math.sqrt(gradient.reduce((sum, value) => sum + value * value, 0));
      const along = slope((index) => gradient[index]! / length);
      expect(Math.abs(along / length - 1), name).toBeLessThan(2e-4);
    }
  });
});

describe("accumulate", () => {
  it("adds to the gradient, and a step clears it", async () => {
    const engine = lively();
    const batch = ragged();
    await engine.accumulate(batch, crossEntropy);
    const once = gradientsOf(engine);
    await engine.accumulate(batch, crossEntropy);
    expect(farthest(gradientsOf(engine), once, 2)).toBeLessThan(1e-5);
    await engine.step(adam);
    expect(Object.values(gradientsOf(engine)).every((part) => part.every((x) => x === 0))).toBe(
      true,
    );
  });

  it.each([
    ["sequence-mean", bySequences],
    ["token-mean", byTokens],
  ])("of a batch of 8 equals 8 x a batch of 1, %s", async (name, aggregation) => {
    const engine = lively();
    const loss = { ...policyGradient, aggregation };
    const lengths = [7, 7, 7, 7, 7, 7, 7, 7].map(
      (length, index) => length + (name === "sequence-mean" ? index : 0),
    );
    const batch = (
      await policyExamples(
        engine,
        lengths.map((length) => sequence(3, length)),
        loss.temperature,
      )
    ).map(({ mask: _mask, ...rest }) => rest);
    const whole = await engine.accumulate(batch, loss);
    const gradient = gradientsOf(engine);
    await clearGradient(engine);
    let total = 0;
    for (const one of batch) total += (await engine.accumulate([one], loss)).loss;
    expect(total / 8).toBeCloseTo(whole.loss, 5);
    expect(farthest(gradientsOf(engine), gradient, 8)).toBeLessThan(1e-5);
  });

  it("does not depend on the size of the micro-batches", async () => {
    const results = [];
    let batch: Example[] | undefined;
    for (const microBatchTokens of [16, 4096]) {
      const engine = lively(small, { microBatchTokens });
      batch ??= await policyExamples(
        engine,
        Array.from({ length: 11 }, (_, index) => sequence(1 + (index % 4), 6 + 4 * index)),
        policyGradient.temperature,
      );
      const result = await engine.accumulate(batch, policyGradient);
      results.push({ ...result, gradient: gradientsOf(engine) });
    }
    const [first, ...others] = results;
    for (const other of others) {
      expect(other.loss).toBeCloseTo(first!.loss, 5);
      expect(farthest(other.gradient, first!.gradient)).toBeLessThan(2e-5);
      other.logProbs.forEach((row, index) =>
        row.forEach((value, at) => expect(value).toBeCloseTo(first!.logProbs[index]![at]!, 5)),
      );
    }
  });

  it("does not depend on the order of the batch or on padding", async () => {
    const engine = lively();
    const short = sequence(3, 6);
    const batch = [short, sequence(2, 40), sequence(5, 33)];
    const { logProbs, entropy } = await engine.accumulate(batch, crossEntropy);
    const gradient = gradientsOf(engine);
    await clearGradient(engine);
    const turned = await engine.accumulate(batch.toReversed(), crossEntropy);
    expect(farthest(gradientsOf(engine), gradient)).toBeLessThan(1e-5);
    const alone = await engine.accumulate([short], crossEntropy);
    for (const [a, b] of [
      [logProbs[0], alone.logProbs[0]],
      [entropy[0], alone.entropy[0]],
      [logProbs[1], turned.logProbs[1]],
      [logProbs[0], turned.logProbs[2]],
    ] as const) {
      expect(a!.length).toBe(b!.length);
      a!.forEach((value, index) => expect(value).toBeCloseTo(b![index]!, 5));
    }
  });

  it("takes sequences that fill a context of any length", async () => {
    const engine = lively({ ...small, contextLength: 50 });
    const full = sequence(3, 50);
    const { logProbs } = await engine.accumulate([full], crossEntropy);
    const roomy = await lively().accumulate([full], crossEntropy);
    logProbs[0]!.forEach((value, at) => expect(value).toBeCloseTo(roomy.logProbs[0]![at]!, 5));
    expect(logProbs[0]!.length).toBe(47);
  });

  it("of a group that shares its prompt equals its sequences one by one", async () => {
    const engine = lively();
    const prompt = sequence(5, 5).tokens;
    const continued = (length: number): Example => ({
      tokens: Int32Array.from([...prompt, ...sequence(1, length).tokens]),
      promptLength: 5,
    });
    const group = [continued(6), sequence(4, 9), continued(3), continued(8), continued(0)];
    const loss = { ...policyGradient, aggregation: byTokens };
    const batch = await policyExamples(engine, group, loss.temperature);
    const whole = await engine.accumulate(batch, loss);
    const gradient = gradientsOf(engine);
    await clearGradient(engine);
    const counts = batch.map(({ mask }) => mask!.reduce((sum, value) => sum + value, 0));
    const all = counts.reduce((sum, count) => sum + count, 0);
    let total = 0;
    const scaled: Record<string, Float32Array> = {};
    for (const [index, example] of batch.entries()) {
      const alone = await engine.accumulate([example], loss);
      const share = counts[index]! / all;
      total += share * alone.loss;
      alone.logProbs[0]!.forEach((value, at) =>
        expect(whole.logProbs[index]![at]).toBeCloseTo(value, 5),
      );
      for (const [name, values] of Object.entries(gradientsOf(engine))) {
        const sum = (scaled[name] ??= new Float32Array(values.length));
        values.forEach((value, at) => (sum[at]! += share * value));
      }
      await clearGradient(engine);
    }
    expect(whole.loss).toBeCloseTo(total, 5);
    expect(farthest(gradient, scaled)).toBeLessThan(2e-5);
  });

  it("leaves masked tokens and empty completions out", async () => {
    const engine = lively();
    const [one, two] = [sequence(3, 9), sequence(4, 4)];
    const masked = { ...one, mask: Float32Array.of(1, 1, 0, 0, 0, 0) };
    const result = await engine.accumulate([masked, two], crossEntropy);
    const gradient = gradientsOf(engine);
    await clearGradient(engine);
    const cut = { tokens: one.tokens.slice(0, 5), promptLength: 3 };
    const same = await engine.accumulate([cut], crossEntropy);
    expect(result.loss).toBeCloseTo(same.loss, 5);
    expect(farthest(gradientsOf(engine), gradient)).toBeLessThan(1e-5);
    expect(result.logProbs.map((row) => row.length)).toEqual([6, 0]);
  });
});

const adam: StepOptions = {
  learningRate: 3e-3,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clipNorm: 1,
};

const isSame = (a: Float32Array, b: Float32Array): boolean =>
  a.length === b.length && a.every((value, index) => Object.is(value, b[index]));

describe("logProbs", () => {
  it("divides the logits by the temperature", async () => {
    const engine = lively();
    const list = ragged();
    for (const temperature of [0.5, 1, 2]) {
      const rows = await engine.logProbs(list, { policy: "current", temperature });
      const plain = plainDistributions(small, parametersOf(engine), list, temperature);
      rows.forEach((row, index) =>
        row.forEach((value, at) => {
          const { tokens, promptLength } = list[index]!;
          const expected = plain[index]![at]![tokens[promptLength + at]!]!;
          expect(Math.abs(value - expected)).toBeLessThan(1e-5);
        }),
      );
    }
  });

  it("of the reference stays while the policy learns, until it is frozen again", async () => {
    const engine = lively();
    const list = ragged();
    const of = (policy: "current" | "reference") =>
      engine.logProbs(list, { policy, temperature: 1 });
    const start = await of("current");
    await engine.freezeReference();
    for (let step = 0; step < 2; step++) {
      await engine.accumulate(list, crossEntropy);
      await engine.step(adam);
    }
    const [current, reference] = [await of("current"), await of("reference")];
    reference.forEach((row, index) => expect(isSame(row, start[index]!)).toBe(true));
    current.forEach((row, index) => expect(isSame(row, start[index]!)).toBe(false));
    await engine.freezeReference();
    (await of("reference")).forEach((row, index) =>
      expect(isSame(row, current[index]!)).toBe(true),
    );
  });
});

describe("save and load", () => {
  let root: string;
  beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-engine-"))));
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  const folder = (): string => mkdtempSync(join(root, "save-"));

  /** One step of policy optimisation: everything an engine remembers takes part in it. */
  async function train(engine: LocalEngine, list: readonly Example[], steps: number) {
    const losses: number[] = [];
    for (let step = 0; step < steps; step++) {
      const reference = await engine.logProbs(list, { policy: "reference", temperature: 0.8 });
      const batch = list.map((one, index) => ({
        ...one,
        advantage: index % 2 === 0 ? 1 : -1,
        reference: reference[index]!,
      }));
      losses.push((await engine.accumulate(batch, policyGradient)).loss);
      losses.push((await engine.step(adam)).gradientNorm);
    }
    return losses;
  }

  const state = (engine: LocalEngine): Float32Array[] =>
    engine.parameterNames.map((name) => Float32Array.from(engine.parameter(name)));

  it("continues bit for bit: weights, optimiser and reference", async () => {
    const list = ragged();
    const engine = lively();
    await engine.freezeReference();
    await train(engine, list, 3);
    const directory = folder();
    await engine.save(directory);
    const losses = await train(engine, list, 4);

    const other = new LocalEngine(small, { microBatchTokens: 4096 });
    engines.push(other);
    other.initialise(randomStream(99, "other weights"));
    await other.load(directory);
    expect(await train(other, list, 4)).toEqual(losses);
    state(other).forEach((values, index) =>
      expect(isSame(values, state(engine)[index]!), engine.parameterNames[index]).toBe(true),
    );

    // An engine that went on goes back, and drops what it had accumulated.
    await engine.accumulate(list, crossEntropy);
    await engine.load(directory);
    expect(await train(engine, list, 4)).toEqual(losses);
  });

  it("forgets the reference when there was none", async () => {
    const engine = lively();
    const directory = folder();
    await engine.save(directory);
    await engine.freezeReference();
    await engine.load(directory);
    const reading = engine.logProbs(ragged(), { policy: "reference", temperature: 1 });
    await expect(reading).rejects.toThrow("expected a frozen reference policy, got none");
  });

  it("starts over with resetOptimiser", async () => {
    const list = ragged();
    const engine = lively();
    await engine.freezeReference();
    const directory = folder();
    await engine.saveModel(directory);
    const losses = await train(engine, list, 2);
    await engine.accumulate(list, crossEntropy);
    await engine.resetOptimiser();
    await engine.loadWeights(directory);
    expect(await train(engine, list, 2)).toEqual(losses);
  });

  it("keeps the model in a folder of its own, which another engine reads", async () => {
    const engine = lively();
    const directory = folder();
    await engine.saveModel(directory);
    const other = new LocalEngine(small);
    engines.push(other);
    await other.loadWeights(directory);
    state(other).forEach((values, index) =>
      expect(isSame(values, state(engine)[index]!)).toBe(true),
    );
  });

  it("refuses what is broken or belongs to another model, and says what", async () => {
    const engine = lively();
    await engine.freezeReference();
    const directory = folder();
    await engine.save(directory);
    const wider = new LocalEngine({ ...small, width: 32 });
    engines.push(wider);
    await expect(wider.load(directory)).rejects.toThrow(DataError);
    await expect(wider.load(directory)).rejects.toThrow(
      /model\.safetensors: expected model\.embed_tokens\.weight of shape \[23, 32\], got \[23, 24\]/,
    );
    const plainer = new LocalEngine({ ...small, qkNorm: false });
    engines.push(plainer);
    await expect(plainer.load(directory)).rejects.toThrow(
      /expected the parameters of this model and no others, got model\.layers\.0\.self_attn\.q_norm\.weight/,
    );
    writeFileSync(join(directory, "engine.json"), '{"steps": "many"}');
    await expect(engine.load(directory)).rejects.toThrow(DataError);
    await expect(engine.load(directory)).rejects.toThrow(/engine\.json: expected .*, got/);
    writeFileSync(join(directory, "engine.json"), '{"steps": ');
    await expect(engine.load(directory)).rejects.toThrow(DataError);
    truncateSync(join(directory, "model.safetensors"), 5000);
    await expect(engine.load(directory)).rejects.toThrow(DataError);
    await expect(engine.load(folder())).rejects.toThrow(
      /engine\.json: expected the position of an engine/,
    );
  });
});

describe("adapters", () => {
  let root: string;
  beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-lora-"))));
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  const lora = { rank: 3, alpha: 6, targets: ["q_proj", "v_proj", "o_proj", "down_proj"] } as const;
  const adapted = (): LocalEngine => {
    const engine = new LocalEngine({ ...small, lora });
    engines.push(engine);
    const base = lively();
    for (const name of base.parameterNames) engine.parameter(name).set(base.parameter(name));
    for (const name of engine.parameterNames) {
      const values = engine.parameter(name);
      values.set(livelyValues(name, values.length));
    }
    return engine;
  };

  it("are what is trained, and compute what the merged weights compute", async () => {
    const engine = adapted();
    const names = new Set(engine.parameterNames.map((name) => name.replace(/.*proj\./, "")));
    expect(names).toEqual(new Set(["lora_A.weight", "lora_B.weight"]));
    expect(engine.parameterNames.length).toBe(2 * 4 * small.layers);
    const directory = mkdtempSync(join(root, "merged-"));
    await engine.saveModel(directory);
    const merged = new LocalEngine(small);
    engines.push(merged);
    await merged.loadWeights(directory);
    const list = ragged();
    const [ours, theirs] = [
      await engine.accumulate(list, crossEntropy),
      await merged.accumulate(list, crossEntropy),
    ];
    expect(ours.loss).toBeCloseTo(theirs.loss, 5);
    const options = { group: 2, maxTokens: 6, temperature: 0, stop: [] };
    const stream = () => randomStream(1);
    const prompts = list.map(({ tokens }) => tokens);
    const samples = await engine.sample(prompts, { ...options, random: stream });
    expect(samples).toEqual(
      (await merged.sample(prompts, { ...options, random: stream })).map((group) =>
        group.map((one) => ({ ...one, logProbs: expect.anything() as Float32Array })),
      ),
    );
    // dA = s Bᵀ dW and dB = s dW Aᵀ, with dW the gradient of the merged weight.
    const path = "model.layers.1.self_attn.v_proj";
    const [a, b] = ["A", "B"].map((half) => engine.parameter(`${path}.lora_${half}.weight`));
    const slope = merged.gradient(`${path}.weight`);
    const rows = b!.length / 3;
    for (let rank = 0; rank < 3; rank++) {
      for (let column = 0; column < small.width; column++) {
        let sum = 0;
        for (let row = 0; row < rows; row++)
          sum += 2 * b![row * 3 + rank]! * slope[row * small.width + column]!;
        const got = engine.gradient(`${path}.lora_A.weight`)[rank * small.width + column]!;
        expect(Math.abs(got - sum)).toBeLessThan(1e-5);
      }
      for (let row = 0; row < rows; row++) {
        let sum = 0;
        for (let column = 0; column < small.width; column++)
          sum += 2 * slope[row * small.width + column]! * a![rank * small.width + column]!;
        expect(
          Math.abs(engine.gradient(`${path}.lora_B.weight`)[row * 3 + rank]! - sum),
        ).toBeLessThan(1e-5);
      }
    }
  });

  it("refuse a checkpoint that was trained on another base", async () => {
    const [engine, other] = [1, 2].map((seed) => {
      const one = new LocalEngine({ ...small, lora });
      engines.push(one);
      one.initialise(randomStream(seed));
      return one;
    });
    const directory = mkdtempSync(join(root, "base-"));
    await engine!.save(directory);
    await engine!.load(directory);
    await expect(other!.load(directory)).rejects.toThrow(
      /expected the weights that the adapters were trained on, got others/,
    );
  });

  it("start as nothing, leave the base alone, and continue bit for bit", async () => {
    const engine = new LocalEngine({ ...small, lora });
    engines.push(engine);
    engine.initialise(randomStream(3));
    await engine.freezeReference();
    const base = Float32Array.from(engine.parameter("model.layers.0.self_attn.q_proj.weight"));
    const list = ragged();
    const start = await engine.logProbs(list, { policy: "current", temperature: 1 });
    const step = async (one: LocalEngine): Promise<number> => {
      const { loss } = await one.accumulate(list, crossEntropy);
      await one.step(adam);
      return loss;
    };
    await step(engine);
    const directory = mkdtempSync(join(root, "save-"));
    await engine.save(directory);
    const losses = [await step(engine), await step(engine)];
    expect(losses[1]!).toBeLessThan(losses[0]!);
    expect(isSame(engine.parameter("model.layers.0.self_attn.q_proj.weight"), base)).toBe(true);
    const reference = await engine.logProbs(list, { policy: "reference", temperature: 1 });
    reference.forEach((row, index) => expect(isSame(row, start[index]!)).toBe(true));

    const other = new LocalEngine({ ...small, lora });
    engines.push(other);
    other.initialise(randomStream(3));
    await other.load(directory);
    expect([await step(other), await step(other)]).toEqual(losses);
  });
});

describe("calls at the same time", () => {
  it("wait for each other", async () => {
    const engine = lively();
    const [one, two] = [ragged(), ragged()];
    const options = { policy: "current", temperature: 1 } as const;
    const together = await Promise.all([
      engine.logProbs(one, options),
      engine.logProbs(two, options),
    ]);
    expect(together).toEqual([
      await engine.logProbs(one, options),
      await engine.logProbs(two, options),
    ]);
    const failing = engine.logProbs([], options);
    const next = engine.logProbs(one, options);
    await expect(failing).rejects.toThrow("at least one sequence");
    expect(await next).toEqual(together[0]);
  });
});

describe("wrong use", () => {
  const engine = lively();
  const row = (...tokens: number[]) => ({ tokens: Int32Array.from(tokens), promptLength: 1 });
  const current = { policy: "current", temperature: 1 } as const;
  const sampling = {
    group: 1,
    maxTokens: 4,
    temperature: 1,
    stop: [],
    random: () => randomStream(1),
  };
  const long = new Int32Array(65);
  const policy = (part: Partial<Example>) =>
    engine.accumulate(
      [
        { ...row(1, 2, 3), advantage: 1, ...part },
        { ...row(1, 2), advantage: 1, old: Float32Array.of(-1), reference: Float32Array.of(-1) },
      ],
      policyGradient,
    );

  it.each([
    [
      "no sequence",
      () => engine.logProbs([], current),
      "logProbs: expected at least one sequence, got none",
    ],
    [
      "an empty batch",
      () => engine.accumulate([], crossEntropy),
      "accumulate: expected at least one sequence",
    ],
    [
      "a token beyond the vocabulary",
      () => engine.logProbs([row(1, 2), row(1, 23)], current),
      "logProbs: sequence 1: expected token ids in [0, 23), got 23",
    ],
    [
      "a negative token",
      () => engine.accumulate([row(1, -1)], crossEntropy),
      "accumulate: sequence 0: expected token ids in [0, 23), got -1",
    ],
    [
      "a sequence longer than the context",
      () => engine.logProbs([{ tokens: long, promptLength: 1 }], current),
      "expected 1 to 64 tokens, got 65 (raise model.contextLength)",
    ],
    [
      "a prompt that leaves no room",
      () => engine.sample([long.subarray(0, 61)], sampling),
      "sample: prompt 0: expected 1 to 60 tokens (context 64 less 4 new ones), got 61",
    ],
    [
      "an empty prompt",
      () => engine.sample([new Int32Array()], sampling),
      "sample: prompt 0: expected 1 to 60 tokens",
    ],
    [
      "a prompt of no tokens",
      () => engine.logProbs([{ ...row(1, 2), promptLength: 0 }], current),
      "logProbs: sequence 0: expected a prompt of 1 to 2 tokens, got 0",
    ],
    [
      "a prompt longer than its sequence",
      () => engine.logProbs([{ ...row(1, 2), promptLength: 3 }], current),
      "expected a prompt of 1 to 2 tokens, got 3",
    ],
    [
      "a reference that was never frozen",
      () => engine.logProbs([row(1, 2)], { ...current, policy: "reference" }),
      "logProbs: expected a frozen reference policy, got none (call freezeReference first)",
    ],
    [
      "no old log-probabilities",
      () => policy({ reference: Float32Array.of(-1, -1) }),
      'accumulate: sequence 0: expected "old" for this loss, got none',
    ],
    [
      "no reference log-probabilities",
      () => policy({ old: Float32Array.of(-1, -1) }),
      'accumulate: sequence 0: expected "reference" for this loss, got none',
    ],
    [
      "log-probabilities of another length",
      () => policy({ old: Float32Array.of(-1), reference: Float32Array.of(-1, -1) }),
      'accumulate: sequence 0: expected 2 numbers of "old", got 1',
    ],
    [
      "a mask of another length",
      () => engine.accumulate([{ ...row(1, 2), mask: Float32Array.of(1, 1) }], crossEntropy),
      'accumulate: sequence 0: expected 1 numbers of "mask", got 2',
    ],
    [
      "no advantage",
      () => engine.accumulate([row(1, 2)], firstPass),
      'expected "advantage" for this loss, got none',
    ],
  ])("%s is an error that says where", async (_title, use, message) => {
    const using = use();
    await expect(using).rejects.toThrow(EngineError);
    await expect(using).rejects.toThrow(message);
  });

  it("samples nothing for no prompts", async () => {
    expect(await engine.sample([], sampling)).toEqual([]);
  });

  it("leaves the engine usable", async () => {
    const [rows] = await engine.logProbs([row(1, 2, 3)], current);
    expect(rows!.every(Number.isFinite)).toBe(true);
    expect(completionLength(row(1, 2, 3))).toBe(2);
  });
});

describe("padding of a batch", () => {
  it("stays out of the KL term, however unlikely the padding token is", async () => {
    const engine = lively();
    // Logits 500 times as steep: the padding token has a log-probability far below -88, where exp overflows.
    const temperature = 0.002;
    const loss = { ...policyGradient, surrogate: { type: "unclipped" }, temperature } as const;
    const list = ragged();
    const reference = await engine.logProbs(list, { policy: "current", temperature });
    const batch = list.map((one, index) => ({
      ...one,
      advantage: 1,
      reference: reference[index]!,
    }));
    const result = await engine.accumulate(batch, loss);
    expect(Number.isFinite(result.loss)).toBe(true);
    for (const name of engine.parameterNames) {
      expect(engine.gradient(name).every(Number.isFinite), name).toBe(true);
    }
  });
});

/** Specs that between them use every term of a policy loss. */
const everySpec: readonly PolicyChoice[] = [
  { profile: "trl-0.14" },
  { profile: "trl-1.13", kl: { weight: 0.1 }, sampler: { level: "token", outside: "truncate" } },
  { profile: "verl", entropy: { weight: 0.02 }, surrogate: { type: "clip", dual: 1.2 } },
  { profile: "dr-grpo", entropy: { weight: 0.05 }, offPolicyMask: { threshold: 0.01 } },
  { profile: "gspo", surrogate: { type: "clip", low: 0.2, high: 0.2 } },
  { profile: "gspo", ratio: "sequence-token", aggregation: { type: "sequence-sum" } },
  { profile: "rloo" },
  { profile: "cispo", surrogate: { type: "cispo", low: 0.7, high: 1.3 } },
  { surrogate: { type: "sapo" }, aggregation: { type: "micro-batch-token-mean", sequences: 2 } },
  { surrogate: { type: "vespo" }, sampler: { type: "correction", level: "token" } },
  { profile: "tinker-cookbook" },
];

describe("a loss that is evaluated alone", () => {
  it.each(everySpec.map((choice) => [JSON.stringify(choice), choice] as const))(
    "moves the weights as the fused one does: %s",
    async (_title, choice) => {
      const engine = lively(small, { microBatchTokens: 24 });
      const temperature = 0.8;
      const list = Array.from({ length: 7 }, (_, index) =>
        sequence(1 + (index % 3), 4 + 3 * index),
      );
      const batch = (await policyExamples(engine, list, temperature)).map((one) => ({
        ...one,
        sampler: one.old!.map((value, at) => value + [0.1, -0.2, 0][at % 3]!),
      }));
      const resolved = resolveLoss(choice);
      if (resolved.type !== "policy-gradient") throw new Error("not a policy loss");
      const fused = await engine.accumulate(batch, {
        type: "policy-gradient",
        temperature,
        ...resolved.spec,
        entropy: null, // its gradient needs the whole distribution
      });
      const gradient = gradientsOf(engine);
      await clearGradient(engine);
      const alone = evaluateLoss(
        {
          logprobs: fused.logProbs,
          old: batch.map(({ old }) => old!),
          reference: batch.map(({ reference }) => reference!),
          sampler: batch.map(({ sampler }) => sampler),
          advantages: batch.map(({ advantage }) => advantage as number),
          mask: batch.map(({ mask }) => mask!),
        },
        { ...choice, entropy: null },
      );
      expect(alone.loss).toBeCloseTo(fused.loss, 5);
      await engine.accumulate(
        batch.map((one, index) => ({ ...one, slope: Float32Array.from(alone.gradient[index]!) })),
        { type: "linear", temperature },
      );
      expect(farthest(gradientsOf(engine), gradient)).toBeLessThan(1e-4);
      expect(Object.values(gradient).some((values) => values.some((x) => x !== 0))).toBe(true);
    },
  );

  it("has the entropy bonus in the fused loss", async () => {
    const engine = lively();
    const batch = ragged().map((one) => ({ ...one, advantage: 0 }));
    const weight = 0.3;
    const loss: LossSpec = { ...firstPass, temperature: 1, entropy: { weight, mean: "tokens" } };
    const result = await engine.accumulate(batch, loss);
    const tokens = result.entropy.flatMap((row) => Array.from(row));
    const bonus = tokens.reduce((sum, value) => sum + value, 0) / tokens.length;
    expect(result.loss).toBeCloseTo(-weight * bonus, 5);
    const name = engine.parameterNames.find((one) => one.includes("down_proj"))!;
    const [values, gradient] = [engine.parameter(name), engine.gradient(name)];
    const at = gradient.indexOf(gradient.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0));
    const slope = gradient[at]!;
    const start = values[at]!;
    const moved = async (to: number): Promise<number> => {
      values[at] = to;
      return (await engine.accumulate(batch, loss)).loss;
    };
    const step = 0.02;
    const numeric = ((await moved(start + step)) - (await moved(start - step))) / (2 * step);
    expect(Math.abs(numeric / slope - 1)).toBeLessThan(0.02);
  });

  it("is the same however the window is cut into batches, but for a mean over micro-batches", async () => {
    const engine = lively();
    const list = Array.from({ length: 8 }, (_, index) => sequence(2, 4 + 2 * index));
    const batch = await policyExamples(engine, list, policyGradient.temperature);
    const window = wholeWindow(batch.map(({ mask }) => mask!));
    for (const aggregation of [
      bySequences,
      byTokens,
      { type: "fixed-length", length: null, empty: "skip" },
      { type: "sequence-sum", empty: "count" },
      { type: "token-sum" },
      { type: "micro-batch-token-mean", sequences: null },
    ] as const) {
      const loss = { ...policyGradient, aggregation };
      const results = [];
      for (const size of [8, 4, 2, 1]) {
        let total = 0;
        for (let start = 0; start < 8; start += size) {
          const part = batch.slice(start, start + size);
          total += (await engine.accumulate(part, loss, { ...window, batches: 8 / size })).loss;
        }
        results.push({ total, gradient: gradientsOf(engine) });
        await clearGradient(engine);
      }
      const [whole, ...cut] = results;
      const differences = cut.map(({ gradient }) => farthest(gradient, whole!.gradient));
      if (aggregation.type === "micro-batch-token-mean") {
        expect(Math.min(...differences)).toBeGreaterThan(1e-2);
        continue;
      }
      for (const { total } of cut) expect(total).toBeCloseTo(whole!.total, 5);
      expect(Math.max(...differences), aggregation.type).toBeLessThan(2e-5);
    }
  });
});

describe("a rehearsal", () => {
  const optimiser = (method: "adamw" | "muon"): StepOptions => ({
    method,
    learningRate: 0.01,
    beta1: 0.9,
    beta2: 0.99,
    epsilon: 1e-8,
    weightDecay: 0.1,
    clipNorm: 1,
  });
  const load = (method: "adamw" | "muon"): Workload => ({
    prompts: 3,
    group: 5,
    promptTokens: 4,
    completionTokens: 20,
    sampling: { temperature: 1 },
    training: { loss: policyGradient, passes: 2, optimiser: optimiser(method) },
  });
  const clock = (): (() => number) => {
    let time = 0;
    return () => (time += 10);
  };

  /** All that an engine does next, and what it holds then. */
  async function continued(engine: LocalEngine, method: "adamw" | "muon") {
    const prompts = [
      [3, 1, 4, 1, 5, 9, 2, 6, 5],
      [2, 7],
    ].map((ids) => Int32Array.from(ids));
    const completions = await engine.sample(prompts, {
      group: 3,
      maxTokens: 6,
      temperature: 1,
      stop: [0],
      random: (prompt, sample) => randomStream(7, "rehearsed", prompt, sample),
    });
    const list = [0, 1].map((at) => ({
      tokens: Int32Array.from([...prompts[at]!, ...completions[at]![0]!.tokens]),
      promptLength: prompts[at]!.length,
    }));
    const results = [];
    for (let step = 0; step < 2; step++) {
      results.push(await engine.accumulate(list, crossEntropy));
      results.push(await engine.step(optimiser(method)));
    }
    return {
      completions,
      results,
      weights: engine.parameterNames.map((name) => engine.parameter(name).slice()),
    };
  }

  it.each(["adamw", "muon"] as const)("changes no bit of what follows (%s)", async (method) => {
    const [plain, rehearsed] = [lively(), lively()];
    rehearsed.parameter(rehearsed.parameterNames[0]!)[0] = -0;
    plain.parameter(plain.parameterNames[0]!)[0] = -0;
    await rehearsed.rehearse(load(method), clock());
    for (const name of rehearsed.parameterNames) {
      expect(Buffer.from(rehearsed.parameter(name).slice().buffer)).toEqual(
        Buffer.from(plain.parameter(name).slice().buffer),
      );
      expect(rehearsed.gradient(name).every((value) => value === 0)).toBe(true);
    }
    expect(rehearsed.programs).toEqual([]);
    expect(await continued(rehearsed, method)).toEqual(await continued(plain, method));
  });

  it("counts every token of the longest completions", async () => {
    // Each timed piece of work takes 10 ms of this clock: a prefill, then a step for every token but the first.
    const engine = lively(small, { maxSampleRows: 10 });
    const { sampleMs } = await engine.rehearse(load("adamw"), clock());
    expect(sampleMs).toBe(2 * (10 + 19 * 10)); // 15 rows in two calls
  });

  it("is refused after the first step", async () => {
    const engine = lively();
    await engine.accumulate(ragged(), crossEntropy);
    await engine.step(optimiser("adamw"));
    await expect(engine.rehearse(load("adamw"), clock())).rejects.toThrow(
      "rehearse: expected an engine before its first step, got one after 1",
    );
  });

  it("needs more memory for longer samples, and names what for", () => {
    const engine = lively();
    const bytes = (completionTokens: number): Record<string, number> =>
      Object.fromEntries(
        engine
          .memoryNeed([{ ...load("adamw"), completionTokens }])
          .map((part) => [part.what, part.bytes]),
      );
    const [short, long] = [bytes(16), bytes(256)];
    expect(long["caches of the sampler"]).toBeGreaterThan(8 * short["caches of the sampler"]!);
    expect(long["activations"]).toBeGreaterThan(4 * short["activations"]!);
    // Computed without its graph, whose masks alone would take gigabytes.
    const endless = bytes(30_000);
    expect(endless["activations"]).toBeGreaterThan(100 ** 2 * long["activations"]! * 0.1);
    expect(long["reference policy"]).toBe(short["reference policy"]);
    const floats = engine.trainedCount;
    expect(long["weights, gradient and moments"]).toBeGreaterThanOrEqual(16 * floats);
  });
});
