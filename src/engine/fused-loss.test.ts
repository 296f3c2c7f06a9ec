import { describe, expect, it } from "vitest";
import {
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
import { type LossSpec } from "../core/loss-spec.ts";
import { evaluateLoss, resolveLoss, type PolicyChoice } from "../losses/index.ts";
import { wholeWindow } from "../losses/weights.ts";

const { lively } = livelyEngines();
const { sequence, ragged } = randomSequences("fused loss test");

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
      clearGradient(engine);
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
        clearGradient(engine);
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
