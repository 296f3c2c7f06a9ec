import { describe, expect, it } from "vitest";
import type { StepOptions } from "../core/engine.ts";
import { EngineError } from "../core/errors.ts";
import { randomStream } from "../core/random.ts";
import { Optimiser } from "./optimiser.ts";
import { ParameterLayout, type ParameterSpec } from "./parameters.ts";

const options: StepOptions = {
  learningRate: 1e-2,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clipNorm: Infinity,
};

const spec = (name: string, shape: readonly number[], decay: boolean): ParameterSpec => ({
  name,
  shape,
  decay,
  init: { deviation: 0.5 },
});

/** Matrices that cross the borders of the optimiser's chunks, a bias and a norm between them. */
const tree = {
  first: spec("first", [200, 151], true),
  norm: spec("norm", [151], false),
  second: spec("second", [70, 100], true),
  bias: spec("bias", [20_000], false),
};
const names = ["first", "norm", "second", "bias"] as const;

/** The update in the order of PyTorch's documentation of AdamW, in float64. */
class PlainAdamW {
  readonly parameters: Float64Array;
  readonly #first: Float64Array;
  readonly #second: Float64Array;
  readonly #decayed: readonly boolean[];
  #steps = 0;

  constructor(parameters: Float64Array, decayed: readonly boolean[]) {
    this.parameters = parameters;
    this.#first = new Float64Array(parameters.length);
    this.#second = new Float64Array(parameters.length);
    this.#decayed = decayed;
  }

  step(gradient: Float64Array, one: StepOptions): number {
    this.#steps++;
    const norm = Math.hypot(...chunked(gradient).map((part) => Math.hypot(...part)));
    const factor = norm > one.clipNorm ? one.clipNorm / norm : 1;
    this.parameters.forEach((before, index) => {
      const slope = gradient[index]! * factor;
      let value = before;
      if (this.#decayed[index]) value -= one.learningRate * one.weightDecay * value;
      const first = one.beta1 * this.#first[index]! + (1 - one.beta1) * slope;
      const second = one.beta2 * this.#second[index]! + (1 - one.beta2) * slope * slope;
      const firstHat = first / (1 - one.beta1 ** this.#steps);
      const secondHat = second / (1 - one.beta2 ** this.#steps);
      value -= (one.learningRate * firstHat) / (Math.sqrt(secondHat) + one.epsilon);
      this.#first[index] = first;
      this.#second[index] = second;
      this.parameters[index] = value;
    });
    return norm;
  }
}

/** Pieces that fit into an argument list. */
const chunked = (values: Float64Array): Float64Array[] =>
  Array.from({ length: Math.ceil(values.length / 1000) }, (_, at) =>
    values.subarray(at * 1000, at * 1000 + 1000),
  );

function setUp() {
  const layout = new ParameterLayout(tree);
  const [parameters, gradient] = [layout.allocate(), layout.allocate()];
  layout.initialise(parameters, randomStream(1, "weights"));
  const optimiser = new Optimiser(layout, parameters, gradient);
  const views = (block: Float32Array) => names.map((name) => layout.view(block, name));
  return { layout, parameters, gradient, optimiser, views };
}

const joined = (parts: readonly Float32Array[]): Float64Array =>
  Float64Array.from(parts.flatMap((part) => Array.from(part)));

const isSame = (a: Float32Array, b: Float32Array): boolean =>
  a.length === b.length && a.every((value, index) => value === b[index]);

describe("AdamW", () => {
  it.each([
    ["without clipping", options],
    ["clipped", { ...options, clipNorm: 0.7 }],
    ["with other constants", { ...options, beta1: 0, beta2: 0.5, epsilon: 1e-3, weightDecay: 0 }],
  ])(
    "equals an independent computation in float64 over eight steps, %s",
    async (_title, chosen) => {
      const { layout, parameters, gradient, optimiser, views } = setUp();
      expect(layout.decayedLength / layout.chunk).toBeGreaterThanOrEqual(3);
      expect(layout.length - layout.decayedLength).toBeGreaterThanOrEqual(2 * layout.chunk);
      const decayed = names.flatMap((name) =>
        Array.from(layout.view(parameters, name), () => tree[name].decay),
      );
      const plain = new PlainAdamW(joined(views(parameters)), decayed);
      const random = randomStream(2, "gradients");
      for (let step = 1; step <= 8; step++) {
        // Sizes from 1e-6 to 1, some zeros: both ends of the division by sqrt(v) + epsilon.
        for (const view of views(gradient)) {
          view.forEach((_, index) => {
            view[index] = index % 7 === 0 ? 0 : random.normal() * 10 ** (-6 * random.uniform());
          });
        }
        const one = { ...chosen, learningRate: 0.01 / step };
        const norm = plain.step(joined(views(gradient)), one);
        expect(Math.abs((await optimiser.step(one)) / norm - 1)).toBeLessThan(1e-5);
        expect(gradient.every((value) => value === 0)).toBe(true);
        const ours = joined(views(parameters));
        let worst = 0;
        ours.forEach((value, index) => {
          worst = Math.max(worst, Math.abs(value - plain.parameters[index]!));
        });
        expect(worst, `step ${step}`).toBeLessThan(step * 4e-7);
      }
      expect(optimiser.steps).toBe(8);
      optimiser.dispose();
    },
  );

  it("decays matrices, but neither norms nor biases", async () => {
    const { layout, parameters, optimiser, views } = setUp();
    const before = joined(views(parameters));
    await optimiser.step({ ...options, learningRate: 0.5 });
    let at = 0;
    for (const name of names) {
      const factor = tree[name].decay ? 0.95 : 1;
      const errors = Array.from(layout.view(parameters, name), (value) =>
        Math.abs(value - factor * before[at++]!),
      );
      expect(errors.reduce((worst, error) => Math.max(worst, error), 0)).toBeLessThan(2e-7);
    }
    optimiser.dispose();
  });

  it("refuses a gradient that is not finite, and changes nothing", async () => {
    const { parameters, gradient, optimiser } = setUp();
    gradient.fill(0.1);
    await optimiser.step(options);
    const [weights, first, second] = [parameters, optimiser.first, optimiser.second].map((block) =>
      Float32Array.from(block),
    );
    for (const broken of [Number.NaN, Infinity, -Infinity, 3e38]) {
      gradient.fill(0.1);
      gradient[17_000] = broken;
      await expect(optimiser.step(options)).rejects.toThrow(EngineError);
      await expect(optimiser.step(options)).rejects.toThrow(
        /expected a finite gradient, got a .*(NaN|Inf)/,
      );
    }
    expect(isSame(parameters, weights!)).toBe(true);
    expect(isSame(optimiser.first, first!)).toBe(true);
    expect(isSame(optimiser.second, second!)).toBe(true);
    expect(optimiser.steps).toBe(1);
    optimiser.dispose();
  });

  it("starts over after a reset", async () => {
    const { parameters, gradient, optimiser } = setUp();
    const start = Float32Array.from(parameters);
    const step = async (): Promise<Float32Array> => {
      gradient.forEach((_, index) => (gradient[index] = Math.sin(index)));
      await optimiser.step(options);
      return Float32Array.from(parameters);
    };
    const once = await step();
    const twice = await step();
    optimiser.reset();
    expect(optimiser.steps).toBe(0);
    parameters.set(start);
    expect(isSame(await step(), once)).toBe(true);
    expect(isSame(await step(), twice)).toBe(true);
    expect(isSame(once, twice)).toBe(false);
    optimiser.dispose();
  });
});
