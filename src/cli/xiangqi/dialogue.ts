// A game in a terminal: shows the board, reads moves and commands line by line, and lets the opponent answer.

import { nearestName, shownJson } from "../../core/errors.ts";
import type { Random } from "../../core/random.ts";
import type { Choice, Player } from "../../systems/xiangqi-r1/player.ts";
import { diagramText, type TextDiagramOptions } from "../../tasks/xiangqi/diagram-text.ts";
import { MATE, MATE_BOUND } from "../../tasks/xiangqi/engines/engine.ts";
import { Search } from "../../tasks/xiangqi/engines/search.ts";
import { resultTexts } from "../../tasks/xiangqi/files/pgn.ts";
import { formatCoordinates, parseCoordinates } from "../../tasks/xiangqi/notation/coordinates.ts";
import {
  formatMove,
  type Notation,
  notationNames,
} from "../../tasks/xiangqi/notation/parse-move.ts";
import { kindName, sideName, squareName } from "../../tasks/xiangqi/rules/fen.ts";
import { moveFrom, moveTo, otherSide, type Position } from "../../tasks/xiangqi/rules/position.ts";
import type { Side } from "../../tasks/xiangqi/rules/variant.ts";
import { formatTable, type TextStream } from "../output.ts";
import { describeAnswer, listAttempts } from "./describe-answer.ts";
import type { LineInput } from "./line-input.ts";
import type { PlayedGame } from "./played-game.ts";
import { readTypedMove } from "./read-typed-move.ts";

export interface DialogueOptions {
  readonly game: PlayedGame;
  readonly player: Player;
  /** For the opponent's choice after so many moves. */
  readonly random: (ply: number) => Random;
  readonly output: TextStream;
  readonly notation: Notation;
  readonly diagram: Pick<TextDiagramOptions, "pieces" | "hasColors">;
  /** Plies that a hint looks ahead. */
  readonly hintDepth: number;
}

/** What comes after a command: the same turn, the next one, or nothing. */
type Then = "same turn" | "next turn" | "leave";

interface DialogueCommand {
  readonly summary: string;
  readonly run: () => Then;
}

function describeValue(value: number): string {
  const plies = MATE - Math.abs(value);
  if (value > MATE_BOUND) return plies === 1 ? "mate" : `mate in ${plies} plies`;
  if (value < -MATE_BOUND) return `mated in ${plies} plies`;
  return `${value > 0 ? "+" : ""}${value} centipawns`;
}

/** For example "horse takes soldier". */
function describePieces({ board }: Position, move: number): string {
  const taken = board[moveTo(move)]!;
  return `${kindName(board[moveFrom(move)]!)}${taken === 0 ? "" : ` takes ${kindName(taken)}`}`;
}

export class Dialogue {
  readonly #options: DialogueOptions;
  readonly #game: PlayedGame;
  readonly #commands: ReadonlyMap<string, DialogueCommand>;
  /** Who sits at the bottom. */
  #view: Side;

  constructor(options: DialogueOptions) {
    this.#options = options;
    this.#game = options.game;
    this.#view = options.game.person;
    const stay = (act: () => void) => (): Then => {
      act();
      return "same turn";
    };
    const table: Readonly<Record<string, DialogueCommand>> = {
      help: { summary: "this list", run: stay(() => this.#help()) },
      board: { summary: "the board again", run: stay(() => this.#show()) },
      moves: { summary: "your legal moves", run: stay(() => this.#listMoves()) },
      hint: { summary: "the move of our search", run: stay(() => this.#hint()) },
      undo: { summary: "takes back your last move and the answer", run: stay(() => this.#undo()) },
      flip: { summary: "turns the board round", run: stay(() => this.#flip()) },
      resign: { summary: "gives the game up", run: () => this.#resign() },
      quit: { summary: "leaves the game unfinished", run: () => "leave" },
    };
    this.#commands = new Map(Object.entries(table));
  }

  #write(text: string): void {
    this.#options.output.write(`${text}\n`);
  }

  /** What can be typed, by coordinates. */
  words(): readonly string[] {
    const { position, variant } = this.#game;
    const moves = position.legalMoves().map((move) => formatCoordinates(move, variant));
    return [...this.#commands.keys(), ...moves];
  }

  /** Plays until the game is over, or the person leaves it. */
  async run(lines: LineInput): Promise<void> {
    const { person } = this.#game;
    this.#write(`You play ${sideName(person)} against ${this.#options.player.name}.`);
    for (;;) {
      if (this.#game.end() !== null) break;
      if (!this.#game.isPersonToMove) await this.#answer();
      else {
        this.#show();
        if (this.#game.moves.length < 2) this.#explain();
        if (!(await this.#takeTurn(lines))) break;
      }
    }
    this.#tellEnd();
  }

  /** How moves are typed, with one that can be made. */
  #explain(): void {
    const { position } = this.#game;
    const [move] = position.legalMoves();
    if (move === undefined) return;
    const texts = notationNames.map((notation) => formatMove(position, move, notation));
    this.#write(`Type a move, for example ${texts.join(", ")}; help lists the commands.`);
  }

  #show(): void {
    const { position, moves } = this.#game;
    const lastMove = moves.at(-1);
    const text = diagramText(position, {
      ...this.#options.diagram,
      view: this.#view,
      ...(lastMove !== undefined && { lastMove }),
      caption: position.isInCheck ? "check" : "",
    });
    this.#write(`\n${text}`);
  }

  #help(): void {
    const rows = [...this.#commands].map(([name, { summary }]) => [`  ${name}`, summary]);
    this.#explain();
    this.#write(formatTable(rows));
  }

  #listMoves(): void {
    const { position, variant } = this.#game;
    const byPiece = new Map<number, string[]>();
    for (const move of position.legalMoves()) {
      const from = moveFrom(move);
      const texts = byPiece.get(from) ?? [];
      byPiece.set(from, [...texts, formatMove(position, move, this.#options.notation)]);
    }
    const rows = [...byPiece].map(([from, texts]) => [
      `  ${kindName(position.board[from]!)} ${squareName(from, variant)}`,
      texts.join(" "),
    ]);
    this.#write(formatTable(rows));
  }

  #hint(): void {
    const { hintDepth, notation } = this.#options;
    const { position, variant } = this.#game;
    const line = new Search(variant).analyse(position, { depth: hintDepth }).lines[0]!;
    const move = parseCoordinates(line.move, variant)!;
    const text = formatMove(position, move, notation);
    const value = describeValue(line.value);
    this.#write(`  ${text} (${describePieces(position, move)}): ${value} at depth ${hintDepth}`);
  }

  #undo(): void {
    if (this.#game.undo()) this.#show();
    else this.#write("You have made no move yet.");
  }

  #flip(): void {
    this.#view = otherSide(this.#view);
    this.#show();
  }

  #resign(): Then {
    this.#game.resign();
    return "next turn";
  }

  /** Reads lines until one makes a move or ends the game; false: the person leaves. */
  async #takeTurn(lines: LineInput): Promise<boolean> {
    const { person } = this.#game;
    for (;;) {
      const line = await lines.next(`${sideName(person)}> `);
      if (line === null) return false;
      const text = line.trim();
      if (text === "") continue;
      const then = this.#commands.get(text.toLowerCase())?.run() ?? this.#tryMove(text);
      if (then !== "same turn") return then === "next turn";
    }
  }

  #tryMove(text: string): Then {
    const typed = readTypedMove(this.#game.position, text, this.#options.notation);
    if (typed === null) {
      const near = nearestName(text, this.#commands.keys());
      const hint = near === undefined ? "help lists what can be typed" : `did you mean ${near}?`;
      this.#write(`${shownJson(text)} is neither a move nor a command (${hint}).`);
      return "same turn";
    }
    if ("fault" in typed) {
      this.#write(`${typed.fault}.`);
      return "same turn";
    }
    this.#game.play(typed.move);
    return "next turn";
  }

  #tellEnd(): void {
    const end = this.#game.end();
    const result = resultTexts[this.#game.result];
    if (end === null) {
      this.#write(`The game is unfinished (${result}).`);
      return;
    }
    const { winner, reason } = end;
    if (reason !== "resignation") this.#show();
    const who = winner === null ? "A draw" : winner === this.#game.person ? "You win" : "You lose";
    // Whose fault it was, where the word alone could mean either side.
    const isFault = winner !== null && (reason === "resignation" || reason.startsWith("perpetual"));
    this.#write(
      `${who} (${result}): ${reason}${isFault ? ` by ${sideName(otherSide(winner))}` : ""}.`,
    );
  }

  async #answer(): Promise<void> {
    const { player, random, output } = this.#options;
    const { position, moves } = this.#game;
    const isWaiting = output.isTTY === true;
    if (isWaiting) output.write("…");
    const [choice] = await player.choose([this.#game], () => random(moves.length));
    if (isWaiting) output.write("\r\u001B[2K");
    this.#tell(position, choice!);
    this.#game.answer(choice!);
  }

  #tell(position: Position, choice: Choice): void {
    const side = sideName(position.side);
    if (choice.move === null) {
      const count = choice.attempts.length;
      this.#write(`${side} resigns: no legal move in ${count} answers. It wrote:`);
      for (const line of listAttempts(choice, position.variant)) this.#write(`  ${line}`);
      return;
    }
    const text = formatMove(position, choice.move, this.#options.notation);
    this.#write(`${side} plays ${text} (${describePieces(position, choice.move)}).`);
    const told = describeAnswer(choice);
    if (told !== "") this.#write(`  ${told}`);
  }
}
