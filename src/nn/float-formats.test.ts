import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { halfToFloat } from "../core/half-float.ts";
import { floatFormats, toBfloat16 } from "./float-formats.ts";

const bytesOf = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

describe("number formats", () => {
  it.each([
    [0x0000, 0],
    [0x8000, -0],
    [0x0001, 2 ** -24],
    [0x03ff, 1023 * 2 ** -24],
    [0x0400, 2 ** -14],
    [0x3c00, 1],
    [0x3555, 0.333251953125],
    [0xc000, -2],
    [0x7bff, 65504],
    [0x7c00, Infinity],
    [0xfc00, -Infinity],
    [0x7e01, NaN],
  ])("half %i is %f", (half, value) => expect(halfToFloat(half)).toBe(value));

  it("F16 and F64 come as the nearest float32", () => {
    const target = new Float32Array(2);
    floatFormats.F16.decode(bytesOf(Uint16Array.of(0x3c00, 0x3555)), target);
    expect([...target]).toEqual([1, 0.333251953125]);
    floatFormats.F64.decode(bytesOf(Float64Array.of(0.1, -3)), target);
    expect([...target]).toEqual([Math.fround(0.1), -3]);
  });

  it("BF16 is the nearest number with 8 significant bits, ties to even", () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true }), (value) => {
        const back = new Float32Array(3);
        const [word] = toBfloat16(Float32Array.of(value));
        floatFormats.BF16.decode(bytesOf(Uint16Array.of(word! - 1, word!, word! + 1)), back);
        const [below, found, above] = back;
        const error = Math.abs(found! - value);
        if (!Number.isFinite(found)) return; // beyond the largest
        for (const other of [below!, above!].filter(Number.isFinite))
          expect(error).toBeLessThanOrEqual(Math.abs(other - value));
      }),
    );
    expect([...toBfloat16(Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8))]).toEqual([
      0x3f80, 0x3f82,
    ]);
    const nan = new Float32Array(1);
    floatFormats.BF16.decode(bytesOf(toBfloat16(Float32Array.of(NaN))), nan);
    expect(nan[0]).toBeNaN();
  });
});
