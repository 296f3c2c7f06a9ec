// The decoder family of Llama, Qwen2 and Qwen3: RMSNorm before attention and MLP, rotary positions, grouped heads, SwiGLU.
// Three flags tell the families apart: bias on q/k/v (Qwen2), norm on q/k (Qwen3), tied embeddings.
// Weights are [out, in] under the names of a Hugging Face checkpoint.

import type { ParameterSpec } from "../nn/parameters.ts";
import {
  add,
  assembleRows,
  attention,
  concat,
  constant,
  gatherRows,
  matmul,
  mul,
  partitionRows,
  reshape,
  rmsNorm,
  rotary,
  scope,
  sharedAttention,
  slice,
  softmax,
  sum,
  swiglu,
  transpose,
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

export interface Linear<Leaf> {
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
export function adapter(
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
export function linear(
  x: Tensor,
  { weight, bias, lora }: Linear<Tensor>,
  config: Pick<DecoderConfig, "lora">,
): Tensor {
  const y = matmul(x, weight, { transposeB: true });
  const whole = bias === undefined ? y : add(y, bias);
  if (lora === undefined) return whole;
  const { alpha, rank } = config.lora!;
  const low = matmul(x, lora.a, { transposeB: true }); // [rows, rank]
  return add(whole, matmul(low, lora.b, { transposeB: true, scale: alpha / rank }));
}

/** With more rows the transposed form is no faster. */
const FEW_ROWS = 64;

/**
 * The same for few rows: W xᵀ reads the weights in order and packs only x, twice as fast with 16 rows and cold weights
 * (docs/log.md). Result [out, rows].
 */
const column = (x: Tensor, { weight }: Linear<Tensor>): Tensor =>
  matmul(weight, x, { transposeB: true });

function fewRows(x: Tensor, linearity: Linear<Tensor>): Tensor {
  const y = transpose(column(x, linearity), [1, 0]);
  return linearity.bias === undefined ? y : add(y, linearity.bias);
}

/** Attention of one layer over its projections [tokens, heads · headSize]; returns [tokens, heads · headSize]. */
type Attend = (layer: number, query: Tensor, key: Tensor, value: Tensor) => Tensor;

function normalisedHeads(x: Tensor, scale: Tensor | undefined, config: DecoderConfig): Tensor {
  if (scale === undefined) return x;
  return reshape(rmsNorm(reshape(x, [-1, config.headSize]), scale, config.normEpsilon), x.shape);
}

/**
 * Final hidden states [tokens, width] of embedded tokens [tokens, width]. `keep` picks the tokens whose result is wanted: the
 * last layer reads keys and values of all tokens, and computes the rest for those alone. `isStep`: no gradient is wanted, and
 * there may be few rows.
 */
function blocks(
  parameters: DecoderParameters<Tensor>,
  embedded: Tensor,
  config: DecoderConfig,
  attend: Attend,
  keep: (x: Tensor) => Tensor = (x) => x,
  isStep = false,
): Tensor {
  // Up to 128 terms a sum is the same to the bit whatever the other rows; this form would give that up.
  const isWide = config.width > 128;
  const isPlain = isStep && config.lora === undefined;
  const hasFewRows = isPlain && isWide && embedded.shape[0]! <= FEW_ROWS;
  const project = hasFewRows ? fewRows : linear;
  let x = embedded;
  parameters.layers.forEach((layer, index) =>
    scope(`layer${index}`, () => {
      const kept = (all: Tensor): Tensor => (index === config.layers - 1 ? keep(all) : all);
      x = scope("attention", () => {
        const normed = rmsNorm(x, layer.attentionNorm, config.normEpsilon);
        const query = normalisedHeads(
          project(kept(normed), layer.query, config),
          layer.queryNorm,
          config,
        );
        const key = normalisedHeads(project(normed, layer.key, config), layer.keyNorm, config);
        const mixed = attend(index, query, key, project(normed, layer.value, config));
        return add(kept(x), project(mixed, layer.output, config));
      });
      x = scope("mlp", () => {
        const normed = rmsNorm(x, layer.mlpNorm, config.normEpsilon);
        if (hasFewRows) {
          const inner = swiglu(column(normed, layer.gate), column(normed, layer.up)); // [hiddenWidth, rows]
          return add(x, transpose(matmul(layer.down.weight, inner), [1, 0]));
        }
        const inner = swiglu(
          project(normed, layer.gate, config),
          project(normed, layer.up, config),
        );
        return add(x, project(inner, layer.down, config));
      });
    }),
  );
  return rmsNorm(x, parameters.norm, config.normEpsilon);
}

/** cos and sin of position · theta^(-2i / headSize), times a factor, each [positions, headSize / 2]. */
function rotaryTables(config: DecoderConfig, scale = 1): readonly [Tensor, Tensor] {
  const half = config.headSize / 2;
  const positions = Math.ceil(config.contextLength / 32) * 32; // rows are padded to multiples of 16 or 32
  const shape = [positions, half];
  const table = (wave: (angle: number) => number): Tensor =>
    constant(
      Float32Array.from(
        { length: positions * half },
        (_, index) =>
          scale * wave(Math.floor(index / half) * config.ropeTheta ** (-(index % half) / half)),
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

/** Keys and values of one layer, as attention over them wants them. */
export interface LayerCache {
  /** Of the shared prompts, keys transposed [groups, kvHeads, headSize, promptTime] … */
  readonly promptKeys: Tensor;
  /** … and values [groups, kvHeads, promptTime, headSize]. */
  readonly promptValues: Tensor;
  /** Of the tokens after them [rows · kvHeads, time, headSize]. */
  readonly keys: Tensor;
  readonly values: Tensor;
}

/**
 * Hidden states [rowTokens, width] of the rows of a packed batch: every token that predicts one of a completion.
 * `keep` receives what a later `decoderStep` needs of each layer.
 */
export function decoderHidden(
  parameters: DecoderParameters<Tensor>,
  pack: PackInputs,
  config: DecoderConfig,
  keep?: (cache: LayerCache) => void,
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
      keep?.({
        promptKeys: transpose(promptKey, [0, 1, 3, 2]),
        promptValues: promptValue,
        keys: own.key,
        values: own.value,
      });
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

/** Inputs of one decode step. */
export interface StepInputs {
  /** The newest token of each row and its position, int32 [rows]. */
  readonly tokens: Tensor;
  readonly positions: Tensor;
  /** What came before it, one a layer; `keys` and `values` are [rows · kvHeads, time, headSize]. */
  readonly caches: readonly LayerCache[];
  /** 0 at prompt tokens, -1e9 at padding [groups, 1, 1, promptTime]. */
  readonly promptMask: Tensor;
  /** The same for the tokens after the prompt, in which all rows are equally far [1, 1, time]. */
  readonly mask: Tensor;
  /**
   * Which heads of which rows continue each prompt, int32 [groups · kvHeads · slots] into [rows · kvHeads], and back, int32
   * [rows · kvHeads] into [groups · kvHeads · slots]; null: row i continues prompt i.
   */
  readonly slots: { readonly rows: Tensor; readonly places: Tensor } | null;
}

/**
 * Hidden states [rows, width] after one more token of each row, and its keys and values, [rows, kvHeads · headSize] a layer,
 * which the caches do not hold yet. Rows that continue the same prompt read its keys and values together.
 */
export function decoderStep(
  parameters: DecoderParameters<Tensor>,
  inputs: StepInputs,
  config: DecoderConfig,
): { hidden: Tensor; added: { key: Tensor; value: Tensor }[] } {
  const { tokens, positions, caches, promptMask, mask, slots } = inputs;
  const { heads, kvHeads, headSize } = config;
  const rows = tokens.shape[0]!;
  const sharing = heads / kvHeads;
  const [cosine, sine] = rotaryTables(config);
  const scaled = rotaryTables(config, 1 / Math.sqrt(headSize)); // scores need no factor then
  const [groups, , , promptTime] = caches[0]!.promptKeys.shape as [number, number, number, number];
  const time = mask.shape[2]!;
  const perSlot = (x: Tensor, width: number): Tensor => {
    const flat = reshape(x, [rows * kvHeads, sharing * width]);
    const placed = slots === null ? flat : gatherRows(flat, slots.rows);
    return reshape(placed, [groups, kvHeads, -1, width]); // [groups, kvHeads, slots · sharing, width]
  };
  const perRow = (x: Tensor, width: number): Tensor => {
    const flat = reshape(x, [-1, sharing * width]);
    const placed = slots === null ? flat : gatherRows(flat, slots.places);
    return reshape(placed, [rows * kvHeads, sharing, width]);
  };
  const added: { key: Tensor; value: Tensor }[] = [];
  const attend: Attend = (layer, query, rawKey, value) => {
    const { promptKeys, promptValues, keys, values } = caches[layer]!;
    const key = rotary(rawKey, positions, cosine, sine);
    added.push({ key, value });
    const q = reshape(rotary(query, positions, ...scaled), [rows * kvHeads, sharing, headSize]);
    const [ownKey, ownValue] = [key, value].map((x) => reshape(x, [rows * kvHeads, 1, headSize]));
    const overPrompt = add(matmul(perSlot(q, headSize), promptKeys), promptMask);
    const overOwn = add(matmul(q, keys, { transposeB: true }), mask);
    const overSelf = sum(mul(q, ownKey!), { axes: [-1], keepAxes: true });
    const weights = softmax(concat([perRow(overPrompt, promptTime), overOwn, overSelf], 2));
    const part = (from: number, to: number): Tensor => slice(weights, 2, from, to);
    const onPrompt = perSlot(part(0, promptTime), promptTime);
    const mixed = [
      perRow(matmul(onPrompt, promptValues), headSize),
      matmul(part(promptTime, promptTime + time), values),
      mul(part(promptTime + time, promptTime + time + 1), ownValue!),
    ].reduce(add);
    return reshape(mixed, [rows, heads * headSize]);
  };
  const embedded = gatherRows(parameters.embedding, tokens);
  return { hidden: blocks(parameters, embedded, config, attend, undefined, true), added };
}
