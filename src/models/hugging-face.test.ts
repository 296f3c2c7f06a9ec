import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { livelyValues, smallModels } from "../../tests/plain-decoder.ts";
import { DataError } from "../core/errors.ts";
import { leaves } from "../nn/parameters.ts";
import { readSafetensors, writeSafetensors } from "../nn/safetensors.ts";
import { sizeOf } from "../tensor/index.ts";
import { decoderParameters, type DecoderConfig } from "./decoder.ts";
import {
  checkVocabulary,
  openWeights,
  readModelConfig,
  readWeights,
  writeModel,
} from "./hugging-face.ts";

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

const empty = (config: DecoderConfig): Record<string, Float32Array> =>
  Object.fromEntries(
    leaves(decoderParameters(config)).map(({ name, shape }) => [
      name,
      new Float32Array(sizeOf(shape)),
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
    expect(await readModelConfig(root)).toEqual(config);
    const found = empty(config);
    await readWeights(root, config, found);
    expect(found).toEqual(views(config));
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
    ["windows in some layers", { layer_types: ["full_attention", "sliding"] }, /layer_types\.1/],
    ["positions in a part of the head", { partial_rotary_factor: 0.5 }, /partial_rotary_factor/],
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

describe("weights", () => {
  const config = smallModels["Qwen3, tied"]!;
  const norm = "model.norm.weight";
  const index = (map: Record<string, string>): void =>
    writeFileSync(
      join(root, "model.safetensors.index.json"),
      JSON.stringify({ metadata: { total_size: 1 }, weight_map: map }),
    );
  /** A folder whose tensors lie in two shards. */
  const shard = async (): Promise<Record<string, string>> => {
    rmSync(root, { recursive: true });
    mkdirSync(root);
    await writeModel(root, config, views(config));
    const tensors = Object.entries(
      Object.fromEntries(await readSafetensors(join(root, "model.safetensors"))),
    );
    rmSync(join(root, "model.safetensors"));
    const map: Record<string, string> = {};
    for (const part of [0, 1]) {
      const own = tensors.filter((_, place) => place % 2 === part);
      const file = `model-0000${part + 1}-of-00002.safetensors`;
      for (const [name] of own) map[name] = file;
      await writeSafetensors(join(root, file), Object.fromEntries(own));
    }
    index(map);
    return map;
  };
  const reading = (as: DecoderConfig = config) => readWeights(root, as, empty(as));

  it("come from shards as from one file", async () => {
    await shard();
    const found = empty(config);
    await readWeights(root, config, found);
    expect(found).toEqual(views(config));
    const reader = await openWeights(root);
    await expect(reader.readInto("nowhere", new Float32Array())).rejects.toThrow(
      /index\.json: expected a tensor nowhere, got none/,
    );
    await expect(reader.readInto(norm, new Float32Array(3))).rejects.toThrow(
      /expected 3 numbers of model\.norm\.weight, got 24/,
    );
    await reader.close();
  });

  it("as bfloat16 are the nearest numbers", async () => {
    await shard();
    await writeModel(root, config, views(config), "bfloat16");
    const found = empty(config);
    await readWeights(root, config, found);
    for (const [name, values] of Object.entries(views(config))) {
      values.forEach((value, place) =>
        expect(Math.abs(found[name]![place]! - value)).toBeLessThanOrEqual(
          Math.abs(value) * 2 ** -8,
        ),
      );
    }
    const json = JSON.parse(readFileSync(join(root, "config.json"), "utf8")) as object;
    expect(json).toMatchObject({ torch_dtype: "bfloat16" });
  });

  it("that do not hold together are refused, and the error says where", async () => {
    let map = await shard();
    rmSync(join(root, map[norm]!));
    await expect(reading()).rejects.toThrow(DataError);
    await expect(reading()).rejects.toThrow(
      /index\.json: expected a file of the same folder for .*, got model-0000\d-of-00002/,
    );
    map = await shard();
    index({ ...map, [norm]: "../elsewhere.safetensors" });
    await expect(reading()).rejects.toThrow(/expected a file of the same folder for model\.norm/);
    const other = Object.values(map).find((file) => file !== map[norm])!;
    index({ ...map, [norm]: other });
    await expect(reading()).rejects.toThrow(
      new RegExp(`${other}: expected model.norm.weight, which .* says is here, got no such tensor`),
    );
    const { [norm]: _gone, ...rest } = map;
    index(rest);
    await expect(reading()).rejects.toThrow(
      /index\.json: expected model\.norm\.weight of shape \[24\], got none/,
    );
    for (const text of ["{", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}']) {
      writeFileSync(join(root, "model.safetensors.index.json"), text);
      await expect(reading()).rejects.toThrow(/index\.json: expected a /);
    }
    rmSync(join(root, "model.safetensors.index.json"));
    await expect(reading()).rejects.toThrow(
      /expected model\.safetensors or model\.safetensors\.index\.json, got neither/,
    );
  });

  it("of another model are refused", async () => {
    await writeModel(root, config, views(config));
    await expect(reading({ ...config, layers: 2 })).rejects.toThrow(
      /expected model\.layers\.1\.input_layernorm\.weight of shape \[24\], got none/,
    );
    await expect(reading({ ...config, qkNorm: false })).rejects.toThrow(
      /expected the parameters of this model and no others, got .*q_norm/,
    );
    await expect(reading({ ...config, ropeTheta: 5 })).rejects.toThrow(
      /config\.json: expected ropeTheta 5, got 100/,
    );
  });
});

describe("a tokenizer", () => {
  const config = smallModels["Qwen3, tied"]!;
  it("may know less than the model, not more", () => {
    expect(() => checkVocabulary("m", config, { vocabularySize: 20 })).not.toThrow();
    expect(() => checkVocabulary("m", config, { vocabularySize: 24 })).toThrow(
      /tokenizer\.json: expected token ids in \[0, 23\), .*, got id 23/,
    );
  });
});
