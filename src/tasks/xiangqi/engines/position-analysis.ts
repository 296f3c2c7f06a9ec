// What an engine thinks of the moves of a position, out of its searches: each move checked, values for the side to move.
//
// An engine with MultiPV says it in one search. One without is asked about the position after every move, one ply shallower; the
// value of the move is the negative of that, a mate one ply further away. A best move that comes without any value (from an opening
// book) gets its value in the same way.

import { formatCoordinates, type FirstRank, parseCoordinates } from "../notation/coordinates.ts";
import { formatFen } from "../rules/fen.ts";
import type { Move, Position } from "../rules/position.ts";
import { type Analysis, type EngineLine, MATE, valueBefore } from "./engine.ts";
import {
  type EngineSession,
  isStopped,
  type Search,
  type SearchResult,
  type StoppedSearch,
} from "./engine-session.ts";
import type { SearchLine } from "./search-report.ts";

export interface PositionAnalysis {
  readonly session: EngineSession;
  /** With at least one legal move. Moves are made on it and taken back. */
  readonly position: Position;
  readonly moveNumber: number;
  readonly depth: number;
  /** How many of the best moves, at most as many as are legal. */
  readonly lines: number;
  readonly firstRank: FirstRank;
  /** Begins the message of an error. */
  readonly where: string;
}

/** Makes the error for a line that names a move. */
type RefuseMove = (expected: string, hint?: string) => Error;

const legalMove = (text: string, position: Position, firstRank: FirstRank): Move | null => {
  const move = parseCoordinates(text, position.variant, firstRank);
  return move !== null && position.isLegal(move) ? move : null;
};

/** How an engine must count ranks for its move to be legal; both numbers when it can be either. */
export const ranksThatFit = (text: string, position: Position): readonly FirstRank[] =>
  ([0, 1] as const).filter((firstRank) => legalMove(text, position, firstRank) !== null);

/** A move of an engine. Throws what `refuse` makes unless it is legal. */
export function readMove(
  text: string,
  position: Position,
  firstRank: FirstRank,
  refuse: RefuseMove,
): Move {
  const move = legalMove(text, position, firstRank);
  if (move !== null) return move;
  const other = firstRank === 0 ? 1 : 0;
  const hint = `with firstRank ${other} it would be legal: set firstRank`;
  const isOther = ranksThatFit(text, position).includes(other);
  throw refuse(
    `legal moves, ranks counted from ${firstRank}, not ${JSON.stringify(text.slice(0, 20))}`,
    isOther ? hint : undefined,
  );
}

/** The moves of a line, each legal where the one before has led. */
function readMoves(
  texts: readonly string[],
  position: Position,
  firstRank: FirstRank,
  refuse: RefuseMove,
): string[] {
  const { made, variant } = position;
  try {
    return texts.map((text) => {
      const move = readMove(text, position, firstRank, refuse);
      position.make(move);
      return formatCoordinates(move, variant);
    });
  } finally {
    while (position.made > made) position.unmake();
  }
}

function searchOf(analysis: PositionAnalysis, lines: number): Search {
  const { where, position, moveNumber, depth } = analysis;
  return { where, fen: formatFen(position, moveNumber), depth, lines };
}

/**
 * The best move of a search, checked. Throws an EngineError when the engine says that there is none. It need not be the move of the
 * first line, which counts: engines that are made to play weaker choose another.
 */
function bestMoveOf({ bestMove, text }: SearchResult, analysis: PositionAnalysis): Move {
  const { session, position, where, firstRank } = analysis;
  if (bestMove === null) {
    const count = position.legalMoves().length;
    const hint = "it takes the game for finished, or plays another variant";
    throw session.refuse(where, `one of ${count} legal moves`, text, hint);
  }
  return readMove(bestMove, position, firstRank, (expected, hint) =>
    session.refuse(where, expected, text, hint),
  );
}

function engineLine(
  { moves, value, text }: SearchLine,
  bestMove: Move,
  { session, position, where, firstRank }: PositionAnalysis,
): EngineLine {
  const checked = readMoves(moves, position, firstRank, (expected, hint) =>
    session.refuse(where, expected, text, hint),
  );
  // A single line may leave the moves out; it is the best move's.
  const all = checked.length > 0 ? checked : [formatCoordinates(bestMove, position.variant)];
  return { move: all[0]!, value, moves: all };
}

/** What the engine thinks of a move that has just been made; a finished game needs no engine. */
async function afterMove(
  move: Move,
  before: PositionAnalysis,
): Promise<(EngineLine & { readonly depth: number }) | StoppedSearch> {
  const { position, session } = before;
  const name = formatCoordinates(move, position.variant);
  if (position.legalMoves().length === 0) {
    return { move: name, value: MATE - 1, moves: [name], depth: 1 };
  }
  // Depth 0 is no limit: Stockfish would not stop.
  const depth = Math.max(1, before.depth - 1);
  const after = { ...before, where: `${before.where}, after ${name}`, depth };
  const result = await session.search(searchOf(after, 1));
  if (isStopped(result)) return result;
  const bestMove = bestMoveOf(result, after);
  const found = result.lines?.[0];
  if (found === undefined) throw session.refuse(after.where, "a score", result.text);
  const { value, moves } = engineLine(found, bestMove, after);
  return { move: name, value: valueBefore(value), moves: [name, ...moves], depth: found.depth + 1 };
}

async function analyseMoves(
  analysis: PositionAnalysis,
  moves: readonly Move[],
): Promise<Analysis | StoppedSearch> {
  const { position, lines: count } = analysis;
  const lines: EngineLine[] = [];
  let depth = 0;
  for (const move of moves) {
    position.make(move);
    try {
      const line = await afterMove(move, analysis);
      if (isStopped(line)) return line;
      const { depth: lineDepth, ...rest } = line;
      lines.push(rest);
      depth = Math.max(depth, lineDepth);
    } finally {
      position.unmake();
    }
  }
  return { depth, lines: lines.sort((a, b) => b.value - a.value).slice(0, count) };
}

/**
 * The best moves of a position that has some.
 * @throws EngineError when the engine fails, or says what cannot be.
 */
export async function analysePosition(
  analysis: PositionAnalysis,
): Promise<Analysis | StoppedSearch> {
  const { session, position, lines: count } = analysis;
  if (count > session.mostLines) return analyseMoves(analysis, position.legalMoves());
  const result = await session.search(searchOf(analysis, count));
  if (isStopped(result)) return result;
  const bestMove = bestMoveOf(result, analysis);
  if (result.lines === null) {
    return analyseMoves(analysis, count === 1 ? [bestMove] : position.legalMoves());
  }
  const lines = result.lines.map((line) => engineLine(line, bestMove, analysis));
  return { depth: result.lines[0]!.depth, lines };
}
