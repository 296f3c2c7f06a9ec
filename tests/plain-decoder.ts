// The decoder once more, in float64 and as plain loops: one sequence, no batch, no cache, no tensors. Tests compare with it.

import { randomStream } from "../src/core/random.ts";
import type { DecoderConfig } from "../src/models/decoder.ts";

export type PlainWeights = Readonly<Record<string, Float64Array>>;

/** One small model of each family, tied and untied, with grouped heads and without; head size 16 is the smallest that ONNX Runtime caches. */
export const smallModels: Readonly<Record<string, DecoderConfig>> = (() => {
  const base: DecoderConfig = {
    vocabularySize: 23,
    contextLength: 64,
    width: 24,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    headSize: 16,
    hiddenWidth: 40,
    ropeTheta: 100,
    normEpsilon: 1e-5,
    qkvBias: false,
    qkNorm: false,
    tiedEmbeddings: false,
  };
  return {
    "Llama, grouped heads": base,
    "Llama, tied": { ...base, heads: 2, kvHeads: 2, tiedEmbeddings: true },
    "Qwen2, one key head, tied": { ...base, qkvBias: true, kvHeads: 1, tiedEmbeddings: true },
    "Qwen3, grouped heads": { ...base, qkNorm: true },
    "Qwen3, tied": { ...base, qkNorm: true, heads: 3, kvHeads: 3, layers: 1, tiedEmbeddings: true },
  };
})();

/** Values of a size at which attention is far from uniform and every norm and bias matters. */
export function livelyValues(name: string, length: number): Float32Array {
  const random = randomStream(1, "lively", name);
  const [center, deviation] = /norm/.test(name) ? [1, 0.3] : [0, 0.25];
  return Float32Array.from({ length }, () => center + deviation * random.normal());
}

const times = (matrix: Float64Array, x: readonly number[]): number[] => {
  const width = x.length;
  return Array.from({ length: matrix.length / width }, (_, row) => {
    let total = 0;
    for (let column = 0; column < width; column++)
      total += matrix[row * width + column]! * x[column]!;
    return total;
  });
};

const plus = (a: readonly number[], b: ArrayLike<number>): number[] => a.map((x, i) => x + b[i]!);

const normed = (x: readonly number[], scale: Float64Array, epsilon: number): number[] => {
  const size = Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length + epsilon);
  return x.map((value, index) => (value / size) * scale[index]!);
};

/** Pairs (i, i + half) turned by position · theta^(-2i / size). */
const turned = (x: readonly number[], position: number, theta: number): number[] => {
  const half = x.length / 2;
  return x.map((value, index) => {
    const angle = position * theta ** ((-2 * (index % half)) / x.length);
    const other = index < half ? -x[index + half]! : x[index - half]!;
    return value * Math.cos(angle) + other * Math.sin(angle);
  });
};

export function plainLogSoftmax(logits: readonly number[], temperature = 1): number[] {
  const scaled = logits.map((value) => value / temperature);
  const top = Math.max(...scaled);
  const total = Math.log(scaled.reduce((sum, value) => sum + Math.exp(value - top), 0)) + top;
  return scaled.map((value) => value - total);
}

/** Logits after every token `[time][vocabulary]`. */
export function plainLogits(
  config: DecoderConfig,
  weights: PlainWeights,
  tokens: ArrayLike<number>,
): number[][] {
  const { width, heads, kvHeads, headSize, normEpsilon } = config;
  const embedding = weights["model.embed_tokens.weight"]!;
  const split = (x: readonly number[], norm: Float64Array | undefined): number[][] =>
    Array.from({ length: x.length / headSize }, (_, head) => {
      const part = x.slice(head * headSize, (head + 1) * headSize);
      return norm === undefined ? part : normed(part, norm, normEpsilon);
    });
  let stream = Array.from(tokens, (token) =>
    Array.from(embedding.subarray(token * width, (token + 1) * width)),
  );
  for (let layer = 0; layer < config.layers; layer++) {
    const of = (name: string) => weights[`model.layers.${layer}.${name}`];
    const projected = (x: readonly number[], name: string): number[] => {
      const y = times(of(`self_attn.${name}_proj.weight`)!, x);
      const bias = of(`self_attn.${name}_proj.bias`);
      return bias === undefined ? y : plus(y, bias);
    };
    const inputs = stream.map((x) => normed(x, of("input_layernorm.weight")!, normEpsilon));
    const turn = (list: number[][], position: number): number[][] =>
      list.map((x) => turned(x, position, config.ropeTheta));
    const queries = inputs.map((x, at) =>
      turn(split(projected(x, "q"), of("self_attn.q_norm.weight")), at),
    );
    const keys = inputs.map((x, at) =>
      turn(split(projected(x, "k"), of("self_attn.k_norm.weight")), at),
    );
    const values = inputs.map((x) => split(projected(x, "v"), undefined));
    stream = stream.map((x, now) => {
      const mixed = queries[now]!.flatMap((query, head) => {
        const kvHead = Math.floor((head * kvHeads) / heads);
        const scores = Array.from({ length: now + 1 }, (_, past) =>
          keys[past]![kvHead]!.reduce((sum, key, i) => sum + key * query[i]!, 0),
        );
        const shares = plainLogSoftmax(scores, Math.sqrt(headSize)).map(Math.exp);
        return query.map((_, i) =>
          shares.reduce((sum, share, past) => sum + share * values[past]![kvHead]![i]!, 0),
        );
      });
      return plus(x, times(of("self_attn.o_proj.weight")!, mixed));
    });
    stream = stream.map((x) => {
      const inner = normed(x, of("post_attention_layernorm.weight")!, normEpsilon);
      const up = times(of("mlp.up_proj.weight")!, inner);
      const gated = times(of("mlp.gate_proj.weight")!, inner).map(
        (gate, i) => (gate / (1 + Math.exp(-gate))) * up[i]!,
      );
      return plus(x, times(of("mlp.down_proj.weight")!, gated));
    });
  }
  const head = weights["lm_head.weight"] ?? embedding;
  return stream.map((x) => times(head, normed(x, weights["model.norm.weight"]!, normEpsilon)));
}
