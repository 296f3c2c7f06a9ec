import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatCoordinates } from "../notation/coordinates.ts";
import { variants } from "../rules/variant.ts";
import { readFenList } from "./fen-list.ts";

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const read = (text: string): ReturnType<typeof readFenList> =>
  readFenList(utf8(text), { file: "a.txt" });

const placement = "3k5/9/9/9/9/9/9/9/4A4/4K4";
const fen = `${placement} w - - 0 1`;

describe("a list of positions", () => {
  it("has a FEN a line, short or whole", () => {
    const { positions, faults } = read(
      `\uFEFF# two advisors, no\r\n\r\n  # less\n${placement}\n ${placement} b \n${placement} r - - 7 9`,
    );
    expect(faults).toEqual([]);
    expect(positions.map((one) => [one.line, one.fen])).toEqual([
      [4, fen],
      [5, `${placement} b - - 0 1`],
      [6, `${placement} w - - 7 9`],
    ]);
    expect(positions[0]).toMatchObject({ bestMoves: [], scoreCp: null, operations: {} });
  });

  it("has operations behind the FEN", () => {
    const { positions, faults } = read(
      `${fen} bm e1d2 A5+4; ce -12; id "one, two; three"; pv e1d2 d9d8;\n` +
        `${placement} w score +5; bm 仕五进四\n${placement} bm e1d2;`,
    );
    expect(faults).toEqual([]);
    expect(
      positions.map((one) => [one.bestMoves.map((move) => formatCoordinates(move)), one.scoreCp]),
    ).toEqual([
      [["e1d2", "e1f2"], -12],
      [["e1f2"], 5],
      [["e1d2"], null],
    ]);
    expect(positions[0]!.operations).toEqual({ id: "one, two; three", pv: "e1d2 d9d8" });
  });

  it.each([",", "\t", ", "])("has columns separated by %j", (separator) => {
    const lines = [
      [fen, "e1d2 e1f2", "12"],
      [fen, "", "-3"],
      [fen, "e1d2"],
    ];
    const { positions, faults } = read(lines.map((line) => line.join(separator)).join("\n"));
    expect(faults).toEqual([]);
    expect(positions.map((one) => [one.bestMoves.length, one.scoreCp])).toEqual([
      [2, 12],
      [0, -3],
      [1, null],
    ]);
  });

  it("names its columns in the first line", () => {
    const { positions, faults } = read(`# c\nFEN,Score,Phase,bm\n${fen},7,endgame,e1d2\n${fen}\n`);
    expect(faults).toEqual([]);
    expect(positions[0]).toMatchObject({ scoreCp: 7, operations: { phase: "endgame" } });
    expect(positions[0]!.bestMoves).toHaveLength(1);
  });

  it("has the board of its variant", () => {
    const { start } = variants.minixiangqi;
    const { positions } = readFenList(utf8(start), { variant: variants.minixiangqi });
    expect(positions[0]!.fen).toBe(start);
    expect(read(start).faults).toHaveLength(1);
  });

  it.each([
    ["9/9 w", "expected 10 ranks separated by /, got 2"],
    [`${fen} bm e1e9;`, 'expected legal moves in bm, got "e1e9"'],
    [`${fen} bm;`, 'expected legal moves in bm, got ""'],
    [`${fen} ce 1.5;`, 'expected a whole number of centipawns in ce, got "1.5"'],
    [`${fen} ce 1; score 2;`, 'expected ce once, got it again: "2"'],
    [`${fen} bm e1d2; ?`, 'expected the rest of a FEN, or operations such as bm h2e2;, got "?"'],
    [`${fen} # late`, 'expected the rest of a FEN, or operations such as bm h2e2;, got "# late"'],
    [`${fen} id "open`, "expected the rest of a FEN, or operations"],
    [`${fen},e1d2,1,2`, "expected at most 3 columns (fen, bm, ce), got 4"],
    [`fen,bm`, "expected 10 ranks separated by /, got 1"],
  ])("names a wrong line and reads the others: %s", (line, message) => {
    const { positions, faults } = read(`${fen}\n${line}\n\n${fen}`);
    expect(positions.map((one) => one.line)).toEqual([1, 4]);
    expect(faults).toEqual([
      {
        file: "a.txt",
        line: 2,
        message: expect.stringContaining(`a.txt, line 2: ${message}`) as string,
      },
    ]);
  });

  it("may be GB18030; bytes that are no text are a fault of their line", () => {
    const [comment, wrong] = [Uint8Array.of(0x23, 0xcf, 0xf3, 10), Uint8Array.of(0x23, 0xff, 10)];
    const name = Uint8Array.of(0xcf, 0xf3);
    const bytes = [
      comment,
      wrong,
      utf8(`${fen} id `),
      name,
      utf8(`;\n${fen} id `),
      Uint8Array.of(0xff),
      utf8(";"),
    ];
    const { positions, faults } = readFenList(Buffer.concat(bytes));
    expect(positions.map((one) => one.operations)).toEqual([{ id: "象" }]);
    expect(faults.map((fault) => fault.message)).toEqual([
      "FEN list, line 4: expected text in UTF-8 or GB18030, got bytes that are neither",
    ]);
  });

  it("accounts for every line, whatever it says", () => {
    const part = fc.oneof(
      fc.string(),
      fc.constantFrom(fen, placement, " ", ",", "\t", ";", '"', "bm", "ce", "e1d2", "12", "#"),
    );
    const line = fc
      .array(part, { maxLength: 6 })
      .map((parts) => parts.join("").replaceAll(/[\r\n]/g, ""));
    fc.assert(
      fc.property(fc.array(line, { maxLength: 5 }), (lines) => {
        const { positions, faults } = read(lines.join("\n"));
        const numbers = [...positions, ...faults].map((one) => one.line).toSorted((a, b) => a - b);
        const expected = lines.flatMap((text, index) =>
          /^\s*(?:#|$)/.test(text) ? [] : [index + 1],
        );
        expect(numbers).toEqual(expected);
      }),
      { numRuns: 300 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        readFenList(bytes);
      }),
    );
  });
});
