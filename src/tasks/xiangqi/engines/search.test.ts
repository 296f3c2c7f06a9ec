import { describe, expect, it } from "vitest";
import { randomStream } from "../../../core/random.ts";
import { parseCoordinates } from "../notation/coordinates.ts";
import { formatFen, parseFen } from "../rules/fen.ts";
import { Game } from "../rules/game.ts";
import { minixiangqi } from "../rules/variant.ts";
import { mirrorPosition, turnPosition } from "../view.ts";
import { MATE, MATE_BOUND } from "./engine.ts";
import { Search } from "./search.ts";

const search = new Search();
const analyse = (fen: string, depth: number, lines = 1) =>
  search.analyse(parseFen(fen).position, { depth, lines });
const middlegame = "r1bakab1r/9/1cn3nc1/p1p1p1p1p/9/9/P1P1P1P1P/1CN3NC1/9/R1BAKAB1R w";

describe("Search", () => {
  it("finds mates and counts their plies", () => {
    // A chariot on rank 8 shuts the general in, the other gives mate on rank 9.
    const mateInOne = analyse("3k5/R8/9/9/9/9/9/9/1R7/4K4 w", 2).lines[0]!;
    expect(mateInOne).toMatchObject({ value: MATE - 1 });
    const mateInTwo = analyse("3k5/9/R8/9/9/9/9/9/1R7/5K3 w", 4).lines[0]!;
    expect(mateInTwo.value).toBe(MATE - 3);
    const mated = analyse("3k5/R8/9/9/9/9/9/9/1R7/5K3 b", 3).lines[0]!;
    expect(mated.value).toBe(2 - MATE);
  });

  it("counts a stalemate as a loss", () => {
    const { lines } = analyse("3k5/9/4P4/9/9/9/9/9/9/4K4 w", 2);
    expect(lines[0]).toMatchObject({ move: "e7e8", value: MATE - 1 });
    expect(analyse("3k5/4P4/9/9/9/9/9/9/9/4K4 b", 3).lines).toEqual([]);
  });

  it("takes what hangs, and not what is protected", () => {
    expect(analyse("3k5/4a4/4b4/r8/9/9/9/9/4A4/R3KA3 w", 1).lines[0]!.move).toBe("a0a6");
    // The soldier on a6 is protected by the chariot behind it.
    expect(analyse("r2k5/4a4/4b4/p8/9/9/9/9/4A4/R3KA3 w", 2).lines[0]!.move).not.toBe("a0a6");
  });

  it("gives the same answer twice, and leaves the position alone", () => {
    const { position } = parseFen(middlegame);
    const first = search.analyse(position, { depth: 4, lines: 5 });
    expect(formatFen(position).split(" ")[0]).toBe(middlegame.split(" ")[0]);
    expect(new Search().analyse(position, { depth: 4, lines: 5 })).toEqual(first);
  });

  it("sorts its lines; the best value does not depend on their number", () => {
    const { position } = parseFen(middlegame);
    const all = search.analyse(position, { depth: 2, lines: 128 }).lines;
    expect(all.map(({ move }) => move).sort()).toEqual(
      [...new Set(all.map(({ move }) => move))].sort(),
    );
    expect(all).toHaveLength(position.legalMoves().length);
    expect(all.map(({ value }) => value)).toEqual(
      all.map(({ value }) => value).sort((a, b) => b - a),
    );
    expect(search.analyse(position, { depth: 2 }).lines[0]!.value).toBe(all[0]!.value);
    const three = search.analyse(position, { depth: 2, lines: 3 }).lines;
    expect(three.map(({ value }) => value)).toEqual(all.slice(0, 3).map(({ value }) => value));
  });

  it("values a move as the position behind it, seen from the other side, a ply less deep", () => {
    const { position } = parseFen("3k5/9/9/r8/9/4P4/9/4C4/9/R3K4 w");
    for (const { move, value } of search.analyse(position, { depth: 2, lines: 128 }).lines) {
      position.make(parseCoordinates(move)!);
      const isCheck = position.isInCheck; // looked into a ply further
      const behind = search.analyse(position, { depth: 1 }).lines[0];
      position.unmake();
      if (isCheck) continue;
      const seen = behind === undefined ? MATE : -behind.value;
      const aPly = Math.abs(seen) > MATE_BOUND ? Math.sign(seen) : 0; // a mate is a ply further away
      expect([move, value]).toEqual([move, seen - aPly || 0]);
    }
  });

  it("does not care for colours, nor for left and right", () => {
    const { position } = parseFen(middlegame);
    const values = [position, turnPosition(position), mirrorPosition(position)].map((one) =>
      search.analyse(one, { depth: 3, lines: 128 }).lines.map(({ value }) => value),
    );
    expect(values[1]).toEqual(values[0]);
    expect(values[2]).toEqual(values[0]);
  });

  it("plays Minixiangqi", () => {
    const mini = new Search(minixiangqi);
    const { position } = parseFen(minixiangqi.start, { variant: minixiangqi });
    const { lines } = mini.analyse(position, { depth: 3, lines: 128 });
    expect(lines).toHaveLength(19);
  });

  it(
    "looks further, plays better: four plies against one in Minixiangqi",
    { timeout: 60_000 },
    () => {
      const [deep, flat] = [new Search(minixiangqi), new Search(minixiangqi)];
      let points = 0;
      const count = 10;
      for (let index = 0; index < count; index++) {
        const random = randomStream("strength", index >> 1);
        const game = new Game(undefined, { quietLimit: 60, repetition: "simple" }, minixiangqi);
        for (let ply = 0; ply < 4; ply++) game.play(random.pick(game.legalMoves()));
        const deepSide = index % 2;
        while (game.end() === null && game.moves.length < 100) {
          const isDeep = game.side === deepSide;
          const { lines } = (isDeep ? deep : flat).analyse(game.position, {
            depth: isDeep ? 4 : 1,
          });
          game.play(parseCoordinates(lines[0]!.move, minixiangqi)!);
        }
        const winner = game.end()?.winner ?? null;
        points += winner === null ? 0.5 : Number(winner === deepSide);
      }
      expect(points / count).toBeGreaterThanOrEqual(0.8);
    },
  );
});
