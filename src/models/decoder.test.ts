import { describe, expect, it } from "vitest";
import {
  livelyValues,
  plainLogits,
  smallModels,
  type PlainWeights,
} from "../../tests/plain-decoder.ts";
import { randomStream } from "../core/random.ts";
import { leaves, mapTree } from "../nn/parameters.ts";
import { allocate, compile, input, sizeOf } from "../tensor/index.ts";
import { decoderHidden, decoderLogits, decoderParameters, type DecoderConfig } from "./decoder.ts";
import { fillPack, packInputs, packMemory } from "./packing.ts";

const models = Object.entries(smallModels);

/** Memory of every parameter, and the same values for the plain computation. */
function weightsOf(config: DecoderConfig): {
  memory: Record<string, Float32Array>;
  plain: PlainWeights;
} {
  const memory: Record<string, Float32Array> = {};
  for (const { name, shape } of leaves(decoderParameters(config))) {
    memory[name] = allocate("float32", shape);
    memory[name].set(livelyValues(name, sizeOf(shape)));
  }
  const plain = Object.entries(memory).map(
    ([name, data]) => [name, Float64Array.from(data)] as const,
  );
  return { memory, plain: Object.fromEntries(plain) };
}

const symbols = (config: DecoderConfig) =>
  mapTree(decoderParameters(config), ({ name, shape }) => input(name, shape));

const random = randomStream(1, "decoder test");
const sentence = (config: DecoderConfig, length: number): number[] =>
  Array.from({ length }, () => random.integer(config.vocabularySize));

/** Largest difference of one row of logits from the plain ones. */
function farthest(ours: Float32Array, row: number, plain: readonly number[]): number {
  const part = ours.subarray(row * plain.length, (row + 1) * plain.length);
  return plain.reduce((worst, value, index) => Math.max(worst, Math.abs(value - part[index]!)), 0);
}

describe.each(models)("%s", (_name, config) => {
  const { memory, plain } = weightsOf(config);

  it("computes the logits of an independent implementation, prompts shared or not", () => {
    // Two rows after a prompt of 5 tokens, one after a prompt of 3, one with nothing before it.
    const lists = [
      [5, 4, 7],
      [3, 6],
      [0, 5],
    ].map(([shared, ...rows]) => ({
      prompt: Int32Array.from(sentence(config, shared!)),
      rows: rows.map((length) => Int32Array.from(sentence(config, length))),
    }));
    const shape = { groups: 4, rows: 3, promptTime: 6, rowTime: 8, promptTokens: 9, rowTokens: 24 };
    const parameters = symbols(config);
    const hidden = decoderHidden(parameters, packInputs(shape, config), config);
    const program = compile({ logits: decoderLogits(parameters, hidden) });
    const packed = packMemory(shape, config);
    fillPack(packed, shape, config, lists);
    const binding = program.bind({ ...memory, ...packed });
    binding.runNow();
    let at = 0;
    for (const { prompt, rows } of lists) {
      for (const row of rows) {
        const expected = plainLogits(config, plain, [...prompt, ...row]).slice(prompt.length);
        for (const logits of expected)
          expect(farthest(binding.floats("logits"), at++, logits)).toBeLessThan(2e-5);
      }
    }
    expect(at).toBe(22);
    program.dispose();
  });
});

describe("parameters", () => {
  it.each(models)("of %s: matrices decay, norms and biases do not", (_name, config) => {
    const specs = leaves(decoderParameters(config));
    for (const { name, shape, decay, init } of specs) {
      const isVector = /norm|bias/.test(name);
      expect(decay, name).toBe(!isVector);
      expect(shape.length, name).toBe(isVector ? 1 : 2);
      if (/norm/.test(name)) expect(init).toBe("ones");
      if (/bias/.test(name)) expect(init).toBe("zeros");
    }
    const names = new Set(specs.map(({ name }) => name));
    expect(names.size).toBe(specs.length);
    expect(names.has("lm_head.weight")).toBe(!config.tiedEmbeddings);
    expect(names.has("model.layers.0.self_attn.q_norm.weight")).toBe(config.qkNorm);
    expect(names.has("model.layers.0.self_attn.k_proj.bias")).toBe(config.qkvBias);
    expect(names.has("model.layers.0.self_attn.o_proj.bias")).toBe(false);
  });
});
