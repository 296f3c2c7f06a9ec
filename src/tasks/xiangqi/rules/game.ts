// A game: a start, the moves made, and how it ends.
//
// Sources: the Chinese rules of 1999 (no legal move loses; 60 rounds without a capture draw), the UCCI engine league (50 rounds,
// repetition by its rule text), the Asian Xiangqi Federation as Fairy-Stockfish and Pikafish play it.

import { DataError } from "../../../core/errors.ts";
import { chasedBy } from "./chase.ts";
import { formatFen, parseFen, squareName } from "./fen.ts";
import { kindOf, type Move, moveFrom, moveTo, otherSide, type Position } from "./position.ts";
import { KIND, type Side, type Variant, xiangqi } from "./variant.ts";

/**
 * - `simple`: the third occurrence of a position is a draw.
 * - `league`: at the fourth, a side that gave check with every move, or else chased one piece with every move, loses, unless the
 *   other did likewise.
 * - `axf`: likewise at the third, with what counts as a chase as the Asian federation has it.
 */
export const repetitionRules = ["simple", "league", "axf"] as const;
export type RepetitionRule = (typeof repetitionRules)[number];

export interface GameRules {
  readonly repetition: RepetitionRule;
  /** Plies without a capture after which the game is drawn; null: never. */
  readonly quietLimit: number | null;
  /** Checks of each side that count towards the limit; null: all (Pikafish: 10). */
  readonly countedChecks: number | null;
}

/** The Chinese rules of 1999 with repetition as the Asian federation has it. */
export const defaultRules: GameRules = { repetition: "axf", quietLimit: 120, countedChecks: null };

export type EndReason =
  | "checkmate"
  | "stalemate"
  | "quiet limit"
  | "insufficient material"
  | "repetition"
  | "perpetual check"
  | "perpetual chase";

export interface GameEnd {
  /** null: a draw. */
  readonly winner: Side | null;
  readonly reason: EndReason;
}

export class Game {
  readonly start: string;
  readonly rules: GameRules;
  readonly #position: Position;
  readonly #moveNumber: number;
  readonly #moves: Move[] = [];
  /** Hash of every position so far, the start first. */
  readonly #keys: string[] = [];

  /** @throws DataError for a FEN that cannot be read or cannot occur. */
  constructor(fen?: string, rules: Partial<GameRules> = {}, variant: Variant = xiangqi) {
    const { position, moveNumber } = parseFen(fen ?? variant.start, { variant });
    this.#position = position;
    this.#moveNumber = moveNumber;
    this.start = formatFen(position, moveNumber);
    this.rules = { ...defaultRules, ...rules };
    this.#remember();
  }

  #remember(): void {
    this.#keys.push(`${this.#position.hashLow} ${this.#position.hashHigh}`);
  }

  /** A copy of the position reached. */
  get position(): Position {
    return this.#position.copy();
  }

  get side(): Side {
    return this.#position.side;
  }

  get moves(): readonly Move[] {
    return this.#moves;
  }

  get fen(): string {
    const plies =
      this.#moves.length + (parseFen(this.start, this.#options).position.side as number);
    return formatFen(this.#position, this.#moveNumber + Math.floor(plies / 2));
  }

  get #options(): { readonly variant: Variant } {
    return { variant: this.#position.variant };
  }

  legalMoves(): Move[] {
    return this.#position.legalMoves();
  }

  /** Makes a legal move. @throws DataError for any other. */
  play(move: Move): void {
    if (!this.#position.isLegal(move)) {
      const { variant } = this.#position;
      const name = squareName(moveFrom(move), variant) + squareName(moveTo(move), variant);
      const where = `move ${this.#moves.length + 1} of a game from ${this.start}`;
      throw new DataError({ where, expected: "a legal move", got: name });
    }
    this.#position.make(move);
    this.#moves.push(move);
    this.#remember();
  }

  /** Takes the last move back; without one, nothing changes. */
  takeBack(): void {
    if (this.#moves.pop() === undefined) return;
    this.#keys.pop();
    this.#position.unmake();
  }

  /** How the game would end with a legal move; null: it would go on. */
  endAfter(move: Move): GameEnd | null {
    this.play(move);
    const end = this.end();
    this.takeBack();
    return end;
  }

  /** How the game has ended; null: it goes on. */
  end(): GameEnd | null {
    const position = this.#position;
    const { side } = position;
    if (position.legalMoves().length === 0) {
      const reason = position.isInCheck ? "checkmate" : "stalemate";
      return { winner: otherSide(side), reason };
    }
    if (!hasAttackers(position)) return { winner: null, reason: "insufficient material" };
    const repetition = this.#repetition();
    if (repetition !== null) return repetition;
    const { quietLimit } = this.rules;
    if (quietLimit !== null && this.#countedQuietPlies() >= quietLimit) {
      return { winner: null, reason: "quiet limit" };
    }
    return null;
  }

  /** Plies since the last capture, less the checks of each side beyond those that count. */
  #countedQuietPlies(): number {
    const { quietPlies } = this.#position;
    const { countedChecks } = this.rules;
    if (countedChecks === null) return quietPlies;
    const checks: [number, number] = [0, 0];
    const known = Math.min(quietPlies, this.#moves.length);
    this.#walkBack(known, (position) => {
      if (position.isInCheck) checks[otherSide(position.side)]++;
    });
    return quietPlies - checks.reduce((sum, count) => sum + Math.max(0, count - countedChecks), 0);
  }

  /** Shows the position after each of the last `plies` moves, the newest first. */
  #walkBack(plies: number, visit: (after: Position, ply: number) => void): void {
    const position = this.#position;
    const moves = this.#moves;
    for (let back = 0; back < plies; back++) {
      visit(position, moves.length - back);
      position.unmake();
    }
    for (let ply = moves.length - plies; ply < moves.length; ply++) position.make(moves[ply]!);
  }

  #repetition(): GameEnd | null {
    const { repetition } = this.rules;
    const key = this.#keys.at(-1)!;
    const needed = repetition === "league" ? 4 : 3;
    let seen = 0;
    let first = this.#keys.length;
    while (seen < needed && first > 0) {
      first = this.#keys.lastIndexOf(key, first - 1);
      if (first < 0) return null;
      seen++;
    }
    if (seen < needed) return null;
    if (repetition === "simple") return { winner: null, reason: "repetition" };
    return this.#judgeCycle(this.#moves.length - first, repetition);
  }

  /** Who is to blame for the last `plies` moves, which led back to the same position. */
  #judgeCycle(plies: number, rule: "league" | "axf"): GameEnd {
    const alwaysChecks: [boolean, boolean] = [true, true];
    this.#walkBack(plies, (position) => {
      if (!position.isInCheck) alwaysChecks[otherSide(position.side)] = false;
    });
    const blame = (isGuilty: readonly [boolean, boolean], reason: EndReason): GameEnd | null => {
      if (isGuilty[0] === isGuilty[1]) return null;
      return { winner: isGuilty[0] ? 1 : 0, reason };
    };
    const drawn: GameEnd = { winner: null, reason: "repetition" };
    const checked = blame(alwaysChecks, "perpetual check");
    if (checked !== null) return checked;
    if (alwaysChecks[0]) return drawn;
    return blame(this.#alwaysChases(plies, rule), "perpetual chase") ?? drawn;
  }

  /** Whether each side chased one and the same piece with all of its last moves. */
  #alwaysChases(plies: number, rule: "league" | "axf"): [boolean, boolean] {
    // Squares of the pieces chased so far by every move of a side, as they stand after the newest move looked at.
    const common: [Set<number> | null, Set<number> | null] = [null, null];
    this.#walkBack(plies, (position, ply) => {
      const move = this.#moves[ply - 1]!;
      const side = otherSide(position.side);
      position.unmake();
      const chased = new Set(chasedBy(position, move, rule));
      position.make(move);
      common[side] =
        common[side] === null
          ? chased
          : new Set([...common[side]].filter((square) => chased.has(square)));
      // Going back over this move, a piece that stands on its end stood on its beginning.
      for (const index of [0, 1] as const) {
        if (common[index]?.delete(moveTo(move))) common[index].add(moveFrom(move));
      }
    });
    return [(common[0]?.size ?? 0) > 0, (common[1]?.size ?? 0) > 0];
  }
}

/** Whether anybody has a piece that can cross the river. */
function hasAttackers(position: Position): boolean {
  return position.board.some((piece) => kindOf(piece) >= KIND.horse);
}
