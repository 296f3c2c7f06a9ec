import { describe, expect, it } from "vitest";
import {
  livelyEngines,
  policyGradient,
  randomSequences,
  small,
} from "../../tests/lively-engine.ts";
import type { StepOptions, Workload } from "../core/engine.ts";
import { supervisedLoss } from "../core/loss-spec.ts";
import { randomStream } from "../core/random.ts";
import type { LocalEngine } from "./local-engine.ts";

const { lively } = livelyEngines();
const { ragged } = randomSequences("rehearsal test");

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
      results.push(await engine.accumulate(list, supervisedLoss));
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
    await engine.accumulate(ragged(), supervisedLoss);
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
