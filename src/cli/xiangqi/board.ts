// alidade xiangqi board: a position to look at, in the terminal or as a picture.

import { existsSync, writeFileSync } from "node:fs";
import { type Command, Option } from "commander";
import { ConfigError } from "../../core/errors.ts";
import { diagramPng } from "../../tasks/xiangqi/diagram-png.ts";
import { diagramSvg } from "../../tasks/xiangqi/diagram-svg.ts";
import { diagramText } from "../../tasks/xiangqi/diagram-text.ts";
import { formatMove, notationNames, parseMove } from "../../tasks/xiangqi/notation/parse-move.ts";
import type { Notation } from "../../tasks/xiangqi/notation/parse-move.ts";
import { Game } from "../../tasks/xiangqi/rules/game.ts";
import { sideName } from "../../tasks/xiangqi/rules/fen.ts";
import { variantNames, variants } from "../../tasks/xiangqi/rules/variant.ts";
import { type CommandContext, type CommandResult, printResult, subcommand } from "../command.ts";

interface BoardOptions {
  readonly json?: boolean;
  readonly variant: keyof typeof variants;
  readonly pieces: "latin" | "chinese";
  readonly notation: Notation;
  readonly svg?: string;
  readonly png?: string;
}

function writePicture(path: string, content: string | Uint8Array): void {
  if (existsSync(path)) {
    const expected = "a path that does not exist yet";
    throw new ConfigError({ where: path, expected, got: "one that does" });
  }
  try {
    writeFileSync(path, content);
  } catch (cause) {
    const got = (cause as Error).message;
    throw new ConfigError({ where: path, expected: "a path that can be written", got, cause });
  }
}

function showBoard(
  context: CommandContext,
  fen: string,
  moves: readonly string[],
  options: BoardOptions,
): CommandResult {
  const variant = variants[options.variant];
  const game = new Game(fen === "start" ? variant.start : fen, {}, variant);
  const played = moves.map((text, index) => {
    const { position } = game;
    const move = parseMove(position, text);
    if (move === null) {
      const expected = `a legal move of ${sideName(game.side)}`;
      throw new ConfigError({ where: `move ${index + 1}`, expected, got: text });
    }
    game.play(move);
    return formatMove(position, move, options.notation);
  });
  const { position } = game;
  const lastMove = game.moves.at(-1);
  const look = { pieces: options.pieces, ...(lastMove !== undefined && { lastMove }) };
  if (options.svg !== undefined) writePicture(options.svg, diagramSvg(position, look));
  if (options.png !== undefined) writePicture(options.png, diagramPng(position, look));
  const legal = game.legalMoves().map((move) => formatMove(position, move, options.notation));
  const end = game.end();
  const isChecked = position.isInCheck;
  const state =
    end === null
      ? `${isChecked ? "in check; " : ""}${legal.length} legal moves: ${legal.join(" ")}`
      : `${end.winner === null ? "drawn" : `${sideName(end.winner)} has won`}: ${end.reason}`;
  const hasColors = context.stdout.isTTY === true && process.env["NO_COLOR"] === undefined;
  return {
    json: { fen: game.fen, moves: played, legal, isInCheck: isChecked, end },
    text: `${diagramText(position, { ...look, hasColors })}\n${game.fen}\n${state}`,
  };
}

export function registerBoard(group: Command, context: CommandContext): void {
  subcommand(
    group,
    "board <fen> [moves...]",
    "show a position (`start`: the first one), moves played on it, and what is legal",
    "alidade xiangqi board start h2e2 马8进7 --svg board.svg",
  )
    .option("--svg <file>", "also write a new picture")
    .option("--png <file>", "also write a new picture")
    .addOption(new Option("--variant <name>", "board").choices(variantNames).default("xiangqi"))
    .addOption(
      new Option("--pieces <kind>", "letters or characters")
        .choices(["latin", "chinese"])
        .default("latin"),
    )
    .addOption(
      new Option("--notation <name>", "how moves are printed")
        .choices(notationNames)
        .default("coordinates"),
    )
    .action((fen: string, moves: string[], options: BoardOptions) =>
      printResult(context, options, showBoard(context, fen, moves, options)),
    );
}
