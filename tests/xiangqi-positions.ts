// Random Xiangqi positions for tests: games, and boards on which soldiers stand behind each other.

import type { Random } from "../src/core/random.ts";
import { parseFen, positionFault } from "../src/tasks/xiangqi/rules/fen.ts";
import { type Move, pieceOf, Position } from "../src/tasks/xiangqi/rules/position.ts";
import {
  BLACK,
  KIND,
  RED,
  type Side,
  type Variant,
  xiangqi,
} from "../src/tasks/xiangqi/rules/variant.ts";

/** Calls `visit` on every position of a game of random moves; it says which move came before. */
export function playRandomGame(
  random: Random,
  plies: number,
  visit: (position: Position, legal: readonly Move[]) => void,
  variant: Variant = xiangqi,
): void {
  const { position } = parseFen(variant.start, { variant });
  for (let ply = 0; ply <= plies; ply++) {
    const legal = position.legalMoves();
    visit(position, legal);
    if (legal.length === 0) return;
    position.make(random.pick(legal));
  }
}

const others = [KIND.advisor, KIND.elephant, KIND.horse, KIND.chariot, KIND.cannon] as const;

/** A possible position in which the side to move has most of its soldiers on one or two files. */
export function randomTandems(random: Random, variant: Variant = xiangqi): Position {
  for (;;) {
    const position = new Position(variant);
    const side = random.pick([RED, BLACK] as const);
    const place = (kind: number, owner: Side, files?: readonly number[]): void => {
      const points = Array.from(position.board.keys()).filter(
        (square) =>
          position.board[square] === 0 &&
          variant.places[(kind * 2 + owner) * variant.squares + square] === 1 &&
          (files === undefined || files.includes(square % variant.files)),
      );
      if (points.length > 0) position.place(pieceOf(kind, owner), random.pick(points));
    };
    place(KIND.general, RED);
    place(KIND.general, BLACK);
    const files = Array.from({ length: 1 + random.integer(2) }, () =>
      random.integer(variant.files),
    );
    const [stacked, soldiers] = [2 + random.integer(4), variant.most[KIND.soldier]!];
    for (let index = 0; index < soldiers; index++) {
      place(KIND.soldier, side, index < stacked ? files : undefined);
    }
    for (const kind of others) {
      for (const owner of [RED, BLACK] as const) {
        const count = random.integer(variant.most[kind]! + 1);
        // Pairs behind each other, half the time.
        const file = random.uniform() < 0.5 ? [random.integer(variant.files)] : undefined;
        for (let index = 0; index < count; index++) place(kind, owner, file);
      }
    }
    position.setTurn(side, 0);
    if (positionFault(position) === null) return position;
  }
}
