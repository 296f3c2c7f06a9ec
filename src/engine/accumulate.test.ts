import { describe, expect, it } from "vitest";
import {
  adam,
  bySequences,
  byTokens,
  clearGradient,
  farthest,
  firstPass,
  gradientsOf,
  livelyEngines,
  policyExamples,
  policyGradient,
  randomSequences,
  small,
} from "../../tests/lively-engine.ts";
import { smallModels } from "../../tests/plain-decoder.ts";
import { plainDistributions, plainLoss, plainWeights } from "../../tests/plain-loss.ts";
import type { Example } from "../core/engine.ts";
import { supervisedLoss } from "../core/loss-spec.ts";

const { lively } = livelyEngines();
const { random, sequence, ragged } = randomSequences("accumulate test");

describe.each(Object.entries(smallModels))("%s", (_name, config) => {
  it.each([
    ["cross-entropy", supervisedLoss],
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
    const parameters = plainWeights(engine);
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
    await engine.accumulate(batch, supervisedLoss);
    const once = gradientsOf(engine);
    await engine.accumulate(batch, supervisedLoss);
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
    clearGradient(engine);
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
    const { logProbs, entropy } = await engine.accumulate(batch, supervisedLoss);
    const gradient = gradientsOf(engine);
    clearGradient(engine);
    const turned = await engine.accumulate(batch.toReversed(), supervisedLoss);
    expect(farthest(gradientsOf(engine), gradient)).toBeLessThan(1e-5);
    const alone = await engine.accumulate([short], supervisedLoss);
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
    const { logProbs } = await engine.accumulate([full], supervisedLoss);
    const roomy = await lively().accumulate([full], supervisedLoss);
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
    clearGradient(engine);
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
      clearGradient(engine);
    }
    expect(whole.loss).toBeCloseTo(total, 5);
    expect(farthest(gradient, scaled)).toBeLessThan(2e-5);
  });

  it("leaves masked tokens and empty completions out", async () => {
    const engine = lively();
    const [one, two] = [sequence(3, 9), sequence(4, 4)];
    const masked = { ...one, mask: Float32Array.of(1, 1, 0, 0, 0, 0) };
    const result = await engine.accumulate([masked, two], supervisedLoss);
    const gradient = gradientsOf(engine);
    clearGradient(engine);
    const cut = { tokens: one.tokens.slice(0, 5), promptLength: 3 };
    const same = await engine.accumulate([cut], supervisedLoss);
    expect(result.loss).toBeCloseTo(same.loss, 5);
    expect(farthest(gradientsOf(engine), gradient)).toBeLessThan(1e-5);
    expect(result.logProbs.map((row) => row.length)).toEqual([6, 0]);
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
