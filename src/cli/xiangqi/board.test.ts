import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { alidade } from "../../../tests/command-line.ts";

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-board-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const run = (...words: readonly string[]) => alidade(["xiangqi", ...words, "--json"]);

describe("alidade xiangqi board", () => {
  it("plays moves of any notation and draws the position", async () => {
    const [svg, png] = [join(root, "a.svg"), join(root, "a.png")];
    const pictures = ["--svg", svg, "--png", png];
    const { code, json } = await run("board", "start", "h2e2", "马8进7", "H2+3", ...pictures);
    expect(code).toBe(0);
    expect(json()).toMatchObject({
      fen: "rnbakab1r/9/1c4nc1/p1p1p1p1p/9/9/P1P1P1P1P/1C2C1N2/9/RNBAKAB1R b - - 3 2",
      moves: ["h2e2", "h9g7", "h0g2"],
      isInCheck: false,
      end: null,
    });
    expect(readFileSync(svg, "utf8")).toContain("<svg");
    expect(readFileSync(png).subarray(1, 4).toString()).toBe("PNG");
    const again = await run("board", "start", "--svg", svg);
    expect(again).toMatchObject({ code: 2, stderr: expect.stringContaining("does not exist yet") });
  });

  it("names an illegal move and a broken position, and writes nothing", async () => {
    const path = join(root, "b.svg");
    const move = await run("board", "start", "h2e2", "h2e2", "--svg", path);
    expect(move).toMatchObject({ code: 2 });
    expect(move.stderr).toContain("move 2: expected a legal move of Black, got h2e2");
    const fen = await run("board", "9/9 w", "--svg", path);
    expect(fen.stderr).toContain("expected 10 ranks separated by /, got 2");
    expect(existsSync(path)).toBe(false);
  });

  it("says how a game has ended", async () => {
    const { json } = await run("board", "3k5/4P4/9/9/9/9/9/9/9/4K4 b");
    expect(json()).toMatchObject({ legal: [], end: { winner: 0, reason: "stalemate" } });
  });
});

describe("alidade xiangqi perft", () => {
  it("counts every depth, and behind every move", async () => {
    const { code, json } = await run("perft", "start", "--depth", "2", "--divide");
    expect(code).toBe(0);
    const counts = json()["counts"] as { depth: number; leaves: number }[];
    expect(counts.map(({ depth, leaves }) => [depth, leaves])).toEqual([
      [1, 44],
      [2, 1_920],
    ]);
    const moves = json()["moves"] as { leaves: number }[];
    expect(moves.reduce((sum, { leaves }) => sum + leaves, 0)).toBe(1_920);
  });

  it.each([
    [["perft", "start"], 2, "--depth"],
    [["perft", "start", "--depth", "0"], 2, "at least 1"],
    [["perft", "x w", "--depth", "1"], 1, "expected 10 ranks"],
    [["perft", "start", "--depth", "1", "--variant", "chess"], 2, "Allowed choices"],
  ])("refuses %j", async (words, code, text) => {
    expect(await run(...words)).toMatchObject({ code, stderr: expect.stringContaining(text) });
  });
});
