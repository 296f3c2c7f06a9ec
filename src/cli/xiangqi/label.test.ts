import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { alidade } from "../../../tests/command-line.ts";
import { scriptedProgram } from "../../../tests/scripted-xiangqi-engine.ts";
import { xiangqi } from "../../tasks/xiangqi/rules/variant.ts";
import { readRow } from "../../tasks/xiangqi/rows.ts";
import { splitCommandLine } from "./command-line.ts";

let root: string;
const at = (name: string): string => join(root, name);
beforeEach(() => (root = mkdtempSync(join(tmpdir(), "alidade-label-"))));
afterEach(() => rmSync(root, { recursive: true, force: true }));

const collection = [
  '[Game "Chinese Chess"]\n[Event "won by Red"]\n[Result "1-0"]\n\n1. 炮二平五 馬8進7 2. 馬二進三 {central} 車9平8 1-0\n',
  '[Game "Chinese Chess"]\n[Event "broken"]\n[Result "0-1"]\n\n1. 炮二平五 馬8進7 2. 馬九進三 車9平8 0-1\n',
  '[Game "Chinese Chess"]\n[Event "drawn"]\n[Result "1/2-1/2"]\n\n1. C3-C4 H9-G7 2. H0-G2 I9-H9 1/2-1/2\n',
].join("\n");

interface Row {
  readonly fen: string;
  readonly played: string;
  readonly winner: string;
  readonly values?: Readonly<Record<string, number>>;
  readonly value_red_cp?: number;
  readonly best?: string;
  readonly is_good?: boolean;
  readonly engine?: string;
  readonly comment?: string;
}
const rowsOf = (file: string): Row[] =>
  readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Row);

async function label(...options: readonly string[]) {
  writeFileSync(at("games.pgn"), collection);
  return alidade([
    "xiangqi",
    "label",
    at("games.pgn"),
    "--cache",
    at("labels.jsonl"),
    "--json",
    ...options,
  ]);
}

describe("alidade xiangqi label", () => {
  it("keeps the winner's moves and those of draws, and names the broken game by line and ply", async () => {
    const { code, stderr, json } = await label("--out", at("rows.jsonl"));
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(stderr).toMatch(/left out: .*games\.pgn, line 11, game 2, ply 3: expected a legal move/);
    // The start position comes in both games, and is kept once.
    expect(rowsOf(at("rows.jsonl")).map(({ played, winner }) => `${played} ${winner}`)).toEqual([
      "h2e2 red",
      "h0g2 red",
      "h9g7 draw",
      "h0g2 draw",
      "i9h9 draw",
    ]);
    expect(rowsOf(at("rows.jsonl"))[1]!.comment).toBe("central");
    expect(json()).toMatchObject({ rows: 5, games: 2, faults: [expect.stringContaining("ply 3")] });
  });

  it("judges with our search; the rows are items of the task", async () => {
    const { code } = await label("--out", at("rows.jsonl"), "--depth", "1", "--values");
    expect(code).toBe(0);
    for (const row of rowsOf(at("rows.jsonl"))) {
      const item = readRow(row as unknown as Record<string, unknown>, "row", xiangqi);
      const turn = row.fen.split(" ")[1];
      const best = Math.max(...Object.values(item.values!));
      expect(item.valueRed).toBe(turn === "w" ? best : -best);
      expect(row.engine).toBe("alidade-search-1, depth 1");
      expect(row.is_good).toBe(best - item.values![row.played]! <= 100);
    }
    const again = await label("--out", at("more.jsonl"), "--depth", "1", "--values");
    expect(again.json()).toMatchObject({ hits: 5, misses: 0 });
    expect(readFileSync(at("more.jsonl"), "utf8")).toBe(readFileSync(at("rows.jsonl"), "utf8"));
  });

  it("keeps the labels of an engine that dies, and goes on from there", async () => {
    const best = ["info depth 2 score cp 30 pv b0c2", "bestmove b0c2"];
    const program = scriptedProgram({
      hello: ["id name Mortal", "uciok"],
      start: xiangqi.start,
      startAnswer: best,
      lives: [{ go: [["!die"]] }],
    });
    try {
      const engine = program.command.map((word) => `"${word}"`).join(" ");
      const options = ["--out", at("rows.jsonl"), "--depth", "2", "--engine", engine];
      const { code, stderr } = await label(...options);
      expect(code).toBe(1);
      expect(stderr).toContain("1 new labels are kept in");
      expect(stderr).toMatch(/engine .*: expected .*, got/);
      expect(existsSync(at("rows.jsonl"))).toBe(false);
      expect(readFileSync(at("labels.jsonl"), "utf8")).toContain('"b0c2"');
      const again = await label(...options);
      expect(again.stderr).toContain("0 new labels are kept in");
    } finally {
      program.remove();
    }
  });

  it("reads lists of positions", async () => {
    writeFileSync(at("list.fen"), `# mine\n${xiangqi.start} bm h2e2; ce 12;\nnothing\n`);
    const { code, stderr, json } = await alidade([
      "xiangqi",
      "label",
      at("list.fen"),
      "--out",
      at("rows.jsonl"),
      "--json",
    ]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(rowsOf(at("rows.jsonl"))).toMatchObject([{ best: "h2e2", value_red_cp: 12 }]);
    expect(json()["faults"]).toEqual([expect.stringContaining("list.fen, line 3")]);
  });

  it.each([
    [["--out", "rows.txt"], "a path that ends in .jsonl"],
    [["--out", "rows.jsonl", "--values"], "--depth"],
    [["--out", "rows.jsonl", "--depth", "2", "--engine", "a 'b"], "a closing '"],
    [["--out", "rows.jsonl", "--depth", "2", "--engine", "e", "--option", "x"], "NAME=VALUE"],
  ])("refuses %j", async (options, text) => {
    const { code, stderr } = await label(...options.map((one) => one.replace(/^rows/, at("rows"))));
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(text) });
    expect(existsSync(at("rows.jsonl"))).toBe(false);
  });

  it("does not overwrite a file, and names one that is not there", async () => {
    writeFileSync(at("rows.jsonl"), "mine");
    expect((await label("--out", at("rows.jsonl"))).stderr).toContain("does not exist yet");
    expect(readFileSync(at("rows.jsonl"), "utf8")).toBe("mine");
    const missing = await alidade(["xiangqi", "label", at("gone.pgn"), "--out", at("new.jsonl")]);
    expect(missing.stderr).toContain("gone.pgn: expected a file that can be read");
  });
});

describe("splitCommandLine", () => {
  it.each([
    ["engine", ["engine"]],
    ["  a  b ", ["a", "b"]],
    [`a "b c" 'd "e"'`, ["a", "b c", 'd "e"']],
    [`a\\ b "c\\"d" 'e\\f'`, ["a b", 'c"d', "e\\f"]],
    [`a "" ''`, ["a", "", ""]],
    [`a"b"c`, ["abc"]],
  ])("%s", (text, words) => expect(splitCommandLine(text)).toEqual(words));

  it.each(["", "  ", `"open`])("refuses %j", (text) => {
    expect(() => splitCommandLine(text)).toThrow(/command line of an engine: expected/);
  });
});
