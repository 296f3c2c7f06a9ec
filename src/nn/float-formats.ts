// Number formats of checkpoint files, to and from float32. All are little-endian.

import { halfToFloat } from "../core/half-float.ts";

/** A dtype as safetensors spells it. */
export type FloatDtype = "F64" | "F32" | "F16" | "BF16";

interface FloatFormat {
  readonly sizeBytes: number;
  /** Fills `target` from as many numbers of this format. */
  readonly decode: (bytes: Uint8Array, target: Float32Array) => void;
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const wordsOf = (values: Float32Array): Uint32Array =>
  new Uint32Array(values.buffer, values.byteOffset, values.length);

export const floatFormats: Readonly<Record<FloatDtype, FloatFormat>> = {
  F64: {
    sizeBytes: 8,
    decode: (bytes, target) => {
      const view = viewOf(bytes);
      for (let index = 0; index < target.length; index++)
        target[index] = view.getFloat64(index * 8, true);
    },
  },
  F32: {
    sizeBytes: 4,
    decode: (bytes, target) => {
      new Uint8Array(target.buffer, target.byteOffset, target.byteLength).set(bytes);
    },
  },
  F16: {
    sizeBytes: 2,
    decode: (bytes, target) => {
      for (let index = 0; index < target.length; index++)
        target[index] = halfToFloat(bytes[index * 2]! | (bytes[index * 2 + 1]! << 8));
    },
  },
  BF16: {
    sizeBytes: 2,
    decode: (bytes, target) => {
      const words = wordsOf(target);
      for (let index = 0; index < target.length; index++)
        words[index] = (bytes[index * 2]! << 16) | (bytes[index * 2 + 1]! << 24);
    },
  },
};

/** The upper halves of float32 numbers, rounded to the nearest, ties to even; NaN stays NaN. */
export function toBfloat16(values: Float32Array): Uint16Array {
  const words = wordsOf(values);
  return Uint16Array.from({ length: values.length }, (_, index) => {
    const word = words[index]!;
    if (Number.isNaN(values[index]!)) return (word >>> 16) | 0x40;
    return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  });
}
