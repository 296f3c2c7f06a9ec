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
      __metadata__: { format: "pt" },
      "a.b": { dtype: "F32", shape: [2, 1], data_offsets: [0, 8] },
    });
    expect(bytes.toString("hex", 8 + length)).toBe("0000803f000000c0");
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

  it("fails with an error that names the file, or reads: whatever bytes are changed", async () => {
    await writeSafetensors(path, {
      a: { shape: [3], data: Float32Array.of(1, 2, 3) },
      b: { shape: [2, 2], data: new Float32Array(4) },
    });
    const whole = readFileSync(path);
    const anyChange = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), {
      minLength: 1,
      maxLength: 4,
    });
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(anyChange, async (changes) => {
        const changed = Buffer.from(whole);
        for (const [at, byte] of changes) changed[at] = byte;
        try {
          for (const { shape, data } of (await read(changed)).values()) {
            expect(data.length).toBe(shape.reduce((product, extent) => product * extent, 1));
          }
        } catch (error) {
          refused++;
          expect(error).toBeInstanceOf(DataError);
          expect((error as Error).message.startsWith(`${path}: expected `)).toBe(true);
        }
      }),
      { numRuns: 400 },
    );
    expect(refused).toBeGreaterThan(200);
  });

  it("that is not there is named", async () => {
    const reading = readSafetensors(join(root, "none.safetensors"));
    await expect(reading).rejects.toThrow(DataError);
    await expect(reading).rejects.toThrow(
      /none\.safetensors: expected a readable file, got ENOENT/,
    );
  });

  const entry = { dtype: "F32", shape: [2], data_offsets: [0, 8] };
  it.each([
    ["another dtype", { a: { ...entry, dtype: "BF16" } }, 8, "float32 (F32) for a, got BF16"],
    ["offsets beyond the end", { a: { ...entry, data_offsets: [8, 16] } }, 8, "8 bytes for a"],
    ["offsets backwards", { a: { ...entry, data_offsets: [8, 0] } }, 8, "8 bytes for a"],
    ["a size that does not fit the shape", { a: { ...entry, shape: [3] } }, 8, "12 bytes for a"],
    [
      "a negative extent",
      { a: { ...entry, shape: [-2] } },
      8,
      "dtype, shape and data_offsets for a",
    ],
    ["an entry without offsets", { a: { dtype: "F32", shape: [2] } }, 8, "for a"],
    ["data that no tensor owns", { a: entry }, 12, "8 bytes of data, got 12"],
    ["two tensors over one place", { a: entry, b: entry }, 8, "16 bytes of data, got 8"],
    ["a list for a header", [], 0, "a JSON header"],
    ["text for a header", "{", 0, "a JSON header"],
  ])("with %s is refused", async (_title, header, dataBytes, message) => {
    const reading = read(file(header, dataBytes));
    await expect(reading).rejects.toThrow(DataError);
    await expect(reading).rejects.toThrow(message);
  });
});
