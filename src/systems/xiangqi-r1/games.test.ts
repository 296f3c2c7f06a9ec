import { describe, expect, it } from "vitest";
import { type Progress, silentProgress } from "../../core/progress.ts";
import { randomStream } from "../../core/random.ts";
import { selfPlaySettings } from "../../tasks/xiangqi/config.ts";
import { Search } from "../../tasks/xiangqi/engines/search.ts";
import { formatCoordinates, parseCoordinates } from "../../tasks/xiangqi/notation/coordinates.ts";
import { formatFen } from "../../tasks/xiangqi/rules/fen.ts";
import { Game } from "../../tasks/xiangqi/rules/game.ts";
import { minixiangqi } from "../../tasks/xiangqi/rules/variant.ts";
import { type MatchResult, type MatchSettings, playMatch } from "./games.ts";
import { type Player, randomPlayer, searchedMove, searchPlayer } from "./player.ts";

const settings: MatchSettings = {
  variant: minixiangqi,
  selfPlay: selfPlaySettings.parse({ minPieces: 10, maxPieces: 14 }),
  count: 12,
  maxPlies: 120,
  seed: 1,
};
const match = (
  player: Player,
  opponent: Player,
  changes: Partial<MatchSettings> = {},
  progress: Progress = silentProgress,
): Promise<MatchResult> => playMatch(player, opponent, { ...settings, ...changes }, progress);

/** A player who writes down what he is asked; `answers` false: he never has a legal move. */
function recorder(
  player: Player = randomPlayer,
  answers: (fen: string) => boolean = () => true,
): Player & { readonly asked: string[][] } {
  const asked: string[][] = [];
  return {
    name: `recorded ${player.name}`,
    asked,
    choose: async (turns, random) => {
      const fens = turns.map(({ position }) => formatFen(position));
      asked.push(fens);
      const choices = await player.choose(turns, random);
      return choices.map((choice, index) =>
        answers(fens[index]!) ? choice : { ...choice, move: null },
      );
    },
  };
}

const noMove = (): Player => recorder(randomPlayer, () => false);

describe("playMatch", () => {
  it("the search beats random moves, and random moves do not beat the search", async () => {
    // Not all of them: it knows no moves before the position, and may repeat itself.
    const search = searchPlayer(minixiangqi, 2);
    const count = 20;
    const won = await match(search, randomPlayer, { count });
    expect(won.wins).toBeGreaterThanOrEqual(15);
    expect(won).toMatchObject({ games: count, forfeits: 0, won: won.wins / count });
    expect(won.wins + won.draws + won.losses).toBe(count);
    expect(won.ci95[0]).toBeLessThan(won.won);
    const lost = await match(randomPlayer, search, { count });
    expect(lost.losses).toBeGreaterThanOrEqual(15);
    expect(lost.forfeits).toBe(0);
  });

  it("is the same for a seed, and another for another one", async () => {
    const [first, second, third] = await Promise.all(
      [1, 1, 2].map(async (seed) => {
        const player = recorder();
        return { result: await match(player, randomPlayer, { seed }), asked: player.asked };
      }),
    );
    expect(second).toEqual(first);
    expect(third!.asked).not.toEqual(first!.asked);
  });

  it("plays every start once with each colour", async () => {
    const [player, opponent] = [recorder(), recorder()];
    await match(player, opponent, { count: 6, maxPlies: 1 });
    const starts = [...player.asked[0]!, ...opponent.asked[0]!];
    expect([player.asked[0]!.length, opponent.asked[0]!.length]).toEqual([3, 3]);
    expect([...player.asked[0]!].sort()).toEqual([...opponent.asked[0]!].sort());
    expect(new Set(starts).size).toBe(3);
    const sides = new Set(starts.map((fen) => fen.split(" ")[1]));
    expect(sides.size).toBe(2);
  });

  it("plays a game alike whatever other games are going on", async () => {
    const [alone, among] = [recorder(), recorder()];
    await match(alone, randomPlayer, { count: 1, maxPlies: 20 });
    await match(among, randomPlayer, { count: 8, maxPlies: 20 });
    const seen = new Set(among.asked.flat());
    for (const fen of alone.asked.flat()) expect(seen).toContain(fen);
  });

  it("counts a game without a legal answer as lost by whoever gave none", async () => {
    expect(await match(noMove(), randomPlayer)).toMatchObject({
      wins: 0,
      draws: 0,
      losses: 12,
      forfeits: 12,
      won: 0,
    });
    expect(await match(randomPlayer, noMove())).toMatchObject({
      wins: 12,
      draws: 0,
      losses: 0,
      forfeits: 0,
      won: 1,
    });
  });

  it("goes on with the other games after a forfeit", async () => {
    // No answer to the first position that Black has to move in.
    let isGone = false;
    const player = recorder(searchPlayer(minixiangqi, 1), (fen) => {
      if (isGone || fen.includes(" w ")) return true;
      isGone = true;
      return false;
    });
    const result = await match(player, randomPlayer, { count: 4 });
    expect(result.forfeits).toBe(1);
    expect(result.losses).toBeGreaterThanOrEqual(1);
    expect(result.wins + result.draws + result.losses).toBe(4);
    expect(result.wins).toBeGreaterThan(0);
  });

  it("counts a mate with the last ply that is allowed, and a longer game as a draw", async () => {
    const search = searchPlayer(minixiangqi, 2);
    let plies = 0;
    const counting: Progress = { ...silentProgress, advance: (done) => (plies = done) };
    const whole = await match(search, randomPlayer, { count: 1 }, counting);
    expect(whole).toMatchObject({ wins: 1, draws: 0 });
    const maxPlies = plies;
    expect(maxPlies).toBeGreaterThan(1);
    expect(await match(search, randomPlayer, { count: 1, maxPlies })).toEqual(whole);
    const short = await match(search, randomPlayer, { count: 1, maxPlies: maxPlies - 1 });
    expect(short).toMatchObject({ wins: 0, draws: 1, losses: 0, forfeits: 0 });
  });

  it("asks nobody in a position without a move, nor twice for one game in a ply", async () => {
    const [player, opponent] = [recorder(), recorder()];
    const result = await match(player, opponent, { count: 6, maxPlies: 60 });
    expect(result.wins + result.draws + result.losses).toBe(6);
    for (const asked of [player.asked, opponent.asked]) {
      expect(asked.every((fens) => fens.length > 0 && fens.length <= 6)).toBe(true);
    }
  });
});

describe("players", () => {
  it("the search plays its best move, chance what its own stream says", async () => {
    const game = new Game(undefined, {}, minixiangqi);
    const { position } = game;
    const turns = [game, game, game];
    const drawn = await randomPlayer.choose(turns, (index) => randomStream("player", index));
    const again = await randomPlayer.choose([game], () => randomStream("player", 1));
    expect(again[0]!.move).toBe(drawn[1]!.move);
    const best = new Search(minixiangqi).analyse(position, { depth: 2 }).lines[0]!.move;
    const chosen = await searchPlayer(minixiangqi, 2).choose(turns, () => randomStream("none"));
    for (const { move } of chosen) expect(formatCoordinates(move!, minixiangqi)).toBe(best);
    for (const { move, attempts } of [...drawn, ...chosen]) {
      expect(position.isLegal(move!)).toBe(true);
      expect(attempts).toEqual([]);
    }
  });

  it("the search does not lose a won game by giving check for ever", async () => {
    const game = new Game("3k5/9/4P4/9/9/9/9/9/R8/4K4 w");
    const search = new Search();
    const lines = search.analyse(game.position, { depth: 2, lines: 2 }).lines;
    const best = parseCoordinates(lines[0]!.move)!;
    const spoilt = {
      position: game.position,
      endAfter: (move: number) =>
        move === best ? { winner: 1 as const, reason: "perpetual check" as const } : null,
    };
    expect(searchedMove(search, game, 2)).toBe(best);
    expect(formatCoordinates(searchedMove(search, spoilt, 2))).not.toBe(lines[0]!.move);
  });
});
