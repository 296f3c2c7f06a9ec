import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { livelyValues, smallModels } from "../../tests/plain-decoder.ts";
import { DataError } from "../core/errors.ts";
import { leaves } from "../nn/parameters.ts";
import { sizeOf } from "../tensor/index.ts";
import { decoderParameters, type DecoderConfig } from "./decoder.ts";
import { readModel, readModelConfig, writeModel } from "./hugging-face.ts";

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-model-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const views = (config: DecoderConfig): Record<string, Float32Array> =>
  Object.fromEntries(
    leaves(decoderParameters(config)).map(({ name, shape }) => [
      name,
      livelyValues(name, sizeOf(shape)),
    ]),
  );

const readConfig = async (json: unknown): Promise<DecoderConfig> => {
  writeFileSync(join(root, "config.json"), typeof json === "string" ? json : JSON.stringify(json));
  return readModelConfig(root);
};

/** config.json of Qwen/Qwen2-0.5B, as published. */
const qwen2 = {
  architectures: ["Qwen2ForCausalLM"],
  attention_dropout: 0.0,
  bos_token_id: 151643,
  eos_token_id: 151643,
  hidden_act: "silu",
  hidden_size: 896,
  initializer_range: 0.02,
  intermediate_size: 4864,
  max_position_embeddings: 131072,
  max_window_layers: 24,
  model_type: "qwen2",
  num_attention_heads: 14,
  num_hidden_layers: 24,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000.0,
  sliding_window: 131072,
  tie_word_embeddings: true,
  torch_dtype: "bfloat16",
  use_cache: true,
  use_sliding_window: false,
  vocab_size: 151936,
};

describe("a model folder", () => {
  it.each(Object.entries(smallModels))("keeps %s as it is", async (_name, config) => {
    await writeModel(root, config, views(config));
    const { config: found, weights } = await readModel(root);
    expect(found).toEqual(config);
    for (const [name, data] of Object.entries(views(config))) {
      expect(weights.get(name)!.data).toEqual(data);
    }
    expect(weights.size).toBe(leaves(decoderParameters(config)).length);
    const json = JSON.parse(readFileSync(join(root, "config.json"), "utf8")) as object;
    const family = config.qkNorm ? "Qwen3" : config.qkvBias ? "Qwen2" : "Llama";
    expect(json).toMatchObject({
      architectures: [`${family}ForCausalLM`],
      model_type: family.toLowerCase(),
    });
  });

  it("reads a published config", async () => {
    expect(await readConfig(qwen2)).toEqual({
      vocabularySize: 151936,
      contextLength: 131072,
      width: 896,
      layers: 24,
      heads: 14,
      kvHeads: 2,
      headSize: 64,
      hiddenWidth: 4864,
      ropeTheta: 1_000_000,
      normEpsilon: 1e-6,
      qkvBias: true,
      qkNorm: false,
      tiedEmbeddings: true,
    });
    // What transformers 5 writes; and what old configs leave out.
    const { rope_theta: ropeTheta, num_key_value_heads: _kv, ...rest } = qwen2;
    const nested = { ...rest, rope_parameters: { rope_type: "default", rope_theta: ropeTheta } };
    expect(await readConfig(nested)).toMatchObject({ ropeTheta: 1_000_000, kvHeads: 14 });
  });

  it.each([
    ["another family", { model_type: "mamba" }, /model_type: .*got "mamba"/],
    ["no width", { hidden_size: undefined }, /hidden_size: .*got nothing/],
    ["a width that heads do not divide", { hidden_size: 900 }, /hidden_size/],
    ["heads that key heads do not divide", { num_key_value_heads: 4 }, /num_key_value_heads/],
    [
      "a bias that this decoder does not have",
      { model_type: "llama", attention_bias: true },
      /attention_bias/,
    ],
    ["stretched positions", { rope_scaling: { rope_type: "yarn", factor: 4 } }, /rope_scaling/],
    [
      "stretched positions, new style",
      { rope_parameters: { rope_type: "llama3", rope_theta: 1e4 } },
      /rope_parameters\.rope_type/,
    ],
    ["windows of attention", { use_sliding_window: true }, /use_sliding_window/],
    ["another activation", { hidden_act: "gelu" }, /hidden_act/],
  ])("with %s is refused rather than computed wrongly", async (_title, change, message) => {
    const reading = readConfig({ ...qwen2, ...change });
    await expect(reading).rejects.toThrow(DataError);
    await expect(reading).rejects.toThrow(message);
    await expect(reading).rejects.toThrow(join(root, "config.json"));
  });

  it("whose config is anything else is an error that names the file", async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.string(), fc.json()), async (text) => {
        const reading = readConfig(text);
        await expect(reading).rejects.toThrow(DataError);
      }),
      { numRuns: 300 },
    );
    rmSync(join(root, "config.json"));
    await expect(readModelConfig(root)).rejects.toThrow(
      /config\.json: expected a readable JSON file/,
    );
  });
});
