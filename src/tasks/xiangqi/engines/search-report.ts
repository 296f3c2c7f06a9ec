// What an engine says while and after it searches: `info` lines, of which the last complete depth counts, and the best move.

import { MATE, MATE_BOUND } from "./engine.ts";
import type { EngineProtocol } from "./engine-protocol.ts";

/** Makes the error for a line that is nonsense. */
export type Refuse = (expected: string, line: string, hint?: string) => Error;

/** An `info` line with a score. */
export interface SearchLine {
  /** At least 1. */
  readonly depth: number;
  /** `multipv`, from 1. */
  readonly index: number;
  readonly value: number;
  /** A lower or an upper bound only. */
  readonly isBound: boolean;
  /** As the engine writes them; unchecked. */
  readonly moves: readonly string[];
  readonly text: string;
}

/** A mate further away is told as this far: one ply earlier its value has still to be that of a mate. */
const MOST_PLIES = MATE - MATE_BOUND - 2;

/** Value of a mate in so many plies, for who makes it. */
const mateValue = (plies: number): number => MATE - Math.min(plies, MOST_PLIES);

/** `mate N` counts full moves: the side to move mates with its N-th move, or is mated by the N-th of the other. 0: it is mated. */
export function valueOfMate(moves: number): number {
  return moves > 0 ? mateValue(2 * moves - 1) : -mateValue(-2 * moves);
}

/** Centipawns as they are, short of what would be a mate. */
function valueOfCentipawns(centipawns: number): number {
  // + 0: the number of "-0" is 0.
  return Math.max(-MATE_BOUND, Math.min(MATE_BOUND, Math.round(centipawns))) + 0;
}

/** What a score of a protocol means. */
export type Scale = Pick<EngineProtocol, "centipawnsPerPoint" | "pointsOfMate">;

function valueOfPoints(points: number, centipawnsPerPoint: number, pointsOfMate: number): number {
  if (Math.abs(points) <= pointsOfMate) return valueOfCentipawns(points * centipawnsPerPoint);
  return Math.sign(points) * mateValue(Math.max(0, MATE - Math.abs(points)));
}

const wordsOf = (line: string): string[] => line.split(/\s+/).filter((word) => word !== "");

/**
 * The depth, value and moves of an `info` line; null: it has none, or is another line. Depth 0 is none: Fairy-Stockfish says it of
 * a finished game, ElephantEye of moves from its book, whose scores are weights.
 */
export function parseInfo(line: string, scale: Scale, refuse: Refuse): SearchLine | null {
  const { centipawnsPerPoint, pointsOfMate } = scale;
  const words = wordsOf(line);
  if (words[0] !== "info") return null;
  let [depth, index, isBound]: [number, number, boolean] = [0, 1, false];
  let value: number | null = null;
  let moves: string[] = [];
  const numberAt = (at: number, name: string): number => {
    const word = words[at];
    if (word === undefined || !/^[+-]?\d{1,9}$/.test(word)) {
      throw refuse(`a whole number after ${name}`, line);
    }
    return Number(word);
  };
  for (let at = 1; at < words.length; at++) {
    const word = words[at]!;
    if (word === "string" || word === "message") break; // free text up to the end
    if (word === "depth") depth = numberAt(++at, word);
    else if (word === "multipv") index = numberAt(++at, word);
    else if (word === "lowerbound" || word === "upperbound") isBound = true;
    else if (word === "pv") {
      moves = words.slice(at + 1);
      break;
    } else if (word === "score") {
      const unit = words[++at];
      if (unit === "cp") value = valueOfCentipawns(numberAt(++at, unit));
      else if (unit === "mate") value = valueOfMate(numberAt(++at, unit));
      else if (centipawnsPerPoint === null) throw refuse("cp or mate after score", line);
      else value = valueOfPoints(numberAt(at, word), centipawnsPerPoint, pointsOfMate);
    }
  }
  if (value === null || depth === 0) return null;
  if (depth < 0 || index < 1) throw refuse("depth and multipv of at least 1", line);
  return { depth, index, value, isBound, moves, text: line };
}

const noMoves = new Set(["(none)", "none", "null", "0000"]);

/** The move of a line that ends a search; null: the engine has none; undefined: another line. */
export function parseBestMove(line: string, refuse: Refuse): string | null | undefined {
  const [word, move] = wordsOf(line);
  if (word === "nobestmove") return null;
  if (word !== "bestmove") return undefined;
  if (move === undefined) throw refuse("a move after bestmove", line);
  return noMoves.has(move) ? null : move;
}

/**
 * The lines of one search. Engines also print depths that are not finished: with several lines only those count that came together
 * for one depth, all of them, none a bound; the last such depth is the result.
 */
export class SearchReport {
  readonly #count: number;
  #depth = 0;
  #open = new Map<number, SearchLine>();
  #complete: readonly SearchLine[] | null = null;

  /** @param count lines of a complete depth. */
  constructor(count: number) {
    this.#count = count;
  }

  add(line: SearchLine): void {
    if (line.isBound || line.index > this.#count) return;
    if (line.depth !== this.#depth) this.#open = new Map();
    this.#depth = line.depth;
    this.#open.set(line.index, line);
    if (this.#open.size < this.#count) return;
    const lines = [...this.#open.values()].sort((a, b) => a.index - b.index);
    const firstMoves = new Set(lines.map(({ moves }) => moves[0]));
    if (firstMoves.size === this.#count) this.#complete = lines;
  }

  /** Of the last complete depth, the best first; null: none was complete. */
  get lines(): readonly SearchLine[] | null {
    return this.#complete?.toSorted((a, b) => b.value - a.value) ?? null;
  }
}
