import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { StepOptions } from "../core/engine.ts";
import { DataError, EngineError } from "../core/errors.ts";
import type { DenoiseOptions, FlowBatch, FlowPrompt } from "../core/flow-engine.ts";
import { randomStream } from "../core/random.ts";
import { mean as plainMean } from "../core/statistics.ts";
import {
  flowMatchingLoss,
  weightedSum,
  type FlowLoss,
  type FlowRule,
} from "../losses/flow-loss.ts";
import type { FlowConfig } from "../models/flow-model.ts";
import type { FlowTransformerConfig } from "../models/flow-transformer.ts";
import {
  add,
  div,
  exp,
  log,
  mean,
  mul,
  neg,
  reshape,
  slice,
  sqrt,
  sub,
  type Tensor,
} from "../tensor/index.ts";
import {
  dpm2Step,
  eulerStep,
  heunCorrection,
  predictedSample,
  type Prediction,
} from "./ode-step.ts";
import { LocalFlowEngine, type LocalFlowEngineOptions } from "./flow-engine.ts";

const small: FlowTransformerConfig = {
  type: "transformer",
  sample: [6, 6, 3],
  patch: 3,
  width: 16,
  layers: 2,
  heads: 2,
  hiddenWidth: 32,
  activation: "gelu",
  predicts: "velocity",
  prompt: {
    vocabularySize: 9,
    promptTokens: 4,
    width: 8,
    layers: 1,
    heads: 2,
    hiddenWidth: 16,
    words: true,
  },
};
const point: FlowConfig = {
  type: "mlp",
  sample: [2],
  width: 16,
  layers: 2,
  prompt: { vocabularySize: 3, promptTokens: 1, width: 4, layers: 0, heads: 1, hiddenWidth: 4 },
};
const adam: StepOptions = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.01,
  clipNorm: 1,
};

/** With weights that are nowhere zero. */
function lively(
  config: FlowConfig,
  options: Partial<LocalFlowEngineOptions> = {},
  seed = 1,
): LocalFlowEngine {
  const engine = new LocalFlowEngine(config, { microBatch: 4, ...options });
  engine.initialise(randomStream(seed, "weights"));
  const stream = randomStream(seed, "lively");
  for (const name of engine.parameterNames) {
    if (name.includes(".lora_")) continue;
    const values = engine.parameter(name);
    const noise = new Float32Array(values.length);
    stream.fork(name).fillNormal(noise);
    values.forEach((value, index) => (values[index] = value + 0.1 * noise[index]!));
  }
  return engine;
}

const words = (...ids: number[]): Int32Array => Int32Array.from(ids);

function batchOf(config: FlowConfig, count: number, name = "batch"): FlowBatch {
  const random = randomStream(name);
  const size = config.sample.reduce((product, extent) => product * extent, 1);
  const x = new Float32Array(count * size);
  random.fillNormal(x);
  const t = Float32Array.from({ length: count }, () => 0.05 + 0.9 * random.uniform());
  const { vocabularySize, promptTokens } = config.prompt;
  const prompts = Array.from({ length: count }, (_, row): FlowPrompt => {
    if (row % 5 === 3) return null;
    const length = 1 + random.integer(promptTokens);
    return Int32Array.from({ length }, () => random.integer(vocabularySize));
  });
  return { x, t, prompts };
}

const rowsOf = (values: Float32Array, count: number): number[][] => {
  const width = values.length / count;
  return Array.from({ length: count }, (_, row) => [
    ...values.subarray(row * width, (row + 1) * width),
  ]);
};

function take(batch: FlowBatch, rows: readonly number[]): FlowBatch {
  const all = rowsOf(batch.x, batch.t.length);
  return {
    x: Float32Array.from(rows.flatMap((row) => all[row]!)),
    t: Float32Array.from(rows, (row) => batch.t[row]!),
    prompts: rows.map((row) => batch.prompts[row]!),
  };
}

const plain = { weights: "current", guidance: 1 } as const;
/** Equal weights of this many rows. */
const share = (count: number): Float32Array => new Float32Array(count).fill(1 / count);
const farthest = (a: Float32Array, b: Float32Array): number =>
  a.reduce((worst, value, index) => Math.max(worst, Math.abs(value - b[index]!)), 0);

/** Flow-SDE (Flow-GRPO, arXiv:2505.05470): σ = a sqrt(t / (1 - t)); at t = 1 a number below 1 stands for t. */
const sde: FlowRule = {
  key: "test sde",
  values: ["level"],
  gaussian: ({ x, velocity, t, next, values }) => {
    const wide = (y: Tensor): Tensor => reshape(y, [-1, ...x.shape.slice(1).map(() => 1)]);
    const h = sub(t, next);
    const capped = sub(t, mul(0.05, t));
    const sigma = mul(values["level"]!, sqrt(div(capped, sub(1, capped))));
    const square = mul(sigma, sigma);
    const keep = sub(1, div(mul(square, h), mul(2, t)));
    const push = mul(add(1, div(mul(square, sub(1, t)), mul(2, t))), h);
    const deviation = mul(sigma, sqrt(h));
    return { mean: sub(mul(x, wide(keep)), mul(velocity, wide(push))), deviation };
  },
  logProb: (next, { mean: middle, deviation }) => {
    const axes = next.shape.map((_, axis) => axis).slice(1);
    const error = sub(next, middle);
    const s = deviation;
    const square = mean(mul(error, error), { axes });
    const density = div(square, mul(2, mul(s, s)));
    return sub(sub(neg(density), log(s)), 0.5 * Math.log(2 * Math.PI));
  },
};

/** exp(log p - old) · advantage, and the ratio. */
const policy: FlowLoss = {
  key: "test policy",
  arrays: {
    next: "number",
    level: "number",
    drawn: "sample",
    old: "number",
    advantage: "number",
    weights: "weight",
  },
  build: ({ velocity, x, t, arrays }) => {
    const values = { level: arrays["level"]! };
    const gaussian = sde.gaussian({ x, velocity, t, next: arrays["next"]!, values });
    const logProb = sde.logProb(arrays["drawn"]!, gaussian);
    const ratio = exp(sub(logProb, arrays["old"]!));
    const each = neg(mul(ratio, arrays["advantage"]!));
    return { loss: weightedSum(each, arrays["weights"]!), outputs: { ratio, logProb } };
  },
};

const times = [1, 0.8, 0.5, 0.2, 0];
const rolling: DenoiseOptions<FlowRule> = {
  ...plain,
  times,
  steps: [...times.slice(2).map(() => ({ rule: sde, values: { level: 0.7 } })), "euler"],
  random: (sample) => randomStream("rollout", sample),
  keep: true,
};

describe.each([
  ["an image model", small],
  ["a point model", point],
] as const)("%s", (_name, config) => {
  it("computes each row by itself, wherever it stands, to the bit", async () => {
    const engine = lively(config);
    const batch = batchOf(config, 9);
    const whole = rowsOf(await engine.velocity(batch, plain), 9);
    expect(new Set(whole.map(String)).size).toBe(9);
    const order = [4, 8, 0, 3, 7, 1, 6, 2, 5];
    const mixed = rowsOf(await engine.velocity(take(batch, order), plain), 9);
    expect(mixed).toEqual(order.map((row) => whole[row]));
    for (let row = 0; row < 9; row++) {
      const alone = await engine.velocity(take(batch, [row]), plain);
      expect([...alone]).toEqual(whole[row]);
    }
    engine.dispose();
  });

  it("gives the same velocity and gradient for any size of micro-batch and number of lanes", async () => {
    const batch = batchOf(config, 8);
    const target = batchOf(config, 8, "target").x;
    const results = [];
    for (const [microBatch, lanes] of [
      [1, 1],
      [1, 3],
      [3, 2],
      [8, 2],
    ] as const) {
      const engine = lively(config, { microBatch, lanes });
      const { loss } = await engine.accumulate(batch, flowMatchingLoss, {
        arrays: { target, weights: share(8) },
        guidance: 1,
      });
      const gradient = engine.parameterNames.flatMap((name) => [...engine.gradient(name)]);
      const velocity = await engine.velocity(batch, plain);
      results.push({ loss, gradient: Float32Array.from(gradient), velocity });
      engine.dispose();
    }
    const [first, ...others] = results;
    for (const { loss, gradient, velocity } of others) {
      expect(loss).toBeCloseTo(first!.loss, 5);
      expect(farthest(velocity, first!.velocity)).toBeLessThan(1e-5);
      const scale = Math.max(...first!.gradient.map(Math.abs));
      expect(farthest(gradient, first!.gradient)).toBeLessThan(1e-5 * scale);
    }
  });

  it("adds to the gradient that is there, whatever the number of lanes", async () => {
    const batch = batchOf(config, 6);
    const target = batchOf(config, 6, "target").x;
    const norms = [];
    for (const lanes of [1, 2, 4]) {
      const engine = lively(config, { microBatch: 2, lanes });
      const options = { arrays: { target, weights: share(6) }, guidance: 1 };
      await engine.accumulate(batch, flowMatchingLoss, options);
      const once = engine.gradient("head.weight").slice();
      await engine.accumulate(batch, flowMatchingLoss, options);
      const twice = engine.gradient("head.weight");
      expect(
        farthest(
          twice,
          once.map((value) => 2 * value),
        ),
      ).toBeLessThan(1e-6);
      norms.push(Math.hypot(...once));
      const first = await engine.denoise(batch.prompts, rolling);
      const { samples } = await engine.denoise(batch.prompts, rolling);
      expect(samples).toEqual(first.samples);
      engine.dispose();
    }
    expect(norms[0]).toBeGreaterThan(0.01);
    expect(norms[1]).toBeCloseTo(norms[0]!, 5);
    expect(norms[2]).toBeCloseTo(norms[0]!, 5);
  });

  it("gives the same gradient whatever was accumulated before", async () => {
    // A first batch of which only the second lane needs the program of many prompts, then one where all lanes need it.
    const batch = batchOf(config, 16);
    const { vocabularySize } = config.prompt;
    const prompts = batch.prompts.map((_, row) => words((row % 4) % vocabularySize));
    const apart = { ...batch, prompts };
    const alike = {
      ...apart,
      prompts: prompts.map((prompt, row) => (row < 4 ? words(0) : prompt)),
    };
    const target = batchOf(config, 16, "target").x;
    const accumulate = (engine: LocalFlowEngine, one: FlowBatch) => {
      const arrays = {
        target: target.subarray(0, one.x.length),
        weights: share(one.t.length),
      };
      return engine.accumulate(one, flowMatchingLoss, { arrays, guidance: 1 });
    };
    const [fresh, used] = [lively(config, { lanes: 2 }), lively(config, { lanes: 2 })];
    await accumulate(used, take(alike, [0, 1, 2, 3, 4, 5, 6, 7]));
    await used.resetOptimiser();
    for (const engine of [fresh, used]) await accumulate(engine, apart);
    for (const name of fresh.parameterNames)
      expect(used.gradient(name), name).toEqual(fresh.gradient(name));
    for (const engine of [fresh, used]) engine.dispose();
  });

  it("has a ratio of exactly 1 on the first pass, in any order and company", async () => {
    for (const guidance of [1, 3]) {
      const engine = lively(config, { microBatch: 8 });
      const { prompts } = batchOf(config, 13);
      const { states, draws } = await engine.denoise(prompts, { ...rolling, guidance });
      const pairs = draws.flatMap((draw, step) =>
        draw === null ? [] : prompts.map((_, row) => ({ draw, step, row })),
      );
      const shuffled = randomStream("pairs").shuffle(pairs);
      const size = engine.sampleSize;
      const part = (values: Float32Array, row: number): Float32Array =>
        values.subarray(row * size, (row + 1) * size);
      const gather = (pick: (pair: (typeof pairs)[number]) => ArrayLike<number>): Float32Array =>
        Float32Array.from(shuffled.flatMap((pair) => Array.from(pick(pair))));
      const { outputs } = await engine.accumulate(
        {
          x: gather(({ step, row }) => part(states[step]!, row)),
          t: gather(({ step }) => [times[step]!]),
          prompts: shuffled.map(({ row }) => prompts[row]!),
        },
        policy,
        {
          arrays: {
            next: gather(({ step }) => [times[step + 1]!]),
            level: gather(() => [0.7]),
            drawn: gather(({ step, row }) => part(states[step + 1]!, row)),
            old: gather(({ draw, row }) => [draw.logProbs[row]!]),
            advantage: gather(({ row }) => [row - 6]),
            weights: share(39),
          },
          guidance,
        },
      );
      expect(shuffled).toHaveLength(3 * 13);
      expect([...outputs["ratio"]!]).toEqual(shuffled.map(() => 1));
      await engine.step({ ...adam, learningRate: 0.01 });
      engine.dispose();
    }
  });
});

describe("at the sizes of an image run", () => {
  // Sums of more than 128 terms are where a kernel may choose another order for another shape.
  const large: FlowTransformerConfig = {
    ...small,
    sample: [24, 24, 3],
    patch: 4,
    width: 64,
    heads: 4,
    hiddenWidth: 256,
    prompt: {
      vocabularySize: 9,
      promptTokens: 4,
      width: 64,
      layers: 2,
      heads: 4,
      hiddenWidth: 256,
    },
  };
  it.each(["gelu", "swiglu"] as const)(
    "log-probabilities keep their bits (%s)",
    async (activation) => {
      const engine = lively({ ...large, activation }, { microBatch: 16 });
      const { prompts } = batchOf(large, 20);
      const { states, draws } = await engine.denoise(prompts, rolling);
      const rows = randomStream("rows")
        .shuffle([...prompts.keys()])
        .slice(0, 11);
      const size = engine.sampleSize;
      const pick = (values: Float32Array, width: number): Float32Array =>
        Float32Array.from(
          rows.flatMap((row) => [...values.subarray(row * width, (row + 1) * width)]),
        );
      const { outputs } = await engine.accumulate(
        {
          x: pick(states[1]!, size),
          t: new Float32Array(11).fill(times[1]!),
          prompts: rows.map((row) => prompts[row]!),
        },
        policy,
        {
          arrays: {
            next: new Float32Array(11).fill(times[2]!),
            level: new Float32Array(11).fill(0.7),
            drawn: pick(states[2]!, size),
            old: pick(draws[1]!.logProbs, 1),
            advantage: new Float32Array(11).fill(1),
            weights: share(11),
          },
          guidance: 1,
        },
      );
      expect([...outputs["ratio"]!]).toEqual(rows.map(() => 1));
      engine.dispose();
    },
  );
});

describe("denoise", () => {
  it("draws for a sample what it draws without the others", async () => {
    const engine = lively(small);
    const { prompts } = batchOf(small, 6);
    const all = await engine.denoise(prompts, rolling);
    const order = [5, 2, 0, 4];
    const some = await engine.denoise(
      order.map((row) => prompts[row]!),
      { ...rolling, random: (place) => randomStream("rollout", order[place]!) },
    );
    for (const [key, count] of [["samples", 6]] as const) {
      const whole = rowsOf(all[key], count);
      expect(rowsOf(some[key], 4)).toEqual(order.map((row) => whole[row]));
    }
    expect([...some.draws[1]!.logProbs]).toEqual(order.map((row) => all.draws[1]!.logProbs[row]));
    engine.dispose();
  });

  it("draws mean + deviation · z with the density it reports", async () => {
    const engine = lively(point);
    const { prompts } = batchOf(point, 5);
    const { states, draws, samples } = await engine.denoise(prompts, rolling);
    expect(states[4]).toEqual(samples);
    expect(draws.map((draw) => draw !== null)).toEqual([true, true, true, false]);
    const velocity = await engine.velocity(
      { x: states[1]!, t: new Float32Array(5).fill(0.8), prompts },
      plain,
    );
    const [t, h] = [0.8, 0.3];
    const sigma = 0.7 * Math.sqrt((0.95 * t) / (1 - 0.95 * t));
    const s = sigma * Math.sqrt(h);
    for (let row = 0; row < 5; row++) {
      let density = 0;
      const noise = new Float32Array(2);
      randomStream("rollout", row).fork("step", 1).fillNormal(noise);
      for (let axis = 0; axis < 2; axis++) {
        const [x, v] = [states[1]![2 * row + axis]!, velocity[2 * row + axis]!];
        const middle =
          x * (1 - (sigma ** 2 * h) / (2 * t)) - v * (1 + (sigma ** 2 * (1 - t)) / (2 * t)) * h;
        const drawn = states[2]![2 * row + axis]!;
        expect(draws[1]!.means[2 * row + axis]).toBeCloseTo(middle, 4);
        expect(drawn).toBeCloseTo(middle + s * noise[axis]!, 4);
        density +=
          (-((drawn - middle) ** 2) / (2 * s ** 2) - Math.log(s * Math.sqrt(2 * Math.PI))) / 2;
      }
      expect(draws[1]!.logProbs[row]).toBeCloseTo(density, 3);
    }
    engine.dispose();
  });

  it.each(["euler", "heun", "dpm2"] as const)("takes the steps of the solver: %s", async (rule) => {
    const engine = lively(point);
    const prompts = [words(0), words(1), null];
    const noise = Float32Array.of(0.4, -1, 1.2, 0.3, -0.5, 0.8);
    const steps = times.slice(1).map(() => rule);
    const { samples } = await engine.denoise(prompts, { ...rolling, steps, noise, keep: false });
    const x = noise.slice();
    const velocity = (at: Float32Array, t: number): Promise<Float32Array> =>
      engine.velocity({ x: at, t: new Float32Array(3).fill(t), prompts }, plain);
    let before: Prediction | null = null;
    for (const [index, t] of times.slice(0, -1).entries()) {
      const next = times[index + 1]!;
      const v = await velocity(x, t);
      const now: Prediction = { sample: predictedSample(x, v, t), t };
      if (rule === "dpm2") dpm2Step(x, now, before, next);
      else eulerStep(x, v, t, next);
      if (rule === "heun" && next > 0) heunCorrection(x, v, await velocity(x, next), t, next);
      before = now;
    }
    expect(samples).toEqual(x);
    engine.dispose();
  });

  it("reports a log-probability by position where the step keeps it so", async () => {
    const engine = lively(small);
    const { prompts } = batchOf(small, 6);
    const dense: FlowRule = {
      ...sde,
      key: "test sde, by pixel",
      logProb: (next, { mean: middle, deviation }) => {
        const error = div(sub(next, middle), reshape(deviation, [-1, 1, 1, 1]));
        const square = mean(mul(error, error), { axes: [3] }); // [batch, height, width]
        const constant = add(log(deviation), 0.5 * Math.log(2 * Math.PI));
        return sub(mul(square, -0.5), reshape(constant, [-1, 1, 1]));
      },
    };
    const steps = rolling.steps.map((rule) =>
      typeof rule === "string" ? rule : { ...rule, rule: dense },
    );
    const maps = (await engine.denoise(prompts, { ...rolling, steps })).draws[2]!.logProbs;
    const scalars = (await engine.denoise(prompts, rolling)).draws[2]!.logProbs;
    expect(maps).toHaveLength(6 * 36);
    rowsOf(maps, 6).forEach((map, row) => expect(plainMean(map)).toBeCloseTo(scalars[row]!, 4));
    engine.dispose();
  });

  it("begins at time 1 and ends at time 0 with every rule", async () => {
    const engine = lively(point);
    for (const rule of ["euler", "heun", "dpm2"] as const) {
      const steps = times.slice(1).map(() => rule);
      const { samples } = await engine.denoise([words(1)], { ...rolling, steps, keep: false });
      expect(samples.every(Number.isFinite), rule).toBe(true);
    }
    engine.dispose();
  });

  it("refuses times that rise, prompts that are unknown, values that are missing", async () => {
    const engine = lively(point);
    const one = [words(1)];
    const wrong = [
      engine.denoise(one, { ...rolling, times: [1, 0.8, 0.9, 0.2, 0] }),
      engine.denoise(one, { ...rolling, times: [1, 0] }),
      engine.denoise([words(7)], rolling),
      engine.denoise([words()], rolling),
      engine.denoise(one, { ...rolling, steps: rolling.steps.map(() => ({ rule: sde })) }),
      engine.denoise(one, { ...rolling, weights: "average" }),
      engine.velocity({ x: new Float32Array(3), t: new Float32Array(1), prompts: one }, plain),
    ];
    for (const call of wrong) await expect(call).rejects.toThrow(EngineError);
    engine.dispose();
  });
});

describe("accumulate", () => {
  it("leaves out rows of weight 0 and keeps rows together that belong together", async () => {
    const engine = lively(point);
    const batch = batchOf(point, 6);
    // (first - second)² of the loss of each pair
    const pairs: FlowLoss = {
      key: "pairs",
      arrays: { weights: "weight" },
      together: 2,
      build: ({ velocity, arrays }) => {
        const each = reshape(mean(velocity, { axes: [1] }), [-1, 2]);
        const gap = sub(slice(each, 1, 0, 1), slice(each, 1, 1, 2)); // [pairs, 1]
        const weights = slice(reshape(arrays["weights"]!, [-1, 2]), 1, 0, 1);
        const rows = reshape(mul(gap, gap), [-1]);
        return { loss: weightedSum(rows, reshape(weights, [-1])) };
      },
    };
    const velocity = await engine.velocity(batch, plain);
    const middles = rowsOf(velocity, 6).map((row) => plainMean(row));
    const gaps = [0, 1, 2].map((pair) => (middles[2 * pair]! - middles[2 * pair + 1]!) ** 2);
    const weights = Float32Array.of(0.5, 0.5, 0, 0, 2, 2);
    const { loss } = await engine.accumulate(batch, pairs, { arrays: { weights }, guidance: 1 });
    expect(loss).toBeCloseTo(0.5 * gaps[0]! + 2 * gaps[2]!, 5);
    const odd = lively(point, { microBatch: 3 });
    const options = { arrays: { weights }, guidance: 1 };
    await expect(odd.accumulate(batch, pairs, options)).rejects.toThrow(EngineError);
    const bare: FlowLoss = {
      key: "bare",
      arrays: {},
      build: ({ velocity: v }) => ({ loss: mean(v) }),
    };
    await expect(engine.accumulate(batch, bare, options)).rejects.toThrow(EngineError);
    await expect(
      engine.accumulate(batch, pairs, { arrays: { weights: share(5) }, guidance: 1 }),
    ).rejects.toThrow(EngineError);
    engine.dispose();
    odd.dispose();
  });
});

describe("guidance", () => {
  it("is v(none) + w (v(prompt) - v(none)), and without a prompt nothing", async () => {
    const engine = lively(small);
    const batch = batchOf(small, 5);
    const none = { ...batch, prompts: batch.prompts.map(() => null) };
    const [conditional, base] = [
      await engine.velocity(batch, plain),
      await engine.velocity(none, plain),
    ];
    const guided = await engine.velocity(batch, { ...plain, guidance: 2.5 });
    const expected = conditional.map((v, index) => base[index]! + 2.5 * (v - base[index]!));
    expect(farthest(conditional, base)).toBeGreaterThan(0.01);
    expect(farthest(guided, expected)).toBeLessThan(1e-5);
    const still = await engine.velocity(none, { ...plain, guidance: 2.5 });
    expect(farthest(still, base)).toBeLessThan(1e-6);
    engine.dispose();
  });

  it("trains v(prompt) alone: w times its gradient, and none of v(none)", async () => {
    // A loss that is linear in v, so that its gradient does not depend on where v is.
    const linear: FlowLoss = {
      key: "linear",
      arrays: { slope: "sample", weights: "weight" },
      build: ({ velocity, arrays }) => {
        const each = mean(mul(velocity, arrays["slope"]!), { axes: [1] });
        return { loss: weightedSum(each, arrays["weights"]!) };
      },
    };
    const batch = batchOf(point, 4);
    const prompts = [words(0), words(1), words(2), words(1)];
    const gradient = async (guidance: number): Promise<Float32Array> => {
      const engine = lively(point);
      const arrays = { slope: batchOf(point, 4, "slope").x, weights: share(4) };
      await engine.accumulate({ ...batch, prompts }, linear, { arrays, guidance });
      const all = engine.parameterNames.flatMap((name) => [...engine.gradient(name)]);
      expect(engine.gradient("prompt.none.weight").every((value) => value === 0)).toBe(true);
      engine.dispose();
      return Float32Array.from(all);
    };
    const [alone, guided] = [await gradient(1), await gradient(3)];
    expect(
      farthest(
        guided,
        alone.map((value) => 3 * value),
      ),
    ).toBeLessThan(1e-6);
    expect(Math.max(...alone.map(Math.abs))).toBeGreaterThan(0.01);
  });
});

/** One optimiser step on a batch of this name. */
async function train(engine: LocalFlowEngine, name: string, isWhole = true): Promise<void> {
  const target = batchOf(engine.config, 6, `${name} target`).x;
  const arrays = { target, weights: share(6) };
  await engine.accumulate(batchOf(engine.config, 6, name), flowMatchingLoss, {
    arrays,
    guidance: 1,
  });
  if (isWhole) await engine.step(adam);
}

describe("weights", () => {
  it("average: average + (1 - d) (weights - average), d = min(decay, (1 + k) / (10 + k)), every n steps", async () => {
    const engine = lively(point, { average: { decay: 0.3, every: 2 } });
    engine.initialise(randomStream(3, "weights"));
    const name = "layers.1.weight";
    let expected = engine.parameter(name).slice();
    for (let k = 1; k <= 6; k++) {
      await train(engine, `step ${k}`);
      const decay = Math.min(0.3, (1 + k) / (10 + k));
      const now = engine.parameter(name);
      if (k % 2 === 0)
        expected = expected.map((v, i) => Math.fround(v + (1 - decay) * (now[i]! - v)));
      expect(engine.parameter(name, "average"), `step ${k}`).toEqual(expected);
    }
    expect(farthest(expected, engine.parameter(name))).toBeGreaterThan(1e-5);
    const batch = batchOf(point, 3);
    const average = await engine.velocity(batch, { weights: "average", guidance: 1 });
    expect(farthest(average, await engine.velocity(batch, plain))).toBeGreaterThan(1e-6);
    await engine.adoptWeights("average");
    expect(await engine.velocity(batch, plain)).toEqual(average);
    engine.dispose();
  });

  it("reference: stays where it was copied", async () => {
    const engine = lively(small);
    const batch = batchOf(small, 3);
    const before = await engine.velocity(batch, plain);
    await engine.copyWeights("reference");
    await train(engine, "one");
    expect(await engine.velocity(batch, { weights: "reference", guidance: 1 })).toEqual(before);
    expect(await engine.velocity(batch, plain)).not.toEqual(before);
    await engine.copyWeights("old");
    await train(engine, "two");
    const name = "head.bias";
    const [old, now] = [engine.parameter(name, "old").slice(), engine.parameter(name)];
    await engine.blendWeights("old", 0.75);
    const expected = old.map((value, index) => value + 0.25 * (now[index]! - value));
    expect(farthest(engine.parameter(name, "old"), expected)).toBeLessThan(1e-7);
    engine.dispose();
  });

  it("adapters: at first the model below them; only they are trained; the reference is them switched off", async () => {
    const base = lively(small);
    const directory = mkdtempSync(join(tmpdir(), "alidade-flow-"));
    await base.saveModel(directory);
    const lora = { rank: 2, alpha: 4, targets: ["q_proj", "k_proj", "v_proj", "o_proj"] } as const;
    const engine = new LocalFlowEngine({ ...small, lora }, { microBatch: 4 });
    engine.initialise(randomStream(1, "adapters"));
    await engine.loadWeights(directory);
    rmSync(directory, { recursive: true });
    const batch = batchOf(small, 5);
    const before = await base.velocity(batch, plain);
    expect(farthest(await engine.velocity(batch, plain), before)).toBeLessThan(1e-6);
    expect(engine.parameterNames.every((name) => name.includes(".lora_"))).toBe(true);
    expect(engine.parameterNames).toHaveLength(2 * 2 * 4);
    await engine.copyWeights("reference");
    await train(engine, "one");
    await train(engine, "two");
    const reference = await engine.velocity(batch, { weights: "reference", guidance: 1 });
    expect(farthest(reference, before)).toBeLessThan(1e-6);
    expect(farthest(await engine.velocity(batch, plain), before)).toBeGreaterThan(1e-4);
    base.dispose();
    engine.dispose();
  });
});

describe("save and load", () => {
  let root: string;
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), "alidade-flow-"));
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  it.each([
    ["all parameters", small],
    ["adapters", { ...small, lora: { rank: 2, alpha: 4, targets: ["q_proj"] } } as const],
  ] as const)(
    "continues to the bit, with what is accumulated and the copies (%s)",
    async (name, config) => {
      const options = { average: { decay: 0.9, every: 2 } };
      const first = lively(config, options);
      await train(first, "one");
      await first.copyWeights("reference");
      await train(first, "two");
      await train(first, "three", false);
      const directory = join(root, name);
      await first.save(directory);
      const second = lively(config, options, 2);
      await second.load(directory);
      for (const engine of [first, second]) {
        await engine.step(adam);
        await train(engine, "four");
      }
      for (const weights of ["current", "average", "reference"] as const) {
        for (const parameter of first.parameterNames)
          expect(second.parameter(parameter, weights)).toEqual(first.parameter(parameter, weights));
        const batch = batchOf(config, 3);
        expect(await second.velocity(batch, { weights, guidance: 1 })).toEqual(
          await first.velocity(batch, { weights, guidance: 1 }),
        );
      }
      first.dispose();
      second.dispose();
    },
  );

  it("refuses the folder of another model", async () => {
    const engine = lively(point);
    await engine.save(join(root, "points"));
    const other = lively(small);
    await expect(other.load(join(root, "points"))).rejects.toThrow(DataError);
    await expect(other.load(join(root, "nowhere"))).rejects.toThrow(DataError);
    engine.dispose();
    other.dispose();
  });
});
