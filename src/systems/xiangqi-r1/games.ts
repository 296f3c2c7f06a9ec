// Games of a player against another, many at a time, from random positions and each with both colours.

import type { Progress } from "../../core/progress.ts";
import { type Random, randomStream } from "../../core/random.ts";
import { wilsonInterval } from "../../core/statistics.ts";
import type { SelfPlaySettings } from "../../tasks/xiangqi/config.ts";
import { formatFen } from "../../tasks/xiangqi/rules/fen.ts";
import { Game } from "../../tasks/xiangqi/rules/game.ts";
import type { Move } from "../../tasks/xiangqi/rules/position.ts";
import type { Side, Variant } from "../../tasks/xiangqi/rules/variant.ts";
import { randomPosition } from "../../tasks/xiangqi/self-play.ts";
import type { Player } from "./player.ts";

/** What came of a match, from the side of the player who is measured. */
export interface MatchResult {
  readonly games: number;
  readonly wins: number;
  readonly draws: number;
  readonly losses: number;
  /** Losses among these because no attempt had a legal move. An opponent without one loses likewise. */
  readonly forfeits: number;
  /** Share of the games that were won, with its 95 % interval (Wilson). */
  readonly won: number;
  readonly ci95: readonly [number, number];
}

export interface MatchSettings {
  readonly variant: Variant;
  readonly selfPlay: SelfPlaySettings;
  /** Games; half of them with each colour. */
  readonly count: number;
  /** A game that lasts longer is a draw. */
  readonly maxPlies: number;
  readonly seed: number;
}

interface Board {
  readonly index: number;
  readonly game: Game;
  /** The side of the player who is measured. */
  readonly side: Side;
}

/** Plays all games side by side, so that a model answers many positions at once. */
export async function playMatch(
  player: Player,
  opponent: Player,
  { variant, selfPlay, count, maxPlies, seed }: MatchSettings,
  progress: Progress,
): Promise<MatchResult> {
  const boards = Array.from({ length: count }, (_board, index): Board => {
    const start = randomPosition(randomStream(seed, "match", index >> 1), variant, selfPlay);
    return { index, game: new Game(formatFen(start), {}, variant), side: (index % 2) as Side };
  });
  const tally = { wins: 0, draws: 0, losses: 0, forfeits: 0 };
  let open = boards;
  /** Counts a game that has ended; true: it goes on. */
  const goesOn = ({ game, side }: Board): boolean => {
    // A mate with the last ply that is allowed still wins.
    const end = game.end() ?? (game.moves.length >= maxPlies ? { winner: null } : null);
    if (end === null) return true;
    if (end.winner === null) tally.draws++;
    else if (end.winner === side) tally.wins++;
    else tally.losses++;
    return false;
  };
  progress.begin(`games against ${opponent.name}`, maxPlies);
  for (let ply = 0; ; ply++) {
    open = open.filter(goesOn);
    if (open.length === 0) break;
    const forfeited = new Map<Board, "wins" | "losses">();
    const moves: (readonly [Board, Move])[] = []; // made when both players have chosen
    for (const [mover, isPlayer] of [
      [player, true],
      [opponent, false],
    ] as const) {
      const toMove = open.filter(({ game, side }) => (game.side === side) === isPlayer);
      if (toMove.length === 0) continue;
      const turns = toMove.map(({ game }) => game);
      const stream = (index: number): Random =>
        randomStream(seed, "match move", toMove[index]!.index, ply);
      const choices = await mover.choose(turns, stream);
      toMove.forEach((board, index) => {
        const { move } = choices[index]!;
        if (move === null) forfeited.set(board, isPlayer ? "losses" : "wins");
        else moves.push([board, move]);
      });
    }
    for (const [board, move] of moves) board.game.play(move);
    for (const outcome of forfeited.values()) {
      tally[outcome]++;
      if (outcome === "losses") tally.forfeits++;
    }
    open = open.filter((board) => !forfeited.has(board));
    progress.advance(Math.min(ply + 1, maxPlies), `${open.length} going on`);
  }
  progress.end();
  const { low, high } = wilsonInterval(tally.wins, count);
  return {
    games: count,
    ...tally,
    won: tally.wins / count,
    ci95: [low, high],
  };
}
