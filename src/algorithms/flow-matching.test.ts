import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { RunError } from "../core/errors.ts";
import { silentProgress } from "../core/progress.ts";
import { randomStream } from "../core/random.ts";
import { mean } from "../core/statistics.ts";
import { LocalFlowEngine } from "../engine/flow-engine.ts";
import type { FlowConfig } from "../models/flow-model.ts";
import { Interrupted } from "../run/interrupted.ts";
import { readMetrics, RunDirectory } from "../run/run-directory.ts";
import {
  flowMatching,
  flowMatchingBatch,
  flowMatchingSettings,
  type FlowExample,
  type FlowMatchingContext,
} from "./flow-matching.ts";

const ring: FlowConfig = {
  type: "mlp",
  sample: [2],
  width: 64,
  layers: 3,
  prompt: { vocabularySize: 8, promptTokens: 1, width: 16, layers: 0, heads: 1, hiddenWidth: 16 },
};

const SPREAD = 0.15;
const center = (mode: number): [number, number] => [
  2 * Math.cos((Math.PI * mode) / 4),
  2 * Math.sin((Math.PI * mode) / 4),
];

/** One of eight Gaussians on a circle, named by its number. */
function example(index: number): FlowExample {
  const random = randomStream("ring", index);
  const mode = random.integer(8);
  const sample = Float32Array.from(center(mode), (at) => at + SPREAD * random.normal());
  return { sample, prompt: Int32Array.of(mode) };
}

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "alidade-flow-matching-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function begin(name: string, changes: Partial<FlowMatchingContext> = {}): FlowMatchingContext {
  const start = { system: "ring", scale: "test", config: {}, seed: 1, overrides: [] };
  const engine = new LocalFlowEngine(ring, { average: { decay: 0.99, every: 1 } });
  engine.initialise(randomStream(1, "weights"));
  return {
    engine,
    examples: async (index) => example(index),
    run: RunDirectory.create(join(root, name), start),
    progress: silentProgress,
    signal: new AbortController().signal,
    seed: 1,
    done: 0,
    checkpointEvery: 5,
    evaluateEvery: 0,
    evaluate: async () => undefined,
    ...changes,
  };
}

describe("flow matching", () => {
  it("learns a ring of eight Gaussians, with and without their names", async () => {
    const context = begin("ring", { checkpointEvery: 10_000 });
    const optimiser = { learningRate: 4e-3, weightDecay: 0 };
    const settings = flowMatchingSettings.parse({
      steps: 600,
      batch: 256,
      dropPrompt: 0.3,
      optimiser,
    });
    await flowMatching(context, settings);
    const sample = async (prompts: readonly (Int32Array | null)[]): Promise<number[][]> => {
      const steps = Array.from({ length: 20 }, () => "dpm2" as const);
      const { samples } = await context.engine.denoise(prompts, {
        weights: "average",
        guidance: 1,
        times: [...steps.map((_, step) => 1 - step / 20), 0],
        steps,
        random: (row) => randomStream("evaluation", row),
        keep: false,
      });
      return prompts.map((_, row) => [samples[2 * row]!, samples[2 * row + 1]!]);
    };
    const distance = ([x, y]: number[], [a, b]: number[]): number => Math.hypot(x! - a!, y! - b!);
    const named = Array.from({ length: 400 }, (_, row) => row % 8);
    const points = await sample(named.map((mode) => Int32Array.of(mode)));
    const hits = points.map((at, row) => distance(at, center(named[row]!)) < 4 * SPREAD);
    expect(mean(hits.map(Number))).toBeGreaterThan(0.9); // by chance 0.03 (of a disc of radius 3.4)
    const free = await sample(named.map(() => null));
    const modes = free.map((at) =>
      named.slice(0, 8).findIndex((mode) => distance(at, center(mode)) < 4 * SPREAD),
    );
    expect(mean(modes.map((mode) => Number(mode >= 0)))).toBeGreaterThan(0.5); // by chance 0.25
    expect(new Set(modes.filter((mode) => mode >= 0)).size).toBe(8);
    const losses = readMetrics(context.run.path).map(({ loss }) => Number(loss));
    expect(losses).toHaveLength(600);
    expect(mean(losses.slice(-50))).toBeLessThan(0.6 * mean(losses.slice(0, 5)));
  });

  it("continues to the bit after a stop", async () => {
    const settings = flowMatchingSettings.parse({ steps: 12, batch: 16 });
    const whole = begin("whole");
    await flowMatching(whole, settings);
    const controller = new AbortController();
    const stopped = begin("stopped", { signal: controller.signal });
    const stopping = {
      ...stopped,
      examples: async (index: number): Promise<FlowExample> => {
        if (index === 7 * 16) controller.abort();
        return example(index);
      },
    };
    await expect(flowMatching(stopping, settings)).rejects.toThrow(Interrupted);
    const [name] = stopped.run.checkpointNames();
    const done = Number(/\d+$/.exec(name!)![0]);
    expect(done).toBeLessThan(12);
    const engine = new LocalFlowEngine(ring, { average: { decay: 0.99, every: 1 } });
    await engine.load(join(stopped.run.path, "checkpoints", name!));
    const { run } = stopped;
    await flowMatching({ ...begin("unused"), run, engine, done }, settings);
    const reference = whole.engine as LocalFlowEngine;
    for (const weights of ["current", "average"] as const)
      for (const parameter of engine.parameterNames)
        expect(engine.parameter(parameter, weights)).toEqual(
          reference.parameter(parameter, weights),
        );
    const metrics = (path: string) => readMetrics(path).map(({ step, loss }) => [step, loss]);
    expect(metrics(run.path)).toEqual(metrics(whole.run.path));
    expect(readdirSync(join(run.path, "checkpoints"))).toHaveLength(2);
  });

  it("stops before a broken number reaches the weights", async () => {
    const context = begin("broken", {
      examples: async (index) =>
        index === 40 ? { ...example(index), sample: Float32Array.of(NaN, 0) } : example(index),
    });
    const settings = flowMatchingSettings.parse({ steps: 5, batch: 16 });
    await expect(flowMatching(context, settings)).rejects.toThrow(RunError);
    const engine = context.engine as LocalFlowEngine;
    expect(engine.parameter("head.weight").every(Number.isFinite)).toBe(true);
  });
});

describe("a batch", () => {
  const settings = flowMatchingSettings.parse({
    steps: 1,
    dropPrompt: 0.25,
    timeMean: 0.5,
    timeDeviation: 0.8,
  });
  const examples = Array.from({ length: 4000 }, (_, index) => example(index));
  const { x, t, prompts, target } = flowMatchingBatch(examples, settings, 3, 7);

  it("lies between data and noise: x + (1 - t) v is the noise, x - t v the sample", () => {
    const noise: number[] = [];
    examples.forEach(({ sample }, row) => {
      for (let axis = 0; axis < 2; axis++) {
        const [at, v] = [x[2 * row + axis]!, target[2 * row + axis]!];
        expect(at - t[row]! * v).toBeCloseTo(sample[axis]!, 4);
        noise.push(at + (1 - t[row]!) * v);
      }
    });
    expect(Math.abs(mean(noise))).toBeLessThan(0.05);
    expect(mean(noise.map((value) => value ** 2))).toBeCloseTo(1, 1);
  });

  it("has logit-normal times and drops the share of prompts", () => {
    const logits = Array.from(t, (time) => Math.log(time / (1 - time)));
    expect(mean(logits)).toBeCloseTo(0.5, 1);
    expect(Math.sqrt(mean(logits.map((value) => (value - 0.5) ** 2)))).toBeCloseTo(0.8, 1);
    expect(mean(prompts.map((prompt) => Number(prompt === null)))).toBeCloseTo(0.25, 1);
    prompts.forEach((prompt, row) => {
      if (prompt !== null) expect(prompt).toEqual(examples[row]!.prompt);
    });
  });

  it("draws for a row what it draws without the others", () => {
    const some = flowMatchingBatch(examples.slice(0, 3), settings, 3, 7);
    expect([...some.x]).toEqual([...x.subarray(0, 6)]);
    expect([...some.t]).toEqual([...t.subarray(0, 3)]);
    expect(flowMatchingBatch(examples.slice(0, 3), settings, 3, 8).t[0]).not.toBe(t[0]);
  });
});
