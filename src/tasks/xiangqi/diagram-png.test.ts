import { describe, expect, it } from "vitest";
import { randomStream } from "../../core/random.ts";
import { decodePng } from "../../image/png.ts";
import type { Raster } from "../../image/raster.ts";
import { playRandomGame } from "../../../tests/xiangqi-positions.ts";
import { gridPoint } from "./diagram.ts";
import { diagramPng, diagramRaster } from "./diagram-png.ts";
import { parseCoordinates } from "./notation/coordinates.ts";
import { parseFen } from "./rules/fen.ts";
import { BLACK, RED, variants, xiangqi } from "./rules/variant.ts";

function hexAt({ shape, data }: Raster, x: number, y: number): string {
  const at = (y * shape[1] + x) * 3;
  const bytes = Array.from(data.slice(at, at + 3), (value) => Math.round((value + 1) * 127.5));
  return `#${bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** Red, black, or the board: beside the letter of a piece, off all lines. */
function sideSeen(raster: Raster, column: number, row: number): string {
  const color = hexAt(raster, 52 + column * 48 - 11, 52 + row * 48 + 4);
  return { "#b5221c": "red", "#23252b": "black" }[color] ?? "board";
}

describe("a PNG diagram", () => {
  it.each([variants.xiangqi, variants.minixiangqi])(
    "has a disc for every piece and no other: $name",
    (variant) => {
      playRandomGame(
        randomStream("png", variant.name),
        3,
        (position) => {
          for (const view of [RED, BLACK] as const) {
            const raster = diagramRaster(position, { view });
            for (const [square, piece] of position.board.entries()) {
              const { column, row } = gridPoint(square, variant, view);
              const expected = piece === 0 ? "board" : piece < 8 ? "red" : "black";
              expect(sideSeen(raster, column, row)).toBe(expected);
            }
          }
        },
        variant,
      );
    },
  );

  it("is a file that can be read, larger by its caption", () => {
    const variant = variants.minixiangqi;
    const { position } = parseFen(variant.start, { variant });
    const [plain, captioned] = [{}, { caption: "one\ntwo 马" }].map((options) =>
      decodePng(diagramPng(position, options), "test"),
    );
    expect(plain!.shape).toEqual([6 * 48 + 104, 6 * 48 + 104, 3]);
    expect(captioned!.shape).toEqual([6 * 48 + 104 + 12 + 2 * 22, 6 * 48 + 104, 3]);
  });

  it("shows the last move and arrows", () => {
    const { position } = parseFen(xiangqi.start);
    const lastMove = parseCoordinates("h2e2")!;
    const raster = diagramRaster(position, {
      lastMove,
      arrows: [{ move: parseCoordinates("a3a5")! }],
    });
    const plain = diagramRaster(position);
    const changed = (column: number, row: number): boolean =>
      hexAt(raster, 52 + column * 48, 52 + row * 48) !==
      hexAt(plain, 52 + column * 48, 52 + row * 48);
    expect(changed(7, 7)).toBe(true);
    expect(changed(0, 5)).toBe(true);
    expect(changed(3, 5)).toBe(false);
    const frames = [-23, 23].map((off) => hexAt(raster, 52 + 4 * 48 + off, 52 + 7 * 48 + off));
    for (const frame of frames) expect(frame).toBe("#1668b8");
  });
});
