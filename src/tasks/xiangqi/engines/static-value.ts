// What a position is worth without looking ahead: material, places, mobility; in centipawns, for the side to move.
//
// A soldier on its own bank is 100. Our numbers: round ones on the scale that the published thresholds (100 and 800 centipawns)
// assume; Xiangqi-R1 itself labels with Pikafish.

import { kindOf, type Position } from "../rules/position.ts";
import { END, hasCrossed, KIND, type Side, type Variant } from "../rules/variant.ts";

/** Centipawns by kind. */
export const kindValues = [0, 0, 200, 200, 400, 900, 450, 100] as const;

const ACROSS = 100; // a soldier that has crossed the river, beside its 100
const MOBILITY_CHARIOT = 5;
const MOBILITY_HORSE = 12;

/** Value of a piece of Red on a point, seen from Red's side: file distance from the middle, rank from Red's end. */
function placeValue(kind: number, aside: number, rank: number, variant: Variant): number {
  const top = variant.ranks - 1;
  const river = variant.riverRank;
  switch (kind) {
    case KIND.general:
      return rank === 0 ? 10 - 3 * aside : -15 * rank;
    case KIND.advisor:
      return rank === 1 ? 8 : 0;
    case KIND.elephant:
      return aside === 0 ? 10 : aside === 4 ? -12 : 0;
    case KIND.horse:
      return rank === 0 ? -25 : Math.min(30, 8 * rank) - 5 * aside - (rank === top ? 25 : 0);
    case KIND.chariot:
      return rank === 0 ? -12 : rank >= river ? 12 : 0;
    case KIND.cannon:
      return aside === 0 ? 12 : rank >= river + 3 ? 6 : 0;
    case KIND.soldier:
      if (rank === top) return -40 + ACROSS; // it can only walk along the last rank
      if (rank < river) return aside === 0 ? 8 : 0;
      return ACROSS + 14 * Math.min(3, rank - river) - 8 * aside;
    default:
      return 0;
  }
}

const tables = new Map<Variant, Int16Array>();

/** Value of every piece on every square, at piece · squares + square, for the owner of the piece. */
function valueTable(variant: Variant): Int16Array {
  const known = tables.get(variant);
  if (known !== undefined) return known;
  const { files, ranks, squares } = variant;
  const table = new Int16Array(16 * squares);
  for (let piece = 1; piece < 16; piece++) {
    const kind = kindOf(piece);
    if (kind === 0) continue;
    for (let square = 0; square < squares; square++) {
      const rank = Math.floor(square / files);
      const aside = Math.abs((square % files) - (files - 1) / 2);
      const seen = piece < 8 ? rank : ranks - 1 - rank;
      table[piece * squares + square] =
        kindValues[kind]! + Math.round(placeValue(kind, aside, seen, variant));
    }
  }
  tables.set(variant, table);
  return table;
}

/** Centipawns for the side to move. */
export function staticValue(position: Position): number {
  const { board, variant } = position;
  const { squares, files } = variant;
  const { rays, rayStride, horse, pairStride } = variant.tables;
  const values = valueTable(variant);
  let total = 0;
  for (let square = 0; square < squares; square++) {
    const piece = board[square]!;
    if (piece === 0) continue;
    let value = values[piece * squares + square]!;
    const kind = piece & 7;
    if (kind === KIND.chariot) {
      let reach = 0;
      for (let direction = 0; direction < 4; direction++) {
        let entry = (square * 4 + direction) * rayStride;
        while (rays[entry] !== END && board[rays[entry]!] === 0) {
          entry++;
          reach++;
        }
      }
      value += MOBILITY_CHARIOT * Math.min(reach, files);
    } else if (kind === KIND.horse) {
      let reach = 0;
      for (let entry = square * pairStride; horse[entry] !== END; entry += 2) {
        if (board[horse[entry]!] === 0) reach++;
      }
      value += MOBILITY_HORSE * (Math.min(reach, 6) - 3);
    }
    total += piece < 8 ? value : -value;
  }
  return position.side === 0 ? total : -total;
}

/** Material alone, Red's less Black's, in centipawns; soldiers over the river count double. */
export function materialBalance(position: Position): number {
  const { board, variant } = position;
  let total = 0;
  board.forEach((piece, square) => {
    if (piece === 0) return;
    const side = (piece >>> 3) as Side;
    const isAcross = kindOf(piece) === KIND.soldier && hasCrossed(square, side, variant);
    const value = kindValues[kindOf(piece)]! + (isAcross ? ACROSS : 0);
    total += side === 0 ? value : -value;
  });
  return total;
}
