// Our rules beside Fairy-Stockfish's (the package ffish): legal moves, results and WXF text at every ply of random games.

import { describe, expect, it } from "vitest";
import { randomStream, type Random } from "../src/core/random.ts";
import { selfPlaySettings } from "../src/tasks/xiangqi/config.ts";
import { formatCoordinates } from "../src/tasks/xiangqi/notation/coordinates.ts";
import { formatFairyWxf } from "../src/tasks/xiangqi/notation/wxf.ts";
import { formatFen } from "../src/tasks/xiangqi/rules/fen.ts";
import { chasedBy } from "../src/tasks/xiangqi/rules/chase.ts";
import { Game } from "../src/tasks/xiangqi/rules/game.ts";
import { type Move, moveFrom, moveOf, moveTo } from "../src/tasks/xiangqi/rules/position.ts";
import { type Variant, variants, xiangqi } from "../src/tasks/xiangqi/rules/variant.ts";
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

/** Mostly the move of four plies ago, so that positions come again; before that, checks and chases rather than others. */
function repeatingMove(random: Random, game: Game): Move {
  const legal = game.legalMoves();
  const { moves, position } = game;
  const drawn = random.pick(legal);
  const before = moves.at(-4);
  if (before !== undefined) {
    return random.uniform() < 0.97 && legal.includes(before) ? before : drawn;
  }
  const own = moves.at(-2);
  if (own !== undefined) {
    const back = moveOf(moveTo(own), moveFrom(own));
    return legal.includes(back) ? back : drawn;
  }
  const threats = legal.filter((move) => {
    if (position.board[moveTo(move)] !== 0) return false;
    if (chasedBy(position, move, "axf").length > 0) return true;
    position.make(move);
    const isCheck = position.isInCheck;
    position.unmake();
    return isCheck;
  });
  return threats.length > 0 && random.uniform() < 0.8 ? random.pick(threats) : drawn;
}

describe("games that repeat themselves", () => {
  it("end as Fairy-Stockfish's but for a few chases", { timeout: 300_000 }, async () => {
    const ffish = await loadFfish();
    const tally = { games: 0, repeated: 0, blamed: 0 };
    const others: string[] = [];
    for (let index = 0; index < 1_000; index++) {
      const random = randomStream("repeating", index);
      const start = formatFen(randomPosition(random, xiangqi, { ...few, maxPieces: 14 }));
      const game = new Game(start, rules);
      const board = new ffish.Board("xiangqi", start);
      while (game.end() === null && game.moves.length < 60) {
        if (board.result(true) !== "*") break;
        const move = repeatingMove(random, game);
        board.push(formatCoordinates(move, xiangqi, 1));
        game.play(move);
      }
      const reason = game.end()?.reason ?? "unfinished";
      tally.games++;
      tally.repeated += Number(reason === "repetition" || reason.startsWith("perpetual"));
      tally.blamed += Number(reason.startsWith("perpetual"));
      if (resultOf(game) !== board.result(true)) others.push(reason);
      board.delete();
    }
    // Of each side's chases one sees what the other does not: it counts a chariot that retreats along its line.
    expect({ ...tally, differ: others.length }).toEqual({
      games: 1_000,
      repeated: 801,
      blamed: 40,
      differ: 2,
    });
    expect(others.filter((reason) => !/repetition|chase/.test(reason))).toEqual([]);
  });
});

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
