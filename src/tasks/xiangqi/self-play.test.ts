import { describe, expect, it } from "vitest";
import { randomStream } from "../../core/random.ts";
import { type SelfPlaySettings, selfPlaySettings, xiangqiConfig } from "./config.ts";
import { Search } from "./engines/search.ts";
import { formatCoordinates } from "./notation/coordinates.ts";
import { formatFen, parseFen } from "./rules/fen.ts";
import { RED } from "./rules/position.ts";
import { minixiangqi, type Variant, xiangqi } from "./rules/variant.ts";
import { playGame, randomPosition, type SelfPlayedGame } from "./self-play.ts";

const settingsOf = (settings: Partial<SelfPlaySettings> = {}): SelfPlaySettings =>
  selfPlaySettings.parse(settings);
const positionAt = (seed: number, variant: Variant, settings: Partial<SelfPlaySettings> = {}) =>
  randomPosition(randomStream("position", seed), variant, settingsOf(settings));

/** Centipawns of the letters of a FEN: Red's less Black's. */
function balanceOf(fen: string, variant: Variant): number {
  let total = 0;
  fen
    .split(" ")[0]!
    .split("/")
    .forEach((text, index) => {
      for (const letter of text.replaceAll(/\d/g, "")) {
        const isRed = letter === letter.toUpperCase();
        const advance = isRed ? variant.ranks - 1 - index : index;
        const hasCrossed = advance >= (variant === xiangqi ? 5 : 0);
        const values = { k: 0, a: 200, b: 200, n: 400, r: 900, c: 450, p: hasCrossed ? 200 : 100 };
        const value = values[letter.toLowerCase() as keyof typeof values];
        total += isRed ? value : -value;
      }
    });
  return total;
}

describe("randomPosition", () => {
  it("is legal, within its bounds, and moved by either side", () => {
    for (const variant of [xiangqi, minixiangqi]) {
      const sides = [0, 0];
      const counts = new Set<number>();
      for (let seed = 0; seed < 200; seed++) {
        const position = positionAt(seed, variant, { minPieces: 5, maxPieces: 9 });
        const fen = formatFen(position);
        expect(() => parseFen(fen, { variant })).not.toThrow();
        expect(position.legalMoves().length).toBeGreaterThan(0);
        const pieces = fen.split(" ")[0]!.match(/[a-z]/gi)!;
        expect(pieces.length).toBeGreaterThanOrEqual(5);
        expect(pieces.length).toBeLessThanOrEqual(9);
        expect(Math.abs(balanceOf(fen, variant))).toBeLessThanOrEqual(200);
        expect(position.quietPlies).toBe(0);
        sides[position.side]!++;
        counts.add(pieces.length);
      }
      expect(Math.min(...sides)).toBeGreaterThan(60);
      expect(counts.size).toBe(5);
    }
  });

  it("is the same for a stream, and another for another one", () => {
    const fens = [7, 7, 8].map((seed) => formatFen(positionAt(seed, xiangqi)));
    expect(fens[1]).toBe(fens[0]);
    expect(fens[2]).not.toBe(fens[0]);
  });

  it("can be the full set", () => {
    const all = { minPieces: 24, maxPieces: 24, maxImbalance: 0 };
    const fen = formatFen(positionAt(1, minixiangqi, all));
    expect(fen.split(" ")[0]!.match(/[a-z]/gi)).toHaveLength(24);
  });

  it("says so where the settings leave none, instead of looking for ever", () => {
    // A piece beside two generals is never balanced.
    const settings = { minPieces: 3, maxPieces: 3, maxImbalance: 50 };
    expect(() => positionAt(1, minixiangqi, settings)).toThrow(
      "selfPlay: expected a legal position of 3 to 3 pieces, uneven by at most 50 centipawns, got none in",
    );
  });

  it("has bounds that the settings check", () => {
    const parse = (settings: object) => () => xiangqiConfig.parse(settings);
    expect(parse({ selfPlay: { minPieces: 9, maxPieces: 8 } })).toThrow("at most maxPieces (8)");
    expect(parse({ variant: "minixiangqi", selfPlay: { maxPieces: 25 } })).toThrow(
      "at most 24, the pieces of minixiangqi",
    );
    expect(parse({ selfPlay: { minPieces: 32, maxPieces: 32 } })).not.toThrow();
  });
});

const search = { [xiangqi.name]: new Search(xiangqi), [minixiangqi.name]: new Search(minixiangqi) };

function gameAt(
  seed: number,
  variant: Variant,
  settings: Partial<SelfPlaySettings> = {},
): SelfPlayedGame {
  const all = settingsOf({ depths: [1], maxPlies: 80, ...settings });
  const random = randomStream("game", seed);
  const start = randomPosition(random, variant, all);
  return playGame(search[variant.name]!, start, random, all);
}

describe("playGame", () => {
  it("ends as its last position says", () => {
    const reasons = { mate: 0, quiet: 0, repeated: 0, long: 0 };
    for (const variant of [xiangqi, minixiangqi]) {
      for (let seed = 0; seed < 30; seed++) {
        // Games of random moves are long, those of two generals and little else quiet.
        const settings = { minPieces: 2 + (seed % 8), maxPieces: 10, randomShare: seed % 2 };
        const { start, moves, winner } = gameAt(seed, variant, settings);
        const { position } = parseFen(start, { variant });
        const seen = [formatFen(position)];
        for (const move of moves) {
          expect(position.isLegal(move)).toBe(true);
          position.make(move);
          seen.push(formatFen(position));
        }
        const placed = seen.map((fen) => fen.split(" ").slice(0, 2).join(" "));
        const times = placed.filter((fen) => fen === placed.at(-1)).length;
        expect(times).toBeLessThanOrEqual(3);
        if (winner === "draw") {
          const isQuiet = position.quietPlies === 60;
          const isLong = moves.length === 80;
          expect([times === 3, isQuiet, isLong]).toContain(true);
          reasons[times === 3 ? "repeated" : isQuiet ? "quiet" : "long"]++;
        } else {
          expect(position.legalMoves()).toEqual([]);
          expect(winner).toBe(position.side === RED ? "black" : "red");
          reasons.mate++;
        }
      }
    }
    // All ways to end were seen, or this test says little.
    expect(Math.min(...Object.values(reasons))).toBeGreaterThan(0);
  });

  it("leaves the start as it was, and is the same for a stream", () => {
    const all = settingsOf({ depths: [1], maxPlies: 20 });
    const start = positionAt(5, minixiangqi);
    const fen = formatFen(start);
    const [first, second] = [1, 2].map(() =>
      playGame(search["minixiangqi"]!, start, randomStream("same"), all),
    );
    expect(formatFen(start)).toBe(fen);
    expect(first!.start).toBe(fen);
    expect(second).toEqual(first);
  });

  it("plays what the search says where nothing is drawn at random, and else what is drawn", () => {
    const { start, moves } = gameAt(3, minixiangqi, { randomShare: 0, depths: [2], maxPlies: 12 });
    const { position } = parseFen(start, { variant: minixiangqi });
    const judge = new Search(minixiangqi);
    for (const move of moves) {
      const { lines } = judge.analyse(position, { depth: 2 });
      expect(formatCoordinates(move, minixiangqi)).toBe(lines[0]!.move);
      position.make(move);
    }
    const random = gameAt(3, minixiangqi, { randomShare: 1, depths: [2], maxPlies: 12 });
    expect(random.start).toBe(start);
    expect(random.moves).not.toEqual(moves);
  });

  it("counts a mate for the side that gives it", () => {
    const all = settingsOf({ depths: [2], randomShare: 0 });
    const winnerFrom = (fen: string) =>
      playGame(search["xiangqi"]!, parseFen(fen).position, randomStream("mate"), all).winner;
    expect(winnerFrom("3k5/9/R8/9/9/9/9/9/1R7/5K3 w")).toBe("red");
    expect(winnerFrom("3k5/1r7/9/9/9/9/9/r8/9/5K3 b")).toBe("black");
  });
});
