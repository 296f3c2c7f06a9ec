// Perft: how many sequences of n legal moves a position has. The count of a move generator that is right is known.

import { MOST_MOVES, type Move, type Position } from "./position.ts";

/** Leaves after `depth` plies; every move is made, none is only counted. */
export function perft(position: Position, depth: number): number {
  const moves = new Int32Array(MOST_MOVES * Math.max(1, depth));
  return count(position, depth, moves, 0);
}

function count(position: Position, depth: number, moves: Int32Array, start: number): number {
  if (depth === 0) return 1;
  const end = position.generate(moves, start);
  const wasInCheck = position.isInCheck;
  let leaves = 0;
  for (let index = start; index < end; index++) {
    if (!position.makeIfLegal(moves[index]!, wasInCheck)) continue;
    leaves += depth === 1 ? 1 : count(position, depth - 1, moves, end);
    position.unmake();
  }
  return leaves;
}

/** The leaves behind every legal move, in the order of generation. `depth` is at least 1. */
export function perftByMove(
  position: Position,
  depth: number,
): readonly { readonly move: Move; readonly leaves: number }[] {
  return position.legalMoves().map((move) => {
    position.make(move);
    const leaves = perft(position, depth - 1);
    position.unmake();
    return { move, leaves };
  });
}

export interface LeafKinds {
  leaves: number;
  /** Leaves whose last move took a piece. */
  captures: number;
  /** Leaves whose side to move is in check. */
  checks: number;
  /** Positions a ply before the leaves in which no move is legal: the game has ended there. */
  ended: number;
}

/** Leaves by kind. `depth` is at least 1. */
export function perftKinds(position: Position, depth: number): LeafKinds {
  const kinds: LeafKinds = { leaves: 0, captures: 0, checks: 0, ended: 0 };
  const visit = (plies: number): void => {
    const legal = position.legalMoves();
    if (plies === 1 && legal.length === 0) kinds.ended++;
    for (const move of legal) {
      const isCapture = position.board[move >>> 7] !== 0;
      position.make(move);
      if (plies > 1) visit(plies - 1);
      else {
        kinds.leaves++;
        kinds.captures += Number(isCapture);
        kinds.checks += Number(position.isInCheck);
      }
      position.unmake();
    }
  };
  visit(depth);
  return kinds;
}
