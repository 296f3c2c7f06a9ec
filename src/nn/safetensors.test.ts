import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DataError } from "../core/errors.ts";
import { readSafetensors, writeSafetensors, type NamedArray } from "./safetensors.ts";

let root: string;
let path: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "alidade-safetensors-"));
  path = join(root, "weights.safetensors");
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const bits = (data: Float32Array): Uint32Array =>
  new Uint32Array(data.buffer, data.byteOffset, data.length);

const anyTensor = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 }).chain((shape) => {
  const length = shape.reduce((product, extent) => product * extent, 1);
  return fc
    .uint32Array({ minLength: length, maxLength: length })
    .map((words): NamedArray => ({ shape, data: new Float32Array(words.buffer) }));
});
const anyName = fc
  .string({ unit: "grapheme", minLength: 1 })
  .filter((name) => !name.startsWith("__"));
const anyTensors = fc.dictionary(anyName, anyTensor, { noNullPrototype: true, maxKeys: 5 });

/** A file with these header entries and this much data. */
function file(header: unknown, dataBytes: number): Buffer {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(dataBytes)]);
}

const sorted = (tensors: Map<string, NamedArray>): [string, NamedArray][] =>
  [...tensors].sort(([a], [b]) => (a < b ? -1 : 1));

const read = async (bytes: Uint8Array): Promise<Map<string, NamedArray>> => {
  writeFileSync(path, bytes);
  return readSafetensors(path);
};

describe("a safetensors file", () => {
  it("gives back what was written, bit for bit, NaNs included", async () => {
    await fc.assert(
      fc.asyncProperty(anyTensors, async (tensors) => {
        await writeSafetensors(path, tensors);
        const found = await readSafetensors(path);
        expect([...found.keys()].sort()).toEqual(Object.keys(tensors).sort());
        for (const [name, { shape, data }] of Object.entries(tensors)) {
          expect(found.get(name)!.shape).toEqual(shape);
          expect(bits(found.get(name)!.data)).toEqual(bits(data));
        }
      }),
      { numRuns: 100 },
    );
  });

  it("has the published layout: length, JSON padded to 8 bytes, little-endian data", async () => {
    const data = Float32Array.of(1, -2);
    await writeSafetensors(path, { "a.b": { shape: [2, 1], data } });
    const bytes = readFileSync(path);
    const length = Number(bytes.readBigUInt64LE(0));
    expect(length % 8).toBe(0);
    expect(JSON.parse(bytes.toString("utf8", 8, 8 + length))).toEqual({
      __metadata__: { format: "pt", "crc32 a.b": expect.stringMatching(/^[0-9a-f]{8}$/) as string },
      "a.b": { dtype: "F32", shape: [2, 1], data_offsets: [0, 8] },
    });
    expect(bytes.toString("hex", 8 + length)).toBe("0000803f000000c0");
  });

  it("says where a damaged tensor lies", async () => {
    await writeSafetensors(path, {
      "model.norm.weight": { shape: [2], data: Float32Array.of(1, 2) },
    });
    const bytes = readFileSync(path);
    bytes[bytes.length - 1]! ^= 1;
    await expect(read(bytes)).rejects.toThrow(
      /expected checksum [0-9a-f]{8} of model\.norm\.weight \(bytes \d+ to \d+\), got [0-9a-f]{8} \(the file was damaged/,
    );
  });

  it("is refused at every length but its own", async () => {
    await writeSafetensors(path, {
      a: { shape: [3], data: Float32Array.of(1, 2, 3) },
      b: { shape: [2, 2], data: new Float32Array(4) },
    });
    const whole = readFileSync(path);
    for (let length = 0; length < whole.length; length++) {
      const reading = read(whole.subarray(0, length));
      await expect(reading, `${length} bytes`).rejects.toThrow(DataError);
    }
    await expect(read(Buffer.concat([whole, Buffer.alloc(1)]))).rejects.toThrow(DataError);
    expect((await read(whole)).size).toBe(2);
  });

  it("is refused after any flipped bit, or has the same values", async () => {
    const bfloats = fc.constantFrom("F32" as const, "BF16" as const);
    const anyFlip = fc.tuple(fc.nat(), fc.nat(7));
    let refused = 0;
    let same = 0;
    await fc.assert(
      fc.asyncProperty(anyTensors, bfloats, anyFlip, async (tensors, dtype, [place, bit]) => {
        await writeSafetensors(path, tensors, dtype);
        const expected = await readSafetensors(path);
        const bytes = readFileSync(path);
        bytes[place % bytes.length]! ^= 1 << bit;
        let found: Map<string, NamedArray>;
        try {
          found = await read(bytes);
        } catch (error) {
          refused++;
          expect(error).toBeInstanceOf(DataError);
          expect((error as Error).message.startsWith(`${path}: expected `)).toBe(true);
          return;
        }
        same++;
        expect([...found.keys()].sort()).toEqual([...expected.keys()].sort());
        for (const [name, { shape, data }] of expected) {
          expect(found.get(name)!.shape).toEqual(shape);
          expect(bits(found.get(name)!.data)).toEqual(bits(data));
        }
      }),
      { numRuns: 1000 },
    );
    expect(refused).toBeGreaterThan(10 * same);
  });

  it("is refused or has the same values: every bit of one small file", async () => {
    await writeSafetensors(path, {
      a: { shape: [3], data: Float32Array.of(1, 2, 3) },
      b: { shape: [0, 10], data: new Float32Array() },
      c: { shape: [2, 1], data: Float32Array.of(4, 5) },
    });
    const whole = readFileSync(path);
    const expected = JSON.stringify(sorted(await read(whole)));
    const passing: number[] = [];
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const changed = Buffer.from(whole);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      try {
        expect(JSON.stringify(sorted(await read(changed)))).toBe(expected);
        passing.push(bit);
      } catch (error) {
        expect(error, `bit ${bit}`).toBeInstanceOf(DataError);
      }
    }
    expect(passing.length).toBeLessThan(64); // "format": "pt"
  });

  it("keeps bfloat16 as the nearest numbers, in half the bytes", async () => {
    const data = Float32Array.of(1, 1.001, -5.123, 1e-20);
    await writeSafetensors(path, { a: { shape: [4], data } }, "BF16");
    expect([...(await readSafetensors(path)).get("a")!.data]).toEqual(
      [1, 1, -5.125, 1.0005e-20].map((value) => expect.closeTo(value, 5) as number),
    );
  });

  it("is read in pieces: tensors longer than one, of every dtype", async () => {
    const length = (8 << 20) / 2 + 5; // more than a piece, also of 2-byte numbers
    const data = Float32Array.from({ length }, (_, index) => (index % 256) - 100);
    for (const dtype of ["F32", "BF16"] as const) {
      await writeSafetensors(path, { a: { shape: [length], data } }, dtype);
      const found = (await readSafetensors(path)).get("a")!.data;
      expect(Buffer.compare(Buffer.from(found.buffer), Buffer.from(data.buffer))).toBe(0);
    }
  });

  it("of another writer is refused where a number is not finite", async () => {
    const entries = {
      a: { dtype: "F64", shape: [2], data_offsets: [0, 16] },
      b: { dtype: "F16", shape: [3], data_offsets: [16, 22] },
    };
    const bytes = file(entries, 22);
    bytes.writeUInt16LE(0x7c00, bytes.length - 2);
    await expect(read(bytes)).rejects.toThrow(
      `expected finite float32 numbers in b, got Infinity at index 2 (byte ${bytes.length - 2})`,
    );
    bytes.writeUInt16LE(0, bytes.length - 2);
    bytes.writeDoubleLE(1e300, bytes.length - 14);
    await expect(read(bytes)).rejects.toThrow("in a, got Infinity at index 1");
  });

  it("that is not there is named", async () => {
    const reading = readSafetensors(join(root, "none.safetensors"));
    await expect(reading).rejects.toThrow(DataError);
    await expect(reading).rejects.toThrow(
      /none\.safetensors: expected a readable file, got ENOENT/,
    );
  });

  it("is not printed whole when its header is wrong", async () => {
    const long = Array.from({ length: 10_000 }, (_, index) => index);
    const metadata = Object.fromEntries(long.map((index) => [`key ${index}`, index]));
    for (const header of [long, { a: { dtype: "F32", shape: long } }, { __metadata__: metadata }]) {
      const error = await read(file(header, 0)).catch((cause: Error) => cause);
      expect(error).toBeInstanceOf(DataError);
      expect((error as Error).message.length).toBeLessThan(250);
    }
  });

  const entry = { dtype: "F32", shape: [2], data_offsets: [0, 8] };
  it.each([
    ["another dtype", { a: { ...entry, dtype: "I64" } }, 8, "F64, F32, F16, BF16 for a, got I64"],
    [
      "offsets beyond the end",
      { a: { ...entry, data_offsets: [8, 16] } },
      8,
      "data of a from byte",
    ],
    ["offsets backwards", { a: { ...entry, data_offsets: [8, 0] } }, 8, "8 bytes for a"],
    ["a size that does not fit the shape", { a: { ...entry, shape: [3] } }, 8, "12 bytes for a"],
    ["less data than it says", { a: entry }, 7, "where the last tensor ends, got"],
    ["numbers in __metadata__", { __metadata__: { a: 1 }, a: entry }, 8, "strings in __metadata__"],
    [
      "a checksum of no tensor",
      { __metadata__: { "crc32 b": "00000000" }, a: entry },
      8,
      "only one of a",
    ],
    [
      "a negative extent",
      { a: { ...entry, shape: [-2] } },
      8,
      "dtype, shape and data_offsets for a",
    ],
    ["an entry without offsets", { a: { dtype: "F32", shape: [2] } }, 8, "for a"],
    ["data that no tensor owns", { a: entry }, 12, "where the last tensor ends, got"],
    ["two tensors over one place", { a: entry, b: entry }, 8, "data of b from byte"],
    ["a list for a header", [], 0, "an object as JSON header"],
    ["a gap", { a: { ...entry, data_offsets: [4, 12] } }, 12, "the data of a from byte"],
    ["text for a header", "{ ", 0, "a JSON header"],
  ])("with %s is refused", async (_title, header, dataBytes, message) => {
    const reading = read(file(header, dataBytes));
    await expect(reading).rejects.toThrow(DataError);
    await expect(reading).rejects.toThrow(message);
  });
});
