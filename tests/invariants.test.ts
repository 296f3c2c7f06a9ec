// What must not change an update: how a batch is cut, the order of its samples, samples that teach nothing. With the local engine.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Aggregation } from "../src/core/loss-spec.ts";
import type { LossSpec } from "../src/core/loss-spec.ts";
import { randomStream } from "../src/core/random.ts";
import type { Task } from "../src/core/task.ts";
import { LocalEngine } from "../src/engine/local-engine.ts";
import { resolveLoss, type PolicyChoice } from "../src/losses/index.ts";
import { readMetrics, readSamples } from "../src/run/run-directory.ts";
import { farthest, gradientsOf, type Gradients } from "./lively-engine.ts";
import { initialiseLocal, localModel, localTask, trainLocally } from "./local-run.ts";
import { sumEnvironment, type Sum } from "./scripted-engine.ts";

let root: string;
const engines: LocalEngine[] = [];
const open = (options: ConstructorParameters<typeof LocalEngine>[1] = {}): LocalEngine => {
  const engine = new LocalEngine(localModel, options);
  engines.push(engine);
  return engine;
};
let usual: LocalEngine;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "alidade-invariants-"));
  usual = open();
});
afterAll(() => {
  engines.forEach((engine) => engine.dispose());
  rmSync(root, { recursive: true, force: true });
});

type Config = typeof sumEnvironment.config;
let runs = 0;

/** One optimiser step; the gradient before it, and what the record says. */
async function oneStep(
  engine: LocalEngine,
  grpo: Readonly<Record<string, unknown>>,
  task: Task<Sum, Config> = localTask,
) {
  const path = join(root, String(runs++));
  let gradient: Gradients = {};
  const after = (verb: string): void => {
    if (verb === "accumulate") gradient = gradientsOf(engine);
  };
  await trainLocally({ engine, path, task, after, grpo: { steps: 1, ...grpo } });
  const [metrics] = readMetrics(path);
  return { gradient, metrics: metrics!, samples: readSamples(path, "grpo") };
}

const aggregations: readonly Aggregation[] = [
  { type: "sequence-mean", empty: "count" },
  { type: "sequence-mean", empty: "skip" },
  { type: "token-mean", tokens: "loss", of: "step" },
  { type: "token-mean", tokens: "completion", of: "step" },
  { type: "token-mean", tokens: "loss", of: "share" },
  { type: "token-mean", tokens: "loss", of: "generation" },
  { type: "fixed-length", length: null, empty: "count" },
  { type: "fixed-length", length: 7, empty: "skip" },
  { type: "sequence-sum", empty: "count" },
  { type: "token-sum" },
];

/** Completions of different lengths, those that do not end are masked. */
const base = {
  prompts: 2,
  group: 4,
  maxTokens: 9,
  overlong: { mask: true, penalty: { buffer: 4 } },
};

describe("an update does not depend on how its batch is cut", () => {
  it.each(aggregations.map((aggregation) => [JSON.stringify(aggregation), aggregation] as const))(
    "accumulation 1, 2, 4, 8: %s",
    async (_name, aggregation) => {
      const loss = { aggregation, entropy: { weight: 0.01, mean: "as-loss" } };
      const whole = await oneStep(usual, { ...base, loss });
      expect(Number(whole.metrics["gradientNorm"])).toBeGreaterThan(1e-3);
      const lengths = whole.samples.flatMap(({ tokens, stopReason }) =>
        stopReason === "stop" ? [(tokens as number[]).length] : [],
      );
      expect(new Set(lengths).size, "loss tokens of several lengths").toBeGreaterThan(2);
      expect(lengths.length, "some are masked").toBeLessThan(8);
      for (const accumulation of [2, 4, 8]) {
        const cut = await oneStep(usual, { ...base, loss, accumulation });
        expect(cut.samples.map(({ text }) => text)).toEqual(whole.samples.map(({ text }) => text));
        expect(farthest(cut.gradient, whole.gradient), `accumulation ${accumulation}`).toBeLessThan(
          2e-5,
        );
        expect(Number(cut.metrics["loss"])).toBeCloseTo(Number(whole.metrics["loss"]), 5);
        for (const name of ["entropy", "gradientNorm"]) {
          expect(Number(cut.metrics[name])).toBeCloseTo(Number(whole.metrics[name]), 4);
        }
      }
    },
  );

  it("but for a mean over micro-batches, as the documents say", async () => {
    const loss = { aggregation: { type: "micro-batch-token-mean" } };
    const whole = await oneStep(usual, { ...base, loss });
    const cut = await oneStep(usual, { ...base, loss, accumulation: 8 });
    expect(farthest(cut.gradient, whole.gradient)).toBeGreaterThan(1e-2);
  });

  it("nor on the micro-batches of the engine", async () => {
    const loss = { ratio: "sequence", kl: { type: "reward", weight: 0.1 } };
    const whole = await oneStep(usual, { ...base, loss });
    for (const microBatchTokens of [8, 16, 64]) {
      const cut = await oneStep(open({ microBatchTokens }), { ...base, loss });
      expect(farthest(cut.gradient, whole.gradient)).toBeLessThan(2e-5);
      expect(Number(cut.metrics["loss"])).toBeCloseTo(Number(whole.metrics["loss"]), 5);
    }
  });

  it("nor do several steps: minibatches in several batches each", async () => {
    const settings = { ...base, minibatches: 2, steps: 1 };
    const whole = await oneStep(usual, settings);
    const cut = await oneStep(usual, { ...settings, accumulation: 2 });
    expect(farthest(cut.gradient, whole.gradient)).toBeLessThan(2e-5);
  });
});

/** Specs that between them use every term that looks at whole sequences. */
const specs: readonly PolicyChoice[] = [
  { profile: "trl-1.13", kl: { weight: 0.1 } },
  { profile: "verl", entropy: { weight: 0.02 } },
  { profile: "dr-grpo", offPolicyMask: { threshold: 0.05 } },
  { profile: "gspo", surrogate: { type: "clip", low: 0.1, high: 0.1 } },
  { profile: "cispo" },
  { surrogate: { type: "vespo" }, sampler: { type: "correction", level: "sequence" } },
  { surrogate: { type: "sapo" }, aggregation: { type: "token-sum" } },
];

const lossOf = (choice: PolicyChoice): LossSpec => {
  const resolved = resolveLoss(choice);
  if (resolved.type !== "policy-gradient") throw new Error("not a policy loss");
  return { type: "policy-gradient", temperature: 1, ...resolved.spec };
};

function batchOf(engine: LocalEngine, advantage: (index: number) => number) {
  const random = randomStream(3, "invariants");
  engine.initialise(randomStream(4));
  return Array.from({ length: 9 }, (_none, index) => {
    const length = 2 + ((index * 5) % 11);
    const row = (): Float32Array =>
      Float32Array.from({ length }, () => -3.5 + 0.2 * random.normal());
    return {
      tokens: Int32Array.from({ length: 3 + length }, () =>
        random.integer(localModel.vocabularySize),
      ),
      promptLength: 3,
      advantage: advantage(index),
      old: row(),
      reference: row(),
      sampler: row(),
      ...(index % 3 === 1 && { mask: Float32Array.from({ length }, (_, at) => at % 2) }),
    };
  });
}

describe.each(specs.map((choice) => [JSON.stringify(choice), choice] as const))(
  "%s",
  (_name, choice) => {
    it("does not see the order of the samples", async () => {
      const batch = batchOf(usual, (index) => [1, -0.5, 0.25, -1.5][index % 4]!);
      const result = await usual.accumulate(batch, lossOf(choice));
      const gradient = gradientsOf(usual);
      const order = randomStream(6).shuffle(batch.map((_, index) => index));
      await usual.resetOptimiser();
      const turned = await usual.accumulate(
        order.map((index) => batch[index]!),
        lossOf(choice),
      );
      expect(farthest(gradientsOf(usual), gradient)).toBeLessThan(2e-5);
      expect(turned.loss).toBeCloseTo(result.loss, 4);
      order.forEach((index, position) =>
        turned.logProbs[position]!.forEach((value, at) =>
          expect(value).toBeCloseTo(result.logProbs[index]![at]!, 5),
        ),
      );
    });

    it("gives samples without advantage exactly no gradient", async () => {
      const batch = batchOf(usual, () => 0);
      const loss = { ...lossOf(choice), kl: { type: "none" }, entropy: null } as LossSpec;
      await usual.accumulate(batch, loss);
      for (const [name, values] of Object.entries(gradientsOf(usual))) {
        expect(
          values.every((value) => value === 0),
          name,
        ).toBe(true);
      }
    });
  },
);

describe("groups of equal rewards", () => {
  const bits = (engine: LocalEngine): Buffer[] =>
    engine.parameterNames.map((name) => Buffer.from(engine.parameter(name).slice().buffer));
  const flat = { ...localTask, score: () => ({ correct: 1, short: 0.3 }) };

  it.each([
    ["one step a generation", {}],
    ["several", { minibatches: 2, iterations: 2, accumulation: 2 }],
    [
      "whitened over tokens",
      { advantages: { type: "reward", baseline: "none", scale: { type: "whiten-tokens" } } },
    ],
    ["GDPO", { advantages: { type: "gdpo" } }],
    ["Muon", { optimiser: { learningRate: 0.02, weightDecay: 0.1, method: "muon" } }],
  ])("change no bit of a weight, weight decay or not: %s", async (_name, changes) => {
    const path = join(root, String(runs++));
    const optimiser = { learningRate: 0.02, weightDecay: 0.1 };
    const grpo = { steps: 5, optimiser, rewards: { window: null }, ...changes };
    await trainLocally({ engine: usual, path, grpo, task: flat });
    const trained = bits(usual);
    initialiseLocal(usual);
    expect(trained).toEqual(bits(usual));
    for (const record of readMetrics(path)) expect(record).toMatchObject({ "update/skipped": 1 });
  });

  it("do not let the momentum of steps before them move a weight", async () => {
    let scored = 0;
    // Of the first generation batch (and the evaluation before it) alone rewards differ.
    const later: Task<Sum, Config> = {
      ...localTask,
      score: (...given) => (scored++ < 3 + 8 ? localTask.score(...given) : flat.score()),
    };
    const path = join(root, String(runs++));
    const after: Buffer[][] = [];
    const grpo = {
      steps: 4,
      optimiser: { learningRate: 0.02, weightDecay: 0.1 },
      rewards: { window: null },
    };
    await trainLocally({
      engine: usual,
      path,
      task: later,
      grpo,
      after: (verb) => void (verb === "step" && after.push(bits(usual))),
    });
    expect(after.length).toBe(1);
    expect(bits(usual)).toEqual(after[0]);
    initialiseLocal(usual);
    expect(after[0]).not.toEqual(bits(usual));
    const skipped = readMetrics(path).map((record) => record["update/skipped"]);
    expect(skipped).toEqual([undefined, 1, 1, 1]);
  });
});
