import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EngineError } from "../../../core/errors.ts";
import { MATE, MATE_BOUND, valueBefore } from "./engine.ts";
import {
  parseBestMove,
  parseInfo,
  type SearchLine,
  SearchReport,
  valueOfMate,
} from "./search-report.ts";
import { ucci } from "./ucci.ts";
import { uci } from "./uci.ts";

const refuse = (expected: string, line: string): Error =>
  new EngineError({ where: "test", expected, got: line });
const info = (line: string, scale = uci): SearchLine | null => parseInfo(line, scale, refuse);

describe("an info line", () => {
  it("gives depth, index, value and moves, whatever stands between", () => {
    const text =
      "info depth 12 seldepth 15 multipv 2 score cp -31 wdl 10 900 90 nodes 5 nps 9 hashfull 1 tbhits 0 time 7 pv h2e2 h9g7";
    expect(info(text)).toEqual({
      depth: 12,
      index: 2,
      value: -31,
      isBound: false,
      moves: ["h2e2", "h9g7"],
      text,
    });
    expect(info("  info   score cp 5  depth 3 pv h2e2 ")).toMatchObject({ depth: 3, index: 1 });
  });

  it.each(["lowerbound", "upperbound"])("with %s is a bound", (bound) => {
    expect(info(`info depth 3 score cp 31 ${bound} pv h2e2`)).toMatchObject({ isBound: true });
  });

  it.each([
    "info string score cp 100 depth 5 pv h2e2",
    "info message depth 5 score 100",
    "info depth 5 currmove h2e2 currmovenumber 1",
    "info nodes 100 nps 1000",
    "info depth 0 score mate 0", // Fairy-Stockfish, of a finished game
    "info score cp 5 pv h2e2",
    "information depth 5 score cp 100",
    "",
  ])("is none: %j", (line) => {
    expect(info(line)).toBeNull();
  });

  it.each([
    "info depth x score cp 1",
    "info depth 3 score cp",
    "info depth 3 score cp 1.5",
    "info depth 3 score mate pv",
    "info depth 3 score 12 pv h2e2", // without a unit that is UCCI
    "info depth 3 score",
    "info depth -3 score cp 1",
    "info depth 3 multipv 0 score cp 1",
    "info depth 99999999999 score cp 1",
  ])("is nonsense: %j", (line) => {
    expect(() => info(line)).toThrow(EngineError);
    expect(() => info(line)).toThrow(line);
  });

  it.each([
    ["cp 0", 0],
    ["cp -0", 0],
    ["cp 25000", MATE_BOUND],
    ["cp -25000", -MATE_BOUND],
    ["mate 1", MATE - 1],
    ["mate 3", MATE - 5],
    ["mate -1", 2 - MATE],
    ["mate -4", 8 - MATE],
    ["mate 0", -MATE],
    ["mate 90000", MATE_BOUND + 2],
    ["mate -90000", -MATE_BOUND - 2],
  ])("has the value of %s", (score, value) => {
    expect(info(`info depth 3 score ${score}`)!.value).toBe(value);
  });

  it.each([
    ["4", 17],
    ["-100", -425],
    ["9801", MATE - 199],
    ["9995", MATE - 5],
    ["-9998", 2 - MATE],
    ["10000", MATE],
    ["20000", MATE],
    ["5000", MATE_BOUND],
    ["cp 221", 221], // Fairy-Stockfish in UCCI
    ["mate -2", 4 - MATE],
  ])("of UCCI has the value of %s", (score, value) => {
    expect(info(`info depth 3 score ${score} pv h2e2`, ucci)!.value).toBe(value);
  });
});

describe("a mate", () => {
  it("is one ply further away for who makes the move before it", () => {
    expect(valueBefore(valueOfMate(-1))).toBe(MATE - 3);
    expect(valueBefore(valueOfMate(1))).toBe(2 - MATE);
    expect(valueBefore(valueOfMate(900))).toBe(-MATE_BOUND - 1);
    expect(valueBefore(35)).toBe(-35);
    expect(Object.is(valueBefore(0), 0)).toBe(true);
  });
});

describe("the best move", () => {
  it.each([
    ["bestmove h2e2", "h2e2"],
    ["bestmove h2e2 ponder h9g7", "h2e2"],
    ["  bestmove\th2e2 resign", "h2e2"],
    ["bestmove (none)", null],
    ["bestmove 0000", null],
    ["nobestmove", null],
    ["bestmoves h2e2", undefined],
    ["info bestmove h2e2", undefined],
  ])("of %j is %j", (line, move) => {
    expect(parseBestMove(line, refuse)).toBe(move);
  });

  it("has to be there", () => {
    expect(() => parseBestMove("bestmove", refuse)).toThrow(/a move after bestmove, got bestmove/);
  });
});

describe("a report", () => {
  const report = (count: number, lines: readonly string[]): unknown => {
    const made = new SearchReport(count);
    for (const line of lines) made.add(info(`info ${line}`)!);
    return made.lines?.map(({ depth, value, moves }) => [depth, value, moves[0]]) ?? null;
  };

  it("has the last depth, not an unfinished one, and no bounds", () => {
    expect(
      report(1, [
        "depth 1 score cp 5 pv a0a1",
        "depth 2 score cp 7 pv a0a2",
        "depth 3 score cp 90 lowerbound pv a0a1",
        "depth 3 score cp 9 multipv 2 pv a0a1",
      ]),
    ).toEqual([[2, 7, "a0a2"]]);
  });

  it("has several lines of one depth, best first, in whatever order they came", () => {
    expect(
      report(3, [
        "depth 4 multipv 3 score cp -5 pv c0c1",
        "depth 4 multipv 1 score cp 8 pv a0a1",
        "depth 4 multipv 2 score mate 2 pv b0b1",
      ]),
    ).toEqual([
      [4, MATE - 3, "b0b1"],
      [4, 8, "a0a1"],
      [4, -5, "c0c1"],
    ]);
  });

  it("does not take lines of two depths, or one move twice, for a depth", () => {
    const whole = ["depth 4 multipv 1 score cp 8 pv a0a1", "depth 4 multipv 2 score cp 7 pv b0b1"];
    const result = [
      [4, 8, "a0a1"],
      [4, 7, "b0b1"],
    ];
    expect(report(2, whole)).toEqual(result);
    // As Stockfish prints while it searches the second line of depth 5.
    const mixed = ["depth 5 multipv 1 score cp 9 pv c0c1", "depth 4 multipv 2 score cp 8 pv a0a1"];
    expect(report(2, [...whole, ...mixed])).toEqual(result);
    const twice = ["depth 5 multipv 1 score cp 9 pv c0c1", "depth 5 multipv 2 score cp 9 pv c0c1"];
    expect(report(2, [...whole, ...twice])).toEqual(result);
    expect(report(2, whole.slice(0, 1))).toBeNull();
  });
});

describe("any line", () => {
  const word = fc.oneof(
    fc.constantFrom(..."info bestmove nobestmove depth score cp mate pv multipv".split(" ")),
    fc.constantFrom(..."lowerbound string currmove h2e2 h3h10 9999999999 -0".split(" ")),
    fc.integer().map(String),
    fc.string({ unit: "binary", maxLength: 6 }),
  );
  const line = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.array(word, { maxLength: 14 }).map((words) => words.join(" ")),
    fc.array(word, { maxLength: 14 }).map((words) => `info depth 3 score ${words.join(" ")}`),
  );

  it("is read, left aside or refused, and gives no value out of range", () => {
    fc.assert(
      fc.property(line, fc.constantFrom(uci, ucci), (text, protocol) => {
        let found: SearchLine | null = null;
        try {
          parseBestMove(text, refuse);
          found = info(text, protocol);
        } catch (error) {
          expect(error).toBeInstanceOf(EngineError);
        }
        if (found === null) return;
        expect(Number.isInteger(found.value) && Math.abs(found.value) <= MATE).toBe(true);
        expect(found.depth).toBeGreaterThan(0);
        new SearchReport(1).add(found);
      }),
      { numRuns: 500 },
    );
  });
});
