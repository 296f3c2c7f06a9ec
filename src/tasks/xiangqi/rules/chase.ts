// Which pieces a move chases: a piece that could now be taken for nothing, and could not before. Part of the rules of repetition.
//
// Two readings. `league`: the UCCI engine league's rule text and reference code. `axf`: the rules of the Asian Xiangqi Federation as
// engines play them.

import {
  moveFrom,
  moveOf,
  moveTo,
  MOST_MOVES,
  type Move,
  otherSide,
  type Position,
} from "./position.ts";
import { hasCrossed, KIND, type Side } from "./variant.ts";

export type ChaseRule = "league" | "axf";

const { advisor, elephant, horse, chariot, cannon, soldier, general } = KIND;

/** Kinds that one kind may not attack even when they are protected. */
const strongerAxf: Readonly<Record<number, readonly number[]>> = {
  [horse]: [chariot],
  [cannon]: [chariot],
  [advisor]: [chariot, cannon, horse],
  [elephant]: [chariot, cannon, horse],
};

/** League: victims that count in any case, and those that count unprotected. */
const league: Readonly<
  Record<number, { readonly always: readonly number[]; readonly unprotected: readonly number[] }>
> = {
  [horse]: { always: [chariot], unprotected: [cannon, soldier] },
  [cannon]: { always: [chariot], unprotected: [horse, soldier] },
  [chariot]: { always: [], unprotected: [horse, cannon, soldier] },
};

/** Captures of the side that has just moved, as from + to · 128, the order of moves aside. */
function capturesOf(position: Position, side: Side): Set<Move> {
  const moves = new Int32Array(MOST_MOVES);
  const turn = position.side;
  position.setTurn(side, position.quietPlies);
  const end = position.generate(moves, 0, true);
  position.setTurn(turn, position.quietPlies);
  return new Set(moves.subarray(0, end));
}

/** Whether the piece could be taken back after `capture`; with `heedsPins` only by a legal move. */
function isProtected(position: Position, capture: Move, heedsPins: boolean): boolean {
  const to = moveTo(capture);
  const from = moveFrom(capture);
  const taker = (position.board[from]! >>> 3) as Side;
  const turn = position.side;
  const { quietPlies } = position;
  position.setTurn(taker, quietPlies);
  position.make(capture);
  let found = false;
  const moves = new Int32Array(MOST_MOVES);
  const end = position.generate(moves, 0, true);
  const isInCheck = position.isInCheck;
  for (let index = 0; index < end && !found; index++) {
    const move = moves[index]!;
    if (moveTo(move) !== to) continue;
    if (!heedsPins) found = true;
    else if (position.makeIfLegal(move, isInCheck)) {
      position.unmake();
      found = true;
    }
  }
  position.unmake();
  position.setTurn(turn, quietPlies);
  return found;
}

/** Whether the victim could legally take its attacker instead. */
function strikesBack(position: Position, capture: Move): boolean {
  const back = moveOf(moveTo(capture), moveFrom(capture));
  return position.legalMoves().includes(back);
}

/**
 * Squares of the pieces that `move` chases. `position` stands before the move, and is left so.
 */
export function chasedBy(position: Position, move: Move, rule: ChaseRule): number[] {
  const { board, side } = position;
  const before = capturesOf(position, side);
  const [from, to] = [moveFrom(move), moveTo(move)];
  position.make(move);
  const victims = new Set<number>();
  for (const capture of capturesOf(position, side)) {
    const [attacker, victim] = [moveFrom(capture), moveTo(capture)];
    const [kind, prey] = [board[attacker]! & 7, board[victim]! & 7];
    const origin = attacker === to ? from : attacker;
    const isOld = before.has(moveOf(origin, victim));
    if (isOld || victims.has(victim)) continue;
    if (prey === soldier && !hasCrossed(victim, otherSide(side), position.variant)) continue;
    const chases =
      rule === "league"
        ? attacker === to && isLeagueChase(position, capture, kind, prey)
        : isAxfChase(position, capture, kind, prey);
    if (chases) victims.add(victim);
  }
  position.unmake();
  return [...victims];
}

function isLeagueChase(position: Position, capture: Move, kind: number, prey: number): boolean {
  const rule = league[kind];
  if (rule === undefined) return false;
  if (rule.always.includes(prey)) return true;
  return rule.unprotected.includes(prey) && !isProtected(position, capture, false);
}

function isAxfChase(position: Position, capture: Move, kind: number, prey: number): boolean {
  if (kind === general || kind === soldier) return false;
  if (kind === prey && strikesBack(position, capture)) return false;
  if (strongerAxf[kind]?.includes(prey)) return true;
  return !isProtected(position, capture, true);
}
