// Positions as text (FEN), read leniently and checked strictly.
//
// `placement side - - plies-since-capture move-number`; ranks from the top (Black's side) down, files from the left. Red is upper
// case and moves as `w` (also `r`). Letters E and H stand for B (elephant) and N (horse). Trailing fields may be left out.

import { DataError, shownJson } from "../../../core/errors.ts";
import { BLACK, kindOf, pieceOf, Position, RED, sideOf } from "./position.ts";
import { canStand, KIND, pieceLetters, type Side, type Variant, xiangqi } from "./variant.ts";

const sideNames = ["Red", "Black"] as const;
const kindNames = [
  "",
  "general",
  "advisor",
  "elephant",
  "horse",
  "chariot",
  "cannon",
  "soldier",
] as const;

/** For example "horse". */
export const kindName = (piece: number): string => kindNames[kindOf(piece)]!;

/** For example "Red horse". */
export const pieceName = (piece: number): string =>
  `${sideNames[sideOf(piece)]} ${kindNames[kindOf(piece)]}`;

export const sideName = (side: Side): string => sideNames[side];

/** For example `e0`. */
export const squareName = (square: number, { files }: Variant): string =>
  `${String.fromCharCode(97 + (square % files))}${Math.floor(square / files)}`;

/** The letter of a piece, upper case for Red. */
export function pieceLetter(piece: number): string {
  const letter = pieceLetters[kindOf(piece)]!;
  return sideOf(piece) === RED ? letter : letter.toLowerCase();
}

/** The piece of a letter; undefined: it has none. */
export function letterPiece(letter: string): number | undefined {
  const upper = letter.toUpperCase();
  const kind = pieceLetters.indexOf({ E: "B", H: "N" }[upper] ?? upper);
  if (kind < 1) return undefined;
  return pieceOf(kind, letter === upper ? RED : BLACK);
}

/** A position and the move it stands at. */
export interface FenPosition {
  readonly position: Position;
  readonly moveNumber: number;
}

export interface FenOptions {
  /** Default: Xiangqi. */
  readonly variant?: Variant;
  /** Begins the message of an error. Default: the FEN itself. */
  readonly where?: string;
  /** Refuses positions that no game reaches (`positionFault`). Default: true. */
  readonly isChecked?: boolean;
}

function readRank(
  text: string,
  rank: number,
  position: Position,
  refuse: (expected: string, got: string) => DataError,
): void {
  const { files } = position.variant;
  const where = `rank ${rank}`;
  let file = 0;
  for (const letter of text) {
    if (letter >= "1" && letter <= "9") {
      file += Number(letter);
      continue;
    }
    const piece = letterPiece(letter);
    if (piece === undefined) {
      throw refuse(`letters of pieces and digits in ${where}`, shownJson(letter));
    }
    if (file < files) {
      const square = rank * files + file;
      if (position.pieces(sideOf(piece)).length === 16) {
        throw refuse(
          "at most 16 pieces a side",
          `a 17th of ${sideName(sideOf(piece))} in ${where}`,
        );
      }
      position.place(piece, square);
    }
    file++;
  }
  if (file !== files) throw refuse(`${files} points in ${where}`, `${file} (${shownJson(text)})`);
}

/**
 * Reads a FEN.
 * @throws DataError that says which field or rank is wrong, or why the position cannot occur.
 */
export function parseFen(fen: string, options: FenOptions = {}): FenPosition {
  const { variant = xiangqi, isChecked = true } = options;
  const where = options.where ?? `FEN ${shownJson(fen)}`;
  const refuse = (expected: string, got: string): DataError =>
    new DataError({ where, expected, got });
  const fields = fen.trim().split(/\s+/);
  const [placement = "", turn = "w", empty = "-", other = "-", quiet = "0", number = "1"] = fields;
  const ranks = placement.split("/");
  if (ranks.length !== variant.ranks) {
    throw refuse(`${variant.ranks} ranks separated by /`, String(ranks.length));
  }
  const position = new Position(variant);
  ranks.forEach((text, index) => readRank(text, variant.ranks - 1 - index, position, refuse));
  if (!/^[wrb]$/.test(turn)) throw refuse("w (or r) or b as the side to move", shownJson(turn));
  const wholeNumber = (text: string, name: string, least: number): number => {
    const value = Number(text);
    if (/^\d{1,6}$/.test(text) && value >= least) return value;
    throw refuse(`${name}, a whole number of at least ${least}`, shownJson(text));
  };
  const stranger = [empty, other].find((text) => text !== "-");
  if (stranger !== undefined) throw refuse("- in the third and fourth field", shownJson(stranger));
  if (fields.length > 6) throw refuse("six fields", `a seventh, ${shownJson(fields[6])}`);
  const quietPlies = wholeNumber(quiet, "plies since the last capture", 0);
  position.setTurn(turn === "b" ? BLACK : RED, quietPlies);
  // Some programs begin to count moves at 0.
  const moveNumber = Math.max(1, wholeNumber(number, "the number of the move", 0));
  const fault = isChecked ? positionFault(position) : null;
  if (fault !== null) throw refuse(fault.expected, fault.got);
  return { position, moveNumber };
}

/** Why a position cannot occur in a game, or null when it can. The rules of Pikafish's validation. */
export function positionFault(
  position: Position,
): { readonly expected: string; readonly got: string } | null {
  const { board, variant } = position;
  for (const side of [RED, BLACK] as const) {
    const squares = position.pieces(side);
    for (let kind = 1; kind < 8; kind++) {
      const name = kindNames[kind]!;
      const own = squares.filter((square) => kindOf(board[square]!) === kind);
      const most = variant.most[kind]!;
      if (own.length > most) {
        const expected = `at most ${most} of ${sideName(side)} ${name}`;
        return { expected, got: String(own.length) };
      }
      if (kind === KIND.general && own.length === 0) {
        return { expected: `a ${sideName(side)} general`, got: "none" };
      }
      const stray = own.find((square) => !canStand(board[square]!, square, variant));
      if (stray === undefined) continue;
      const expected = `the ${sideName(side)} ${name} on a point that it can reach`;
      return { expected, got: `one on ${squareName(stray, variant)}` };
    }
  }
  const waiting = (position.side ^ 1) as Side;
  if (!position.isGeneralAttacked(waiting)) return null;
  const expected = `${sideName(waiting)}, who does not move, not to be in check`;
  return { expected, got: "a general that could be taken, or that faces the other" };
}

/** The pieces as the first field of a FEN has them. */
export function formatPlacement({ board, variant }: Position): string {
  const { files, ranks } = variant;
  const rows: string[] = [];
  for (let rank = ranks - 1; rank >= 0; rank--) {
    let [text, empty] = ["", 0];
    for (let file = 0; file < files; file++) {
      const piece = board[rank * files + file]!;
      if (piece === 0) empty++;
      else {
        text += `${empty === 0 ? "" : empty}${pieceLetter(piece)}`;
        empty = 0;
      }
    }
    rows.push(text + (empty === 0 ? "" : String(empty)));
  }
  return rows.join("/");
}

/** The whole FEN. */
export function formatFen(position: Position, moveNumber = 1): string {
  const turn = position.side === RED ? "w" : "b";
  return `${formatPlacement(position)} ${turn} - - ${position.quietPlies} ${moveNumber}`;
}
