// NumPy's .npy: 6 magic bytes, 2 of version, the length of the header (2 bytes in version 1, 4 after), a Python dict of dtype, order
// and shape as text, then the numbers. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
//
// Read: versions 1 to 3, float16, float32 and float64 of either byte order, C order. Written: version 1, float64, little-endian.

import { writeFile } from "node:fs/promises";
import { DataError, ShapeError } from "../core/errors.ts";
import { halfToFloat } from "../core/half-float.ts";
import { readBytes } from "./text-file.ts";

/** Numbers of any shape, the last axis fastest. */
export interface NdArray {
  /** Extents; empty for a single number. */
  readonly shape: readonly number[];
  readonly values: Float64Array;
}

const MAGIC = "\u0093NUMPY";
/** Where the header must end. */
const ALIGNMENT = 64;

interface FloatKind {
  readonly sizeBytes: number;
  readonly read: (view: DataView, at: number, isLittle: boolean) => number;
}

const kinds: Readonly<Record<string, FloatKind>> = {
  f2: { sizeBytes: 2, read: (view, at, little) => halfToFloat(view.getUint16(at, little)) },
  f4: { sizeBytes: 4, read: (view, at, little) => view.getFloat32(at, little) },
  f8: { sizeBytes: 8, read: (view, at, little) => view.getFloat64(at, little) },
};

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

const sizeOf = (shape: readonly number[]): number =>
  shape.reduce((product, extent) => product * extent, 1);

/** Text of the header, and where the numbers begin. */
function splitHeader(bytes: Uint8Array, where: string): { header: string; start: number } {
  const magic = latin1(bytes.subarray(0, MAGIC.length));
  if (magic !== MAGIC) {
    const got = JSON.stringify(magic);
    const hint = "numpy.save writes one";
    throw new DataError({ where, expected: "a .npy file", got, hint });
  }
  const version = bytes[MAGIC.length] ?? 0;
  if (version < 1 || version > 3) {
    throw new DataError({ where, expected: ".npy version 1, 2 or 3", got: String(version) });
  }
  const from = version === 1 ? 10 : 12;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isCut = bytes.length < from;
  const length = isCut ? 0 : version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = from + length;
  if (isCut || start > bytes.length) {
    const [expected, got] = ["a whole header", `a file of ${bytes.length} bytes`];
    throw new DataError({ where, expected, got });
  }
  return { header: latin1(bytes.subarray(from, start)), start };
}

/** A value of the dict: what stands behind its key, or null. */
const valueOf = (header: string, key: string, value: RegExp): string | null =>
  new RegExp(`['"]${key}['"]\\s*:\\s*(?:${value.source})`).exec(header)?.[1] ?? null;

/** The array of a .npy file. Throws a DataError that begins with `where`. */
export function decodeNpy(bytes: Uint8Array, where: string): NdArray {
  const { header, start } = splitHeader(bytes, where);
  const refuse = (expected: string, got: string, hint?: string): DataError =>
    new DataError({ where, expected, got, hint });
  const shown = header.trim();
  const dtype = valueOf(header, "descr", /['"]([^'"]*)['"]/);
  const kind = dtype === null || !/^[<>]/.test(dtype) ? undefined : kinds[dtype.slice(1)];
  if (kind === undefined) {
    throw refuse("dtype float16, float32 or float64", dtype ?? shown, 'array.astype("float32")');
  }
  const order = valueOf(header, "fortran_order", /(True|False)/);
  if (order !== "False") {
    const got = order === null ? shown : "Fortran order";
    throw refuse("C order", got, "numpy.ascontiguousarray(array)");
  }
  const extents = valueOf(header, "shape", /\(((?:\s*\d+L?\s*,)*(?:\s*\d+L?\s*)?)\)/);
  if (extents === null) throw refuse("a shape", shown);
  const shape = (extents.match(/\d+/g) ?? []).map(Number);
  const size = sizeOf(shape);
  const [expected, got] = [size * kind.sizeBytes, bytes.length - start];
  if (expected !== got) {
    throw refuse(`${expected} bytes of numbers, shape [${shape.join(", ")}]`, String(got));
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, got);
  const isLittle = dtype!.startsWith("<");
  const values = new Float64Array(size);
  for (let index = 0; index < size; index++) {
    values[index] = kind.read(view, index * kind.sizeBytes, isLittle);
  }
  return { shape, values };
}

/** The array of a file. Throws a DataError that begins with `where`. */
export async function readNpy(path: string, where = path): Promise<NdArray> {
  return decodeNpy(await readBytes(path, where), where);
}

/** A .npy file of float64, byte for byte what numpy.save writes. Throws a ShapeError when values and shape do not fit. */
export function encodeNpy({ shape, values }: NdArray): Uint8Array {
  if (sizeOf(shape) !== values.length) {
    const expected = `the values of shape [${shape.join(", ")}]`;
    throw new ShapeError({ where: "encodeNpy", expected, got: `${values.length} values` });
  }
  const extents = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const dict = `{'descr': '<f8', 'fortran_order': False, 'shape': (${extents}), }`;
  const start = Math.ceil((10 + dict.length + 1) / ALIGNMENT) * ALIGNMENT;
  const bytes = Buffer.alloc(start + 8 * values.length, " ");
  bytes.write(`${MAGIC}\u0001\u0000`, "latin1");
  bytes.writeUInt16LE(start - 10, 8);
  bytes.write(dict, 10, "latin1");
  bytes.write("\n", start - 1);
  values.forEach((value, index) => bytes.writeDoubleLE(value, start + 8 * index));
  return bytes;
}

/** Writes a .npy file. */
export async function writeNpy(path: string, array: NdArray): Promise<void> {
  await writeFile(path, encodeNpy(array));
}
