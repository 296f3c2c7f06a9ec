import { describe, expect, test } from "vitest";
import { parseFen } from "../rules/fen.ts";
import { type Move, type Position } from "../rules/position.ts";
import { xiangqi } from "../rules/variant.ts";
import { formatChinese, parseChinese } from "./chinese.ts";
import { formatCoordinates, parseCoordinates } from "./coordinates.ts";

const positionOf = (fen: string): Position => parseFen(fen).position;
const moveOf = (coordinates: string): Move => parseCoordinates(coordinates)!;
const read = (position: Position, text: string): string | null => {
  const move = parseChinese(position, text);
  return move === null ? null : formatCoordinates(move);
};

/** Moves and their texts, by position. */
const positions: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  // Two soldiers on a file.
  "5k3/9/2P6/9/2P6/9/9/9/9/3K5 w": [
    ["c7c8", "前兵进一"],
    ["c5b5", "后兵平八"],
  ],
  "5k3/9/9/9/9/2p6/9/2p6/9/3K5 b": [
    ["c2d2", "前卒平4"],
    ["c4c3", "后卒进1"],
  ],
  // Three.
  "5k3/9/2P6/2P6/2P6/9/9/9/9/3K5 w": [
    ["c7d7", "前兵平六"],
    ["c6d6", "中兵平六"],
    ["c5d5", "后兵平六"],
  ],
  "5k3/9/9/9/9/2p6/2p6/2p6/9/3K5 b": [
    ["c2d2", "前卒平4"],
    ["c3d3", "中卒平4"],
    ["c4d4", "后卒平4"],
  ],
  // Four.
  "5k3/2P6/2P6/2P6/2P6/9/9/9/9/3K5 w": [
    ["c8d8", "前兵平六"],
    ["c7d7", "二兵平六"],
    ["c6d6", "三兵平六"],
    ["c5d5", "后兵平六"],
  ],
  "5k3/9/9/9/9/2p6/2p6/2p6/2p6/3K5 b": [
    ["c1d1", "前卒平4"],
    ["c2d2", "二卒平4"],
    ["c3d3", "三卒平4"],
    ["c4d4", "后卒平4"],
  ],
  // Five.
  "2P2k3/2P6/2P6/2P6/2P6/9/9/9/9/3K5 w": [
    ["c9d9", "前兵平六"],
    ["c8d8", "二兵平六"],
    ["c7d7", "三兵平六"],
    ["c6d6", "四兵平六"],
    ["c5d5", "后兵平六"],
  ],
  "5k3/9/9/9/9/2p6/2p6/2p6/2p6/2p1K4 b": [
    ["c0d0", "前卒平4"],
    ["c1d1", "二卒平4"],
    ["c2d2", "三卒平4"],
    ["c3d3", "四卒平4"],
    ["c4d4", "后卒平4"],
  ],
  // Three and two.
  "5k3/9/2P1P4/2P1P4/2P6/9/9/9/9/3K5 w": [
    ["c7d7", "前七平六"],
    ["c6b6", "中七平八"],
    ["c5d5", "后七平六"],
    ["e7f7", "前五平四"],
    ["e6f6", "后五平四"],
  ],
  "5k3/9/9/9/9/2p3p2/2p3p2/2p6/9/3K5 b": [
    ["c2c1", "前3进1"],
    ["c3d3", "中3平4"],
    ["c4d4", "后3平4"],
    ["g3h3", "前7平8"],
    ["g4h4", "后7平8"],
  ],
  // Two, two and a single one.
  "5k3/9/P5P2/P5P2/9/9/8P/9/9/3K5 w": [
    ["a7b7", "前九平八"],
    ["g6h6", "后三平二"],
    ["i3i4", "兵一进一"],
  ],
  // Pairs of other pieces.
  "5k3/1R7/9/9/9/1C7/9/1C7/1R7/3K5 w": [
    ["b8g8", "前车平三"],
    ["b8b6", "前车退二"],
    ["b1b0", "后车退一"],
    ["b4b7", "前炮进三"],
    ["b2c2", "后炮平七"],
  ],
  "3k5/1n7/9/9/9/9/9/9/1n7/4K4 b": [
    ["b1d0", "前马进4"],
    ["b8c6", "后马进3"],
  ],
  // Advisors and elephants keep their file.
  "5k3/9/9/9/9/2B6/9/3A5/9/2BAK4 w": [
    ["c4a2", "相七退九"],
    ["c0a2", "相七进九"],
    ["d2e1", "仕六退五"],
    ["d0e1", "仕六进五"],
  ],
  "2bak4/9/3a5/9/2b6/9/9/9/9/5K3 b": [
    ["c5a7", "象3退1"],
    ["c9a7", "象3进1"],
    ["d7e8", "士4退5"],
    ["e9e8", "将5进1"],
  ],
};

const cases = Object.entries(positions).flatMap(([fen, moves]) =>
  moves.map(([move, text]) => ({ fen, move, text })),
);

describe("formatting", () => {
  test.each(cases)("$text is $move in $fen", ({ fen, move, text }) => {
    const position = positionOf(fen);
    expect(position.isLegal(moveOf(move))).toBe(true);
    expect(formatChinese(position, moveOf(move))).toBe(text);
    expect(read(position, text)).toBe(move);
  });

  // The game by which the Chinese computer standard of xqbase.com (2006) shows its notations; then other openings.
  test.each([
    "h2e2 炮二平五 h7e7 炮8平5 e2e6 炮五进四 d9e8 士4进5 h0g2 马二进三 h9g7 马8进7 b2e2 炮八平五 b9c7 马2进3 e6e4 前炮退二 i9h9 车9平8",
    "b0c2 马八进七 c9e7 象3进5 c3c4 兵七进一 a9a7 车1进2 e0e1 帅五进一 g6g5 卒7进1 f0e1",
  ])("%s", (game) => {
    const position = positionOf(xiangqi.start);
    const words = game.split(" ");
    for (let index = 0; index + 1 < words.length; index += 2) {
      const [move, text] = [words[index]!, words[index + 1]!];
      expect(formatChinese(position, moveOf(move))).toBe(text);
      expect(read(position, text)).toBe(move);
      position.make(moveOf(move));
    }
  });
});

describe("reading", () => {
  const start = positionOf(xiangqi.start);
  const afterCannon = positionOf("rnbakabnr/9/1c5c1/p1p1p1p1p/9/9/P1P1P1P1P/1C2C4/9/RNBAKABNR b");

  test.each([
    ["炮２平５", "h2e2"],
    ["炮2平五", "h2e2"],
    ["砲二平五", "h2e2"],
    ["包 二 平 五", "h2e2"],
    ["\u3000炮二平五\n", "h2e2"],
    ["傌八進七", "b0c2"],
    ["馬八上七", "b0c2"],
    ["俥九進一", "a0a1"],
    ["帥五进一", "e0e1"],
    ["將五进一", "e0e1"],
    ["士四进五", "f0e1"],
    ["象三进五", "g0e2"],
    ["卒三进一", "g3g4"],
  ])("%s is %s at the start", (text, move) => expect(read(start, text)).toBe(move));

  test.each([
    ["馬８進７", "h9g7"],
    ["车九平八", null],
    ["車九进一", "i9i8"],
    ["砲8平5", "h7e7"],
    ["將5進1", "e9e8"],
  ])("%s is %s for Black", (text, move) => expect(read(afterCannon, text)).toBe(move));

  test.each([
    "",
    "炮",
    "炮二平二",
    "炮二平九",
    "炮二平",
    "炮二五",
    "炮平二五",
    "炮二平五五",
    "炮十平五",
    "炮0平5",
    "兵五退一",
    "兵五平四",
    "前炮平五",
    "后炮平五",
    "中兵进一",
    "一兵进一",
    "二五进一",
    "前五进一",
    "炮炮平五",
    "平平平平",
    "h2e2",
    "C2=5",
  ])("%j is nothing at the start", (text) => expect(parseChinese(start, text)).toBeNull());

  test.each([
    // The outer ones of four and five by their numeral.
    ["5k3/2P6/2P6/2P6/2P6/9/9/9/9/3K5 w", "一兵平六", "c8d8"],
    ["5k3/2P6/2P6/2P6/2P6/9/9/9/9/3K5 w", "四兵平六", "c5d5"],
    ["5k3/2P6/2P6/2P6/2P6/9/9/9/9/3K5 w", "中兵平六", null],
    ["2P2k3/2P6/2P6/2P6/2P6/9/9/9/9/3K5 w", "五兵平六", "c5d5"],
    ["2P2k3/2P6/2P6/2P6/2P6/9/9/9/9/3K5 w", "中兵平六", "c7d7"],
    ["5k3/9/9/9/9/2p6/2p6/2p6/2p6/3K5 b", "一卒平４", "c1d1"],
    ["5k3/9/9/9/9/2p6/2p6/2p6/2p6/3K5 b", "3卒平4", "c3d3"],
    ["5k3/9/2P6/2P6/2P6/9/9/9/9/3K5 w", "二兵平六", "c6d6"],
    // The long form, and a numeral with the file.
    ["5k3/9/P5P2/P5P2/9/9/8P/9/9/3K5 w", "前兵九平八", "a7b7"],
    ["5k3/9/9/9/9/2p3p2/2p3p2/2p6/9/3K5 b", "二7平8", "g4h4"],
    ["5k3/9/9/9/9/2p3p2/2p3p2/2p6/9/3K5 b", "27平8", "g4h4"],
    ["5k3/9/9/9/9/2p3p2/2p3p2/2p6/9/3K5 b", "後卒３平４", "c4d4"],
    // A numeral without the file counts through both files, from the right and from the front.
    ["4k4/3P1P3/9/3P1P3/9/9/9/9/9/3K5 w", "一兵平五", "f8e8"],
    ["4k4/3P1P3/9/3P1P3/9/9/9/9/9/3K5 w", "二兵平五", "f6e6"],
    ["4k4/3P1P3/9/3P1P3/9/9/9/9/9/3K5 w", "三兵平五", "d8e8"],
    ["4k4/3P1P3/9/3P1P3/9/9/9/9/9/3K5 w", "四兵平五", "d6e6"],
    // Front, middle and rear without the file: only when one of them can go there.
    ["4k4/3P1P3/9/3P1P3/9/9/9/9/9/3K5 w", "前兵平五", null],
    ["4k4/3P1P3/9/3P1P3/9/9/9/9/9/3K5 w", "前兵平三", "f8g8"],
    // The name before the order, and advisors by their order.
    ["5k3/1R7/9/9/9/1C7/9/1C7/1R7/3K5 w", "炮後退一", null],
    ["5k3/1R7/9/9/9/1C7/9/1C7/1R7/3K5 w", "車前平三", "b8g8"],
    ["5k3/1R7/9/9/9/1C7/9/1C7/1R7/3K5 w", "车八平三", null],
    ["5k3/9/9/9/9/2B6/9/3A5/9/2BAK4 w", "前仕退五", "d2e1"],
  ])("in %s, %s is %s", (fen, text, move) => expect(read(positionOf(fen), text)).toBe(move));
});
