// What labels need of an engine, be it our own search or a program beside us.

import type { Variant } from "../rules/variant.ts";

/** One move with what the engine thinks of it. */
export interface EngineLine {
  /** As `h2e2`, ranks from 0. */
  readonly move: string;
  /**
   * Centipawns for the side to move, this move made. A mate in n plies is 10000 − n, being mated in n plies −10000 + n; the plies
   * count from this position.
   */
  readonly value: number;
  /** The moves that the engine expects, this one first. */
  readonly moves: readonly string[];
}

export interface Analysis {
  /** Plies the engine looked ahead; it may have stopped before the depth that was asked for. */
  readonly depth: number;
  /** Best first; none: the side to move has no legal move and has lost. */
  readonly lines: readonly EngineLine[];
}

export interface AnalysisLimits {
  readonly depth: number;
  /** How many of the best moves; 1 unless told. A position has at most 128. */
  readonly lines?: number;
}

/** The value of a mate on the board. */
export const MATE = 10_000;
/** Values beyond this are mates. */
export const MATE_BOUND = 9_000;

/** A value as the other side has it one ply earlier, which is one ply further from a mate. */
export function valueBefore(value: number): number {
  if (Math.abs(value) <= MATE_BOUND) return 0 - value;
  return value > 0 ? 1 - value : -1 - value;
}

export interface XiangqiEngine {
  /** Name, version and options: values of one id can be compared, and kept. */
  readonly id: string;
  readonly variant: Variant;
  /**
   * @throws DataError for a position that cannot occur, ConfigError for limits out of range, EngineError when the engine fails.
   */
  analyse(fen: string, limits: AnalysisLimits): Promise<Analysis>;
  close(): Promise<void>;
}
