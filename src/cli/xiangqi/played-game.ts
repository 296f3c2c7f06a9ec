// A game of a person against an opponent: moves, what the opponent wrote, how it ends, and both forms in which it is kept.

import type { Choice } from "../../systems/xiangqi-r1/player.ts";
import { formatPgn } from "../../tasks/xiangqi/files/format-pgn.ts";
import { type PgnResult, resultTexts } from "../../tasks/xiangqi/files/pgn.ts";
import { formatCoordinates } from "../../tasks/xiangqi/notation/coordinates.ts";
import { formatMove, type Notation } from "../../tasks/xiangqi/notation/parse-move.ts";
import { parseFen, sideName } from "../../tasks/xiangqi/rules/fen.ts";
import {
  type EndReason,
  Game,
  type RepetitionRule,
  type GameEnd,
} from "../../tasks/xiangqi/rules/game.ts";
import { type Move, otherSide, type Position } from "../../tasks/xiangqi/rules/position.ts";
import { RED, type Side, type Variant } from "../../tasks/xiangqi/rules/variant.ts";
import { twoDigits } from "../output.ts";
import { describeAnswer } from "./describe-answer.ts";

export interface GameOver {
  /** null: a draw. */
  readonly winner: Side | null;
  readonly reason: EndReason | "resignation";
}

export interface PlayedGameOptions {
  readonly fen: string | undefined;
  readonly variant: Variant;
  readonly repetition: RepetitionRule;
  readonly person: Side;
}

const smallName = (side: Side): "red" | "black" => (side === RED ? "red" : "black");

export class PlayedGame {
  readonly person: Side;
  readonly variant: Variant;
  readonly #game: Game;
  readonly #repetition: RepetitionRule;
  /** What the opponent wrote, by the number of moves before it. */
  readonly #choices = new Map<number, Choice>();
  #resigned: Side | null = null;

  /** @throws DataError for a FEN that cannot be read or cannot occur. */
  constructor({ fen, variant, repetition, person }: PlayedGameOptions) {
    this.person = person;
    this.variant = variant;
    this.#repetition = repetition;
    this.#game = new Game(fen, { repetition }, variant);
  }

  get position(): Position {
    return this.#game.position;
  }

  endAfter(move: Move): GameEnd | null {
    return this.#game.endAfter(move);
  }

  get isPersonToMove(): boolean {
    return this.#game.side === this.person;
  }

  get moves(): readonly Move[] {
    return this.#game.moves;
  }

  play(move: Move): void {
    this.#game.play(move);
  }

  /** The opponent's move; without one it resigns. */
  answer(choice: Choice): void {
    if (choice.attempts.length > 0) this.#choices.set(this.moves.length, choice);
    if (choice.move === null) this.#resigned = this.#game.side;
    else this.#game.play(choice.move);
  }

  /** The person gives up. */
  resign(): void {
    this.#resigned = this.person;
  }

  /** Takes back the person's last move and the answer, when the person is to move; false: there is none. */
  undo(): boolean {
    if (this.moves.length < 2) return false;
    this.#game.takeBack();
    this.#choices.delete(this.moves.length);
    this.#game.takeBack();
    return true;
  }

  /** How the game has ended; null: it goes on. */
  end(): GameOver | null {
    if (this.#resigned === null) return this.#game.end();
    return { winner: otherSide(this.#resigned), reason: "resignation" };
  }

  get result(): PgnResult {
    const end = this.end();
    if (end === null) return "unknown";
    return end.winner === null ? "draw" : smallName(end.winner);
  }

  /** The game as a JSON document has it; moves by coordinates, and as the notation writes them. */
  toJson(opponent: string, notation: Notation): Readonly<Record<string, unknown>> {
    const { variant, moves } = this;
    const { position } = parseFen(this.#game.start, { variant });
    const written = moves.map((move, index) => {
      const { side } = position;
      const text = formatMove(position, move, notation);
      position.make(move);
      const name = formatCoordinates(move, variant);
      return { ply: index + 1, side: smallName(side), move: name, text };
    });
    const answers = [...this.#choices].map(([before, { attempts }]) => ({
      ply: before + 1,
      attempts: attempts.map(({ text, judgement: { move, isLegal, three, five, answer } }) => ({
        text,
        move: move === null ? null : formatCoordinates(move, variant),
        isLegal,
        situation: five ?? three,
        thinking: answer.thinking,
      })),
    }));
    return {
      variant: variant.name,
      rules: this.#repetition,
      side: smallName(this.person),
      opponent,
      start: this.#game.start,
      moves: written,
      fen: this.#game.fen,
      result: resultTexts[this.result],
      winner: this.result === "red" || this.result === "black" ? this.result : null,
      reason: this.end()?.reason ?? null,
      answers,
    };
  }

  /** The game as PGN, with what the opponent thought and how it ended as comments. */
  toPgn(opponent: string, notation: Notation, date: Date): string {
    const comments: Record<number, string> = {};
    for (const [before, choice] of this.#choices) {
      if (choice.move !== null) comments[before + 1] = describeAnswer(choice);
    }
    const end = this.end();
    if (end !== null) {
      const who = end.reason === "resignation" ? `${sideName(otherSide(end.winner!))}: ` : "";
      const last = this.moves.length;
      comments[last] = `${comments[last] ?? ""}\n${who}${end.reason}`.trim();
    }
    const [person, other] = [sideName(this.person), sideName(otherSide(this.person))];
    const [month, day] = [date.getMonth() + 1, date.getDate()].map(twoDigits);
    return formatPgn(
      {
        tags: {
          Date: `${date.getFullYear()}.${month}.${day}`,
          [person]: "a person",
          [other]: opponent.replaceAll(/\s+/g, " "),
        },
        variant: this.variant.name,
        start: this.#game.start,
        moves: this.moves,
        comments,
        result: this.result,
      },
      notation,
    );
  }
}
