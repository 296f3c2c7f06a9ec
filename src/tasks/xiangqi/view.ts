// The same position seen otherwise: from the other end of the board, or in a mirror. Neither changes what is legal or good.

import { formatPlacement } from "./rules/fen.ts";
import { type Move, moveFrom, moveOf, moveTo, otherSide, Position, RED } from "./rules/position.ts";
import type { Variant } from "./rules/variant.ts";

/** A square after half a turn of the board. */
const turned = (square: number, { squares }: Variant): number => squares - 1 - square;

function mirrored(square: number, { files }: Variant): number {
  const file = square % files;
  return square - file + (files - 1 - file);
}

function changed(
  position: Position,
  squareOf: (square: number, variant: Variant) => number,
  swapsSides: boolean,
): Position {
  const { variant, board, side, quietPlies } = position;
  const copy = new Position(variant);
  board.forEach((piece, square) => {
    if (piece === 0) return;
    copy.place(swapsSides ? piece ^ 8 : piece, squareOf(square, variant));
  });
  copy.setTurn(swapsSides ? otherSide(side) : side, quietPlies);
  return copy;
}

/** The board turned by half, Red and Black exchanged: the other side is to move now. */
export const turnPosition = (position: Position): Position => changed(position, turned, true);

/** Left and right exchanged. */
export const mirrorPosition = (position: Position): Position => changed(position, mirrored, false);

export const turnMove = (move: Move, variant: Variant): Move =>
  moveOf(turned(moveFrom(move), variant), turned(moveTo(move), variant));

/** The position with its mover as Red, at the bottom. */
export const moverView = (position: Position): Position =>
  position.side === RED ? position : turnPosition(position);

/** Equal for positions that are one problem: the same for both colours, and for left and right. */
export function positionKey(position: Position): string {
  const seen = moverView(position);
  const [a, b] = [formatPlacement(seen), formatPlacement(mirrorPosition(seen))];
  return a < b ? a : b;
}
