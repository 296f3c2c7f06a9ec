// A move as a person typed it, or why it is none.

import { formatMove, type Notation, parseMove } from "../../tasks/xiangqi/notation/parse-move.ts";
import { parseCoordinates } from "../../tasks/xiangqi/notation/coordinates.ts";
import { plainText } from "../../tasks/xiangqi/notation/file-move.ts";
import { kindName, sideName, squareName } from "../../tasks/xiangqi/rules/fen.ts";
import {
  kindOf,
  MOST_MOVES,
  type Move,
  moveFrom,
  moveTo,
  otherSide,
  Position,
  sideOf,
} from "../../tasks/xiangqi/rules/position.ts";
import { KIND } from "../../tasks/xiangqi/rules/variant.ts";

export type TypedMove = { readonly move: Move } | { readonly fault: string };

const coordinates = /^[a-z]\d{1,2}-?[a-z]\d{1,2}$/i;
/** The form of a move in WXF or Chinese notation, whatever piece it names. */
const fileNotation =
  /^(?:[a-z1-9+=-]{2}[+=.-][1-9]|\S{2,3}[进進上退下平][1-9一二三四五六七八九])$/i;

/** The position with some of its pieces only. */
function keepPieces(position: Position, isKept: (square: number) => boolean): Position {
  const { variant, board, side, quietPlies } = position;
  const copy = new Position(variant);
  board.forEach((piece, square) => {
    if (piece !== 0 && isKept(square)) copy.place(piece, square);
  });
  copy.setTurn(side, quietPlies);
  return copy;
}

function generates(position: Position, move: Move): boolean {
  const moves = new Int32Array(MOST_MOVES);
  return moves.subarray(0, position.generate(moves, 0)).includes(move);
}

/** Whether the generals stand on one file with nothing between them. */
function doGeneralsFace(position: Position): boolean {
  const { board, side, variant } = position;
  const squares = [position.general(side), position.general(otherSide(side))];
  const [low, high] = [Math.min(...squares), Math.max(...squares)];
  if ((high - low) % variant.files !== 0) return false;
  for (let square = low + variant.files; square < high; square += variant.files) {
    if (board[square] !== 0) return false;
  }
  return true;
}

/** What a piece that can go there gives away. */
function exposure(position: Position, move: Move): string {
  const after = position.copy();
  after.make(move);
  if (doGeneralsFace(after)) return "the generals would face each other";
  return `your general would ${position.isInCheck ? "still" : "then"} be in check`;
}

/** Why a move on the board is not legal. */
function whyNot(position: Position, move: Move): string {
  const { board, side, variant } = position;
  const [from, to] = [moveFrom(move), moveTo(move)];
  const [start, end] = [squareName(from, variant), squareName(to, variant)];
  const [piece, target] = [board[from]!, board[to]!];
  if (piece === 0) return `no piece stands on ${start}`;
  const kind = kindName(piece);
  if (sideOf(piece) !== side) return `the ${kind} on ${start} is ${sideName(sideOf(piece))}'s`;
  if (target !== 0 && sideOf(target) === side) {
    return `your own ${kindName(target)} stands on ${end}`;
  }
  if (generates(position, move)) return exposure(position, move);
  const isReachable = generates(
    keepPieces(position, (square) => square === from),
    move,
  );
  const article = kind === "advisor" || kind === "elephant" ? "an" : "a";
  if (!isReachable) return `${article} ${kind} cannot go from ${start} to ${end}`;
  const isCannonTaking = kindOf(piece) === KIND.cannon && target !== 0;
  if (isCannonTaking) return "a cannon takes over exactly one piece in between";
  return `something stands in the way of the ${kind}`;
}

/**
 * The legal moves that a text in WXF or Chinese can mean. A reader takes it for none of them when there are several; so each is
 * looked for where the other pieces of its kind are gone, all of them or those on other files.
 */
function meanings(position: Position, text: string): Move[] {
  const { board, variant } = position;
  return position.legalMoves().filter((move) => {
    const from = moveFrom(move);
    const isOther = (square: number): boolean => square !== from && board[square] === board[from];
    const isFar = (square: number): boolean =>
      isOther(square) && (square - from) % variant.files !== 0;
    return [isOther, isFar].some(
      (isGone) =>
        parseMove(
          keepPieces(position, (square) => !isGone(square)),
          text,
        ) === move,
    );
  });
}

/** A legal move in any notation, else what is wrong with it; null: the text has not the form of a move. */
export function readTypedMove(
  position: Position,
  typed: string,
  notation: Notation,
): TypedMove | null {
  const text = plainText(typed);
  const move = parseMove(position, text);
  if (move !== null) return { move };
  if (coordinates.test(text)) {
    const meant = parseCoordinates(text, position.variant);
    if (meant !== null) return { fault: `${text} is not legal: ${whyNot(position, meant)}` };
    const { variant } = position;
    const corners = [0, variant.squares - 1].map((square) => squareName(square, variant));
    return { fault: `${text} is no move on this board, whose points are ${corners.join(" to ")}` };
  }
  if (!fileNotation.test(text)) return null;
  const meant = meanings(position, text);
  if (meant.length < 2) return { fault: `${text} is not legal here` };
  const names = meant.map((one) => formatMove(position, one, notation));
  return { fault: `${text} is ambiguous: ${names.join(" or ")}` };
}
