import { readFileSync } from "node:fs";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { randomStream } from "../../core/random.ts";
import type { Output } from "../../core/task.ts";
import { levelBounds } from "./config.ts";
import { mazeFromEdges } from "./maze.ts";
import { itemOf, type MazeItem, mazeTask } from "./task.ts";
import { renderMaze, renderMoves } from "./text.ts";
import { traceKinds } from "./trace.ts";

const configOf = (settings: Readonly<Record<string, unknown>> = {}) =>
  mazeTask.config.parse(settings);
const output = (text: string, stopReason: Output["stopReason"] = "stop"): Output => ({
  text,
  stopReason,
});
const itemAt = (seed: number, settings: Readonly<Record<string, unknown>> = {}): MazeItem =>
  mazeTask.make(randomStream("task test", seed), configOf(settings));

/** Whether an answer solves the maze as its text shows it: walks the printed grid, shares no code with the task. */
function solvesPrintedMaze(prompt: string, text: string): boolean {
  const cells = new Map<string, { wall: string; marker: string }>();
  let place = "";
  for (const [, at, wall, marker] of prompt.matchAll(/<\|(\d+-\d+)\|><\|(\w+)\|><\|(\w+)\|>/g)) {
    cells.set(at!, { wall: wall!, marker: marker! });
    if (marker === "origin") place = at!;
  }
  const answer = (text.split("</think>")[1] ?? "").trim();
  for (let start = answer.indexOf("<|"); start >= 0; start = answer.indexOf("<|", start)) {
    // A name ends at the next bar of its line; without one, the search goes on behind the opening.
    const end = answer.indexOf("|", start + 2);
    const name = answer.slice(start + 2, end);
    const isToken = end >= 0 && !name.includes("\n");
    start = isToken ? end + 1 : start + 2;
    if (!isToken || !["up", "down", "left", "right"].includes(name)) continue;
    if (cells.get(place)!.wall.split("_").includes(name)) return false;
    const [row, column] = place.split("-").map(Number);
    const down = { up: -1, down: 1 }[name] ?? 0;
    const right = { left: -1, right: 1 }[name] ?? 0;
    place = `${row! + down}-${column! + right}`;
    if (!cells.has(place)) return false;
  }
  return cells.get(place)!.marker === "target";
}

describe("gold", () => {
  test("gets full marks for every trace, size and share of resets", () => {
    for (const trace of traceKinds) {
      for (const resetShare of trace === "full" || trace === "diff" ? [0, 1] : [0]) {
        for (let size = 2; size <= 6; size++) {
          for (let seed = 0; seed < 20; seed++) {
            const config = configOf({ trace, size, resetShare });
            const item = itemAt(seed, { size });
            const gold = mazeTask.gold(item, config, randomStream("gold", seed));
            const scores = mazeTask.score(item, output(gold), config);
            expect(scores).toMatchObject({
              solved: 1,
              solvedStrict: 1,
              exact: 1,
              integrity: 1,
              parsed: 1,
              trace: 1,
              thinkOpen: 1,
              thinkClose: 1,
              softThink: 1,
              strictThink: 0,
              exactMoves: item.moves.length,
              solvedMoves: item.moves.length,
              reset: gold.includes("RESET") ? 1 : 0,
            });
            expect(mazeTask.score(item, output(`${gold}\n`), config)["strictThink"]).toBe(1);
            expect(mazeTask.errorClass!(item, output(gold), config)).toBeNull();
            expect(solvesPrintedMaze(renderMaze(item.maze), gold)).toBe(true);
            expect(Object.keys(scores).sort()).toEqual(Object.keys(mazeTask.scores).sort());
          }
        }
      }
    }
  });

  test("resets appear in the asked share of the mazes that allow them", () => {
    const config = configOf({ trace: "diff", resetShare: 0.5 });
    let resets = 0;
    let suitable = 0;
    for (let seed = 0; seed < 1000; seed++) {
      const item = itemAt(seed);
      const always = mazeTask.gold(item, { ...config, resetShare: 1 }, randomStream("r", seed));
      if (!always.includes("RESET")) continue;
      suitable++;
      const gold = mazeTask.gold(item, config, randomStream("r", seed));
      resets += Number(gold.includes("RESET"));
    }
    // Standard deviation 0.02.
    expect(Math.abs(resets / suitable - 0.5)).toBeLessThan(0.08);
  });
});

describe("make", () => {
  test("same stream, same item; items are plain JSON", () => {
    const item = itemAt(3);
    expect(itemAt(3)).toEqual(item);
    expect(JSON.parse(JSON.stringify(item))).toEqual(item);
    expect(mazeTask.key(itemAt(3))).toBe(mazeTask.key(item));
  });

  test("keeps the bounds on the solution", () => {
    for (let seed = 0; seed < 100; seed++) {
      const { moves } = itemAt(seed, { size: 4, minMoves: 6, maxMoves: 8 });
      expect(moves.length).toBeGreaterThanOrEqual(6);
      expect(moves.length).toBeLessThanOrEqual(8);
    }
    expect(() => configOf({ size: 3, minMoves: 9 })).toThrow("the longest path of a 3x3 maze");
    expect(() => configOf({ minMoves: 5, maxMoves: 4 })).toThrow("at most maxMoves (4)");
    expect(() => configOf({ trace: "search", resetShare: 0.5 })).toThrow("0 with the trace");
    expect(() => configOf({ levels: [4, 4] })).toThrow("two rising numbers");
    // A 2x2 maze with 3 moves always exists, one of 24 moves on 5x5 nearly never comes up.
    expect(() => itemAt(0, { size: 2, minMoves: 3 })).not.toThrow();
    expect(() => itemAt(0, { size: 10, minMoves: 99 })).toThrow(
      "expected mazes with 99 to 99 moves, got none in 20000 random 10x10 mazes (widen",
    );
  });

  test("a split key keeps a tree in one split, so train and test share no tree", () => {
    const train = new Set<string>();
    const held = new Set<string>();
    for (let seed = 0; seed < 500; seed++) {
      const item = itemAt(seed, { size: 3 });
      const split = mazeTask.splitKey!(item);
      expect(mazeTask.key(item).startsWith(split)).toBe(true);
      (randomStream("split", split).uniform() < 0.2 ? held : train).add(split);
    }
    for (const key of held) expect(train.has(key)).toBe(false);
  });

  test("levels: by size, by the config, or as the row says", () => {
    const at = (length: number, settings = {}) => {
      const item = { ...itemAt(0), moves: Array.from({ length }, () => "up" as const) };
      return mazeTask.level!(item, configOf(settings));
    };
    expect([1, 4, 5, 8, 9, 24].map((length) => at(length))).toEqual([
      "Easy",
      "Easy",
      "Medium",
      "Medium",
      "Hard",
      "Hard",
    ]);
    expect([2, 3, 5, 6].map((n) => at(n, { size: 4 }))).toEqual([
      "Easy",
      "Medium",
      "Medium",
      "Hard",
    ]);
    expect([2, 3].map((n) => at(n, { levels: [1, 2] }))).toEqual(["Medium", "Hard"]);
    expect(mazeTask.level!({ ...itemAt(0), level: "Very hard" }, configOf())).toBe("Very hard");
    for (let size = 2; size <= 10; size++) {
      const [easy, medium] = levelBounds(size);
      expect(easy).toBeLessThan(medium);
      expect(medium).toBeLessThan(size * size - 1);
    }
  });
});

test("prompt: the config's template, or the text of the row; tokens cover the maze", () => {
  const item = itemAt(1);
  expect(mazeTask.prompt(item, configOf())).toEqual([
    { role: "user", content: renderMaze(item.maze) },
  ]);
  expect(mazeTask.prompt({ ...item, prompt: "as is" }, configOf())[0]!.content).toBe("as is");
  const tokens = new Set(mazeTask.tokens!(configOf()));
  for (const part of renderMaze(item.maze).match(/<\|.*?\|>/g)!) expect(tokens).toContain(part);
});

// 0-0 — 0-1     origin 0-0, target 1-0, gold: right down left
//        |
// 1-0 — 1-1
const edges = [
  [0, 1],
  [1, 3],
  [3, 2],
] as const;
const item = itemOf(mazeFromEdges(2, edges, 0, 2));
const config = configOf({ size: 2, trace: "none" });
const scoreOf = (text: string) => mazeTask.score(item, output(text), config);
const answered = (answer: string) => scoreOf(`<think>\n\n</think>\n\n${answer}`);
const gold = "<|right|><|down|><|left|>";

describe("rewards", () => {
  test("spaces between tokens keep integrity and lose string equality", () => {
    expect(answered("<|right|> <|down|>\n<|left|>")).toMatchObject({
      integrity: 1,
      exact: 0,
      exactMoves: 0,
      solved: 1,
      solvedStrict: 1,
      solvedMoves: 3,
    });
  });

  test("a detour ends on the target but is not the gold answer", () => {
    expect(answered("<|right|><|left|><|right|><|down|><|left|>")).toMatchObject({
      integrity: 1,
      exact: 0,
      exactMoves: 0,
      solved: 1,
    });
  });

  test("only the part between two </think> is judged", () => {
    const text = `<think>\n\n</think>\n\n<|up|>\n</think>\n\n${gold}`;
    expect(scoreOf(text)).toMatchObject({ integrity: 1, exact: 0, solved: 0, thinkClose: 0 });
    const other = `<think>\n\n</think>\n\n${gold}\n</think>\n\n<|up|>`;
    expect(scoreOf(other)).toMatchObject({ exact: 1, solved: 1, thinkClose: 0 });
  });

  test("a missing or second <think> loses its part alone", () => {
    expect(scoreOf(`\n</think>\n\n${gold}`)).toMatchObject({
      thinkOpen: 0,
      thinkClose: 1,
      exact: 1,
    });
    expect(scoreOf(`<think>\n<think>\n\n</think>\n\n${gold}`)["thinkOpen"]).toBe(0);
    expect(scoreOf(`<think>x</think>${gold}`)).toMatchObject({
      thinkOpen: 0,
      thinkClose: 0,
      softThink: 1,
      exact: 1,
      trace: 0,
    });
    expect(scoreOf(` <think>\n\n</think>\n\n${gold}`)["softThink"]).toBe(0);
  });

  test("no </think>: no answer, whatever else it says", () => {
    expect(scoreOf(gold)).toMatchObject({ integrity: 0, exact: 0, solved: 0, parsed: 0 });
  });
});

const classOf = (answer: string, stopReason: Output["stopReason"] = "stop") =>
  mazeTask.errorClass!(item, output(`<think>\n\n</think>\n\n${answer}`, stopReason), config);

describe("MazeBench quirks", () => {
  test("a token that is no direction does nothing, and is wrong when strict", () => {
    const text = `<|blank|><|right|><|0-1|><|down|><|target|><|left|>`;
    expect(answered(text)).toMatchObject({ solved: 1, solvedStrict: 0, integrity: 0, exact: 0 });
  });

  test("the closing > is optional, words around do not matter", () => {
    expect(answered("go <|right| then <|down| and <|left|.")).toMatchObject({
      solved: 1,
      integrity: 0,
    });
  });

  test("passing over the target is not enough, coming back is", () => {
    expect(answered(`${gold}<|right|>`)["solved"]).toBe(0);
    expect(answered(`${gold}<|right|><|left|>`)["solved"]).toBe(1);
  });

  test("an empty answer is wrong", () => {
    expect(answered("")).toMatchObject({ solved: 0, parsed: 0, integrity: 0 });
    expect(answered("  \n")["parsed"]).toBe(0);
  });

  test("error classes", () => {
    expect(classOf(gold)).toBeNull();
    expect(classOf(gold, "length")).toBeNull();
    expect(classOf("<|right|>", "length")).toBe("too long");
    expect(classOf("")).toBe("no answer");
    expect(classOf("<|blank|> words")).toBe("no answer");
    expect(classOf("<|down|>")).toBe("hit wall");
    expect(classOf("<|up|>")).toBe("left the grid");
    expect(classOf("<|right|><|down|>")).toBe("missed target");
  });
});

test("empty, prompt-echo and random outputs solve nothing", () => {
  for (let seed = 0; seed < 50; seed++) {
    const one = itemAt(seed);
    const settings = configOf({ prompt: seed % 2 === 0 ? "bare" : "training" });
    const prompt = mazeTask.prompt(one, settings)[0]!.content;
    const noise = fc.sample(fc.string({ unit: "binary", maxLength: 200 }), { seed, numRuns: 3 });
    for (const text of ["", prompt, `</think>${prompt}`, ...noise, `</think>${noise[0]}`]) {
      const scores = mazeTask.score(one, output(text), settings);
      expect(scores).toMatchObject({ exact: 0, exactMoves: 0, integrity: 0 });
      if (!text.includes(prompt)) expect(scores).toMatchObject({ solved: 0, solvedMoves: 0 });
      expect(scores["solvedStrict"]).toBe(0);
    }
  }
});

const changed = (
  text: string,
  { at, width, put, swap }: { at: number; width: number; put: string; swap: boolean },
) => {
  // Half of the changes fall into the answer.
  const start = swap ? text.length - (at % Math.min(40, text.length + 1)) : at % (text.length + 1);
  return text.slice(0, start) + put + text.slice(start + width);
};

test("10,000 changed gold messages: scores stay in range and no wrong answer gets full marks", () => {
  const piece = fc.oneof(
    fc.constantFrom("<|up|>", "<|down|>", "<|left|>", "<|right|>", "<|blank|>", "</think>", "\n"),
    fc.string({ unit: "binary", maxLength: 3 }),
  );
  const change = fc.record({ at: fc.nat(), width: fc.nat(12), put: piece, swap: fc.boolean() });
  fc.assert(
    fc.property(
      fc.nat(),
      fc.integer({ min: 2, max: 3 }),
      fc.constantFrom(...traceKinds),
      fc.array(change, { minLength: 1, maxLength: 3 }),
      (seed, size, trace, changes) => {
        const settings = configOf({ size, trace });
        const one = itemAt(seed, { size });
        const text = changes.reduce(changed, mazeTask.gold(one, settings, randomStream(seed)));
        const scores = mazeTask.score(one, output(text), settings);
        for (const [name, value] of Object.entries(scores)) {
          const most = name.endsWith("Moves") ? one.moves.length : 1;
          expect(value).toBeGreaterThanOrEqual(0);
          expect(value).toBeLessThanOrEqual(most);
        }
        const isSolved = solvesPrintedMaze(renderMaze(one.maze), text);
        expect(scores["solved"]).toBe(Number(isSolved));
        expect(mazeTask.errorClass!(one, output(text), settings) === null).toBe(isSolved);
        const isGold = text.split("</think>")[1]?.trim() === renderMoves(one.moves);
        expect(scores["exact"]).toBe(Number(isGold));
        expect(scores["exactMoves"]).toBe(isGold ? one.moves.length : 0);
      },
    ),
    { numRuns: 10_000 },
  );
});

test("the README shows what the task makes", () => {
  const readme = readFileSync(new URL("README.md", import.meta.url), "utf8");
  const shown = mazeTask.make(randomStream("readme", 3), configOf({ size: 3 }));
  expect(readme).toContain(`\n${renderMaze(shown.maze)}\n`);
  const diff = configOf({ trace: "diff", resetShare: 1 });
  const [, attempts] = mazeTask.gold(shown, diff, randomStream("readme", "gold")).split("\n");
  expect(readme).toContain(`\n${attempts}\n`);
  const plain = mazeTask.gold(shown, configOf({ trace: "diff" }), randomStream(0));
  expect(readme).toContain(`\n${plain}\n`);
});
