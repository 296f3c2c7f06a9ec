import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { randomStream } from "../../core/random.ts";
import { playRandomGame } from "../../../tests/xiangqi-positions.ts";
import { boardLines, columnsOf, gridPoint, moveLine, startMarks, wrapText } from "./diagram.ts";
import { diagramText, type TextDiagramOptions } from "./diagram-text.ts";
import { parseCoordinates } from "./notation/coordinates.ts";
import { formatPlacement, parseFen } from "./rules/fen.ts";
import { type Position } from "./rules/position.ts";
import { BLACK, RED, type Variant, variants, xiangqi } from "./rules/variant.ts";

const { minixiangqi } = variants;
const startOf = (variant: Variant): Position => parseFen(variant.start, { variant }).position;

describe("text of a position", () => {
  it("has the last move in brackets", () => {
    const position = startOf(xiangqi);
    const lastMove = parseCoordinates("h2e2")!;
    position.make(lastMove);
    expect(diagramText(position, { lastMove, caption: "C2=5\n\u001B[2J" })).toBe(`\
   a b c d e f g h i
9  r n b a k a b n r  9
8  . . . . . . . . .  8
7  . c . . . . . c .  7
6  p . p . p . p . p  6
5  . . . . . . . . .  5
   ~~~~~~~~~~~~~~~~~
4  . . . . . . . . .  4
3  P . P . P . P . P  3
2  . C . .[C]. .[.].  2
1  . . . . . . . . .  1
0  R N B A K A B N R  0
   a b c d e f g h i
   Black to move
   C2=5
   \uFFFD[2J
`);
  });

  it("can be Chinese and seen by Black", () => {
    const { position } = parseFen("3k5/4a4/9/9/2R6/9/9/9/4A4/2cNK4 w");
    const lastMove = parseCoordinates("e9d9")!;
    expect(diagramText(position, { lastMove, pieces: "chinese", view: BLACK })).toBe(`\
   i  h  g  f  e  d  c  b  a
0  ＋ ＋ ＋ ＋ 帥 傌 砲 ＋ ＋  0
1  ＋ ＋ ＋ ＋ 仕 ＋ ＋ ＋ ＋  1
2  ＋ ＋ ＋ ＋ ＋ ＋ ＋ ＋ ＋  2
3  ＋ ＋ ＋ ＋ ＋ ＋ ＋ ＋ ＋  3
4  ＋ ＋ ＋ ＋ ＋ ＋ ＋ ＋ ＋  4
   ~~~~~~~~~~~~~~~~~~~~~~~~~~
5  ＋ ＋ ＋ ＋ ＋ ＋ 俥 ＋ ＋  5
6  ＋ ＋ ＋ ＋ ＋ ＋ ＋ ＋ ＋  6
7  ＋ ＋ ＋ ＋ ＋ ＋ ＋ ＋ ＋  7
8  ＋ ＋ ＋ ＋ 士 ＋ ＋ ＋ ＋  8
9  ＋ ＋ ＋ ＋[＋|將]＋ ＋ ＋  9
   i  h  g  f  e  d  c  b  a
   Red to move
`);
  });

  it("has no river on seven files", () => {
    expect(diagramText(startOf(minixiangqi))).toBe(`\
   a b c d e f g
6  r c n k n c r  6
5  p . p p p . p  5
4  . . . . . . .  4
3  . . . . . . .  3
2  . . . . . . .  2
1  P . P P P . P  1
0  R C N K N C R  0
   a b c d e f g
   Red to move
`);
  });

  it("has the same letters under its colours, and columns of one width", () => {
    const escapes = new RegExp(String.raw`\u001B\[[\d;]*m`, "g");
    const widths = (text: string): number[] =>
      text
        .split("\n")
        .filter((line) => /^\d/.test(line))
        .map((line) => Array.from(line).reduce((sum, one) => sum + columnsOf(one), 0));
    const lastMove = parseCoordinates("a0a2")!;
    for (const pieces of ["latin", "chinese"] as const) {
      const options: TextDiagramOptions = { pieces, lastMove, view: BLACK };
      const plain = diagramText(startOf(xiangqi), options);
      const colored = diagramText(startOf(xiangqi), { ...options, hasColors: true });
      expect(colored).toMatch(escapes);
      expect(colored.replaceAll(escapes, "")).toBe(plain);
      expect(new Set(widths(plain)).size).toBe(1);
    }
  });

  it.each([xiangqi, minixiangqi])("says what the FEN says: $name", (variant) => {
    playRandomGame(
      randomStream("diagrams", variant.name),
      80,
      (position) => {
        const rows = diagramText(position)
          .split("\n")
          .filter((line) => /^\d/.test(line))
          .map((line) => line.slice(2, -2).replaceAll(/[^A-Za-z.]/g, ""));
        const fen = rows.map((row) => row.replaceAll(/\.+/g, (dots) => String(dots.length)));
        expect(fen.join("/")).toBe(formatPlacement(position));
        const black = diagramText(position, { view: BLACK })
          .split("\n")
          .filter((line) => /^\d/.test(line));
        const turned = black.map((line) => Array.from(line).toReversed().join(""));
        expect(turned.toReversed().map((line) => line.slice(2, -2))).toEqual(
          diagramText(position)
            .split("\n")
            .filter((line) => /^\d/.test(line))
            .map((line) => line.slice(2, -2)),
        );
      },
      variant,
    );
  });
});

describe("points and captions", () => {
  it("lie on lines with a river and two palaces, or without a river", () => {
    // Ranks, outer files, both halves of the inner files, diagonals.
    expect(boardLines(xiangqi)).toHaveLength(10 + 2 + 7 * 2 + 4);
    expect(boardLines(minixiangqi)).toHaveLength(7 + 7 + 4);
    const [diagonal] = boardLines(minixiangqi).slice(-4);
    expect(diagonal).toEqual([
      { column: 2, row: 4 },
      { column: 4, row: 6 },
    ]);
    expect(startMarks(xiangqi)).toHaveLength(14);
    expect(startMarks(minixiangqi)).toHaveLength(0);
  });

  it("stand where the viewer sees them", () => {
    expect(gridPoint(0, xiangqi, RED)).toEqual({ column: 0, row: 9 });
    expect(gridPoint(0, xiangqi, BLACK)).toEqual({ column: 8, row: 0 });
    expect(gridPoint(9, minixiangqi, RED)).toEqual({ column: 2, row: 5 });
  });

  it("refuse a move that leaves the board", () => {
    const move = parseCoordinates("i9i8")!;
    expect(() => moveLine(move, minixiangqi, RED)).toThrow(
      "diagram: expected a move on the 49 points of minixiangqi, got one from 89 to 80",
    );
  });

  it("are broken into lines at white space, and Chinese anywhere", () => {
    expect(wrapText(" one two three \n\nfour", 8)).toEqual(["one two", "three", "", "four"]);
    expect(wrapText("abcdefghij k", 4)).toEqual(["abcd", "efgh", "ij k"]);
    expect(wrapText("马八进七, 炮二平五", 9)).toEqual(["马八进七,", "炮二平五"]);
    expect(wrapText(" \n ", 4)).toEqual([]);
  });

  it("lose nothing but white space, and keep their width", () => {
    const text = fc
      .array(fc.constantFrom("a", "bcd", " ", "  ", "\n", "马", "efghijk"))
      .map((parts) => parts.join(""));
    fc.assert(
      fc.property(text, fc.integer({ min: 2, max: 12 }), (caption, columns) => {
        const lines = wrapText(caption, columns);
        const bare = (one: string): string => one.replaceAll(/\s/g, "");
        expect(bare(lines.join(""))).toBe(bare(caption));
        for (const line of lines) {
          const width = Array.from(line).reduce((sum, one) => sum + columnsOf(one), 0);
          expect(width).toBeLessThanOrEqual(columns);
        }
      }),
    );
  });
});
