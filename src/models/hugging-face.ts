// A model folder in the Hugging Face layout: config.json, and weights in model.safetensors or in the shards that
// model.safetensors.index.json names. transformers and vLLM load what we write.

import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { DataError, shownJson } from "../core/errors.ts";
import { leaves, type ParameterSpec } from "../nn/parameters.ts";
import { sizeOf } from "../tensor/index.ts";
import { SafetensorsFile, writeSafetensors, type TensorReader } from "../nn/safetensors.ts";
import { decoderParameters, type DecoderConfig } from "./decoder.ts";

const FAMILIES = ["llama", "qwen2", "qwen3"] as const;
type Family = (typeof FAMILIES)[number];

const ARCHITECTURES: Readonly<Record<Family, string>> = {
  llama: "LlamaForCausalLM",
  qwen2: "Qwen2ForCausalLM",
  qwen3: "Qwen3ForCausalLM",
};

/** Numbers of a weight file that we write. */
export type WeightDtype = "float32" | "bfloat16";

const no = z.literal(false).nullish();

/** Far more than any published model has; a damaged number would fill the memory with names of parameters. */
const MOST_LAYERS = 1000;

/** What this decoder computes; a setting that asks for anything else is refused, not ignored. */
const configSchema = z
  .object({
    model_type: z.enum(FAMILIES),
    vocab_size: z.int().positive(),
    max_position_embeddings: z.int().positive(),
    hidden_size: z.int().positive(),
    num_hidden_layers: z.int().positive().max(MOST_LAYERS),
    num_attention_heads: z.int().positive(),
    num_key_value_heads: z.int().positive().nullish(),
    head_dim: z.int().positive().nullish(),
    intermediate_size: z.int().positive(),
    hidden_act: z.literal("silu").optional(),
    rope_theta: z.number().positive().optional(),
    rope_scaling: z.null().optional(),
    rope_parameters: z
      .object({
        rope_theta: z.number().positive(),
        rope_type: z.literal("default").optional(),
        partial_rotary_factor: z.literal(1).nullish(),
      })
      .optional(),
    rms_norm_eps: z.number().positive(),
    tie_word_embeddings: z.boolean().optional(),
    attention_bias: no,
    mlp_bias: no,
    use_sliding_window: no,
    partial_rotary_factor: z.literal(1).nullish(),
    layer_types: z.array(z.literal("full_attention")).nullish(),
  })
  .check(({ value, issues }) => {
    const { hidden_size: width, num_attention_heads: heads, num_key_value_heads: kvHeads } = value;
    const refuse = (path: string, message: string): void =>
      void issues.push({ code: "custom", path: [path], input: value, message });
    if (!value.head_dim && width % heads !== 0) refuse("hidden_size", `a multiple of ${heads}`);
    if (heads % (kvHeads ?? heads) !== 0) refuse("num_key_value_heads", `a divisor of ${heads}`);
  });

const familyOf = (config: DecoderConfig): Family =>
  config.qkNorm ? "qwen3" : config.qkvBias ? "qwen2" : "llama";

function toHuggingFace(config: DecoderConfig, dtype: WeightDtype): Record<string, unknown> {
  const family = familyOf(config);
  return {
    architectures: [ARCHITECTURES[family]],
    model_type: family,
    vocab_size: config.vocabularySize,
    max_position_embeddings: config.contextLength,
    hidden_size: config.width,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headSize,
    intermediate_size: config.hiddenWidth,
    hidden_act: "silu",
    rope_theta: config.ropeTheta,
    rms_norm_eps: config.normEpsilon,
    tie_word_embeddings: config.tiedEmbeddings,
    attention_bias: false,
    attention_dropout: 0,
    use_sliding_window: false,
    torch_dtype: dtype,
  };
}

function fromHuggingFace(path: string, json: unknown): DecoderConfig {
  const parsed = configSchema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new DataError({
      where: path,
      expected: `a Llama, Qwen2 or Qwen3 config (${issue.path.join(".")}: ${issue.message})`,
      got: shownJson(
        issue.path.reduce<unknown>(
          (value, key) => (value as Record<PropertyKey, unknown>)?.[key],
          json,
        ),
      ),
    });
  }
  const config = parsed.data;
  return {
    vocabularySize: config.vocab_size,
    contextLength: config.max_position_embeddings,
    width: config.hidden_size,
    layers: config.num_hidden_layers,
    heads: config.num_attention_heads,
    kvHeads: config.num_key_value_heads ?? config.num_attention_heads,
    headSize: config.head_dim ?? config.hidden_size / config.num_attention_heads,
    hiddenWidth: config.intermediate_size,
    ropeTheta: config.rope_theta ?? config.rope_parameters?.rope_theta ?? 10_000,
    normEpsilon: config.rms_norm_eps,
    qkvBias: config.model_type === "qwen2",
    qkNorm: config.model_type === "qwen3",
    tiedEmbeddings: config.tie_word_embeddings ?? false,
  };
}

/** Writes config and weights; `views` are the parameters by name. */
export async function writeModel(
  directory: string,
  config: DecoderConfig,
  views: Readonly<Record<string, Float32Array>>,
  dtype: WeightDtype = "float32",
): Promise<void> {
  const json = (name: string, value: unknown): Promise<void> =>
    writeFile(join(directory, name), `${JSON.stringify(value, null, 2)}\n`);
  await json("config.json", toHuggingFace(config, dtype));
  const tensors = leaves(decoderParameters(config)).map(
    ({ name, shape }) => [name, { shape, data: views[name]! }] as const,
  );
  const path = join(directory, WHOLE);
  await writeSafetensors(path, Object.fromEntries(tensors), dtype === "float32" ? "F32" : "BF16");
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch (cause) {
    const got = (cause as Error).message;
    throw new DataError({ where: path, expected: "a readable JSON file", got, cause });
  }
}

/** The config of a model folder. */
export async function readModelConfig(directory: string): Promise<DecoderConfig> {
  const path = join(directory, "config.json");
  if (!existsSync(path) && existsSync(join(directory, "flow.json"))) {
    const got = "an image model (flow.json)";
    throw new DataError({ where: directory, expected: "a decoder (config.json)", got });
  }
  return fromHuggingFace(path, await readJson(path));
}

/** Throws a DataError when a tokenizer has ids that the model does not know. A smaller tokenizer is usual: tables are padded. */
export function checkVocabulary(
  directory: string,
  config: DecoderConfig,
  tokenizer: { readonly vocabularySize: number },
): void {
  if (tokenizer.vocabularySize <= config.vocabularySize) return;
  throw new DataError({
    where: join(directory, "tokenizer.json"),
    expected: `token ids in [0, ${config.vocabularySize}), the vocabulary of config.json`,
    got: `id ${tokenizer.vocabularySize - 1}`,
    hint: "does the tokenizer belong to another model?",
  });
}

const WHOLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/** The weights of a model folder, in one file or in shards; `close` it. Throws a DataError that names file and tensor. */
export async function openWeights(directory: string): Promise<TensorReader> {
  const whole = join(directory, WHOLE);
  if (existsSync(whole)) return SafetensorsFile.open(whole);
  const index = join(directory, INDEX);
  if (existsSync(index)) return openShards(directory, index);
  throw new DataError({
    where: directory,
    expected: `${WHOLE} or ${INDEX}`,
    got: "neither",
    hint: "weights in other formats are not read",
  });
}

async function openShards(directory: string, index: string): Promise<TensorReader> {
  const parsed = indexSchema.safeParse(await readJson(index));
  if (!parsed.success) {
    const got = parsed.error.issues[0]!.message;
    throw new DataError({ where: index, expected: "a weight_map of file names by tensor", got });
  }
  const shards = new Map<string, SafetensorsFile>();
  const shapes = new Map<string, readonly number[]>();
  const close = async (): Promise<void> => {
    for (const shard of shards.values()) await shard.close();
  };
  const map = new Map(Object.entries(parsed.data.weight_map));
  try {
    for (const [name, file] of map) {
      if (basename(file) !== file || !existsSync(join(directory, file))) {
        const expected = `a file of the same folder for ${name}`;
        throw new DataError({ where: index, expected, got: `${file}, which is not there` });
      }
      if (!shards.has(file)) shards.set(file, await SafetensorsFile.open(join(directory, file)));
      const shape = shards.get(file)!.shapes.get(name);
      if (shape === undefined) {
        const expected = `${name}, which ${INDEX} says is here`;
        throw new DataError({ where: join(directory, file), expected, got: "no such tensor" });
      }
      shapes.set(name, shape);
    }
  } catch (error) {
    await close();
    throw error;
  }
  const readInto = async (name: string, target: Float32Array): Promise<void> => {
    const shard = shards.get(map.get(name) ?? "");
    if (shard === undefined)
      throw new DataError({ where: index, expected: `a tensor ${name}`, got: "none" });
    await shard.readInto(name, target);
  };
  return { shapes, readInto, close };
}

export interface ReadWeightsOptions {
  /** Fill only the first rows of tables that have more tokens than the file. */
  readonly largerVocabulary?: boolean;
}

/** Opens the weights of a folder for a model of `config`; the parameters to read, in their order. `close` the reader. */
async function openFitting(
  directory: string,
  config: DecoderConfig,
  { largerVocabulary = false }: ReadWeightsOptions,
): Promise<{ reader: TensorReader; specs: readonly ParameterSpec[] }> {
  const fileConfig = await readModelConfig(directory);
  const mayGrow = largerVocabulary && fileConfig.vocabularySize < config.vocabularySize;
  const expectedConfig = mayGrow
    ? { ...config, vocabularySize: fileConfig.vocabularySize }
    : config;
  const specs = leaves(decoderParameters(expectedConfig));
  const reader = await openWeights(directory);
  const where = join(directory, existsSync(join(directory, WHOLE)) ? WHOLE : INDEX);
  try {
    const strangers = new Set(reader.shapes.keys());
    for (const { name, shape } of specs) {
      const found = reader.shapes.get(name);
      if (found?.join() !== shape.join()) {
        const expected = `${name} of shape [${shape.join(", ")}]`;
        const got = found === undefined ? "none" : `[${found.join(", ")}]`;
        throw new DataError({ where, expected, got });
      }
      strangers.delete(name);
    }
    // Files of tied models may hold the embedding a second time, old ones a table of the rotary positions.
    const isKnown = (name: string): boolean =>
      name === "lm_head.weight" || name.endsWith("rotary_emb.inv_freq");
    const stranger = [...strangers].find((name) => !isKnown(name));
    if (stranger !== undefined) {
      const expected = "the parameters of this model and no others";
      throw new DataError({ where, expected, got: stranger });
    }
    // What shapes do not show.
    for (const key of ["heads", "ropeTheta", "normEpsilon"] as const) {
      if (fileConfig[key] === config[key]) continue;
      const [expected, got] = [`${key} ${config[key]}`, String(fileConfig[key])];
      throw new DataError({ where: join(directory, "config.json"), expected, got });
    }
  } catch (error) {
    await reader.close();
    throw error;
  }
  return { reader, specs };
}

/**
 * Checks, without reading the numbers, that a folder has weights for a model of `config`: files that are there and whole, the
 * names and shapes in them. Cheap, so it comes before any memory is taken. Throws a DataError like `readWeights`.
 */
export async function checkWeights(
  directory: string,
  config: DecoderConfig,
  options: ReadWeightsOptions = {},
): Promise<void> {
  const { reader } = await openFitting(directory, config, options);
  await reader.close();
}

/**
 * Reads the weights of a model folder tensor by tensor into `views`, the memory of every parameter of `config` by name.
 * Throws a DataError when a parameter is missing, has another shape, or the files hold parameters that this model does not have.
 */
export async function readWeights(
  directory: string,
  config: DecoderConfig,
  views: Readonly<Record<string, Float32Array>>,
  options: ReadWeightsOptions = {},
): Promise<void> {
  const { reader, specs } = await openFitting(directory, config, options);
  try {
    for (const { name, shape } of specs)
      await reader.readInto(name, views[name]!.subarray(0, sizeOf(shape)));
  } finally {
    await reader.close();
  }
}
