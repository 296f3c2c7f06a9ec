import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { livelyValues, plainLogits, plainLogSoftmax } from "../../tests/plain-decoder.ts";
import {
  ScriptedEngine,
  solve,
  sumEnvironment,
  sumTask,
  tokenizer,
  type Script,
  type Sum,
} from "../../tests/scripted-engine.ts";
import type { Engine, Example, Sequence } from "../core/engine.ts";
import { RunError } from "../core/errors.ts";
import { silentProgress } from "../core/progress.ts";
import type { Output, Scores } from "../core/task.ts";
import { LocalEngine } from "../engine/local-engine.ts";
import { trainItem } from "../rollout/items.ts";
import { readMetrics, readSamples, RunDirectory } from "../run/run-directory.ts";
import { dpo, dpoSettings } from "./dpo.ts";

let root: string;
let run: RunDirectory;
const start = { system: "sum", scale: "tiny", config: {}, seed: 5, overrides: [] };
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "alidade-dpo-"));
  run = RunDirectory.create(join(root, "run"), start);
});
afterEach(() => {
  run.close();
  rmSync(root, { recursive: true, force: true });
});

type Score = (item: Sum, output: Output) => Scores;

async function train<E extends Engine>(
  engine: E,
  settings: Readonly<Record<string, unknown>>,
  score: Score = (item, output) => sumTask.score(item, output, sumEnvironment.config),
): Promise<E> {
  await dpo<Sum, { largest: number }>(
    {
      engine,
      environment: { ...sumEnvironment, task: { ...sumTask, score } },
      items: async (index) => trainItem(sumTask, sumEnvironment.config, 5, index),
      run,
      progress: silentProgress,
      signal: new AbortController().signal,
      seed: 5,
      done: 0,
      state: {},
      checkpointEvery: 100,
      evaluateEvery: 0,
      evaluate: async () => undefined,
    },
    dpoSettings.parse({ steps: 1, batch: 2, prompts: 2, group: 2, maxTokens: 9, ...settings }),
    { correct: 1 },
  );
  return engine;
}

/** The first answer of a prompt is right, the second one wrong and as long as ever. */
const twoAnswers: Script = {
  answer: (question, sample) => (sample === 0 ? solve(question) : "7777"),
};

const textOf = ({ tokens, promptLength }: Sequence): string =>
  tokenizer.decodeAnswer(tokens.slice(promptLength));

describe("the first step, where policy and reference are one", () => {
  it.each([
    // dL/dh at h = 0, by hand: sigmoid -β σ(0) = -β / 2; IPO 2 (0 - 1 / (2 β)) = -1 / β.
    { settings: { loss: "sigmoid", beta: 0.3 }, loss: Math.log(2), slope: -0.15 },
    { settings: { loss: "ipo", beta: 0.25 }, loss: 4, slope: -4 },
  ])("has the loss and slopes of $settings.loss", async ({ settings, loss, slope }) => {
    for (const logProbs of ["sum", "mean"]) {
      run.close();
      run = RunDirectory.create(join(root, logProbs), start);
      const engine = await train(new ScriptedEngine(twoAnswers), { ...settings, logProbs });
      const [accumulated] = engine.of("accumulate");
      expect(accumulated!.loss).toEqual({ type: "linear", temperature: 1 });
      const { batch } = accumulated!;
      expect(batch.length).toBe(4);
      batch.forEach((example, index) => {
        const length = example.tokens.length - example.promptLength;
        const sign = index % 2 === 0 ? 1 : -1;
        const perToken = (slope * sign) / 2 / (logProbs === "mean" ? length : 1); // two pairs
        const expected = new Float32Array(length).fill(perToken);
        example.slope!.forEach((value, at) => expect(value).toBeCloseTo(expected[at]!, 6));
        expect(textOf(example) === "7777").toBe(index % 2 === 1);
      });
      const [metrics] = readMetrics(run.path);
      expect(metrics!["loss"]).toBeCloseTo(loss, 6);
      expect(metrics).toMatchObject({ stage: "dpo", step: 1, "margin/mean": 0, kl: 0 });
    }
  });
});

describe("a later step", () => {
  /** Each step moves the chosen completion's tokens down by 0.1 and those of the rejected one by 0.4. */
  const falling = (engine: () => ScriptedEngine): Script => ({
    ...twoAnswers,
    logProb: (index) => -1 - engine().steps * (index % 2 === 0 ? 0.1 : 0.4),
  });
  const trainFalling = async (settings: object): Promise<ScriptedEngine> => {
    const engine: ScriptedEngine = new ScriptedEngine(falling(() => engine));
    return train(engine, { steps: 2, batch: 1, prompts: 1, ...settings });
  };

  it("measures against the policy of the start, and tells that both fall", async () => {
    const engine = await trainFalling({ beta: 0.5 });
    const [chosen, rejected] = engine.of("accumulate")[1]!.batch as [Example, Example];
    const lengths = [chosen, rejected].map(
      ({ tokens, promptLength }) => tokens.length - promptLength,
    );
    const ratios = [-0.1 * lengths[0]!, -0.4 * lengths[1]!];
    const h = ratios[0]! - ratios[1]!;
    const metrics = readMetrics(run.path)[1]!;
    expect(metrics["loss"]).toBeCloseTo(Math.log(1 + Math.exp(-0.5 * h)), 6);
    const slope = -0.5 / (1 + Math.exp(0.5 * h));
    chosen.slope!.forEach((value) => expect(value).toBeCloseTo(slope, 6));
    rejected.slope!.forEach((value) => expect(value).toBeCloseTo(-slope, 6));
    expect(metrics["margin/mean"]).toBeCloseTo(h, 5);
    expect(metrics["margin/right"]).toBe(1);
    expect(metrics["logRatio/chosen"]).toBeCloseTo(ratios[0]!, 5);
    expect(metrics["logRatio/rejected"]).toBeCloseTo(ratios[1]!, 5);
    expect(metrics["logProb/chosen"]).toBeCloseTo(-1.1 * lengths[0]!, 5);
    const k = (d: number): number => Math.exp(d) - d - 1;
    const total = lengths[0]! * k(-0.1) + lengths[1]! * k(-0.4);
    expect(metrics["kl"]).toBeCloseTo(total / (lengths[0]! + lengths[1]!), 5);
  });

  it("asks for the reference once, and never samples again", async () => {
    const engine = await trainFalling({});
    expect(engine.calls.map(({ verb }) => verb)).toEqual([
      "sample",
      "logProbs", // of the reference
      "save", // the samples are stored
      ...Array.from({ length: 2 }, () => ["logProbs", "accumulate", "step"]).flat(),
      "save",
    ]);
  });
});

describe("the pairs", () => {
  it("are stored with every sample, its reward and the reference's log-probabilities", async () => {
    await train(new ScriptedEngine(twoAnswers), { group: 3 });
    const samples = readSamples(run.path, "dpo");
    expect(samples.length).toBe(6);
    expect(samples.map(({ reward }) => reward)).toEqual([1, 0, 0, 1, 0, 0]);
    expect(samples.map(({ chosenOver }) => (chosenOver as []).length)).toEqual([1, 0, 0, 1, 0, 0]);
    const [first, second, third] = samples;
    // The two wrong answers are the same one: it counts once.
    const [over] = first!["chosenOver"] as number[];
    const [rejected, unused] = over === 1 ? [second, third] : [third, second];
    expect(unused!["referenceLogProbs"]).toBeNull();
    for (const { tokens, referenceLogProbs } of [first!, rejected!]) {
      expect(referenceLogProbs).toEqual((tokens as number[]).map(() => -0.5));
    }
  });

  it("are asked for when no reward differs", async () => {
    const same: Script = { answer: () => "777" };
    const training = train(new ScriptedEngine(same), {});
    await expect(training).rejects.toThrow(RunError);
    await expect(training).rejects.toThrow(
      "dpo step 1: expected a prompt with completions of different rewards, got none among 2 of 2 completions",
    );
  });

  it("are never made of a score that failed", async () => {
    let count = 0;
    const score: Score = () => {
      if (++count === 3) throw new Error("no dictionary");
      return { correct: count % 2, short: 0 };
    };
    await expect(train(new ScriptedEngine(twoAnswers), {}, score)).rejects.toThrow(
      "dpo step 1: prompt 1, sample 0: expected scores, got error of score correct: no dictionary",
    );
  });
});

describe("the gradient through a local engine", () => {
  const config = {
    vocabularySize: tokenizer.vocabularySize,
    contextLength: 32,
    width: 16,
    layers: 1,
    heads: 2,
    kvHeads: 1,
    headSize: 16,
    hiddenWidth: 16,
    ropeTheta: 10_000,
    normEpsilon: 1e-6,
    qkvBias: false,
    qkNorm: true,
    tiedEmbeddings: true,
  };

  type Weights = Record<string, Float64Array>;
  const weightsOf = (engine: LocalEngine): Weights =>
    Object.fromEntries(
      engine.parameterNames.map((name) => [name, Float64Array.from(engine.parameter(name))]),
    );

  const plainLogProbs = (weights: Weights, { tokens, promptLength }: Sequence): number[] =>
    plainLogits(config, weights, tokens.subarray(0, -1))
      .slice(promptLength - 1)
      .map((row, at) => plainLogSoftmax(row)[tokens[promptLength + at]!]!);

  /** The formulas of the papers, in double precision on a plain decoder. */
  function plainLoss(
    weights: Weights,
    reference: Weights,
    batch: readonly Sequence[],
    { loss, beta, logProbs }: { loss: string; beta: number; logProbs: string },
  ): number {
    const scores = batch.map((sequence) => {
      const [policy, frozen] = [weights, reference].map((one) => plainLogProbs(one, sequence));
      const ratio = policy!.reduce((total, value, at) => total + value - frozen![at]!, 0);
      return logProbs === "mean" ? ratio / policy!.length : ratio;
    });
    const losses = scores
      .filter((_, index) => index % 2 === 0)
      .map((chosen, pair) => {
        const h = chosen - scores[2 * pair + 1]!;
        return loss === "ipo" ? (h - 1 / (2 * beta)) ** 2 : Math.log1p(Math.exp(-beta * h));
      });
    return losses.reduce((total, value) => total + value, 0) / losses.length;
  }

  it.each([
    { loss: "sigmoid", beta: 0.4, logProbs: "sum" },
    { loss: "ipo", beta: 0.4, logProbs: "mean" },
  ])("is that of $loss over the $logProbs, by finite differences", async (spec) => {
    const engine = new LocalEngine(config);
    for (const name of engine.parameterNames) {
      const values = engine.parameter(name);
      values.set(livelyValues(name, values.length));
    }
    const reference = weightsOf(engine);
    let batch: readonly Example[] = [];
    const accumulate = engine.accumulate.bind(engine);
    const step = engine.step.bind(engine);
    engine.accumulate = (examples, ...rest) => {
      batch = examples;
      return accumulate(examples, ...rest);
    };
    let checked = 0;
    engine.step = async (options) => {
      const weights = weightsOf(engine);
      const gradients = engine.parameterNames.map((name) => engine.gradient(name));
      const norm = Math.sqrt(
        gradients.flatMap((one) => Array.from(one)).reduce((sum, value) => sum + value ** 2, 0),
      );
      // Along the gradient g the loss changes by |g| a unit, so one difference sees every entry.
      const moved = (distance: number): Weights =>
        Object.fromEntries(
          engine.parameterNames.map((name, index) => [
            name,
            weights[name]!.map((value, at) => value + (distance * gradients[index]![at]!) / norm),
          ]),
        );
      const at = (distance: number): number => plainLoss(moved(distance), reference, batch, spec);
      expect((at(1e-4) - at(-1e-4)) / 2e-4 / norm).toBeCloseTo(1, 3);
      // And one that the gradient does not point along.
      const [name] = engine.parameterNames;
      const nudge = (distance: number): number => {
        const values = weights[name!]!.slice();
        const random = livelyValues("direction", values.length);
        values.forEach((value, index) => (values[index] = value + distance * random[index]!));
        return plainLoss({ ...weights, [name!]: values }, reference, batch, spec);
      };
      const direction = livelyValues("direction", gradients[0]!.length);
      const slope = gradients[0]!.reduce((sum, g, index) => sum + g * direction[index]!, 0);
      expect((nudge(1e-4) - nudge(-1e-4)) / 2e-4 / slope).toBeCloseTo(1, 2);
      checked++;
      return step(options);
    };
    // Any text has a reward, so that random weights have something to learn.
    const score: Score = (_item, { text }) => ({ correct: text.charCodeAt(0) % 2, short: null });
    const optimiser = { learningRate: 0.02, schedule: "constant", warmup: 0 };
    await train(
      engine,
      { ...spec, steps: 3, prompts: 4, group: 6, maxTokens: 4, optimiser },
      score,
    );
    engine.dispose();
    expect(checked).toBe(3);
    const margins = readMetrics(run.path).map((record) => record["margin/mean"] as number);
    expect(margins[0]).toBeCloseTo(0, 4);
    expect(Math.abs(margins[2]!)).toBeGreaterThan(0.01);
  });
});
