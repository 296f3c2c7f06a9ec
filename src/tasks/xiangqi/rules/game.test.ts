import { describe, expect, it } from "vitest";
import { parseCoordinates } from "../notation/coordinates.ts";
import { Game, type GameRules } from "./game.ts";

function play(fen: string, moves: string, rules: Partial<GameRules> = {}): Game {
  const game = new Game(fen, rules);
  for (const text of moves.trim().split(/\s+/).filter(Boolean)) {
    expect(game.end(), `before ${text}, move ${game.moves.length + 1}`).toBeNull();
    game.play(parseCoordinates(text)!);
  }
  return game;
}
const twice = (block: string): string => `${block} ${block}`;

// Positions of Fairy-Stockfish's tests (test.py), moves in ICCS.
const chariotChased = "2bakabnr/9/r1n1c4/2p1p1p1p/PP7/9/4P1P1P/2C3NC1/9/1NBAKAB1R";
const soldierChases = "2bakabr1/9/9/r1p1p1p2/p7R/P8/9/9/9/1C1AKA3";
const withCannon = "2bakabr1/9/9/r1p1p1p2/p7R/P8/9/9/9/CC1AKA3";
const soldierMoves = "a4a5 a6b6 a5b5 b6a6 b5a5 a6b6 a5b5 b6a6 b5a5";

describe("Game.end", () => {
  it.each([
    [
      "a cannon that chases a chariot loses",
      chariotChased,
      "c2a2 a7b7 a2b2 b7a7 b2a2 a7b7 a2b2 b7a7 b2a2",
      { winner: 1, reason: "perpetual chase" },
    ],
    ["a soldier may chase", soldierChases, soldierMoves, { winner: null, reason: "repetition" }],
    [
      "a cannon behind it may not (a discovered attack)",
      withCannon,
      soldierMoves,
      { winner: 1, reason: "perpetual chase" },
    ],
    [
      "perpetual check by soldiers loses",
      "3k5/9/9/9/9/5p3/9/5p3/5K3/5C3",
      twice("f1e1 f2e2 e1f1 e2f2"),
      { winner: 0, reason: "perpetual check" },
    ],
    [
      "perpetual check against a check now and then loses",
      "9/3kc4/3a5/3P5/9/4p4/9/4K4/9/3C5",
      twice("d6e6 e4d4 e6d6 d4e4"),
      { winner: 0, reason: "perpetual check" },
    ],
    [
      "perpetual check by both is a draw",
      "9/4c4/3k5/3r5/9/9/4C4/9/4K4/3R5",
      twice("e3d3 d6e6 d3e3 e6d6"),
      { winner: null, reason: "repetition" },
    ],
    [
      "a chase by both is a draw",
      "4k4/7n1/9/4pR3/9/9/4P4/9/9/4K4",
      `f6h6 ${twice("h8f7 h6h7 f7g5 h7g7 g5i6 g7g6 i6h8 g6h6")}`,
      { winner: null, reason: "repetition" },
    ],
    [
      "a chariot that chases a horse loses",
      "3k5/9/9/9/9/9/3r5/9/9/3NK4",
      twice("d0c2 d3c3 c2d0 c3d3"),
      { winner: 0, reason: "perpetual chase" },
    ],
  ])("%s", (_, fen, moves, end) => {
    expect(play(fen, moves).end()).toEqual(end);
  });

  it("`simple` draws at the third occurrence whatever was chased", () => {
    const moves = twice("d0c2 d3c3 c2d0 c3d3");
    const game = play("3k5/9/9/9/9/9/3r5/9/9/3NK4", moves, { repetition: "simple" });
    expect(game.end()).toEqual({ winner: null, reason: "repetition" });
  });

  it("`league` judges at the fourth occurrence", () => {
    const cycle = "d0c2 d3c3 c2d0 c3d3";
    const game = play("3k5/9/9/9/9/9/3r5/9/9/3N1K3", `${cycle} ${twice(cycle)}`, {
      repetition: "league",
    });
    expect(game.end()).toEqual({ winner: 0, reason: "perpetual chase" });
    const checks = "f1e1 f2e2 e1f1 e2f2";
    const soldiers = play("3k5/9/9/9/9/5p3/9/5p3/5K3/5C3", `${checks} ${twice(checks)}`, {
      repetition: "league",
    });
    expect(soldiers.end()).toEqual({ winner: 0, reason: "perpetual check" });
  });

  it("a side without a legal move has lost, in check or not", () => {
    expect(new Game("R2k5/1R7/9/9/9/9/9/9/9/4K4 b").end()).toEqual({
      winner: 0,
      reason: "checkmate",
    });
    expect(new Game("3k5/4P4/9/9/9/9/9/9/9/4K4 b").end()).toEqual({
      winner: 0,
      reason: "stalemate",
    });
  });

  it("draws 60 rounds without a capture, but a mate on the limiting move wins", () => {
    const fen = "3k5/9/9/9/9/9/9/9/R8/4K4 w - - 119 90";
    const game = new Game(fen);
    expect(game.end()).toBeNull();
    game.play(parseCoordinates("a1a2")!);
    expect(game.end()).toEqual({ winner: null, reason: "quiet limit" });
    game.takeBack();
    expect(game.end()).toBeNull();
    const mating = new Game("3k5/R8/9/9/9/9/9/9/1R7/4K4 w - - 119 90");
    mating.play(parseCoordinates("b1b9")!);
    expect(mating.end()).toEqual({ winner: 0, reason: "checkmate" });
    expect(new Game(fen, { quietLimit: 100 }).end()).toEqual({
      winner: null,
      reason: "quiet limit",
    });
    expect(new Game(fen, { quietLimit: null }).end()).toBeNull();
  });

  it("leaves checks beyond ten a side out of the count when it is told to", () => {
    // Red checks along the rank and the file in turn; no position comes three times.
    const game = new Game("3k5/9/9/9/9/9/9/9/8R/4K4 w", { countedChecks: 1, quietLimit: 6 });
    for (const text of ["i1i9", "d9d8", "i9i8", "d8d7", "i8i7", "d7d8"]) {
      expect(game.end()).toBeNull();
      game.play(parseCoordinates(text)!);
    }
    expect(game.position.quietPlies).toBe(6);
    expect(game.end()).toBeNull();
  });

  it("draws when nobody has a piece that attacks", () => {
    expect(new Game("2bk5/4a4/9/9/9/9/9/4B4/4A4/4K4 w").end()).toEqual({
      winner: null,
      reason: "insufficient material",
    });
  });

  it("refuses an illegal move and keeps the game", () => {
    const game = new Game();
    expect(() => game.play(parseCoordinates("a0a5")!)).toThrow(
      /move 1 of a game from .*expected a legal move, got a0a5/,
    );
    expect(game.moves).toHaveLength(0);
    game.play(parseCoordinates("h2e2")!);
    expect(game.fen).toBe("rnbakabnr/9/1c5c1/p1p1p1p1p/9/9/P1P1P1P1P/1C2C4/9/RNBAKABNR b - - 1 1");
    game.play(parseCoordinates("h9g7")!);
    expect(game.fen.endsWith(" w - - 2 2")).toBe(true);
  });
});
