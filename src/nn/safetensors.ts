// The safetensors format (float32): 8 bytes header length, a JSON header, raw little-endian data.
// https://github.com/huggingface/safetensors, "Format".

import { readFile, writeFile } from "node:fs/promises";
import { z } from "zod";
import { DataError } from "../core/errors.ts";
import { sizeOf, type Shape } from "../tensor/index.ts";

export interface NamedArray {
  readonly shape: Shape;
  readonly data: Float32Array;
}

const entrySchema = z.object({
  dtype: z.string(),
  shape: z.array(z.int().nonnegative()),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
});

export async function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, NamedArray>>,
): Promise<void> {
  let offset = 0;
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype: "F32", shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.alloc(Math.ceil(json.length / 8) * 8, " ");
  json.copy(padded);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const parts = Object.values(tensors).map(({ data }) =>
    Buffer.from(data.buffer, data.byteOffset, data.byteLength),
  );
  await writeFile(path, [length, padded, ...parts]);
}

/** Every tensor of a file. Throws a DataError that names file and tensor when the file is missing, cut off or not float32. */
export async function readSafetensors(path: string): Promise<Map<string, NamedArray>> {
  const fail = (expected: string, got: string, cause?: unknown): DataError =>
    new DataError({ where: path, expected, got, cause });
  const bytes = await readFile(path).catch((cause: Error) => {
    throw fail("a readable file", cause.message, cause);
  });
  const headerLength = bytes.length < 8 ? Infinity : Number(bytes.readBigUInt64LE(0));
  if (headerLength > bytes.length - 8)
    throw fail("a safetensors header", `a file of ${bytes.length} bytes`);
  let header: Record<string, unknown>;
  try {
    header = z
      .record(z.string(), z.unknown())
      .parse(JSON.parse(bytes.toString("utf8", 8, 8 + headerLength)));
  } catch (cause) {
    throw fail("a JSON header", "text that is not", cause);
  }
  const data = bytes.subarray(8 + headerLength);
  const tensors = new Map<string, NamedArray>();
  let usedBytes = 0;
  for (const [name, value] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const entry = entrySchema.safeParse(value);
    if (!entry.success)
      throw fail(`dtype, shape and data_offsets for ${name}`, JSON.stringify(value));
    const { dtype, shape, data_offsets: offsets } = entry.data;
    if (dtype !== "F32") throw fail(`float32 (F32) for ${name}`, dtype);
    const [start, end] = offsets;
    if (end - start !== sizeOf(shape) * 4 || end > data.length) {
      throw fail(
        `${sizeOf(shape) * 4} bytes for ${name}`,
        `${Math.min(end, data.length) - start} (is the file cut off?)`,
      );
    }
    const copy = new Float32Array(sizeOf(shape));
    Buffer.from(copy.buffer).set(data.subarray(start, end));
    tensors.set(name, { shape, data: copy });
    usedBytes += end - start;
  }
  if (usedBytes !== data.length) throw fail(`${usedBytes} bytes of data`, String(data.length));
  return tensors;
}
