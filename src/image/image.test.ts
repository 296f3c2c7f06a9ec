import { deflateSync } from "node:zlib";
import { decode, encode } from "fast-png";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DataError, ShapeError } from "../core/errors.ts";
import { glyphRows } from "./glyphs.ts";
import { drawGrid, type GridCell, wrapText } from "./grid.ts";
import { decodePng, encodePng } from "./png.ts";
import { blankRaster, rasterBytes, rasterOfBytes, type Raster } from "./raster.ts";

const images = fc
  .record({ height: fc.integer({ min: 1, max: 9 }), width: fc.integer({ min: 1, max: 9 }) })
  .chain(({ height, width }) =>
    fc
      .uint8Array({ minLength: height * width * 3, maxLength: height * width * 3 })
      .map((bytes) => ({ height, width, bytes })),
  );

describe("PNG", () => {
  it("keeps every byte, and another program reads the same pixels", () => {
    fc.assert(
      fc.property(images, ({ height, width, bytes }) => {
        const raster = rasterOfBytes(height, width, bytes);
        const png = encodePng(raster);
        expect(rasterBytes(decodePng(png, "png"))).toEqual(bytes);
        expect(decodePng(png, "png").shape).toEqual([height, width, 3]);
        expect(decode(png)).toMatchObject({ width, height, channels: 3, depth: 8, data: bytes });
      }),
    );
  });

  it("clamps: what lies outside [-1, 1] becomes 0 or 255, and the middle 128", () => {
    const data = Float32Array.of(-7, -1, -0.999, 0, 0.999, 1.5);
    const expected = [0, 0, 0, 128, 255, 255];
    expect([...rasterBytes({ shape: [1, 2, 3], data })]).toEqual(expected);
  });

  it("refuses pixels that are no numbers, and shapes that do not fit", () => {
    const broken: Raster = { shape: [1, 1, 3], data: Float32Array.of(0, Number.NaN, 0) };
    expect(() => encodePng(broken)).toThrow("image: expected finite pixels, got NaN at value 1");
    expect(() => encodePng({ ...broken, shape: [2, 1, 3] })).toThrow(ShapeError);
  });

  it("of other kinds is read: grey, with alpha, 16 bits, palettes", () => {
    const read = (image: Parameters<typeof encode>[0]) =>
      [...rasterBytes(decodePng(encode(image), "png"))].slice(0, 6);
    const size = { width: 2, height: 1 };
    const grey = Uint8Array.of(10, 200);
    expect(read({ ...size, channels: 1, data: grey })).toEqual([10, 10, 10, 200, 200, 200]);
    const withAlpha = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    expect(read({ ...size, channels: 4, data: withAlpha })).toEqual([1, 2, 3, 5, 6, 7]);
    const deep = Uint16Array.of(0, 257, 65535, 514, 1285, 2570);
    expect(read({ ...size, channels: 3, depth: 16, data: deep })).toEqual([0, 1, 255, 2, 5, 10]);
  });

  /** A PNG of any kind, byte by byte: fast-png writes none with fewer than 8 bits. */
  function assemble(header: readonly number[], rows: readonly number[][], palette?: number[]) {
    const chunk = (name: string, content: Uint8Array): Buffer => {
      const body = Buffer.concat([Buffer.from(name), content]);
      const frame = Buffer.alloc(8);
      frame.writeUInt32BE(content.length, 0);
      frame.writeUInt32BE(crc(body), 4);
      return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
    };
    return Buffer.concat([
      Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]),
      chunk(
        "IHDR",
        Buffer.from([0, 0, 0, header[0]!, 0, 0, 0, header[1]!, ...header.slice(2), 0, 0, 0]),
      ),
      ...(palette === undefined ? [] : [chunk("PLTE", Buffer.from(palette))]),
      chunk("IDAT", deflateSync(Buffer.from(rows.flatMap((row) => [0, ...row])))),
      chunk("IEND", Buffer.alloc(0)),
    ]);
  }

  function crc(bytes: Uint8Array): number {
    let word = 0xffffffff;
    for (const byte of bytes) {
      word ^= byte;
      for (let bit = 0; bit < 8; bit++) word = (word >>> 1) ^ (word & 1 ? 0xedb88320 : 0);
    }
    return (word ^ 0xffffffff) >>> 0;
  }

  it("with fewer than 8 bits a sample is read, grey or with a palette", () => {
    const [grey, indexed] = [0, 3];
    const twoBits = assemble(
      [5, 2, 2, grey],
      [
        [0b00011011, 0b11000000],
        [0b11100100, 0],
      ],
    );
    const levels = (png: Buffer) =>
      [...rasterBytes(decodePng(png, "png"))].filter((_, at) => at % 3 === 0);
    expect(levels(twoBits)).toEqual([0, 85, 170, 255, 255, 255, 170, 85, 0, 0]);
    const oneBit = assemble([3, 1, 1, indexed], [[0b01000000]], [1, 2, 3, 200, 100, 50]);
    expect([...rasterBytes(decodePng(oneBit, "png"))]).toEqual([1, 2, 3, 200, 100, 50, 1, 2, 3]);
    const beyond = assemble([3, 1, 2, indexed], [[0b01110000]], [1, 2, 3, 200, 100, 50]);
    expect(() => decodePng(beyond, "a.png")).toThrow(/^a\.png: expected a PNG image/);
  });

  it("that is none is a DataError with its place, whatever the bytes are", () => {
    const png = encodePng(blankRaster(4, 4, [0, 0.5, 1]));
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(png.length - 1), (bytes, cut) => {
        expect(() => decodePng(bytes, "a.png")).toThrow(DataError);
        expect(() => decodePng(bytes, "a.png")).toThrow(/^a\.png: expected a PNG image, got /);
        // A cut in the last chunk, which has no pixels, may pass; one before may not.
        if (cut < png.length - 12) {
          expect(() => decodePng(png.subarray(0, cut), "b.png")).toThrow(DataError);
        }
      }),
    );
  });
});

describe("glyphs", () => {
  it("tell all printable characters of ASCII apart, and the signs of the grid", () => {
    const ascii = Array.from({ length: 95 }, (_, index) => String.fromCodePoint(32 + index));
    const shapes = [...ascii, "✓", "✗", "→", "…"].map((character) => glyphRows(character).join());
    expect(new Set(shapes).size).toBe(shapes.length);
    expect(shapes).not.toContain(glyphRows("迷").join());
    for (const shape of shapes) {
      const rows = shape.split(",").map(Number);
      expect(rows.length).toBe(7);
      expect(rows.every((row) => row >= 0 && row < 32)).toBe(true);
    }
  });
});

describe("the grid", () => {
  const cell = (caption: string, verdict: boolean | null, value = 0): GridCell => ({
    image: blankRaster(4, 6, [value, -value, 0.25]),
    caption,
    verdict,
  });

  it("shows every image scaled by whole pixels, and its verdict in the frame", () => {
    const cells = [cell("a photo", true, 0.5), cell("b", false, -0.5), cell("c", null, 3)];
    const grid = drawGrid(cells, { columns: 2, scale: 5, title: "step 0" });
    const [, width] = grid.shape;
    const at = (x: number, y: number) =>
      Array.from(grid.data.slice((y * width + x) * 3, (y * width + x) * 3 + 3));
    const top = 6 + 9 + 6; // margin, title, margin
    for (const [x, y] of [
      [8, top + 2],
      [8 + 29, top + 2 + 19],
    ] as const) {
      expect(at(x, y)).toEqual([0.5, -0.5, 0.25]);
    }
    const frames = [at(6, top), at(6 + 34 + 6, top)];
    expect(frames[0]![1]).toBeGreaterThan(frames[0]![0]!); // green
    expect(frames[1]![0]).toBeGreaterThan(frames[1]![1]!); // red
    // The third stands below the first; its values are clamped.
    const second = top + 24 + 3 + 9 * 2 + 6;
    expect(at(8, second + 2)).toEqual([1, -1, 0.25]);
    expect(decodePng(encodePng(grid), "grid").shape).toEqual(grid.shape);
  });

  it("breaks captions, loses no letter of them, and refuses images of two shapes", () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 12 }), (text, length) => {
        const lines = wrapText(text, length);
        expect(lines.every((line) => line.length > 0 && line.length <= length)).toBe(true);
        expect(lines.join("").replaceAll(/\s/g, "")).toBe(text.replaceAll(/\s/g, ""));
      }),
    );
    const other = { ...cell("x", null), image: blankRaster(3, 3, [0, 0, 0]) };
    const draw = (cells: readonly GridCell[]) => drawGrid(cells, { columns: 2, scale: 1 });
    expect(() => draw([cell("a", null), other])).toThrow(ShapeError);
    expect(() => draw([])).toThrow("image grid: expected images of one shape, got none");
  });
});
