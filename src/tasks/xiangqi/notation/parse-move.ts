// Moves in any notation.

import { type Move, type Position } from "../rules/position.ts";
import { formatChinese, parseChinese } from "./chinese.ts";
import { formatCoordinates, formatIccs, parseCoordinates } from "./coordinates.ts";
import { formatWxf, parseWxf } from "./wxf.ts";

/** `h2e2`, `H2-E2`, `C2=5`, 炮二平五. */
export const notationNames = ["coordinates", "iccs", "wxf", "chinese"] as const;
export type Notation = (typeof notationNames)[number];

const formats: Readonly<Record<Notation, (position: Position, move: Move) => string>> = {
  coordinates: ({ variant }, move) => formatCoordinates(move, variant),
  iccs: ({ variant }, move) => formatIccs(move, variant),
  wxf: formatWxf,
  chinese: formatChinese,
};

/** A legal move in the notation. */
export const formatMove = (position: Position, move: Move, notation: Notation): string =>
  formats[notation](position, move);

/** The legal move of a text in any notation, or null when it is none, illegal or ambiguous. No text is read by two of them. */
export function parseMove(position: Position, text: string): Move | null {
  const move = parseCoordinates(text, position.variant);
  if (move !== null) return position.isLegal(move) ? move : null;
  return parseWxf(position, text) ?? parseChinese(position, text);
}
