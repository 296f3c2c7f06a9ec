import { describe, expect, it } from "vitest";
import { ConfigError } from "../core/errors.ts";
import { randomStream } from "../core/random.ts";
import type { ParameterSpec } from "../nn/parameters.ts";
import {
  allocate,
  compile,
  gatherRows,
  gradients,
  input,
  mul,
  sizeOf,
  sum,
  type TensorData,
} from "../tensor/index.ts";
import { flowModel, flowParameters, type FlowConfig } from "./flow-model.ts";
import type { FlowTransformerConfig } from "./flow-transformer.ts";
import type { PromptEncoderConfig } from "./prompt-encoder.ts";

const prompt: PromptEncoderConfig = {
  vocabularySize: 7,
  promptTokens: 4,
  width: 8,
  layers: 1,
  heads: 2,
  hiddenWidth: 10,
};
const image: FlowTransformerConfig = {
  type: "transformer",
  sample: [4, 6, 2],
  patch: 2,
  width: 8,
  layers: 2,
  heads: 2,
  hiddenWidth: 12,
  activation: "gelu",
  predicts: "velocity",
  prompt,
};
const models: Record<string, FlowConfig> = {
  image,
  "predicted image": { ...image, predicts: "sample" },
  "gated image": { ...image, activation: "swiglu" },
  "image that reads words": { ...image, prompt: { ...prompt, words: true, neighbours: 1 } },
  video: { ...image, sample: [2, 4, 4, 1] },
  adapted: {
    ...image,
    lora: { rank: 2, alpha: 4, targets: ["q_proj", "o_proj", "up_proj", "down_proj"] },
  },
  points: { type: "mlp", sample: [2], width: 16, layers: 3, prompt: { ...prompt, layers: 0 } },
};

type Precision = "float32" | "float64";

const ROWS = 3;
const PROMPTS = 2;

/** Values near those of a trained model: scales about 1, everything else small but not zero. */
function lively({ name, shape, init }: ParameterSpec): Float64Array {
  const random = randomStream("lively", name);
  const middle = init === "ones" ? 1 : 0;
  const deviation = typeof init === "object" ? init.deviation : 0.2;
  return Float64Array.from({ length: sizeOf(shape) }, () => middle + deviation * random.normal());
}

/** Velocity, and the sum of it times fixed factors with its gradients, of rows at different times and prompts. */
function build(config: FlowConfig, precision: Precision) {
  const model = flowModel(config);
  const tokens = input("tokens", [PROMPTS, 4], "int32");
  const vectors = model.prompts({ tokens, mask: input("mask", [PROMPTS, 4]) });
  const x = input("x", [ROWS, ...config.sample]);
  const velocity = model.velocity({
    x,
    t: input("t", [ROWS]),
    prompt: gatherRows(vectors, input("rows", [ROWS], "int32")),
  });
  const value = sum(mul(velocity, input("factors", x.shape)));
  const slopes = gradients(
    value,
    model.specs.map(({ name }) => model.symbols.get(name)!),
  );
  const named = slopes.map((slope, index) => [`d ${model.specs[index]!.name}`, slope] as const);
  const program = compile({ velocity, value, ...Object.fromEntries(named) }, { precision });
  const random = randomStream("flow model", "inputs");
  const memory: Record<string, TensorData> = {};
  const floats = (name: string, values: ArrayLike<number>): void => {
    const array = allocate(precision as "float32", [values.length]);
    array.set(values);
    memory[name] = array;
  };
  const normals = Array.from({ length: 2 * sizeOf(x.shape) }, () => random.normal());
  floats("x", normals.slice(0, sizeOf(x.shape)));
  floats("factors", normals.slice(sizeOf(x.shape)));
  floats("t", [0.13, 0.5, 0.98]);
  floats("mask", [1, 1, 1, 0, 1, 1, 0, 0]);
  for (const spec of model.specs) floats(spec.name, lively(spec));
  const ints = (name: string, values: readonly number[]): void => {
    const array = allocate("int32", [values.length]);
    array.set(values);
    memory[name] = array;
  };
  ints("tokens", [1, 4, 2, 0, 6, 3, 0, 0]);
  ints("rows", [1, 2, 0]); // 2: no prompt
  return { model, program, binding: program.bind(memory) };
}

describe.each(Object.entries(models))("%s", (_name, config) => {
  it("has the gradient of finite differences, of every parameter", () => {
    const { model, program, binding } = build(config, "float64");
    const value = (): number => {
      binding.runNow();
      return binding.doubles("value")[0]!;
    };
    value();
    const slopes = new Map(
      model.specs.map(({ name }) => [name, binding.doubles(`d ${name}`).slice()]),
    );
    const h = 1e-5;
    for (const { name } of model.specs) {
      const slope = slopes.get(name)!;
      const place = randomStream("place", name);
      const memory = binding.doubles(name);
      let [along, expected, size] = [0, 0, 0];
      const direction = Array.from(memory, () => place.normal());
      const kept = memory.slice();
      const at = (shift: number): number => {
        direction.forEach((d, index) => (memory[index] = kept[index]! + shift * d));
        return value();
      };
      expected = (at(h) - at(-h)) / (2 * h);
      at(0);
      direction.forEach((d, index) => (along += d * slope[index]!));
      size = Math.hypot(...slope) * Math.hypot(...direction);
      expect(Math.abs(along - expected), name).toBeLessThan(1e-7 * size + 1e-8);
      expect(size, name).toBeGreaterThan(0);
    }
    program.dispose();
  });

  it("computes in single precision what it computes in double", () => {
    const [single, double] = [build(config, "float32"), build(config, "float64")];
    single.binding.runNow();
    double.binding.runNow();
    const [ours, exact] = [single.binding.floats("velocity"), double.binding.doubles("velocity")];
    const worst = Math.max(...ours.map((value, index) => Math.abs(value - exact[index]!)));
    expect(worst).toBeLessThan(2e-5);
    expect(Math.max(...exact.map(Math.abs))).toBeGreaterThan(0.1);
  });
});

describe("an image model", () => {
  const velocity = (change: (name: string, values: Float32Array) => void): Float32Array => {
    const { model, program, binding } = build(image, "float32");
    for (const { name } of model.specs) change(name, binding.floats(name));
    binding.runNow();
    const result = binding.floats("velocity").slice();
    program.dispose();
    return result;
  };

  it("has no velocity while its head is zero", () => {
    const result = velocity((name, values) => {
      if (name === "head.weight" || name === "head.bias") values.fill(0);
    });
    expect(result.every((value) => value === 0)).toBe(true);
  });

  it("has blocks that change nothing while their modulation is zero", () => {
    const still = (name: string, values: Float32Array): void => {
      if (/blocks\.\d\.modulation/.test(name)) values.fill(0);
    };
    const a = velocity(still);
    const b = velocity((name, values) => {
      still(name, values);
      if (/blocks\.\d\.(attention|mlp)/.test(name)) values.forEach((v, i) => (values[i] = -3 * v));
    });
    expect(b).toEqual(a);
    expect(velocity(() => undefined)).not.toEqual(a);
  });

  it("begins with zero heads and modulations, ones in norms, and noise elsewhere", () => {
    for (const { name, init } of flowParameters(image)) {
      const zero = /modulation|^head|bias$/.test(name);
      if (zero) expect(init, name).toBe("zeros");
      else expect(init, name).not.toBe("zeros");
    }
  });

  it("does not read padding of prompts", () => {
    const { program, binding } = build(image, "float32");
    binding.runNow();
    const before = binding.floats("velocity").slice();
    binding.ints("tokens").set([5], 3); // behind the first prompt
    binding.runNow();
    expect(binding.floats("velocity")).toEqual(before);
    binding.ints("tokens").set([5], 2); // its last token
    binding.runNow();
    expect(binding.floats("velocity")).not.toEqual(before);
    program.dispose();
  });

  it("sees the order of the words and every patch", () => {
    const { program, binding } = build(image, "float32");
    binding.runNow();
    const before = binding.floats("velocity").slice();
    binding.ints("tokens").set([4, 1, 2], 0);
    binding.runNow();
    const row = sizeOf(image.sample);
    const changed = [0, 1, 2].map((at) => {
      const part = (values: Float32Array): string => values.slice(at * row, (at + 1) * row).join();
      return part(before) !== part(binding.floats("velocity"));
    });
    expect(changed).toEqual([false, false, true]); // the row of that prompt alone
    const other = binding.floats("velocity").slice();
    binding.floats("x")[row - 1]! += 1; // last channel of the last patch of the first sample
    binding.runNow();
    expect(binding.floats("velocity")[0]).not.toBe(other[0]);
    expect(binding.floats("velocity").slice(row)).toEqual(other.slice(row));
    program.dispose();
  });

  it("refuses sizes that do not fit", () => {
    expect(() => flowModel({ ...image, patch: 4 })).toThrow(ConfigError);
    expect(() => flowModel({ ...image, heads: 3 })).toThrow(ConfigError);
    expect(() => flowModel({ ...image, sample: [4, 4] })).toThrow(ConfigError);
    const points = models["points"]!;
    const words = { ...points, prompt: { ...points.prompt, words: true } };
    expect(() => flowModel(words)).toThrow(/prompt\.words/);
  });
});
