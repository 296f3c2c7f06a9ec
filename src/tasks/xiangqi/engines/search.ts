// Our own search for labels and for play: principal variation search with iterative deepening.
//
//   value(position, depth) = max over moves of −value(position after the move, depth − 1)
//
// With a table of positions met before (Zobrist 1970), killer moves and history for the order of moves, an extra ply in check, late
// moves searched a ply less first, and captures followed until the position is quiet. The same position and limits give the same
// answer: nothing is kept from one analysis to the next, and time plays no part.

import { parseFen } from "../rules/fen.ts";
import { formatCoordinates } from "../notation/coordinates.ts";
import { MOST_MOVES, type Move, type Position } from "../rules/position.ts";
import { type Variant, xiangqi } from "../rules/variant.ts";
import {
  type Analysis,
  type AnalysisLimits,
  type EngineLine,
  MATE,
  MATE_BOUND,
  type XiangqiEngine,
} from "./engine.ts";
import { kindValues, staticValue } from "./static-value.ts";

const INFINITE = 30_000;
const MOST_PLIES = 64;
const TABLE_BITS = 16;
const TABLE_SIZE = 1 << TABLE_BITS;
/** What a stored value is: exact, at least, at most. */
const EXACT = 0;
const LOWER = 1;
const UPPER = 2;
/** Moves of a node that are searched to full depth before later quiet ones are looked at a ply less first. */
const FULL_DEPTH_MOVES = 4;
/** Positional gains that a capture can bring beside the piece. */
const CAPTURE_MARGIN = 200;

/** Score of a move in the order in which moves are tried. */
const ORDER = { table: 1 << 28, capture: 1 << 24, killer: 1 << 23 } as const;

interface RootLine {
  readonly move: Move;
  value: number;
}

export class Search {
  readonly #variant: Variant;
  readonly #moves = new Int32Array(MOST_MOVES * (MOST_PLIES + 64));
  readonly #scores = new Int32Array(MOST_MOVES * (MOST_PLIES + 64));
  readonly #killers = new Int32Array(2 * (MOST_PLIES + 64));
  readonly #history = new Int32Array(1 << 14);
  readonly #keys = new Int32Array(2 * TABLE_SIZE);
  /** Value, depth · 4 + bound, move. */
  readonly #entries = new Int32Array(3 * TABLE_SIZE);
  readonly #path = new Int32Array(2 * (MOST_PLIES + 64));
  #position!: Position;
  #nodes = 0;

  constructor(variant: Variant = xiangqi) {
    this.#variant = variant;
  }

  /** Positions that the last analysis looked at. */
  get nodes(): number {
    return this.#nodes;
  }

  /**
   * The best moves with their values, best first; moves of equal value keep the order of the search.
   * The position is left as it was.
   */
  analyse(position: Position, { depth, lines = 1 }: AnalysisLimits): Analysis {
    this.#position = position;
    this.#nodes = 0;
    this.#keys.fill(0);
    this.#entries.fill(0);
    this.#killers.fill(0);
    this.#history.fill(0);
    let root: RootLine[] = position.legalMoves().map((move) => ({ move, value: 0 }));
    if (root.length === 0) return { depth, lines: [] };
    for (let plies = 1; plies <= depth; plies++) root = this.#searchRoot(root, plies, lines);
    return {
      depth,
      lines: root.slice(0, lines).map((line) => this.#lineOf(line)),
    };
  }

  #lineOf({ move, value }: RootLine): EngineLine {
    const position = this.#position;
    const moves: Move[] = [move];
    position.make(move);
    // The table may have lost a part; what it has is still legal moves of the position reached.
    for (let ply = 1; ply < 12; ply++) {
      const next = this.#storedMove();
      if (next === 0 || !position.isLegal(next)) break;
      position.make(next);
      moves.push(next);
    }
    for (let made = 0; made < moves.length; made++) position.unmake();
    const names = moves.map((one) => formatCoordinates(one, this.#variant));
    return { move: names[0]!, value, moves: names };
  }

  /** Values of the root moves, best first. Only the first `lines` are exact; the others are known not to be better. */
  #searchRoot(root: readonly RootLine[], depth: number, lines: number): RootLine[] {
    const position = this.#position;
    this.#remember(0);
    const done: RootLine[] = [];
    for (const { move } of root) {
      const least = done.length < lines ? -INFINITE : done[lines - 1]!.value;
      position.make(move);
      let value: number;
      if (least === -INFINITE) value = -this.#search(depth - 1, -INFINITE, INFINITE, 1);
      else {
        value = -this.#search(depth - 1, -least - 1, -least, 1);
        if (value > least) value = -this.#search(depth - 1, -INFINITE, -least, 1);
      }
      position.unmake();
      let place = done.length;
      // A move that is only known not to be better than the last line goes behind it.
      while (place > 0 && done[place - 1]!.value < value) place--;
      done.splice(place, 0, { move, value: value || 0 }); // no −0
    }
    return done;
  }

  #remember(ply: number): void {
    this.#path[2 * ply] = this.#position.hashLow;
    this.#path[2 * ply + 1] = this.#position.hashHigh;
  }

  /** Whether the position was on the path to it before. */
  #isRepeated(ply: number): boolean {
    const { hashLow, hashHigh, quietPlies } = this.#position;
    const first = Math.max(0, ply - quietPlies);
    for (let before = ply - 4; before >= first; before -= 2) {
      if (this.#path[2 * before] === hashLow && this.#path[2 * before + 1] === hashHigh)
        return true;
    }
    return false;
  }

  #slot(): number {
    return this.#position.hashLow & (TABLE_SIZE - 1);
  }

  /** The entry of the position, or −1. */
  #probe(): number {
    const { hashLow, hashHigh } = this.#position;
    const slot = this.#slot();
    const isHit = this.#keys[2 * slot] === hashLow && this.#keys[2 * slot + 1] === hashHigh;
    return isHit && this.#entries[3 * slot + 2] !== 0 ? 3 * slot : -1;
  }

  #storedMove(): Move {
    const entry = this.#probe();
    return entry < 0 ? 0 : this.#entries[entry + 2]!;
  }

  #store(depth: number, bound: number, value: number, move: Move, ply: number): void {
    const slot = this.#slot();
    this.#keys[2 * slot] = this.#position.hashLow;
    this.#keys[2 * slot + 1] = this.#position.hashHigh;
    // Mates count from here, not from the root.
    const fromHere = value > MATE_BOUND ? value + ply : value < -MATE_BOUND ? value - ply : value;
    this.#entries[3 * slot] = fromHere;
    this.#entries[3 * slot + 1] = depth * 4 + bound;
    this.#entries[3 * slot + 2] = move;
  }

  #search(givenDepth: number, givenAlpha: number, beta: number, ply: number): number {
    const position = this.#position;
    this.#remember(ply);
    if (this.#isRepeated(ply)) return 0;
    const isInCheck = position.isInCheck;
    const depth = isInCheck && ply < MOST_PLIES / 2 ? givenDepth + 1 : givenDepth;
    if (depth <= 0 || ply >= MOST_PLIES) return this.#quiet(givenAlpha, beta, ply);
    this.#nodes++;
    let alpha = givenAlpha;
    const entry = this.#probe();
    const tableMove = entry < 0 ? 0 : this.#entries[entry + 2]!;
    if (entry >= 0 && this.#entries[entry + 1]! >> 2 >= depth) {
      const stored = this.#entries[entry]!;
      const value =
        stored > MATE_BOUND ? stored - ply : stored < -MATE_BOUND ? stored + ply : stored;
      const bound = this.#entries[entry + 1]! & 3;
      if (bound === EXACT) return value;
      if (bound === LOWER && value >= beta) return value;
      if (bound === UPPER && value <= alpha) return value;
    }
    const start = ply * MOST_MOVES;
    const end = position.generate(this.#moves, start);
    this.#scoreMoves(start, end, tableMove, ply);
    let best = -INFINITE;
    let bestMove = 0;
    let tried = 0;
    for (let index = start; index < end; index++) {
      this.#bringBest(index, end);
      const move = this.#moves[index]!;
      const isCapture = position.board[move >>> 7] !== 0;
      if (!position.makeIfLegal(move, isInCheck)) continue;
      tried++;
      let value: number;
      if (tried === 1) value = -this.#search(depth - 1, -beta, -alpha, ply + 1);
      else {
        const isLate = depth >= 3 && tried > FULL_DEPTH_MOVES && !isCapture && !isInCheck;
        value = -this.#search(depth - (isLate ? 2 : 1), -alpha - 1, -alpha, ply + 1);
        if (isLate && value > alpha) value = -this.#search(depth - 1, -alpha - 1, -alpha, ply + 1);
        if (value > alpha && value < beta) {
          value = -this.#search(depth - 1, -beta, -alpha, ply + 1);
        }
      }
      position.unmake();
      if (value > best) {
        best = value;
        bestMove = move;
        if (value > alpha) alpha = value;
        if (alpha >= beta) {
          if (!isCapture) this.#reward(move, depth, ply);
          break;
        }
      }
    }
    // No legal move: in Xiangqi the side to move has lost, in check or not.
    if (tried === 0) return ply - MATE;
    const bound = best >= beta ? LOWER : best > givenAlpha ? EXACT : UPPER;
    this.#store(depth, bound, best, bestMove, ply);
    return best;
  }

  /** Captures until none gains. */
  #quiet(givenAlpha: number, beta: number, ply: number): number {
    const position = this.#position;
    this.#nodes++;
    const still = staticValue(position);
    if (still >= beta || ply >= MOST_PLIES + 60) return still;
    let alpha = Math.max(givenAlpha, still);
    let best = still;
    const start = ply * MOST_MOVES;
    const end = position.generate(this.#moves, start, true);
    if (end === start) return best;
    this.#scoreMoves(start, end, 0, ply);
    const isInCheck = position.isInCheck;
    for (let index = start; index < end; index++) {
      this.#bringBest(index, end);
      const move = this.#moves[index]!;
      const gain = kindValues[position.board[move >>> 7]! & 7]! + CAPTURE_MARGIN;
      if (still + gain <= alpha) continue;
      if (!position.makeIfLegal(move, isInCheck)) continue;
      const value = -this.#quiet(-beta, -alpha, ply + 1);
      position.unmake();
      if (value <= best) continue;
      best = value;
      if (value > alpha) alpha = value;
      if (alpha >= beta) break;
    }
    return best;
  }

  #scoreMoves(start: number, end: number, tableMove: Move, ply: number): void {
    const { board } = this.#position;
    for (let index = start; index < end; index++) {
      const move = this.#moves[index]!;
      const target = board[move >>> 7]!;
      let score = this.#history[move]!;
      if (move === tableMove) score = ORDER.table;
      else if (target !== 0) {
        score = ORDER.capture + 16 * kindValues[target & 7]! - kindValues[board[move & 127]! & 7]!;
      } else if (move === this.#killers[2 * ply] || move === this.#killers[2 * ply + 1]) {
        score = ORDER.killer;
      }
      this.#scores[index] = score;
    }
  }

  /** Swaps the move with the highest score to `index`; of equal ones the first. */
  #bringBest(index: number, end: number): void {
    const scores = this.#scores;
    const moves = this.#moves;
    let best = index;
    for (let other = index + 1; other < end; other++) {
      if (scores[other]! > scores[best]!) best = other;
    }
    if (best === index) return;
    const [move, score] = [moves[best]!, scores[best]!];
    moves[best] = moves[index]!;
    scores[best] = scores[index]!;
    moves[index] = move;
    scores[index] = score;
  }

  #reward(move: Move, depth: number, ply: number): void {
    if (this.#killers[2 * ply] !== move) {
      this.#killers[2 * ply + 1] = this.#killers[2 * ply]!;
      this.#killers[2 * ply] = move;
    }
    this.#history[move] = Math.min(ORDER.killer - 1, this.#history[move]! + depth * depth);
  }
}

/** Changes with whatever changes the values of the search. */
export const searchId = "alidade-search-1";

/** Our search as an engine for labels. */
export function searchEngine(variant: Variant = xiangqi): XiangqiEngine {
  const search = new Search(variant);
  return {
    id: searchId,
    variant,
    analyse: async (fen, limits) => search.analyse(parseFen(fen, { variant }).position, limits),
    close: async () => undefined,
  };
}
