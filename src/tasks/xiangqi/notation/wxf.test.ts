import { describe, expect, test } from "vitest";
import { randomStream } from "../../../core/random.ts";
import { loadFfish } from "../../../../tests/ffish.ts";
import { playRandomGame, randomTandems } from "../../../../tests/xiangqi-positions.ts";
import { formatFen, parseFen } from "../rules/fen.ts";
import { type Move, type Position } from "../rules/position.ts";
import { minixiangqi, xiangqi } from "../rules/variant.ts";
import { formatCoordinates, parseCoordinates } from "./coordinates.ts";
import { fileMove } from "./file-move.ts";
import { formatFairyWxf, formatWxf, parseWxf } from "./wxf.ts";

const positionOf = (fen: string): Position => parseFen(fen).position;
const moveOf = (coordinates: string): Move => parseCoordinates(coordinates)!;
const read = (position: Position, text: string): string | null => {
  const move = parseWxf(position, text);
  return move === null ? null : formatCoordinates(move);
};

/** A position, a move, and its texts in WXF and as Fairy-Stockfish has it. */
const positions: Readonly<Record<string, readonly (readonly [string, string, string])[]>> = {
  // Two soldiers on a file.
  "5k3/9/2P6/9/2P6/9/9/9/9/3K5 w": [
    ["c7c8", "P++1", "P++1"],
    ["c7d7", "P+=6", "P+=6"],
    ["c5c6", "P-+1", "P-+1"],
    ["c5b5", "P-=8", "P-=8"],
  ],
  "5k3/9/9/9/9/2p6/9/2p6/9/3K5 b": [
    ["c2c1", "P++1", "P++1"],
    ["c2d2", "P+=4", "P+=4"],
    ["c4c3", "P-+1", "P-+1"],
  ],
  // Three.
  "5k3/9/2P6/2P6/2P6/9/9/9/9/3K5 w": [
    ["c7d7", "P+=6", "17=6"],
    ["c6d6", "P7=6", "27=6"],
    ["c5d5", "P-=6", "37=6"],
  ],
  "5k3/9/9/9/9/2p6/2p6/2p6/9/3K5 b": [
    ["c2d2", "P+=4", "13=4"],
    ["c3d3", "P3=4", "23=4"],
    ["c4d4", "P-=4", "33=4"],
  ],
  // Four.
  "5k3/2P6/2P6/2P6/2P6/9/9/9/9/3K5 w": [
    ["c8c9", "+++1", "17+1"],
    ["c8d8", "++=6", "17=6"],
    ["c7d7", "P+=6", "27=6"],
    ["c6d6", "P-=6", "37=6"],
    ["c5d5", "--=6", "47=6"],
  ],
  "5k3/9/9/9/9/2p6/2p6/2p6/2p6/3K5 b": [
    ["c1d1", "++=4", "13=4"],
    ["c2d2", "P+=4", "23=4"],
    ["c3d3", "P-=4", "33=4"],
    ["c4d4", "--=4", "43=4"],
  ],
  // Five.
  "2P2k3/2P6/2P6/2P6/2P6/9/9/9/9/3K5 w": [
    ["c9d9", "++=6", "17=6"],
    ["c8d8", "P+=6", "27=6"],
    ["c7d7", "P7=6", "37=6"],
    ["c6d6", "P-=6", "47=6"],
    ["c5d5", "--=6", "57=6"],
  ],
  "5k3/9/9/9/9/2p6/2p6/2p6/2p6/2p1K4 b": [
    ["c0d0", "++=4", "13=4"],
    ["c1d1", "P+=4", "23=4"],
    ["c2d2", "P3=4", "33=4"],
    ["c3d3", "P-=4", "43=4"],
    ["c4d4", "--=4", "53=4"],
  ],
  // Three and two.
  "5k3/9/2P1P4/2P1P4/2P6/9/9/9/9/3K5 w": [
    ["c7d7", "7+=6", "17=6"],
    ["c6b6", "77=8", "27=8"],
    ["c5d5", "7-=6", "37=6"],
    ["e7f7", "5+=4", "15=4"],
    ["e6f6", "5-=4", "25=4"],
  ],
  "5k3/9/9/9/9/2p3p2/2p3p2/2p6/9/3K5 b": [
    ["c2c1", "3++1", "13+1"],
    ["c3d3", "33=4", "23=4"],
    ["c4d4", "3-=4", "33=4"],
    ["g3h3", "7+=8", "17=8"],
    ["g4h4", "7-=8", "27=8"],
  ],
  // Two, two and a single one.
  "5k3/9/2P3P2/2P3P2/9/9/8P/9/9/3K5 w": [
    ["c7d7", "7+=6", "17=6"],
    ["g6h6", "3-=2", "23=2"],
    ["i3i4", "P1+1", "P1+1"],
  ],
  "5k3/9/9/8p/9/9/2p3p2/2p3p2/9/3K5 b": [
    ["c2d2", "3+=4", "13=4"],
    ["g3h3", "7-=8", "27=8"],
    ["i6i5", "P9+1", "P9+1"],
  ],
  // Pairs of other pieces. Fairy-Stockfish keeps the file where the other one would leave the board.
  "5k3/1R7/9/9/9/1C7/9/1C7/1R7/3K5 w": [
    ["b8g8", "R+=3", "R+=3"],
    ["b8b6", "R+-2", "R8-2"],
    ["b8b7", "R+-1", "R+-1"],
    ["b1b0", "R--1", "R--1"],
    ["b4b7", "C++3", "C++3"],
    ["b2b3", "C-+1", "C-+1"],
    ["b2c2", "C-=7", "C-=7"],
  ],
  "3k5/1n7/9/9/9/9/9/9/1n7/4K4 b": [
    ["b1d0", "H++4", "H++4"],
    ["b1d2", "H+-4", "H+-4"],
    ["b8d7", "H-+4", "H-+4"],
    ["b8c6", "H-+3", "H2+3"],
  ],
  // Advisors and elephants keep theirs.
  "5k3/9/9/9/9/2B6/9/3A5/4K4/2BA5 w": [
    ["c4a2", "E7-9", "E7-9"],
    ["c0a2", "E7+9", "E7+9"],
  ],
  "5k3/9/9/9/9/9/9/3A5/9/3AK4 w": [
    ["d2e1", "A6-5", "A6-5"],
    ["d0e1", "A6+5", "A6+5"],
  ],
};

const cases = Object.entries(positions).flatMap(([fen, moves]) =>
  moves.map(([move, wxf, fairy]) => ({ fen, move, wxf, fairy })),
);

describe("formatting", () => {
  test.each(cases)("$wxf ($fairy) is $move in $fen", ({ fen, move, wxf, fairy }) => {
    const position = positionOf(fen);
    expect(position.isLegal(moveOf(move))).toBe(true);
    expect(formatWxf(position, moveOf(move))).toBe(wxf);
    expect(formatFairyWxf(position, moveOf(move))).toBe(fairy);
    expect(read(position, wxf)).toBe(move);
  });

  test("counts files from the mover's right", () => {
    const position = positionOf(xiangqi.start);
    const game = [
      ["h2e2", "C2=5"],
      ["h9g7", "H8+7"],
      ["h0g2", "H2+3"],
      ["i9h9", "R9=8"],
      ["c3c4", "P7+1"],
      ["c9e7", "E3+5"],
      ["a0a2", "R9+2"],
      ["d9e8", "A4+5"],
      ["b2b9", "C8+7"],
      ["h7h0", "C8+7"],
      ["e0e1", "K5+1"],
    ] as const;
    for (const [move, text] of game) {
      expect(formatWxf(position, moveOf(move))).toBe(text);
      expect(read(position, text)).toBe(move);
      position.make(moveOf(move));
    }
  });
});

describe("reading", () => {
  const start = positionOf(xiangqi.start);

  test.each([
    ["C2.5", "h2e2"],
    ["c2=5", "h2e2"],
    [" C2 = 5\n", "h2e2"],
    ["Ｃ２＝５", "h2e2"],
    ["n2+3", "h0g2"],
    ["H2+3", "h0g2"],
    ["b3+5", "g0e2"],
    ["X3+5", "g0e2"],
    ["M3+5", "g0e2"],
    ["G4+5", "f0e1"],
    ["G5+1", "e0e1"],
    ["S3+1", "g3g4"],
  ])("%s is %s at the start", (text, move) => expect(read(start, text)).toBe(move));

  test.each([
    "",
    "C2=2",
    "C2=9",
    "C3=5",
    "C2+8",
    "C2 5",
    "C2=50",
    "C0=5",
    "C2=0",
    "D2=5",
    "DP=5",
    "P5-1",
    "P5=4",
    "P++1",
    "C+=5",
    "C-=5",
    "+++1",
    "15+1",
    "5++1",
    "Pa+1",
    "CC=5",
    "C2x5",
    "==+1",
    "h2e2",
  ])("%j is nothing at the start", (text) => expect(parseWxf(start, text)).toBeNull());

  test.each([
    // A sign before the letter, a dash for the minus, the middle by its sign.
    ["5k3/1R7/9/9/9/9/9/9/1R7/3K5 w", "+R=3", "b8g8"],
    ["5k3/1R7/9/9/9/9/9/9/1R7/3K5 w", "R-.3", "b1g1"],
    ["5k3/1R7/9/9/9/9/9/9/1R7/3K5 w", "r––1", "b1b0"],
    ["5k3/9/2P6/2P6/2P6/9/9/9/9/3K5 w", "P.=6", "c6d6"],
    // The file of one of two: only when the other one cannot go there.
    ["5k3/1R7/9/9/9/9/9/9/1R7/3K5 w", "R8+2", "b1b3"],
    ["5k3/1R7/9/9/9/9/9/9/1R7/3K5 w", "R8=3", null],
    ["5k3/9/9/9/9/9/9/3A5/9/3AK4 w", "A+-5", "d2e1"],
    // A middle one and its file: not the front one, though that could go.
    ["5k3/9/2P6/2P6/2P6/9/9/9/9/3K5 w", "P7+1", null],
    ["2P2k3/2P6/2P6/2P6/2P6/9/9/9/9/3K5 w", "P7=8", "c7b7"],
    // Four have no middle.
    ["5k3/2P6/2P6/2P6/2P6/9/9/9/9/3K5 w", "P7=6", null],
    ["5k3/2P6/2P6/2P6/2P6/9/9/9/9/3K5 w", "7+=6", null],
    // File and sign on a single file; no file on two.
    ["5k3/9/2P6/2P6/9/9/9/9/9/3K5 w", "7+=6", "c7d7"],
    ["5k3/9/2P3P2/2P3P2/9/9/8P/9/9/3K5 w", "P+=6", "c7d7"],
    ["5k3/9/2P3P2/2P3P2/9/9/8P/9/9/3K5 w", "P++1", null],
    // 33 is the third on file 3, but with two tandems the middle one of three.
    ["5k3/9/6P2/6P2/6P2/9/9/9/9/3K5 w", "33=4", "g5f5"],
    ["5k3/9/4P1P2/4P1P2/6P2/9/9/9/9/3K5 w", "33=2", "g6h6"],
    ["5k3/9/4P1P2/4P1P2/6P2/9/9/9/9/3K5 w", "3-=2", "g5h5"],
    // By letter, from the right and from the front.
    ["4k4/3P1P3/9/3P1P3/9/9/9/9/9/3K5 w", "Pa=5", "f8e8"],
    ["4k4/3P1P3/9/3P1P3/9/9/9/9/9/3K5 w", "PB=5", "f6e6"],
    ["4k4/3P1P3/9/3P1P3/9/9/9/9/9/3K5 w", "pc=5", "d8e8"],
    ["4k4/3P1P3/9/3P1P3/9/9/9/9/9/3K5 w", "Pd=5", "d6e6"],
    ["4k4/3P1P3/9/3P1P3/9/9/9/9/9/3K5 w", "Pe=5", null],
    ["5k3/9/9/9/9/2p3p2/2p3p2/2p6/9/3K5 b", "Pd=8", "g3h3"],
  ])("in %s, %s is %s", (fen, text, move) => expect(read(positionOf(fen), text)).toBe(move));

  test("reads Fairy-Stockfish's text, except where the WXF gives it another meaning", () => {
    const random = randomStream("fairy wxf");
    let exceptions = 0;
    for (let index = 0; index < 150; index++) {
      const position = randomTandems(random);
      for (const move of position.legalMoves()) {
        const text = formatFairyWxf(position, move);
        const { count, order, tandemFiles } = fileMove(position, move);
        const isMiddleInWxf = text[0] === text[1] && count === 3 && tandemFiles > 1 && order !== 2;
        if (isMiddleInWxf) exceptions++;
        expect([text, parseWxf(position, text) === move]).toEqual([text, !isMiddleInWxf]);
      }
    }
    expect(exceptions).toBeGreaterThan(0);
  });
});

describe("Fairy-Stockfish", () => {
  test("writes the same text at every ply of random games and for soldiers behind each other", async () => {
    const ffish = await loadFfish();
    const wxf = ffish.Notation.XIANGQI_WXF;
    const board = new ffish.Board("xiangqi");
    const compare = (position: Position, legal: readonly Move[]): void => {
      board.setFen(formatFen(position));
      const theirs = legal.map((move) =>
        board.sanMove(formatCoordinates(move, position.variant, 1), wxf),
      );
      const ours = legal.map((move) => formatFairyWxf(position, move));
      expect(ours.join(" ")).toBe(theirs.join(" "));
    };
    const random = randomStream("ffish wxf");
    for (let game = 0; game < 40; game++) playRandomGame(random, 60, compare);
    for (let index = 0; index < 200; index++) {
      const position = randomTandems(random);
      compare(position, position.legalMoves());
    }
    board.delete();
  });

  test("writes the same text on the small board", async () => {
    const ffish = await loadFfish();
    const board = new ffish.Board("minixiangqi");
    const random = randomStream("ffish small wxf");
    for (let index = 0; index < 100; index++) {
      const position = randomTandems(random, minixiangqi);
      board.setFen(formatFen(position));
      for (const move of position.legalMoves()) {
        const coordinates = formatCoordinates(move, minixiangqi, 1);
        const text = board.sanMove(coordinates, ffish.Notation.XIANGQI_WXF);
        expect(formatFairyWxf(position, move)).toBe(text);
      }
    }
    board.delete();
  });
});
