// Moves by the squares they join: ICCS (`H2-E2`), UCCI and Pikafish's UCI (`h2e2`), and Fairy-Stockfish's UCI, which counts ranks
// from 1 (`h3e3`, `h3h10`).

import { type Move, moveFrom, moveOf, moveTo } from "../rules/position.ts";
import { squareName } from "../rules/fen.ts";
import { type Variant, xiangqi } from "../rules/variant.ts";

/** Whether an engine numbers the ranks from 0, as UCCI does, or from 1. */
export type FirstRank = 0 | 1;

const pattern = /^([a-i])(\d{1,2})-?([a-i])(\d{1,2})$/i;

/** The move of `h2e2` or `H2-E2`; null: it is none, or not on this board. Whether it is legal is not asked. */
export function parseCoordinates(
  text: string,
  variant: Variant = xiangqi,
  firstRank: FirstRank = 0,
): Move | null {
  const match = pattern.exec(text.trim());
  if (match === null) return null;
  const squareOf = (letter: string, digits: string): number | null => {
    const file = letter.toLowerCase().charCodeAt(0) - 97;
    const rank = Number(digits) - firstRank;
    const isOn = file < variant.files && rank >= 0 && rank < variant.ranks;
    return isOn && (firstRank === 1 || digits.length === 1) ? rank * variant.files + file : null;
  };
  const [from, to] = [squareOf(match[1]!, match[2]!), squareOf(match[3]!, match[4]!)];
  return from === null || to === null || from === to ? null : moveOf(from, to);
}

/** For example `h2e2`; with `firstRank` 1 `h3e3`. */
export function formatCoordinates(
  move: Move,
  variant: Variant = xiangqi,
  firstRank: FirstRank = 0,
): string {
  const name = (square: number): string =>
    firstRank === 0
      ? squareName(square, variant)
      : `${squareName(square, variant)[0]!}${Math.floor(square / variant.files) + 1}`;
  return name(moveFrom(move)) + name(moveTo(move));
}

/** For example `H2-E2`. */
export function formatIccs(move: Move, variant: Variant = xiangqi): string {
  const text = formatCoordinates(move, variant).toUpperCase();
  return `${text.slice(0, 2)}-${text.slice(2)}`;
}
