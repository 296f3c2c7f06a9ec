import { describe, expect, it } from "vitest";
import type { Notation } from "../../tasks/xiangqi/notation/parse-move.ts";
import { formatCoordinates } from "../../tasks/xiangqi/notation/coordinates.ts";
import { parseFen } from "../../tasks/xiangqi/rules/fen.ts";
import { minixiangqi, type Variant, xiangqi } from "../../tasks/xiangqi/rules/variant.ts";
import { readTypedMove } from "./read-typed-move.ts";

interface Reading {
  readonly fen?: string;
  readonly variant?: Variant;
  readonly notation?: Notation;
}

/** The move by coordinates, what is wrong with it, or null. */
function read(text: string, reading: Reading = {}): string | null {
  const { variant = xiangqi, fen = variant.start, notation = "coordinates" } = reading;
  const { position } = parseFen(fen, { variant });
  const typed = readTypedMove(position, text, notation);
  if (typed === null) return null;
  return "fault" in typed ? typed.fault : formatCoordinates(typed.move, variant);
}

describe("a typed move", () => {
  it.each(["h2e2", "H2-E2", " h2 e2 ", "C2=5", "c2.5", "炮二平五", "ｈ２ｅ２"])(
    "%j is h2e2",
    (text) => expect(read(text)).toBe("h2e2"),
  );

  it.each([
    ["e4e5", "no piece stands on e4"],
    ["h9g7", "the horse on h9 is Black's"],
    ["h2e3", "your own soldier stands on e3"],
    ["a0b1", "a chariot cannot go from a0 to b1"],
    ["c0c2", "an elephant cannot go from c0 to c2"],
    ["b0d1", "something stands in the way of the horse"],
    ["a0a5", "something stands in the way of the chariot"],
    ["b2b7", "a cannon takes over exactly one piece in between"],
    ["b2b8", "something stands in the way of the cannon"],
    ["c3c2", "a soldier cannot go from c3 to c2"],
  ])("%s at the start: %s", (text, reason) =>
    expect(read(text)).toBe(`${text} is not legal: ${reason}`),
  );

  it.each([
    ["4k4/9/9/9/9/4N4/9/9/9/4K4 w", "e4g5", "the generals would face each other"],
    ["3k5/9/9/9/9/9/P8/9/9/r3K4 w", "a3a4", "your general would still be in check"],
    ["3k5/9/9/9/9/9/9/9/9/r1R1K4 w", "c0c1", "your general would then be in check"],
  ])("in %s %s: %s", (fen, text, reason) =>
    expect(read(text, { fen })).toBe(`${text} is not legal: ${reason}`),
  );

  it.each(["C2=9", "炮二平九", "R1=5", "前炮平五", "h5=5"])("%s is not legal", (text) =>
    expect(read(text)).toBe(`${text} is not legal here`),
  );

  it.each([
    ["3k5/9/9/R8/9/9/9/9/R8/4K4 w", "R9+1", "coordinates", "a6a7 or a1a2"],
    ["3k5/9/9/R8/9/9/9/9/R8/4K4 w", "车九进一", "wxf", "R++1 or R-+1"],
    ["4k4/3P1P3/9/3P1P3/9/9/9/9/9/3K5 w", "前兵平五", "iccs", "D8-E8 or F8-E8"],
  ] as const)("in %s %s is ambiguous", (fen, text, notation, names) => {
    expect(read(text, { fen, notation })).toBe(`${text} is ambiguous: ${names}`);
  });

  it.each(["j0j1", "a0a10", "a0a0"])("%s leaves the board", (text) =>
    expect(read(text)).toBe(`${text} is no move on this board, whose points are a0 to i9`),
  );

  it("knows the smaller board", () => {
    const reading = { variant: minixiangqi };
    expect(read("b0b1", reading)).toBe("b0b1");
    expect(read("h0h1", reading)).toContain("points are a0 to g6");
  });

  it.each(["", "foo", "undo", "h2", "constructor", "good", "C2=5=", "平"])("%j is none", (text) =>
    expect(read(text)).toBeNull(),
  );
});
