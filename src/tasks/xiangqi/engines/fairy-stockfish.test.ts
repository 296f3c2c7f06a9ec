// Against the program itself, where it is installed: `apt-get install fairy-stockfish`.

import { existsSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { parseCoordinates } from "../notation/coordinates.ts";
import { parseFen } from "../rules/fen.ts";
import { minixiangqi, type Variant, xiangqi } from "../rules/variant.ts";
import { type Analysis, MATE, type XiangqiEngine } from "./engine.ts";
import { type ExternalEngineOptions, openExternalEngine } from "./external-engine.ts";

const program = ["/usr/games/fairy-stockfish", "/usr/bin/fairy-stockfish"].find((path) =>
  existsSync(path),
);
const title = program === undefined ? " (skipped: fairy-stockfish is not installed)" : "";

const engines: XiangqiEngine[] = [];
afterAll(async () => {
  await Promise.all(engines.map((engine) => engine.close()));
});

async function openFairy(options: Partial<ExternalEngineOptions> = {}): Promise<XiangqiEngine> {
  const command = [program!];
  const engine = await openExternalEngine({
    command,
    protocol: "uci",
    timeoutMs: 30_000,
    ...options,
  });
  engines.push(engine);
  return engine;
}

/** Every move of every line is legal, and the lines are in order. */
function expectSound({ lines }: Analysis, fen: string, variant: Variant): void {
  for (const { move, moves } of lines) {
    expect(moves[0]).toBe(move);
    const { position } = parseFen(fen, { variant });
    for (const text of moves) {
      const made = parseCoordinates(text, variant)!;
      expect(position.isLegal(made)).toBe(true);
      position.make(made);
    }
  }
  const values = lines.map(({ value }) => value);
  expect(values).toEqual(values.toSorted((a, b) => b - a));
  expect(new Set(lines.map(({ move }) => move)).size).toBe(lines.length);
}

const mates = [
  ["Red", "3k5/9/9/9/9/9/9/4R4/R8/5K3 w", "a1d1"],
  ["Black", "4k4/r8/3r5/9/9/9/9/9/9/5K3 b", "a8f8"],
] as const;
/** Red has a chariot and a cannon more than nothing; it takes a while to mate. */
const ahead = "3aka3/9/9/9/p3p3p/9/P3P3P/2C6/9/R1BAKAB2";

describe.skipIf(program === undefined)(`Fairy-Stockfish${title}`, () => {
  it("is what it says, and analyses the start position", async () => {
    const engine = await openFairy({ options: { Hash: "32" } });
    expect(engine.id).toMatch(
      /^Fairy-Stockfish .*; uci; Contempt=0; Hash=32; UCI_Variant=xiangqi$/,
    );
    const analysis = await engine.analyse(xiangqi.start, { depth: 6, lines: 5 });
    expect(analysis.depth).toBe(6);
    expect(analysis.lines).toHaveLength(5);
    expectSound(analysis, xiangqi.start, xiangqi);
    expect(Math.abs(analysis.lines[0]!.value)).toBeLessThan(300);
    // What was searched in between does not change a value.
    await engine.analyse(`${ahead} b`, { depth: 6 });
    expect(await engine.analyse(xiangqi.start, { depth: 6, lines: 5 })).toEqual(analysis);
  });

  it.each(mates)("finds the mate in one of %s", async (_side, fen, best) => {
    const engine = engines[0]!;
    const all = await engine.analyse(fen, { depth: 6, lines: 128 });
    const { position } = parseFen(fen);
    expect(all.lines).toHaveLength(position.legalMoves().length);
    expectSound(all, fen, xiangqi);
    // Our own rules say which moves mate.
    for (const { move, value } of all.lines) {
      position.make(parseCoordinates(move)!);
      expect(value === MATE - 1).toBe(position.legalMoves().length === 0);
      position.unmake();
    }
    expect(all.lines.map(({ move }) => move)).toContain(best);
    const one = await engine.analyse(fen, { depth: 6 });
    expect(one.lines.map(({ value }) => value)).toEqual([MATE - 1]);
  });

  it("sees a mate from the side that is mated", async () => {
    const { lines } = await engines[0]!.analyse("4k4/R8/9/9/9/9/9/9/9/3K2R2 b", { depth: 6 });
    expect(lines.map(({ move, value }) => [move, value])).toEqual([["e9f9", 2 - MATE]]);
  });

  it("gives values for the side to move", async () => {
    const red = await engines[0]!.analyse(`${ahead} w`, { depth: 6 });
    const black = await engines[0]!.analyse(`${ahead} b`, { depth: 6 });
    expect(red.lines[0]!.value).toBeGreaterThan(800);
    expect(black.lines[0]!.value).toBeLessThan(-800);
    expectSound(black, `${ahead} b`, xiangqi);
  });

  it("plays minixiangqi", async () => {
    const engine = await openFairy({ variant: minixiangqi });
    const analysis = await engine.analyse(minixiangqi.start, { depth: 6, lines: 128 });
    const { position } = parseFen(minixiangqi.start, { variant: minixiangqi });
    expect(analysis.lines).toHaveLength(position.legalMoves().length);
    expectSound(analysis, minixiangqi.start, minixiangqi);
  });

  it("has the other numbering when it is told the wrong one", async () => {
    await expect(openFairy({ firstRank: 0 })).rejects.toThrow(
      /start position: expected legal moves, ranks counted from 0, .* firstRank 1 it would be legal/,
    );
  });

  it("says the same in UCCI, with ranks from 0", async () => {
    const engine = await openFairy({ protocol: "ucci", options: { Hash: "32" } });
    const limits = { depth: 6, lines: 5 };
    expect(await engine.analyse(xiangqi.start, limits)).toEqual(
      await engines[0]!.analyse(xiangqi.start, limits),
    );
    const [, fen] = mates[1];
    expect((await engine.analyse(fen, { depth: 4 })).lines[0]!.value).toBe(MATE - 1);
  });
});
