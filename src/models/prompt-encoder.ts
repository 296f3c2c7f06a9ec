// From the token ids of a prompt to one vector: embedding, learned positions, neighbouring words, a few layers of attention and MLP in which all
// tokens see each other, the mean over the prompt and, where the model attends to words, the vector of each word behind it. Beside
// them a learned vector for "no prompt", which classifier-free guidance needs (Ho and Salimans, arXiv:2207.12598).

import type { ParameterSpec } from "../nn/parameters.ts";
import {
  add,
  concat,
  constant,
  div,
  gatherRows,
  matmul,
  mul,
  quickGelu,
  reshape,
  rmsNorm,
  scope,
  slice,
  softmax,
  sub,
  sum,
  transpose,
  type Tensor,
} from "../tensor/index.ts";
import { linear, type Linear } from "./decoder.ts";
import { normScale, projection, vectors } from "./flow-linear.ts";

export interface PromptEncoderConfig {
  readonly vocabularySize: number;
  /** Most tokens of a prompt; shorter ones are padded. */
  readonly promptTokens: number;
  readonly width: number;
  /** 0: the mean of the embedded tokens. */
  readonly layers: number;
  readonly heads: number;
  /** Width inside the MLP. */
  readonly hiddenWidth: number;
  /** Whether the vectors of single words are wanted too; absent: no. */
  readonly words?: boolean;
  /**
   * Words on either side that each word is told of before the first layer; absent: 0. Without them a small encoder that learns
   * with its image model takes prompts for bags of words: it never finds out which colour belongs to which object.
   */
  readonly neighbours?: number;
}

/** Numbers of a prompt's vector: the mean, then every word. */
export const promptSize = ({ width, promptTokens, words = false }: PromptEncoderConfig): number =>
  width * (words ? 1 + promptTokens : 1);

interface EncoderLayer<Leaf> {
  readonly attentionNorm: Leaf;
  readonly query: Linear<Leaf>;
  readonly key: Linear<Leaf>;
  readonly value: Linear<Leaf>;
  readonly output: Linear<Leaf>;
  readonly mlpNorm: Leaf;
  readonly up: Linear<Leaf>;
  readonly down: Linear<Leaf>;
}

export interface PromptEncoderParameters<Leaf> {
  readonly embedding: Leaf;
  readonly positions: Leaf;
  /** [width, neighbours on both sides and the word itself, width]. */
  readonly context?: Linear<Leaf>;
  readonly layers: readonly EncoderLayer<Leaf>[];
  readonly norm: Leaf;
  /** Stands for no prompt [1, promptSize]. */
  readonly none: Leaf;
}

/** Name of the vector that stands for no prompt. */
export const NO_PROMPT = "prompt.none.weight";

export function promptEncoderParameters(
  config: PromptEncoderConfig,
): PromptEncoderParameters<ParameterSpec> {
  const { vocabularySize, promptTokens, width, layers, hiddenWidth, neighbours = 0 } = config;
  const layer = (index: number): EncoderLayer<ParameterSpec> => {
    const at = `prompt.layers.${index}`;
    const square = (name: string) => projection(`${at}.${name}`, width, width, { hidden: true });
    return {
      attentionNorm: normScale(`${at}.attention_norm`, width),
      query: square("attention.q_proj"),
      key: square("attention.k_proj"),
      value: square("attention.v_proj"),
      output: square("attention.o_proj"),
      mlpNorm: normScale(`${at}.mlp_norm`, width),
      up: projection(`${at}.mlp.up_proj`, hiddenWidth, width, { hidden: true }),
      down: projection(`${at}.mlp.down_proj`, width, hiddenWidth, { hidden: true }),
    };
  };
  return {
    embedding: vectors("prompt.embedding", vocabularySize, width, 1),
    positions: vectors("prompt.positions", promptTokens, width, 0.3),
    ...(neighbours > 0 && {
      context: projection("prompt.context", width, (2 * neighbours + 1) * width, { hidden: true }),
    }),
    layers: Array.from({ length: layers }, (_, index) => layer(index)),
    norm: normScale("prompt.norm", width),
    none: vectors("prompt.none", 1, promptSize(config), 1),
  };
}

export interface PromptInputs {
  /** int32 [prompts, promptTokens]; any id where there is padding. */
  readonly tokens: Tensor;
  /** 1 at a token, 0 at padding [prompts, promptTokens]; every prompt has a token. */
  readonly mask: Tensor;
}

const EPSILON = 1e-6;

/** Every word with those around it: x [prompts, time, width] to [prompts · time, (2 reach + 1) width]; beyond the ends 0. */
function neighbourhoods(x: Tensor, reach: number): Tensor {
  const [prompts, time, width] = x.shape as [number, number, number];
  const nothing = constant(new Float32Array(prompts * reach * width), [prompts, reach, width]);
  const wide = concat([nothing, x, nothing], 1);
  const shifted = Array.from({ length: 2 * reach + 1 }, (_, start) =>
    slice(wide, 1, start, start + time),
  );
  return reshape(concat(shifted, 2), [prompts * time, (2 * reach + 1) * width]);
}

/**
 * One vector a prompt and, as the last row, the one for no prompt: [prompts + 1, promptSize]. The vectors of words that a prompt
 * does not have are 0.
 */
export function encodePrompts(
  parameters: PromptEncoderParameters<Tensor>,
  { tokens, mask }: PromptInputs,
  config: PromptEncoderConfig,
): Tensor {
  const { width, heads } = config;
  const [prompts, time] = tokens.shape as [number, number];
  const headSize = width / heads;
  const byHead = (x: Tensor): Tensor =>
    transpose(reshape(x, [prompts, time, heads, headSize]), [0, 2, 1, 3]); // [prompts, heads, time, headSize]
  const hidden = mul(sub(1, reshape(mask, [prompts, 1, 1, time])), -1e9);
  const embedded = add(gatherRows(parameters.embedding, tokens), parameters.positions); // [prompts, time, width]
  let x = reshape(embedded, [prompts * time, width]);
  if (parameters.context !== undefined) {
    const known = mul(embedded, reshape(mask, [prompts, time, 1]));
    const around = neighbourhoods(known, config.neighbours!);
    x = add(x, linear(around, parameters.context, {}));
  }
  parameters.layers.forEach((layer, index) =>
    scope(`prompt${index}`, () => {
      const normed = rmsNorm(x, layer.attentionNorm, EPSILON);
      const [query, key, value] = [layer.query, layer.key, layer.value].map((part) =>
        byHead(linear(normed, part, {})),
      ) as [Tensor, Tensor, Tensor];
      const scores = matmul(query, key, { transposeB: true, scale: 1 / Math.sqrt(headSize) });
      const mixed = matmul(softmax(add(scores, hidden)), value); // [prompts, heads, time, headSize]
      const joined = reshape(transpose(mixed, [0, 2, 1, 3]), [prompts * time, width]);
      x = add(x, linear(joined, layer.output, {}));
      const inner = linear(rmsNorm(x, layer.mlpNorm, EPSILON), layer.up, {});
      x = add(x, linear(quickGelu(inner), layer.down, {}));
    }),
  );
  const last = reshape(rmsNorm(x, parameters.norm, EPSILON), [prompts, time, width]);
  const shares = div(mask, sum(mask, { axes: [1], keepAxes: true })); // [prompts, promptTokens]
  const pooled = matmul(reshape(shares, [prompts, 1, time]), last); // [prompts, 1, width]
  const mean = reshape(pooled, [prompts, width]);
  if (config.words !== true) return concat([mean, parameters.none], 0);
  const words = reshape(mul(last, reshape(mask, [prompts, time, 1])), [prompts, time * width]);
  return concat([concat([mean, words], 1), parameters.none], 0);
}
