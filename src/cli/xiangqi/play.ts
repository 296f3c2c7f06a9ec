// alidade xiangqi play: a person against a trained model, our search or an engine.

import { existsSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { type Command, Option } from "commander";
import { ConfigError } from "../../core/errors.ts";
import { randomStream } from "../../core/random.ts";
import { type Notation, notationNames } from "../../tasks/xiangqi/notation/parse-move.ts";
import {
  defaultRules,
  type RepetitionRule,
  repetitionRules,
} from "../../tasks/xiangqi/rules/game.ts";
import { BLACK, RED, variantNames } from "../../tasks/xiangqi/rules/variant.ts";
import { type CommandContext, printResult, subcommand, wholeNumber } from "../command.ts";
import type { TextStream } from "../output.ts";
import { Dialogue } from "./dialogue.ts";
import { LineInput, type LineSource } from "./line-input.ts";
import {
  DEEPEST_SEARCH,
  findOpponent,
  findTrainedModel,
  type FindTrainedModel,
  type OpponentOptions,
} from "./opponent.ts";
import { PlayedGame } from "./played-game.ts";

/** What play needs of the world beside what every command does. */
export interface PlayContext extends CommandContext {
  /** What the person types. Default: standard input. */
  readonly input?: LineSource;
  /** Default: models of runs on disk. */
  readonly findTrained?: FindTrainedModel;
}

interface PlayOptions extends OpponentOptions {
  readonly json?: boolean;
  readonly side: "red" | "black";
  readonly fen?: string;
  readonly notation: Notation;
  readonly pieces: "latin" | "chinese";
  readonly rules: RepetitionRule;
  readonly save?: string;
  readonly seed: number;
}

/** Throws before a game is played that could not be saved. */
function checkSavePath(path: string): void {
  const refuse = (expected: string, got: string): ConfigError =>
    new ConfigError({ where: path, expected, got, hint: "--save names the file" });
  if (existsSync(path)) throw refuse("a file that does not exist yet", "one that does");
  if (!existsSync(dirname(resolve(path)))) throw refuse("a file in a folder", "no such folder");
}

/** Writes the game once, and says so. */
class GameFile {
  readonly #path: string | undefined;
  readonly #output: TextStream;
  #isWritten = false;

  constructor(path: string | undefined, output: TextStream) {
    this.#path = path;
    this.#output = output;
  }

  /** @throws ConfigError that has the game in it when the file cannot be written. */
  write(text: string): void {
    if (this.#path === undefined || this.#isWritten) return;
    this.#isWritten = true;
    try {
      writeFileSync(this.#path, text, { flag: "wx" });
    } catch (cause) {
      const got = `${(cause as Error).message}; the game is\n${text}`;
      throw new ConfigError({ where: this.#path, expected: "a file to be written", got, cause });
    }
    this.#output.write(`saved ${this.#path}\n`);
  }
}

async function play(context: PlayContext, options: PlayOptions): Promise<void> {
  const { fen, notation, pieces, rules: repetition, save, seed, depth, json } = options;
  const output = json === true ? context.stderr : context.stdout;
  if (save !== undefined) checkSavePath(save);
  const opponent = findOpponent(options, context.findTrained ?? findTrainedModel);
  const { variant } = opponent;
  const person = options.side === "red" ? RED : BLACK;
  const game = new PlayedGame({ fen, variant, repetition, person });
  const { player, dispose } = await opponent.open();
  const file = new GameFile(save, output);
  const keep = (): void => file.write(game.toPgn(player.name, notation, new Date()));
  const dialogue = new Dialogue({
    game,
    player,
    random: (ply) => randomStream(seed, "play", ply),
    output,
    notation,
    diagram: { pieces, hasColors: output.isTTY === true && process.env["NO_COLOR"] === undefined },
    hintDepth: Math.min(depth, DEEPEST_SEARCH),
  });
  const leave = (): void => {
    lines.close();
    output.write("\n");
    try {
      keep();
    } catch (error) {
      context.stderr.write(`alidade: ${(error as Error).message}\n`);
    }
    context.kill(130);
  };
  const lines = new LineInput({
    input: context.input ?? process.stdin,
    output,
    onInterrupt: leave,
    complete: () => dialogue.words(),
  });
  context.signals.on("SIGINT", leave).on("SIGTERM", leave);
  try {
    await dialogue.run(lines);
  } finally {
    context.signals.off("SIGINT", leave).off("SIGTERM", leave);
    lines.close();
    try {
      keep(); // also when the opponent failed
    } finally {
      await dispose();
    }
  }
  if (json !== true) return; // the dialogue has said it all
  const result = { ...game.toJson(player.name, notation), seed, saved: save ?? null };
  printResult(context, options, { json: result, text: "" });
}

export function registerPlay(group: Command, context: PlayContext): void {
  const choice = (flags: string, summary: string, names: readonly string[]): Option =>
    new Option(flags, summary).choices(names);
  subcommand(
    group,
    "play",
    "play against a trained model, our search or an engine",
    "alidade xiangqi play --opponent runs/xiangqi-r1-tiny-1 --side black",
  )
    .requiredOption("--opponent <name>", "the folder of a run, or search, or engine")
    .option("--depth <number>", "plies that the search or engine looks ahead", wholeNumber(1), 3)
    .option("--engine <command>", "command line of the engine")
    .addOption(choice("--protocol <name>", "what the engine speaks", ["uci", "ucci"]))
    .addOption(choice("--side <color>", "your side", ["red", "black"]).default("red"))
    .option("--fen <fen>", "first position (default: that of the board)")
    .addOption(choice("--variant <name>", "board (default: of the run, or xiangqi)", variantNames))
    .addOption(
      choice("--notation <name>", "how moves are shown; any can be typed", notationNames).default(
        "coordinates",
      ),
    )
    .addOption(
      choice("--pieces <name>", "how pieces are shown", ["latin", "chinese"]).default("latin"),
    )
    .addOption(
      choice("--rules <name>", "how repetition is judged", repetitionRules).default(
        defaultRules.repetition,
      ),
    )
    .option("--save <file>", "write the game as PGN, also when it is left early")
    .option("--seed <number>", "seed of what a model writes", wholeNumber(0), 1)
    .action((options: PlayOptions) => play(context, options));
}
