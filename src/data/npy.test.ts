import { Buffer } from "node:buffer";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DataError, ShapeError } from "../core/errors.ts";
import { decodeNpy, encodeNpy, readNpy, writeNpy } from "./npy.ts";

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-npy-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const magic = Buffer.from("\u0093NUMPY", "latin1");

/** A file with that dict, as numpy 2.4 lays it out: spaces up to a multiple of 64 bytes, then a line end. */
function file(dict: string, data: Uint8Array, version = 1): Buffer {
  const before = version === 1 ? 10 : 12;
  const length = Math.ceil((before + dict.length + 1) / 64) * 64 - before;
  const head = Buffer.alloc(before);
  magic.copy(head);
  head[6] = version;
  if (version === 1) head.writeUInt16LE(length, 8);
  else head.writeUInt32LE(length, 8);
  return Buffer.concat([head, Buffer.from(`${dict.padEnd(length - 1)}\n`, "latin1"), data]);
}

const dict = (descr: string, shape: string, fortran = "False"): string =>
  `{'descr': ${descr}, 'fortran_order': ${fortran}, 'shape': ${shape}, }`;
const base64 = (text: string): Buffer => Buffer.from(text, "base64");

// numpy.array([[0, 0.25, 1], [0.1, 0.5, 1 / 3]]) in several dtypes: the numbers as numpy 2.4.6 wrote them.
const numbers = {
  "<f8": "AAAAAAAAAAAAAAAAAADQPwAAAAAAAPA/mpmZmZmZuT8AAAAAAADgP1VVVVVVVdU/",
  "<f4": "AAAAAAAAgD4AAIA/zczMPQAAAD+rqqo+",
  "<f2": "AAAANAA8Zi4AOFU1",
  ">f4": "AAAAAD6AAAA/gAAAPczMzT8AAAA+qqqr",
} as const;
const tenth = {
  "<f8": 0.1,
  "<f4": Math.fround(0.1),
  ">f4": Math.fround(0.1),
  "<f2": 0.0999755859375,
};
const third = {
  "<f8": 1 / 3,
  "<f4": Math.fround(1 / 3),
  ">f4": Math.fround(1 / 3),
  "<f2": 0.333251953125,
};
const dtypes = Object.keys(numbers) as (keyof typeof numbers)[];

describe("arrays of numpy", () => {
  const versions = [1, 2, 3].flatMap((version) => dtypes.map((dtype) => [dtype, version] as const));
  it.each(versions)("of dtype %s in version %i are read", (dtype, version) => {
    const bytes = file(dict(`'${dtype}'`, "(2, 3)"), base64(numbers[dtype]), version);
    const { shape, values } = decodeNpy(bytes, "x.npy");
    expect(shape).toEqual([2, 3]);
    expect([...values]).toEqual([0, 0.25, 1, tenth[dtype], 0.5, third[dtype]]);
  });

  it("may begin anywhere in memory, and have their fields in any order", () => {
    const text = `{"shape": (2,), "fortran_order": False, "descr": "<f8"}`;
    const bytes = file(text, base64(numbers["<f8"]).subarray(8, 24));
    const shifted = Buffer.concat([Buffer.from([7]), bytes]).subarray(1);
    expect(decodeNpy(shifted, "x")).toEqual({ shape: [2], values: Float64Array.of(0.25, 1) });
  });

  it("are written byte for byte as numpy.save writes them", () => {
    const shape = [2, 3];
    const values = Float64Array.of(0, 0.25, 1, 0.1, 0.5, 1 / 3);
    const bytes = Buffer.from(encodeNpy({ shape, values }));
    expect(bytes.toString("base64")).toBe(
      "k05VTVBZAQB2AHsnZGVzY3InOiAnPGY4JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDIsIDMpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAAAAAAAAAAAAAAANA/AAAAAAAA8D+amZmZmZm5PwAAAAAAAOA/VVVVVVVV1T8=",
    );
    expect(() => encodeNpy({ shape: [2, 2], values })).toThrow(ShapeError);
  });

  it("come back bit for bit, whatever their shape", async () => {
    const shapes = fc.array(fc.nat(4), { maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(shapes, fc.infiniteStream(fc.double()), async (shape, stream) => {
        const size = shape.reduce((product, extent) => product * extent, 1);
        const values = Float64Array.from(stream.take(size));
        const path = join(root, "any.npy");
        await writeNpy(path, { shape, values });
        expect(await readNpy(path)).toEqual({ shape, values });
      }),
      { numRuns: 60 },
    );
  });
});

describe("a .npy file", () => {
  const data = base64(numbers["<f8"]);
  const whole = file(dict("'<f8'", "(2, 3)"), data);

  it.each([
    [
      "of another kind",
      Buffer.from("PK\u0003\u0004 and so on"),
      /^m: expected a \.npy file, got "PK/,
    ],
    ["that is empty", Buffer.alloc(0), /^m: expected a \.npy file, got ""/],
    ["of integers", file(dict("'<i8'", "(3,)"), data.subarray(24)), /got <i8 \(array\.astype/],
    ["of bfloat16", file(dict("'<V2'", "(3,)"), data.subarray(42)), /expected dtype float16/],
    ["of records", file(dict("[('shape', '<f4')]", "(2,)"), data), /expected dtype float16/],
    [
      "in Fortran order",
      file(dict("'<f8'", "(2, 3)", "True"), data),
      /expected C order, got Fortr/,
    ],
    ["without a shape", file("{'descr': '<f8', 'fortran_order': False}", data), /expected a shape/],
    ["of a wrong shape", file(dict("'<f8'", "(2, -3)"), data), /expected a shape/],
    ["with too few numbers", whole.subarray(0, -8), /expected 48 bytes .* \[2, 3\], got 40$/],
    ["with too many", Buffer.concat([whole, data]), /expected 48 bytes .*, got 96$/],
    [
      "of version 9",
      file(dict("'<f8'", "(2, 3)"), data, 9),
      /expected \.npy version 1, 2 or 3, got 9/,
    ],
  ])("%s is refused", (_name, bytes, message) => {
    expect(() => decodeNpy(bytes, "m")).toThrow(DataError);
    expect(() => decodeNpy(bytes, "m")).toThrow(message);
  });

  it("that was cut anywhere, or of any bytes, is an error and nothing else", () => {
    for (let size = 0; size < whole.length; size++) {
      expect(() => decodeNpy(whole.subarray(0, size), "m")).toThrow(DataError);
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 1, max: 3 }), (bytes, v) => {
        const begun = Buffer.concat([magic, Buffer.from([v, 0]), bytes]);
        expect(() => decodeNpy(begun, "m")).toThrow(DataError);
      }),
    );
  });
});
