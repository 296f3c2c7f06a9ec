// A model folder in the Hugging Face layout: config.json, model.safetensors, generation_config.json. transformers and vLLM load it.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { DataError } from "../core/errors.ts";
import { leaves } from "../nn/parameters.ts";
import { readSafetensors, writeSafetensors, type NamedArray } from "../nn/safetensors.ts";
import { decoderParameters, type DecoderConfig } from "./decoder.ts";

const FAMILIES = ["llama", "qwen2", "qwen3"] as const;
type Family = (typeof FAMILIES)[number];

const ARCHITECTURES: Readonly<Record<Family, string>> = {
  llama: "LlamaForCausalLM",
  qwen2: "Qwen2ForCausalLM",
  qwen3: "Qwen3ForCausalLM",
};

const no = z.literal(false).nullish();

/** What this decoder computes; a setting that asks for anything else is refused, not ignored. */
const configSchema = z
  .object({
    model_type: z.enum(FAMILIES),
    vocab_size: z.int().positive(),
    max_position_embeddings: z.int().positive(),
    hidden_size: z.int().positive(),
    num_hidden_layers: z.int().positive(),
    num_attention_heads: z.int().positive(),
    num_key_value_heads: z.int().positive().nullish(),
    head_dim: z.int().positive().nullish(),
    intermediate_size: z.int().positive(),
    hidden_act: z.literal("silu").optional(),
    rope_theta: z.number().positive().optional(),
    rope_scaling: z.null().optional(),
    rope_parameters: z
      .object({ rope_theta: z.number().positive(), rope_type: z.literal("default").optional() })
      .optional(),
    rms_norm_eps: z.number().positive(),
    tie_word_embeddings: z.boolean().optional(),
    attention_bias: no,
    mlp_bias: no,
    use_sliding_window: no,
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

function toHuggingFace(config: DecoderConfig): Record<string, unknown> {
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
    torch_dtype: "float32",
  };
}

function fromHuggingFace(path: string, json: unknown): DecoderConfig {
  const parsed = configSchema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new DataError({
      where: path,
      expected: `a Llama, Qwen2 or Qwen3 config (${issue.path.join(".")}: ${issue.message})`,
      got:
        JSON.stringify(
          issue.path.reduce<unknown>(
            (value, key) => (value as Record<PropertyKey, unknown>)?.[key],
            json,
          ),
        ) ?? "nothing",
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
): Promise<void> {
  const json = (name: string, value: unknown): Promise<void> =>
    writeFile(join(directory, name), `${JSON.stringify(value, null, 2)}\n`);
  await json("config.json", toHuggingFace(config));
  const tensors = leaves(decoderParameters(config)).map(
    ({ name, shape }) => [name, { shape, data: views[name]! }] as const,
  );
  await writeSafetensors(join(directory, "model.safetensors"), Object.fromEntries(tensors));
}

/** The config of a model folder. */
export async function readModelConfig(directory: string): Promise<DecoderConfig> {
  const path = join(directory, "config.json");
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, "utf8"));
  } catch (cause) {
    throw new DataError({
      where: path,
      expected: "a readable JSON file",
      got: (cause as Error).message,
      cause,
    });
  }
  return fromHuggingFace(path, json);
}

/** Config and weights of a model folder. */
export async function readModel(
  directory: string,
): Promise<{ config: DecoderConfig; weights: Map<string, NamedArray> }> {
  return {
    config: await readModelConfig(directory),
    weights: await readSafetensors(join(directory, "model.safetensors")),
  };
}
