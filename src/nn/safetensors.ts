// The safetensors format: 8 bytes header length, a JSON header, raw little-endian data without gaps.
// https://github.com/huggingface/safetensors, "Format".
//
// Files that we write also hold a CRC-32 of every tensor (its name, dtype and shape, then its bytes) in `__metadata__`, which
// the format leaves to the writer. A flipped bit in such a file is found when the tensor is read.

import { open, type FileHandle } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { z } from "zod";
import { DataError, shownJson } from "../core/errors.ts";
import { sizeOf, type Shape } from "../tensor/index.ts";
import { floatFormats, toBfloat16, type FloatDtype } from "./float-formats.ts";

export interface NamedArray {
  readonly shape: Shape;
  readonly data: Float32Array;
}

/** Tensors by name that are read one at a time into memory of the caller. */
export interface TensorReader {
  readonly shapes: ReadonlyMap<string, Shape>;
  /** Fills `target` (as many numbers as the shape has) with float32 values. Throws a DataError that names file and tensor. */
  readInto(name: string, target: Float32Array): Promise<void>;
  close(): Promise<void>;
}

interface Entry {
  readonly dtype: FloatDtype;
  readonly shape: Shape;
  /** First byte of its data in the file, and the first after it. */
  readonly start: number;
  readonly end: number;
}

const CHECKSUM = "crc32 ";
/** Bytes that are read or converted at a time; a multiple of every number's size. */
const PIECE_BYTES = 8 << 20;
/** The limit of the reference implementation. */
const LONGEST_HEADER = 100_000_000;

const entrySchema = z.object({
  dtype: z.string(),
  shape: z.array(z.int().nonnegative()),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
});
const metadataSchema = z.record(z.string(), z.string());

/** What the checksum of a tensor begins with: a name or shape that was damaged does not fit it either. */
const checksumSeed = (name: string, dtype: FloatDtype, shape: Shape): number =>
  crc32(`${name} ${dtype} [${shape.join(",")}]`);

const showChecksum = (checksum: number): string => checksum.toString(16).padStart(8, "0");

/** Memory as bytes, cut into pieces; float32 is not copied. */
function* encode(data: Float32Array, dtype: "F32" | "BF16"): Generator<Uint8Array> {
  const step = PIECE_BYTES / 4;
  for (let start = 0; start < data.length; start += step) {
    const part = data.subarray(start, start + step);
    const { buffer, byteOffset, byteLength } = dtype === "F32" ? part : toBfloat16(part);
    yield new Uint8Array(buffer, byteOffset, byteLength);
  }
}

/** Writes a file; `BF16` halves its size and rounds the values to 8 significant bits. */
export async function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, NamedArray>>,
  dtype: "F32" | "BF16" = "F32",
): Promise<void> {
  const list = Object.entries(tensors);
  const metadata: [string, string][] = [["format", "pt"]];
  const entries: [string, unknown][] = [];
  let offset = 0;
  for (const [name, { shape, data }] of list) {
    let checksum = checksumSeed(name, dtype, shape);
    for (const piece of encode(data, dtype)) checksum = crc32(piece, checksum);
    metadata.push([CHECKSUM + name, showChecksum(checksum)]);
    const end = offset + data.length * floatFormats[dtype].sizeBytes;
    entries.push([name, { dtype, shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  const header = Object.fromEntries([["__metadata__", Object.fromEntries(metadata)], ...entries]);
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.alloc(Math.ceil(json.length / 8) * 8, " ");
  json.copy(padded);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const file = await open(path, "w");
  try {
    await file.writeFile(length);
    await file.writeFile(padded);
    for (const [, { data }] of list)
      for (const piece of encode(data, dtype)) await file.writeFile(piece);
  } finally {
    await file.close();
  }
}

/** An open file. Its header was checked; the data is read and checked tensor by tensor. */
export class SafetensorsFile implements TensorReader {
  readonly path: string;
  readonly shapes: ReadonlyMap<string, Shape>;
  readonly #file: FileHandle;
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #checksums: ReadonlyMap<string, string>;

  private constructor(
    path: string,
    file: FileHandle,
    { entries, checksums }: ReturnType<typeof readHeader>,
  ) {
    this.path = path;
    this.#file = file;
    this.#entries = entries;
    this.#checksums = checksums;
    this.shapes = new Map([...entries].map(([name, { shape }]) => [name, shape]));
  }

  /** Throws a DataError that names file, tensor and byte when the file is missing, cut off, or its header does not hold together. */
  static async open(path: string): Promise<SafetensorsFile> {
    const file = await open(path, "r").catch((cause: Error) => {
      throw new DataError({ where: path, expected: "a readable file", got: cause.message, cause });
    });
    try {
      const json = await readHeaderBytes(path, file);
      const { size: sizeBytes } = await file.stat();
      return new SafetensorsFile(path, file, readHeader(path, json, sizeBytes));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async readInto(name: string, target: Float32Array): Promise<void> {
    const { path } = this;
    const entry = this.#entries.get(name);
    if (entry === undefined)
      throw new DataError({ where: path, expected: `a tensor ${name}`, got: "none" });
    const { dtype, shape } = entry;
    if (target.length !== sizeOf(shape)) {
      throw new DataError({
        where: path,
        expected: `${target.length} numbers of ${name}`,
        got: String(sizeOf(shape)),
      });
    }
    const expected = this.#checksums.get(name);
    const seed = expected === undefined ? null : checksumSeed(name, dtype, shape);
    const checksum = await this.#read(entry, target, seed);
    if (checksum !== null) {
      if (showChecksum(checksum) === expected) return;
      throw new DataError({
        where: path,
        expected: `checksum ${expected!} of ${name} (bytes ${entry.start} to ${entry.end})`,
        got: showChecksum(checksum),
        hint: "the file was damaged after it was written",
      });
    }
    const broken = firstNonFinite(target);
    if (broken !== -1) {
      throw new DataError({
        where: path,
        expected: `finite float32 numbers in ${name}`,
        got: `${target[broken]} at index ${broken} (byte ${entry.start + broken * floatFormats[dtype].sizeBytes})`,
      });
    }
  }

  /** Fills `target`; the checksum of the bytes after `seed`, if there is one. */
  async #read(
    { dtype, start, end }: Entry,
    target: Float32Array,
    seed: number | null,
  ): Promise<number | null> {
    const { sizeBytes, decode } = floatFormats[dtype];
    const direct = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
    const staging = dtype === "F32" ? null : new Uint8Array(Math.min(PIECE_BYTES, end - start));
    let checksum = seed;
    for (let offset = 0; offset < end - start; offset += PIECE_BYTES) {
      const length = Math.min(PIECE_BYTES, end - start - offset);
      const piece = staging?.subarray(0, length) ?? direct.subarray(offset, offset + length);
      await fill(this.path, this.#file, piece, start + offset);
      if (checksum !== null) checksum = crc32(piece, checksum);
      if (staging !== null)
        decode(piece, target.subarray(offset / sizeBytes, (offset + length) / sizeBytes));
    }
    return checksum;
  }
}

/** Place of the first number that is not finite, or -1. A loop: models have billions. */
function firstNonFinite(values: Float32Array): number {
  for (let index = 0; index < values.length; index++)
    if (!Number.isFinite(values[index]!)) return index;
  return -1;
}

/** Reads exactly these bytes. */
async function fill(
  path: string,
  file: FileHandle,
  bytes: Uint8Array,
  position: number,
): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, position + done);
    if (bytesRead === 0) {
      const [expected, got] = [position + bytes.length, position + done];
      throw new DataError({ where: path, expected: `${expected} bytes`, got: `${got} bytes` });
    }
    done += bytesRead;
  }
}

/** The bytes of the JSON header. */
async function readHeaderBytes(path: string, file: FileHandle): Promise<Uint8Array> {
  const stats = await file.stat();
  if (!stats.isFile())
    throw new DataError({ where: path, expected: "a readable file", got: "a folder" });
  const sizeBytes = stats.size;
  const prefix = new Uint8Array(8);
  if (sizeBytes >= 8) await fill(path, file, prefix, 0);
  const length = new DataView(prefix.buffer).getBigUint64(0, true);
  if (length < 2n || length > BigInt(Math.min(sizeBytes - 8, LONGEST_HEADER))) {
    throw new DataError({
      where: path,
      expected: "a safetensors header, its length in the first 8 bytes",
      got: `length ${length} in a file of ${sizeBytes} bytes`,
      hint: "is it cut off, or of another format?",
    });
  }
  const header = new Uint8Array(Number(length));
  await fill(path, file, header, 8);
  return header;
}

/** Entries in the order of their data, and the checksums, if the file has any. */
function readHeader(
  path: string,
  bytes: Uint8Array,
  sizeBytes: number,
): { entries: ReadonlyMap<string, Entry>; checksums: ReadonlyMap<string, string> } {
  const fail = (expected: string, got: string, cause?: unknown): DataError =>
    new DataError({ where: path, expected, got, cause });
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw fail("a JSON header", "text that is not", cause);
  }
  if (typeof header !== "object" || header === null || Array.isArray(header))
    throw fail("an object as JSON header", shownJson(header));
  const dataStart = 8 + bytes.length;
  const entries: [string, Entry][] = [];
  let checksums = new Map<string, string>();
  for (const [name, value] of Object.entries(header) as [string, unknown][]) {
    if (name === "__metadata__") {
      const metadata = metadataSchema.safeParse(value);
      if (!metadata.success) throw fail("strings in __metadata__", shownJson(value));
      checksums = new Map(
        Object.entries(metadata.data)
          .filter(([key]) => key.startsWith(CHECKSUM))
          .map(([key, text]) => [key.slice(CHECKSUM.length), text]),
      );
    } else entries.push([name, readEntry(name, value, dataStart, fail)]);
  }
  entries.sort(([, a], [, b]) => a.start - b.start || a.end - b.end);
  let position = dataStart;
  for (const [name, { start, end }] of entries) {
    if (start !== position)
      throw fail(`the data of ${name} from byte ${position}, where the last ends`, String(start));
    position = end;
  }
  if (position !== sizeBytes)
    throw fail(`${position} bytes, where the last tensor ends`, `${sizeBytes} bytes`);
  const found = new Map(entries);
  const odd =
    [...found.keys()].find((name) => checksums.size > 0 && !checksums.has(name)) ??
    [...checksums.keys()].find((name) => !found.has(name));
  if (odd !== undefined)
    throw fail("a tensor for every checksum and the other way round", `only one of ${odd}`);
  return { entries: found, checksums };
}

function readEntry(
  name: string,
  value: unknown,
  dataStart: number,
  fail: (expected: string, got: string) => DataError,
): Entry {
  const parsed = entrySchema.safeParse(value);
  if (!parsed.success) throw fail(`dtype, shape and data_offsets for ${name}`, shownJson(value));
  const { dtype, shape, data_offsets: offsets } = parsed.data;
  if (!Object.hasOwn(floatFormats, dtype))
    throw fail(`${Object.keys(floatFormats).join(", ")} for ${name}`, dtype);
  const format = floatFormats[dtype as FloatDtype];
  const [start, end] = offsets;
  if (end - start !== sizeOf(shape) * format.sizeBytes) {
    throw fail(
      `${sizeOf(shape) * format.sizeBytes} bytes for ${name} (${dtype}[${shape.join(", ")}])`,
      `${end - start} (data_offsets ${start} to ${end})`,
    );
  }
  return { dtype: dtype as FloatDtype, shape, start: dataStart + start, end: dataStart + end };
}

/** Every tensor of a file at once. Throws like `SafetensorsFile`. */
export async function readSafetensors(path: string): Promise<Map<string, NamedArray>> {
  const file = await SafetensorsFile.open(path);
  try {
    const tensors = new Map<string, NamedArray>();
    for (const [name, shape] of file.shapes) {
      const data = new Float32Array(sizeOf(shape));
      await file.readInto(name, data);
      tensors.set(name, { shape, data });
    }
    return tensors;
  } finally {
    await file.close();
  }
}
