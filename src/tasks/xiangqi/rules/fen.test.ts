import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DataError } from "../../../core/errors.ts";
import { formatFen, parseFen } from "./fen.ts";
import { minixiangqi, xiangqi } from "./variant.ts";

const faultOf = (fen: string): string => {
  try {
    parseFen(fen);
  } catch (error) {
    expect(error).toBeInstanceOf(DataError);
    return (error as Error).message;
  }
  return "no fault";
};
/** Both generals, and whatever else stands in the ranks given. */
const withRanks = (...ranks: string[]): string => `${ranks.join("/")} w`;
const board = (changes: Readonly<Record<number, string>>): string =>
  withRanks(
    ...Array.from({ length: 10 }, (_, index) => {
      const rank = 9 - index;
      return changes[rank] ?? (rank === 9 ? "3k5" : rank === 0 ? "4K4" : "9");
    }),
  );

describe("parseFen", () => {
  it("reads what it writes", () => {
    for (const fen of [
      xiangqi.start,
      "2bakabnr/9/r1n1c4/2p1p1p1p/PP7/9/4P1P1P/2C3NC1/9/1NBAKAB1R b - - 13 27",
    ]) {
      const { position, moveNumber } = parseFen(fen);
      expect(formatFen(position, moveNumber)).toBe(fen);
    }
    const { position } = parseFen(minixiangqi.start, { variant: minixiangqi });
    expect(formatFen(position)).toBe(minixiangqi.start);
  });

  it("takes E and H for elephant and horse, r for Red, and missing fields", () => {
    const { position } = parseFen("rheakaehr/9/1c5c1/p1p1p1p1p/9/9/P1P1P1P1P/1C5C1/9/RHEAKAEHR r");
    expect(formatFen(position)).toBe(xiangqi.start);
  });

  it.each([
    ["nine ranks", "9/9/9/9/9/9/9/9/9 w", "expected 10 ranks separated by /, got 9"],
    ["a short rank", board({ 5: "8" }), 'expected 9 points in rank 5, got 8 ("8")'],
    ["a long rank", board({ 5: "9P" }), 'expected 9 points in rank 5, got 10 ("9P")'],
    ["a strange letter", board({ 5: "4X4" }), 'letters of pieces and digits in rank 5, got "X"'],
    ["a strange side", board({}).replace(" w", " x"), "w (or r) or b as the side to move"],
    ["negative plies", `${board({})} - - -1 1`, "plies since the last capture"],
    ["a strange move number", `${board({})} - - 0 one`, "the number of the move"],
    ["no Red general", board({ 0: "9" }), "expected a Red general, got none"],
    ["two Black generals", board({ 9: "3k1k3" }), "at most 1 of Black general, got 2"],
    ["three chariots", board({ 5: "RRR6" }), "at most 2 of Red chariot, got 3"],
    ["three cannons", board({ 5: "ccc6" }), "at most 2 of Black cannon, got 3"],
    ["three horses", board({ 5: "NNN6" }), "at most 2 of Red horse, got 3"],
    ["three advisors", board({ 0: "3AKA3", 1: "4A4" }), "at most 2 of Red advisor, got 3"],
    ["three elephants", board({ 0: "2B1K1B2", 2: "4B4" }), "at most 2 of Red elephant, got 3"],
    ["six soldiers", board({ 5: "PPPPPP3" }), "at most 5 of Red soldier, got 6"],
    [
      "a general outside its palace",
      board({ 0: "9", 1: "K8" }),
      "general on a point that it can reach, got one on a1",
    ],
    [
      "an advisor off its points",
      board({ 1: "3A5" }),
      "advisor on a point that it can reach, got one on d1",
    ],
    [
      "an elephant over the river",
      board({ 6: "2B6" }),
      "elephant on a point that it can reach, got one on c6",
    ],
    [
      "an elephant off its points",
      board({ 2: "1B7" }),
      "elephant on a point that it can reach, got one on b2",
    ],
    [
      "a soldier between its files",
      board({ 3: "1P7" }),
      "soldier on a point that it can reach, got one on b3",
    ],
    [
      "a soldier behind its start",
      board({ 2: "P8" }),
      "soldier on a point that it can reach, got one on a2",
    ],
    [
      "a Black soldier behind its start",
      board({ 7: "p8" }),
      "Black soldier on a point that it can reach, got one on a7",
    ],
    [
      "a side in check that does not move",
      board({ 5: "3R5" }),
      "Black, who does not move, not to be in check",
    ],
    [
      "generals that face each other",
      board({ 9: "4k4" }),
      "Black, who does not move, not to be in check",
    ],
    ["seventeen pieces", board({ 5: "RRRRRRRRR", 6: "RRRRRRRRR" }), "at most 16 pieces a side"],
    ["nothing", "", "expected 10 ranks"],
  ])("names %s", (_, fen, message) => {
    expect(faultOf(fen)).toContain(message);
  });

  it("reads a position that cannot occur when it is told not to check", () => {
    expect(parseFen(board({ 5: "RRR6" }), { isChecked: false }).position.pieces(0)).toHaveLength(4);
  });

  it("never throws anything but a DataError", () => {
    const near = fc
      .tuple(fc.nat(xiangqi.start.length - 1), fc.string({ maxLength: 3 }))
      .map(([at, text]) => xiangqi.start.slice(0, at) + text + xiangqi.start.slice(at + 1));
    fc.assert(
      fc.property(fc.oneof(fc.string(), near), (text) => {
        try {
          parseFen(text);
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
        }
      }),
    );
  });
});
