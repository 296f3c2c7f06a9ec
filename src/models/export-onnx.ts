// A decoder as an ONNX model with a key-value cache, for ONNX Runtime in any language and in browsers. Inputs and outputs are
// those of Hugging Face Optimum and transformers.js:
//
//   input_ids int64 [batch, sequence], attention_mask int64 [batch, total] (1: token, 0: padding, anywhere in a row),
//   past_key_values.N.key and .value [batch, kvHeads, past, headSize]; total = past + sequence
//   → logits [batch, sequence, vocabulary], present.N.key and .value [batch, kvHeads, total, headSize]
//
// Positions count the tokens of the mask. A first call has past = 0; a later one with past > 0 takes one token a row.

import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "../core/errors.ts";
import { leaves, mapTree } from "../nn/parameters.ts";
import type { NamedArray } from "../nn/safetensors.ts";
import { OnnxWriter, type ExternalData, type OnnxValue } from "../tensor/index.ts";
import { decoderParameters, type DecoderConfig } from "./decoder.ts";

const MODEL = "model.onnx";
const DATA = "model.onnx_data";
/** A protocol buffer ends at 2 GiB. */
const LARGEST_MODEL_BYTES = 2 ** 31 - 2 ** 24;
/** External data of a tensor begins at a page, so that it can be mapped. */
const PAGE_BYTES = 4096;

const microsoft = { domain: "com.microsoft" } as const;

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** cos and sin of position · theta^(-2i / headSize), each [contextLength, headSize / 2]. */
function rotaryValues(
  { contextLength, headSize, ropeTheta }: DecoderConfig,
  wave: (angle: number) => number,
): Float32Array {
  const half = headSize / 2;
  return Float32Array.from({ length: contextLength * half }, (_, index) =>
    wave(Math.floor(index / half) * ropeTheta ** (-(index % half) / half)),
  );
}

/** The nodes of the decoder; constants are named like the parameters, `cosine` and `sine`. */
function emitDecoder(emit: OnnxWriter, config: DecoderConfig): void {
  const { heads, kvHeads, headSize } = config;
  const names = mapTree(decoderParameters(config), ({ name }) => name);
  const one = (type: string, inputs: readonly string[], attributes = {}, options = {}): string =>
    emit.node(type, inputs, attributes, options)[0]!;
  const linear = (x: string, { weight, bias }: { weight: string; bias?: string }): string =>
    one("Gemm", bias === undefined ? [x, weight] : [x, weight, bias], { transB: { int: 1 } });
  const norm = (x: string, scale: string): string =>
    one("SimplifiedLayerNormalization", [x, scale], {
      axis: { int: -1 },
      epsilon: { float: config.normEpsilon },
      stash_type: { int: 1 },
    });
  const rows = (x: string, width: number): string => one("Reshape", [x, emit.int64([-1, width])]);

  // Attention sees the whole cache of every row; what is padding is masked, so that it may lie anywhere.
  emit.label = "mask";
  const outer = one("Shape", ["input_ids"]); // [batch, sequence]
  const perToken = one("Concat", [outer, emit.int64([-1])], { axis: { int: 0 } });
  const batch = one("Slice", [outer, emit.int64([0]), emit.int64([1])]);
  const sequence = one("Slice", [outer, emit.int64([1]), emit.int64([2])]);
  const maskShape = one("Shape", ["attention_mask"]);
  const total = one("Slice", [maskShape, emit.int64([1]), emit.int64([2])]);
  const total32 = one("Cast", [total], { to: { int: 6 } }); // int32 [1]
  const lastPosition = one("Expand", [one("Sub", [total32, emit.int32([1], [1])]), batch]);
  const counted = one("CumSum", ["attention_mask", emit.int64([1])]); // [batch, total]
  const everyPosition = one("Max", [one("Sub", [counted, emit.int64([1])]), emit.int64([0])]);
  const start = one("Sub", [total, sequence]);
  const positions = one("Slice", [everyPosition, start, total, emit.int64([1])]); // [batch, sequence]
  const absent = one("Equal", ["attention_mask", emit.int64([0])]);
  const penalty = one("Where", [absent, emit.float([-1e9], []), emit.float([0], [])]);
  const perKey = one("Unsqueeze", [penalty, emit.int64([1, 2])]); // [batch, 1, 1, total]
  const biasShape = one("Concat", [batch, emit.int64([1]), sequence, total], { axis: { int: 0 } });
  const bias = one("Expand", [perKey, biasShape]); // [batch, 1, sequence, total]

  let x = one("Gather", [names.embedding, one("Reshape", ["input_ids", emit.int64([-1])])]); // [tokens, width]
  names.layers.forEach((layer, index) => {
    emit.label = `layer${index}/attention`;
    const normed = norm(x, layer.attentionNorm);
    const perHead = (y: string, scale: string | undefined): string =>
      scale === undefined ? y : norm(rows(y, headSize), scale);
    const grouped = (y: string): string => one("Reshape", [y, perToken]); // [batch, sequence, heads · headSize]
    // Not inside of the attention: its kernel heeds given positions only in calls after the first.
    const turned = (y: string): string =>
      one("RotaryEmbedding", [grouped(y), positions, "cosine", "sine"], {}, microsoft);
    const [attended, key, value] = emit.node(
      "GroupQueryAttention",
      [
        turned(perHead(linear(normed, layer.query), layer.queryNorm)),
        turned(perHead(linear(normed, layer.key), layer.keyNorm)),
        grouped(linear(normed, layer.value)),
        `past_key_values.${index}.key`,
        `past_key_values.${index}.value`,
        lastPosition,
        total32,
        "", // tables
        "", // and positions of rotary attention: not inside
        "",
        bias,
      ],
      { num_heads: { int: heads }, kv_num_heads: { int: kvHeads } },
      { ...microsoft, outputs: 3 },
    );
    emit.rename(key!, `present.${index}.key`);
    emit.rename(value!, `present.${index}.value`);
    x = one("Add", [x, linear(rows(attended!, heads * headSize), layer.output)]);
    emit.label = `layer${index}/mlp`;
    const hidden = norm(x, layer.mlpNorm);
    const gate = linear(hidden, layer.gate);
    const activated = one("Mul", [gate, one("Sigmoid", [gate])]);
    const inner = one("Mul", [activated, linear(hidden, layer.up)]);
    x = one("Add", [x, linear(inner, layer.down)]);
  });
  emit.label = "head";
  const logits = linear(norm(x, names.norm), { weight: names.head ?? names.embedding });
  emit.rename(one("Reshape", [logits, perToken]), "logits");
}

/** The extents carry the names that Optimum gives them; transformers.js makes an empty cache from `batch_size`. */
function interfaceOf(config: DecoderConfig): { inputs: OnnxValue[]; outputs: OnnxValue[] } {
  const cache = (kind: string, length: string): OnnxValue[] =>
    Array.from({ length: config.layers * 2 }, (_, index) => ({
      name: `${kind}.${index >> 1}.${index % 2 === 0 ? "key" : "value"}`,
      dtype: "float32",
      shape: ["batch_size", config.kvHeads, length, config.headSize],
    }));
  return {
    inputs: [
      { name: "input_ids", dtype: "int64", shape: ["batch_size", "sequence_length"] },
      { name: "attention_mask", dtype: "int64", shape: ["batch_size", "total_sequence_length"] },
      ...cache("past_key_values", "past_sequence_length"),
    ],
    outputs: [
      {
        name: "logits",
        dtype: "float32",
        shape: ["batch_size", "sequence_length", config.vocabularySize],
      },
      ...cache("present", "total_sequence_length"),
    ],
  };
}

/**
 * Writes `model.onnx` into an existing folder, and beside it `model.onnx_data` with the weights when they are too many for one
 * file (`largestBytes`). `weights` are the parameters by name. Throws a ConfigError when ONNX Runtime has no kernel for the model.
 */
export async function writeOnnxModel(
  directory: string,
  config: DecoderConfig,
  weights: Readonly<Record<string, NamedArray>>,
  largestBytes = LARGEST_MODEL_BYTES,
): Promise<void> {
  if (config.headSize % 8 !== 0) {
    throw new ConfigError({
      where: "export to ONNX",
      expected: "a head size that is a multiple of 8",
      got: String(config.headSize),
      hint: "the attention kernel of ONNX Runtime asks for it",
    });
  }
  const emit = new OnnxWriter();
  emitDecoder(emit, config);
  const table = [config.contextLength, config.headSize / 2];
  for (const [name, wave] of [
    ["cosine", Math.cos],
    ["sine", Math.sin],
  ] as const)
    emit.constant(name, "float32", table, bytesOf(rotaryValues(config, wave)));
  const arrays = leaves(decoderParameters(config)).map(({ name, shape }) => ({
    name,
    shape,
    bytes: bytesOf(weights[name]!.data),
  }));
  const totalBytes = arrays.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const external = totalBytes > largestBytes ? await open(join(directory, DATA), "w") : null;
  try {
    let offset = 0;
    for (const { name, shape, bytes } of arrays) {
      if (external === null) {
        emit.constant(name, "float32", shape, bytes);
        continue;
      }
      const place: ExternalData = { file: DATA, offset, length: bytes.length };
      emit.constant(name, "float32", shape, place);
      await external.writeFile(bytes);
      const padding = -bytes.length & (PAGE_BYTES - 1);
      await external.writeFile(new Uint8Array(padding));
      offset += bytes.length + padding;
    }
  } finally {
    await external?.close();
  }
  const { inputs, outputs } = interfaceOf(config);
  await writeFile(join(directory, MODEL), emit.finish(inputs, outputs));
}
