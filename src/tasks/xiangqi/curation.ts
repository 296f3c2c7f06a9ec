// Games to training positions: which moves are worth imitating.
//
// Paper: Xiangqi-R1, arXiv:2507.12215: all moves of drawn games, and those of the side that won; the loser's are left out.

import type { XiangqiItem } from "./item.ts";
import { phaseOf, plyOf } from "./item.ts";
import { formatCoordinates } from "./notation/coordinates.ts";
import { formatFen, parseFen } from "./rules/fen.ts";
import { type Move, RED } from "./rules/position.ts";
import type { Variant } from "./rules/variant.ts";
import { positionKey } from "./view.ts";

export interface RecordedGame {
  /** FEN of the first position. */
  readonly start: string;
  readonly moves: readonly Move[];
  /** Of a game whose result is not known, every move is kept. */
  readonly winner: XiangqiItem["winner"];
  readonly source: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** By the number of moves before the comment. */
  readonly comments?: Readonly<Record<number, string>>;
}

/** A position with the move played in it, not judged yet. */
export type PlayedItem = XiangqiItem & { readonly played: string };

/**
 * Positions of a game with the move played, in order. One whose key is in `seen` is left out; the others are added to it, so that no
 * position comes twice, mirrored or with the colours exchanged.
 */
export function* curatedItems(
  game: RecordedGame,
  variant: Variant,
  seen: Set<string>,
): Generator<PlayedItem> {
  const { start, moves, winner, source, headers, comments } = game;
  const { position, moveNumber } = parseFen(start, { variant });
  const first = plyOf(moveNumber, position.side);
  for (const [index, move] of moves.entries()) {
    const ply = first + index;
    const side = position.side === RED ? "red" : "black";
    const isKept = winner === side || winner === "draw" || winner === "unknown";
    const key = isKept ? positionKey(position) : "";
    if (isKept && !seen.has(key)) {
      seen.add(key);
      const comment = comments?.[index + 1];
      yield {
        fen: formatFen(position, 1 + Math.floor(ply / 2)),
        ply,
        phase: phaseOf(ply),
        winner,
        played: formatCoordinates(move, variant),
        source,
        ...(headers && { headers }),
        ...(comment !== undefined && { comment }),
      };
    }
    position.make(move);
  }
}
