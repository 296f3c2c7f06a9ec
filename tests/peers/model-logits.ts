// Logits of a model at every position of a prompt: our decoder as one plain program, without sampler or micro-batches.

import {
  decoderHidden,
  decoderLogits,
  decoderParameters,
  type DecoderConfig,
} from "../../src/models/decoder.ts";
import { fillPack, packInputs, packMemory } from "../../src/models/packing.ts";
import { leaves, mapTree } from "../../src/nn/parameters.ts";
import type { NamedArray } from "../../src/nn/safetensors.ts";
import { allocate, compile, input, sizeOf } from "../../src/tensor/index.ts";

/** Zeros for every parameter of a model, by name. */
export function emptyWeights(config: DecoderConfig): Record<string, NamedArray> {
  const arrays = leaves(decoderParameters(config)).map(
    ({ name, shape }) => [name, { shape, data: allocate("float32", [sizeOf(shape)]) }] as const,
  );
  return Object.fromEntries(arrays);
}

/** The memory of each array by name. */
export const dataOf = (
  arrays: Readonly<Record<string, NamedArray>>,
): Record<string, Float32Array> =>
  Object.fromEntries(Object.entries(arrays).map(([name, { data }]) => [name, data]));

/** Logits `[time][vocabulary]`. */
export async function promptLogits(
  config: DecoderConfig,
  weights: Readonly<Record<string, NamedArray>>,
  prompt: readonly number[],
): Promise<number[][]> {
  const symbols = mapTree(decoderParameters(config), (spec) => input(spec.name, spec.shape));
  const time = prompt.length;
  const shape = {
    groups: 1,
    rows: 1,
    promptTime: 0,
    rowTime: time,
    promptTokens: 0,
    rowTokens: time + 1,
  };
  const hidden = decoderHidden(symbols, packInputs(shape, config), config);
  const program = compile({ logits: decoderLogits(symbols, hidden) });
  const memory = packMemory(shape, config);
  fillPack(memory, shape, config, [{ prompt: new Int32Array(), rows: [Int32Array.from(prompt)] }]);
  const binding = program.bind({ ...dataOf(weights), ...memory });
  await binding.run();
  const values = binding.floats("logits");
  program.dispose();
  const { vocabularySize } = config;
  return prompt.map((_, row) => [
    ...values.subarray(row * vocabularySize, (row + 1) * vocabularySize),
  ]);
}

/** Largest absolute difference of two tables of numbers. */
export function largestDifference(
  a: readonly (readonly number[])[],
  b: readonly (readonly number[])[],
): number {
  let largest = a.length === b.length ? 0 : Infinity;
  a.forEach((row, index) =>
    row.forEach((value, column) => {
      const difference = Math.abs(value - (b[index]?.[column] ?? NaN));
      largest = Math.max(largest, Number.isNaN(difference) ? Infinity : difference);
    }),
  );
  return largest;
}
