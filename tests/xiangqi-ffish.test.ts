// Our rules beside Fairy-Stockfish's (the package ffish): legal moves, results and WXF text at every ply of random games.

import { describe, expect, it } from "vitest";
import { randomStream, type Random } from "../src/core/random.ts";
import { selfPlaySettings } from "../src/tasks/xiangqi/config.ts";
import { formatCoordinates } from "../src/tasks/xiangqi/notation/coordinates.ts";
import { formatFairyWxf } from "../src/tasks/xiangqi/notation/wxf.ts";
import { formatFen } from "../src/tasks/xiangqi/rules/fen.ts";
import { Game } from "../src/tasks/xiangqi/rules/game.ts";
import { type Variant, variants } from "../src/tasks/xiangqi/rules/variant.ts";
import { randomPosition } from "../src/tasks/xiangqi/self-play.ts";
import { loadFfish } from "./ffish.ts";

// Fairy-Stockfish draws after 50 rounds without a capture, whatever the variant.
const rules = { quietLimit: 100 } as const;
const few = selfPlaySettings.parse({ minPieces: 5, maxPieces: 16, maxImbalance: 5_000 });

function resultOf(game: Game): string {
  const end = game.end();
  if (end === null) return "*";
  if (end.winner === null) return "1/2-1/2";
  return end.winner === 0 ? "1-0" : "0-1";
}

/** Plays at most `plies` random moves with both; returns how it ended. */
async function compareGame(
  random: Random,
  variant: Variant,
  fen: string,
  plies: number,
): Promise<string> {
  const ffish = await loadFfish();
  const game = new Game(fen, rules, variant);
  const board = new ffish.Board(variant.name, fen);
  try {
    for (let ply = 0; ; ply++) {
      const where = `${fen} after ${game.moves.map((move) => formatCoordinates(move, variant)).join(" ")}`;
      const legal = game.legalMoves();
      const names = legal.map((move) => formatCoordinates(move, variant, 1));
      const theirs = board.legalMoves().split(" ").filter(Boolean);
      expect(names.sort().join(" "), where).toBe(theirs.sort().join(" "));
      const result = resultOf(game);
      expect(result, where).toBe(board.result(true));
      if (result !== "*" || ply === plies) return game.end()?.reason ?? "unfinished";
      const move = random.pick(legal);
      const name = formatCoordinates(move, variant, 1);
      const text = board.sanMove(name, ffish.Notation.XIANGQI_WXF);
      expect(formatFairyWxf(game.position, move), `${where}, ${name}`).toBe(text);
      board.push(name);
      game.play(move);
    }
  } finally {
    board.delete();
  }
}

describe("2,000 random games are Fairy-Stockfish's at every ply", () => {
  it.each([
    ["from the start, to the end", "xiangqi", 100, 1_000, false],
    ["from the start, 60 plies", "xiangqi", 700, 60, false],
    ["from random positions with 5 to 16 pieces", "xiangqi", 900, 80, true],
    ["of Minixiangqi", "minixiangqi", 300, 120, false],
  ] as const)("%s", { timeout: 300_000 }, async (name, variantName, games, plies, isRandom) => {
    const variant = variants[variantName];
    const ends = new Set<string>();
    for (let index = 0; index < games; index++) {
      const random = randomStream("ffish", name, index);
      const fen = isRandom ? formatFen(randomPosition(random, variant, few)) : variant.start;
      ends.add(await compareGame(random, variant, fen, plies));
    }
    if (plies === 1_000) expect(ends).not.toContain("unfinished");
    if (isRandom) expect(ends).toContain("stalemate");
    expect(ends).toContain("checkmate");
  });
});
