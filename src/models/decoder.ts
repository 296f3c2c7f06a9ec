// The decoder family of Llama, Qwen2 and Qwen3: RMSNorm before attention and MLP, rotary positions, grouped heads, SwiGLU.
// Three flags tell the families apart: bias on q/k/v (Qwen2), norm on q/k (Qwen3), tied embeddings.
// Weights are [out, in] under the names of a Hugging Face checkpoint.

import type { ParameterSpec } from "../nn/parameters.ts";
import {
  add,
  assembleRows,
  attention,
  cachedAttention,
  constant,
  gatherRows,
  matmul,
  partitionRows,
  reshape,
  rmsNorm,
  rotary,
  scope,
  sharedAttention,
  slice,
  swiglu,
  type Tensor,
} from "../tensor/index.ts";
import type { PackInputs } from "./packing.ts";

export interface DecoderConfig {
  readonly vocabularySize: number;
  readonly contextLength: number;
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  /** Heads of keys and values; each serves heads / kvHeads query heads. */
  readonly kvHeads: number;
  readonly headSize: number;
  /** Width inside the MLP. */
  readonly hiddenWidth: number;
  readonly ropeTheta: number;
  readonly normEpsilon: number;
  readonly qkvBias: boolean;
  readonly qkNorm: boolean;
  readonly tiedEmbeddings: boolean;
  /** Low-rank adapters, the only parameters that are then trained. */
  readonly lora?: LoraConfig;
}

/** Projections that an adapter may sit on, by their names in a checkpoint. */
export const loraTargets = [
  "q_proj",
  "k_proj",
  "v_proj",
  "o_proj",
  "gate_proj",
  "up_proj",
  "down_proj",
] as const;

/** W x becomes W x + alpha / rank · B A x. Paper: LoRA, arXiv:2106.09685, section 4.1. */
export interface LoraConfig {
  readonly rank: number;
  readonly alpha: number;
  readonly targets: readonly (typeof loraTargets)[number][];
}

interface Linear<Leaf> {
  readonly weight: Leaf;
  readonly bias?: Leaf;
  /** Adapter: A [rank, in] and B [out, rank]. */
  readonly lora?: { readonly a: Leaf; readonly b: Leaf };
}

interface DecoderLayer<Leaf> {
  readonly attentionNorm: Leaf;
  readonly query: Linear<Leaf>;
  readonly key: Linear<Leaf>;
  readonly value: Linear<Leaf>;
  readonly output: Linear<Leaf>;
  readonly queryNorm?: Leaf;
  readonly keyNorm?: Leaf;
  readonly mlpNorm: Leaf;
  readonly gate: Linear<Leaf>;
  readonly up: Linear<Leaf>;
  readonly down: Linear<Leaf>;
}

export interface DecoderParameters<Leaf> {
  readonly embedding: Leaf;
  readonly layers: readonly DecoderLayer<Leaf>[];
  readonly norm: Leaf;
  readonly head?: Leaf;
}

/** Every parameter with its shape and initial values: normal(0, 0.02), projections into the residual stream smaller by sqrt(2 layers) (GPT-2). */
export function decoderParameters(config: DecoderConfig): DecoderParameters<ParameterSpec> {
  const { width, hiddenWidth, heads, kvHeads, headSize, layers, vocabularySize } = config;
  const deviation = 0.02;
  const table = (name: string): ParameterSpec => ({
    name,
    shape: [vocabularySize, width],
    init: { deviation },
    decay: true,
  });
  const matrix = (name: string, rows: number, columns: number, scale = 1): ParameterSpec => ({
    name,
    shape: [rows, columns],
    init: { deviation: deviation * scale },
    decay: true,
    hidden: true,
  });
  const vector = (name: string, length: number, init: "zeros" | "ones"): ParameterSpec => ({
    name,
    shape: [length],
    init,
    decay: false,
  });
  const residual = 1 / Math.sqrt(2 * layers);
  const layer = (index: number) => {
    const at = `model.layers.${index}`;
    const projection = (path: string, rows: number, columns: number, scale = 1) => ({
      weight: matrix(`${at}.${path}.weight`, rows, columns, scale),
      ...adapter(`${at}.${path}`, rows, columns, config.lora),
    });
    const withBias = (path: string, rows: number) => ({
      ...projection(path, rows, width),
      ...(config.qkvBias && { bias: vector(`${at}.${path}.bias`, rows, "zeros") }),
    });
    return {
      attentionNorm: vector(`${at}.input_layernorm.weight`, width, "ones"),
      query: withBias("self_attn.q_proj", heads * headSize),
      key: withBias("self_attn.k_proj", kvHeads * headSize),
      value: withBias("self_attn.v_proj", kvHeads * headSize),
      output: projection("self_attn.o_proj", width, heads * headSize, residual),
      ...(config.qkNorm && {
        queryNorm: vector(`${at}.self_attn.q_norm.weight`, headSize, "ones"),
        keyNorm: vector(`${at}.self_attn.k_norm.weight`, headSize, "ones"),
      }),
      mlpNorm: vector(`${at}.post_attention_layernorm.weight`, width, "ones"),
      gate: projection("mlp.gate_proj", hiddenWidth, width),
      up: projection("mlp.up_proj", hiddenWidth, width),
      down: projection("mlp.down_proj", width, hiddenWidth, residual),
    };
  };
  return {
    embedding: table("model.embed_tokens.weight"),
    layers: Array.from({ length: layers }, (_, index) => layer(index)),
    norm: vector("model.norm.weight", width, "ones"),
    ...(!config.tiedEmbeddings && { head: table("lm_head.weight") }),
  };
}

/** Name of an adapter's half, as PEFT has it but for its prefix. */
export const adapterName = (path: string, half: "A" | "B"): string => `${path}.lora_${half}.weight`;

/** A starts normal with the variance of PEFT's (1 / 3 in), B at zero: the adapter changes nothing yet. */
function adapter(
  path: string,
  rows: number,
  columns: number,
  lora: LoraConfig | undefined,
): { lora?: { a: ParameterSpec; b: ParameterSpec } } {
  const isTarget = lora?.targets.some((target) => path.endsWith(`.${target}`)) === true;
  if (!isTarget) return {};
  const half = (
    name: "A" | "B",
    shape: readonly [number, number],
    init: ParameterSpec["init"],
  ): ParameterSpec => ({ name: adapterName(path, name), shape, init, decay: true });
  return {
    lora: {
      a: half("A", [lora.rank, columns], { deviation: 1 / Math.sqrt(3 * columns) }),
      b: half("B", [rows, lora.rank], "zeros"),
    },
  };
}

/** x [rows, in] to [rows, out]. */
function linear(x: Tensor, { weight, bias, lora }: Linear<Tensor>, config: DecoderConfig): Tensor {
  const y = matmul(x, weight, { transposeB: true });
  const whole = bias === undefined ? y : add(y, bias);
  if (lora === undefined) return whole;
  const { alpha, rank } = config.lora!;
  const low = matmul(x, lora.a, { transposeB: true }); // [rows, rank]
  return add(whole, matmul(low, lora.b, { transposeB: true, scale: alpha / rank }));
}

/** Attention of one layer over its projections [tokens, heads · headSize]; returns [tokens, heads · headSize]. */
type Attend = (layer: number, query: Tensor, key: Tensor, value: Tensor) => Tensor;

function normalisedHeads(x: Tensor, scale: Tensor | undefined, config: DecoderConfig): Tensor {
  if (scale === undefined) return x;
  return reshape(rmsNorm(reshape(x, [-1, config.headSize]), scale, config.normEpsilon), x.shape);
}

/**
 * Final hidden states [tokens, width] of embedded tokens [tokens, width]. `keep` picks the tokens whose result is wanted: the
 * last layer reads keys and values of all tokens, and computes the rest for those alone.
 */
function blocks(
  parameters: DecoderParameters<Tensor>,
  embedded: Tensor,
  config: DecoderConfig,
  attend: Attend,
  keep: (x: Tensor) => Tensor = (x) => x,
): Tensor {
  let x = embedded;
  parameters.layers.forEach((layer, index) =>
    scope(`layer${index}`, () => {
      const kept = (all: Tensor): Tensor => (index === config.layers - 1 ? keep(all) : all);
      x = scope("attention", () => {
        const normed = rmsNorm(x, layer.attentionNorm, config.normEpsilon);
        const query = normalisedHeads(
          linear(kept(normed), layer.query, config),
          layer.queryNorm,
          config,
        );
        const key = normalisedHeads(linear(normed, layer.key, config), layer.keyNorm, config);
        const mixed = attend(index, query, key, linear(normed, layer.value, config));
        return add(kept(x), linear(mixed, layer.output, config));
      });
      x = scope("mlp", () => {
        const normed = rmsNorm(x, layer.mlpNorm, config.normEpsilon);
        return add(
          x,
          linear(
            swiglu(linear(normed, layer.gate, config), linear(normed, layer.up, config)),
            layer.down,
            config,
          ),
        );
      });
    }),
  );
  return rmsNorm(x, parameters.norm, config.normEpsilon);
}

/** cos and sin of position · theta^(-2i / headSize), each [positions, headSize / 2]. */
export function rotaryTables(config: DecoderConfig): readonly [Tensor, Tensor] {
  const half = config.headSize / 2;
  const positions = Math.ceil(config.contextLength / 32) * 32; // rows are padded to multiples of 16 or 32
  const shape = [positions, half];
  const table = (wave: (angle: number) => number): Tensor =>
    constant(
      Float32Array.from({ length: positions * half }, (_, index) =>
        wave(Math.floor(index / half) * config.ropeTheta ** (-(index % half) / half)),
      ),
      shape,
    );
  return [table(Math.cos), table(Math.sin)];
}

/** 0 on and below the diagonal, -1e9 above, repeated for the query heads of a group: [groups · time, time]. */
function causalMask(groups: number, time: number): Tensor {
  const values = Float32Array.from({ length: groups * time * time }, (_, index) =>
    index % time > Math.floor(index / time) % time ? -1e9 : 0,
  );
  return constant(values, [groups * time, time]);
}

/** Hidden states [rowTokens, width] of the rows of a packed batch: every token that predicts one of a completion. */
export function decoderHidden(
  parameters: DecoderParameters<Tensor>,
  pack: PackInputs,
  config: DecoderConfig,
): Tensor {
  const { groups, rows, promptTime, rowTime, promptTokens, rowTokens } = pack.shape;
  const { kvHeads, headSize } = config;
  const sharing = config.heads / kvHeads;
  const tokens = promptTokens + rowTokens;
  const tail = (x: Tensor): Tensor => (promptTokens === 0 ? x : slice(x, 0, promptTokens, tokens));
  const [cosine, sine] = rotaryTables(config);
  const lastPositions = tail(pack.positions);
  const rowMask = causalMask(sharing, rowTime);
  const promptCausal = promptTime > 0 ? causalMask(sharing, promptTime) : rowMask;
  const byHead = (x: Tensor): Tensor => reshape(x, [-1, headSize]);
  const ofPrompts = (x: Tensor, time: number): Tensor =>
    reshape(x, [groups, kvHeads, time, headSize]);
  const ofRows = (x: Tensor, time: number): Tensor =>
    reshape(x, [groups * kvHeads * rows, time, headSize]);
  const attend: Attend = (layer, query, key, value) => {
    const isLast = layer === config.layers - 1;
    const queryMap = isLast ? pack.lastQueries : pack.queries;
    const turnedQuery = rotary(query, isLast ? lastPositions : pack.positions, cosine, sine);
    const turnedKey = rotary(key, pack.positions, cosine, sine);
    const queries = partitionRows(byHead(turnedQuery), queryMap.places, queryMap.indices);
    const { places, indices } = pack.keys;
    const keys = partitionRows(byHead(turnedKey), places, indices);
    const values = partitionRows(byHead(value), places, indices);
    const own = {
      query: ofRows(queries.at(-1)!, sharing * rowTime),
      key: ofRows(keys.at(-1)!, rowTime),
      value: ofRows(values.at(-1)!, rowTime),
    };
    const parts: Tensor[] = [];
    if (promptTime === 0) parts.push(attention(own.query, own.key, own.value, rowMask));
    else {
      const promptKey = ofPrompts(keys[0]!, promptTime);
      const promptValue = ofPrompts(values[0]!, promptTime);
      if (!isLast) {
        const promptQuery = ofPrompts(queries[0]!, sharing * promptTime);
        parts.push(attention(promptQuery, promptKey, promptValue, promptCausal));
      }
      const { promptMask } = pack;
      parts.push(sharedAttention({ ...own, promptKey, promptValue, promptMask, mask: rowMask }));
    }
    const joined = assembleRows(parts.map(byHead), queryMap.places, queryMap.indices);
    return reshape(joined, [-1, config.heads * headSize]);
  };
  const embedded = gatherRows(parameters.embedding, pack.tokens);
  return blocks(parameters, embedded, config, attend, tail);
}

/** Logits [rows, vocabulary] of hidden states [rows, width]. */
export function decoderLogits(parameters: DecoderParameters<Tensor>, hidden: Tensor): Tensor {
  return scope("head", () =>
    matmul(hidden, parameters.head ?? parameters.embedding, { transposeB: true }),
  );
}

export interface CacheInputs {
  /** One pair a layer, each [batch, kvHeads, capacity, headSize]. */
  readonly caches: readonly { readonly keys: Tensor; readonly values: Tensor }[];
  readonly lastPosition: Tensor;
  readonly totalLength: Tensor;
}

/**
 * Hidden states [batch · time, width] of new tokens int32 [batch, time] after what the caches hold, and the caches with the
 * new tokens in them. time > 1 only on empty caches (a prompt).
 */
export function decoderCached(
  parameters: DecoderParameters<Tensor>,
  tokens: Tensor,
  cache: CacheInputs,
  config: DecoderConfig,
): { hidden: Tensor; caches: { keys: Tensor; values: Tensor }[] } {
  const [batch, time] = tokens.shape as [number, number];
  const [cosine, sine] = rotaryTables(config);
  const caches: { keys: Tensor; values: Tensor }[] = [];
  const attend: Attend = (layer, query, key, value) => {
    const rows = (x: Tensor): Tensor => reshape(x, [batch, time, -1]);
    const { keys: keyCache, values: valueCache } = cache.caches[layer]!;
    const [attended, keys, values] = cachedAttention(
      {
        query: rows(query),
        key: rows(key),
        value: rows(value),
        keyCache,
        valueCache,
        lastPosition: cache.lastPosition,
        totalLength: cache.totalLength,
        cosine,
        sine,
      },
      config.heads,
    );
    caches.push({ keys, values });
    return reshape(attended, [batch * time, config.heads * config.headSize]);
  };
  const embedded = gatherRows(parameters.embedding, reshape(tokens, [batch * time]));
  return { hidden: blocks(parameters, embedded, config, attend), caches };
}
