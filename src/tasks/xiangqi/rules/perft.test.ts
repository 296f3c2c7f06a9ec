// Leaf counts that two or more independent programs agree on (chessprogramming.org, Fairy-Stockfish, folium, a Rust library; the
// specification of Xiangqi-R1 in this project names each).

import { describe, expect, it } from "vitest";
import { parseFen } from "./fen.ts";
import { perft, perftByMove, perftKinds } from "./perft.ts";
import { kindOf, moveFrom } from "./position.ts";
import { KIND, minixiangqi, xiangqi } from "./variant.ts";

const rows: readonly (readonly [fen: string, counts: readonly number[]])[] = [
  [xiangqi.start, [44, 1_920, 79_666, 3_290_240]],
  [
    "r1ba1a3/4kn3/2n1b4/pNp1p1p1p/4c4/6P2/P1P2R2P/1CcC5/9/2BAKAB2 w",
    [38, 1_128, 43_929, 1_339_047],
  ],
  ["1cbak4/9/n2a5/2p1p3p/5cp2/2n2N3/6PCP/3AB4/2C6/3A1K1N1 w", [7, 281, 8_620, 326_201, 10_369_923]],
  ["5a3/3k5/3aR4/9/5r3/5n3/9/3A1A3/5K3/2BC2B2 w", [25, 424, 9_850, 202_884, 4_739_553]],
  ["C1nNk4/9/9/9/9/9/n1pp5/B3C4/9/3A1K3 w", [28, 222, 6_241, 64_971, 1_914_306]],
  ["2b1ka3/9/b3N4/4n4/9/9/9/4C4/2p6/2BK5 w", [21, 195, 3_883, 48_060, 933_096]],
  ["1C2ka3/9/C1Nab1n2/p3p3p/6p2/9/P3P3P/3AB4/3p2c2/c1BAK4 w", [30, 830, 22_787, 649_866]],
  [
    "r1bakab1r/9/1cn3nc1/p1p1p1p1p/9/9/P1P1P1P1P/1CN3NC1/9/R1BAKAB1R w",
    [36, 1_292, 47_994, 1_777_662],
  ],
  [
    "1rbaka2R/5r3/6n2/2p1p1p2/4P1bP1/PpC3Bc1/1nPR2P2/2N2AN2/1c2K1p2/2BAC4 w",
    [49, 2_265, 100_326, 4_485_547],
  ],
];

describe("perft", () => {
  it.each(rows)("%s", (fen, counts) => {
    const { position } = parseFen(fen);
    expect(counts.map((_, index) => perft(position, index + 1))).toEqual(counts);
  });

  it("gives the moves of the start by piece: chariots 4, horses 4, elephants 4, advisors 2, general 1, cannons 24, soldiers 5", () => {
    const { position } = parseFen(xiangqi.start);
    const counts = Array<number>(8).fill(0);
    for (const move of position.legalMoves()) counts[kindOf(position.board[moveFrom(move)]!)]!++;
    const { chariot, horse, elephant, advisor, general, cannon, soldier } = KIND;
    expect(
      [chariot, horse, elephant, advisor, general, cannon, soldier].map((k) => counts[k]),
    ).toEqual([4, 4, 4, 2, 1, 24, 5]);
  });

  // Rows 1, 2, 4 and 10 of the specification, counted by the same programs.
  it.each([
    [0, 3, { leaves: 79_666, checks: 384, captures: 3_159, ended: 0 }],
    [0, 4, { leaves: 3_290_240, checks: 19_380, captures: 115_365, ended: 0 }],
    [1, 4, { leaves: 1_339_047, checks: 21_299, captures: 31_409, ended: 23 }],
    [3, 4, { leaves: 202_884, checks: 8_699, captures: 9_179, ended: 12 }],
    [6, 4, { leaves: 649_866, checks: 39_719, captures: 57_076, ended: 65 }],
  ])("tells captures, checks and ends apart: row %i to depth %i", (index, depth, kinds) => {
    expect(perftKinds(parseFen(rows[index]![0]).position, depth)).toEqual(kinds);
  });

  it("sums up behind the moves, and leaves the position as it was", () => {
    const { position } = parseFen(rows[1]![0]);
    const before = [position.hashLow, position.hashHigh, ...position.board];
    const total = perftByMove(position, 3).reduce((sum, { leaves }) => sum + leaves, 0);
    expect(total).toBe(43_929);
    expect([position.hashLow, position.hashHigh, ...position.board]).toEqual(before);
  });

  it("counts the start of Minixiangqi as Fairy-Stockfish does", () => {
    const { position } = parseFen(minixiangqi.start, { variant: minixiangqi });
    expect([1, 2, 3, 4].map((depth) => perft(position, depth))).toEqual([19, 331, 6_664, 127_164]);
  });

  it("lets generals not face each other", () => {
    const { position } = parseFen("3k5/9/9/9/9/9/9/9/4A4/4K4 w");
    expect(perft(position, 1)).toBe(5);
  });
});
