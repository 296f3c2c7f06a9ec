// Games of our own search against itself, from random positions: where boards and moves come from without game records.

import { ConfigError } from "../../core/errors.ts";
import type { Random } from "../../core/random.ts";
import type { SelfPlaySettings } from "./config.ts";
import { Search } from "./engines/search.ts";
import { materialBalance } from "./engines/static-value.ts";
import { formatFen, positionFault } from "./rules/fen.ts";
import { type Move, pieceOf, Position } from "./rules/position.ts";
import { RED, BLACK, KIND, type Side, type Variant } from "./rules/variant.ts";
import { parseCoordinates } from "./notation/coordinates.ts";

export type Winner = "red" | "black" | "draw";

export interface SelfPlayedGame {
  readonly start: string;
  readonly moves: readonly Move[];
  readonly winner: Winner;
}

const PLACE_ATTEMPTS = 200;
const POSITION_ATTEMPTS = 20_000;

/**
 * A random legal position: both generals, and other pieces on points that they can reach. Red or Black moves.
 * @throws ConfigError where the settings leave none, or next to none.
 */
export function randomPosition(
  random: Random,
  variant: Variant,
  { minPieces, maxPieces, maxImbalance }: SelfPlaySettings,
): Position {
  for (let tries = 0; tries < POSITION_ATTEMPTS; tries++) {
    const count = minPieces + random.integer(maxPieces - minPieces + 1);
    const position = new Position(variant);
    const left = new Map<number, number>();
    for (const side of [RED, BLACK] as const) {
      for (let kind = 1; kind < 8; kind++) left.set(pieceOf(kind, side), variant.most[kind]!);
    }
    const put = (kind: number, side: Side): boolean => {
      const piece = pieceOf(kind, side);
      const places = variant.places.subarray((kind * 2 + side) * variant.squares);
      for (let attempt = 0; attempt < PLACE_ATTEMPTS; attempt++) {
        const square = random.integer(variant.squares);
        if (places[square] !== 1 || position.board[square] !== 0) continue;
        position.place(piece, square);
        left.set(piece, left.get(piece)! - 1);
        return true;
      }
      return false;
    };
    put(KIND.general, RED);
    put(KIND.general, BLACK);
    for (let placed = 2; placed < count; placed++) {
      // A side gets its pieces in the shares of the full set: soldiers most often.
      const bag = [...left].flatMap(([piece, number]) => Array<number>(number).fill(piece));
      const piece = random.pick(bag);
      put(piece & 7, (piece >>> 3) as Side);
    }
    position.setTurn(random.integer(2) as Side, 0);
    if (Math.abs(materialBalance(position)) > maxImbalance) continue;
    if (positionFault(position) === null && position.legalMoves().length > 0) return position;
  }
  throw new ConfigError({
    where: "selfPlay",
    expected: `a legal position of ${minPieces} to ${maxPieces} pieces, uneven by at most ${maxImbalance} centipawns`,
    got: `none in ${POSITION_ATTEMPTS} random ones`,
    hint: "widen maxImbalance or the number of pieces",
  });
}

/** Plies without a capture after which a game is a draw. */
const QUIET_LIMIT = 60;

/** Plays a game to its end: no legal move, no capture for 60 plies, the third time the same position, or too long. */
export function playGame(
  search: Search,
  start: Position,
  random: Random,
  { depths, randomShare, maxPlies }: SelfPlaySettings,
): SelfPlayedGame {
  const position = start.copy();
  const depth = random.pick(depths);
  const moves: Move[] = [];
  const seen = new Map<string, number>();
  const finish = (winner: Winner): SelfPlayedGame => ({ start: formatFen(start), moves, winner });
  for (;;) {
    const legal = position.legalMoves();
    if (legal.length === 0) return finish(position.side === RED ? "black" : "red");
    if (moves.length === maxPlies || position.quietPlies >= QUIET_LIMIT) return finish("draw");
    const key = `${position.hashHigh} ${position.hashLow}`;
    const times = (seen.get(key) ?? 0) + 1;
    if (times === 3) return finish("draw");
    seen.set(key, times);
    const isRandom = random.uniform() < randomShare;
    const drawn = random.pick(legal); // always drawn: the stream does not depend on the share
    const best = (): Move =>
      parseCoordinates(search.analyse(position, { depth }).lines[0]!.move, position.variant)!;
    const move = isRandom ? drawn : best();
    moves.push(move);
    position.make(move);
  }
}
