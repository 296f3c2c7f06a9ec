import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DataError } from "../../core/errors.ts";
import { randomStream } from "../../core/random.ts";
import { mazeConfig } from "./config.ts";
import { type Edge, edgesOf, generateMaze, type Maze, mazeFromEdges, solve } from "./maze.ts";
import { mazePrompt, type PromptTemplate } from "./prompt.ts";
import { wrongAttempts } from "./reset.ts";
import { fromRecord, inWordsOf, type MazeRecord, toRecord } from "./rows.ts";
import { type MazeItem, mazeTask } from "./task.ts";
import { cellsAlong, renderMaze, renderMoves, renderRawToken } from "./text.ts";
import { renderFull, traceFault } from "./trace.ts";

/** A row as the published scripts make it, written here without the code that reads it back. */
function publishedRow(
  maze: Maze,
  seed: number,
  prompt: PromptTemplate,
  resets: boolean,
): MazeRecord {
  const random = randomStream("published row", seed);
  const moves = solve(maze)!;
  const attempts = resets ? wrongAttempts(maze, random.fork("resets")) : [];
  const trace = renderFull(maze, [...attempts, { moves, message: null }]);
  const edges = random
    .shuffle(edgesOf(maze))
    .map(([a, b]): Edge => (random.uniform() < 0.5 ? [a, b] : [b, a]));
  const text = mazePrompt(prompt, maze);
  return {
    Prompt: text,
    Cot_Response: trace,
    Response: renderMoves(moves),
    raw_token: renderRawToken(maze, cellsAlong(maze.size, maze.origin, moves), edges),
    conversations: [
      { content: text.trim(), role: "user" },
      { content: `<think>\n${trace}\n</think>\n\n${renderMoves(moves)}`, role: "assistant" },
    ],
  };
}

const mazes = fc
  .record({ seed: fc.nat(), size: fc.integer({ min: 2, max: 7 }) })
  .map(({ seed, size }) => generateMaze(randomStream("row test", seed), size, "dfs"));
const templates = fc.constantFrom<PromptTemplate>("training", "benchmark", "deepseek-distil");
const rows = fc
  .tuple(mazes, fc.nat(), templates, fc.boolean())
  .map((parts) => ({ maze: parts[0], row: publishedRow(...parts) }));

const config = (maze: Maze, settings: object = {}) =>
  mazeConfig.parse({ size: maze.size, ...settings });
const format = mazeTask.rows!;
const random = randomStream("rows");

describe("published rows", () => {
  it("come back character by character: plain and reset traces, passages in any order", () => {
    fc.assert(
      fc.property(rows, ({ maze, row }) => {
        const item = format.read({ ...row }, "row", config(maze));
        expect(item).toMatchObject({ maze, moves: solve(maze)!, prompt: row.Prompt });
        expect(toRecord(item, item.prompt!, item.trace!)).toEqual(row);
        expect(format.write(item, config(maze), random)).toEqual(row);
        // Stored as JSON beside a sample, it is still the same item.
        expect(JSON.parse(JSON.stringify(item))).toEqual(item);
      }),
    );
  });

  it("show their own prompt and thinking, which is a gold output", () => {
    fc.assert(
      fc.property(rows, ({ maze, row }) => {
        const item = format.read({ ...row }, "row", config(maze));
        const content = row.conversations[1]!.content;
        expect(mazeTask.prompt(item, config(maze))).toEqual([
          { role: "user", content: row.Prompt },
        ]);
        expect(mazeTask.gold(item, config(maze), random)).toBe(content);
        const scores = mazeTask.score(item, { text: content, stopReason: "stop" }, config(maze));
        expect(scores).toMatchObject({ solved: 1, exact: 1, integrity: 1, trace: 1 });
        // Another kind of trace is written from the maze.
        const diff = mazeTask.gold(item, config(maze, { trace: "diff" }), random);
        expect(diff).not.toContain("Step");
      }),
      { numRuns: 30 },
    );
  });

  it("of the benchmark are a maze text, an answer and a level; the template is the task's", () => {
    const maze = generateMaze(randomStream("bench"), 5, "dfs");
    const row = {
      Prompt: renderMaze(maze),
      Response: ` ${renderMoves(solve(maze)!)}\n`,
      Level: "Nightmare",
    };
    const item = format.read(row, "row", config(maze));
    expect(item).toEqual({ maze, moves: solve(maze)!, level: "Nightmare" } satisfies MazeItem);
    expect(mazeTask.level!(item, config(maze))).toBe("Nightmare");
    for (const prompt of ["benchmark", "deepseek-distil"] as const) {
      const [message] = mazeTask.prompt(item, config(maze, { prompt }));
      expect(message!.content).toBe(mazePrompt(prompt, maze));
    }
  });

  it("of the benchmark may be asked in the words of training rows", () => {
    const [maze, other] = ["a", "b"].map((name) => generateMaze(randomStream(name), 4, "dfs"));
    const bare = { maze: maze!, moves: solve(maze!)! };
    const example = fromRecord({ ...publishedRow(other!, 1, "training", false) });
    for (const template of ["training", "benchmark"] as const) {
      const asked = inWordsOf(bare, example, template);
      expect(asked).toEqual({ ...bare, prompt: mazePrompt(template, maze!) });
      expect(inWordsOf(asked, example, template)).toBe(asked);
    }
    expect(inWordsOf(bare, example, "deepseek-distil")).toBe(bare);
    expect(inWordsOf(bare, bare, "benchmark")).toBe(bare);
  });

  it("are written from generated mazes, with resets when asked for", () => {
    const settings = mazeConfig.parse({ size: 4, prompt: "training", resetShare: 1 });
    const records = Array.from({ length: 60 }, (_, index) => {
      const item = mazeTask.make(randomStream("written", index), settings);
      return format.write(item, settings, randomStream("gold", index));
    });
    for (const record of records) {
      const item = format.read(record, "row", settings);
      expect(format.write(item, settings, random)).toEqual(record);
    }
    const texts = records.map((record) => String(record["Cot_Response"]));
    expect(texts.filter((text) => text.includes("\nRESET\n")).length).toBeGreaterThan(10);
  });

  it("indent the first maze row of a training prompt, and no other", () => {
    const maze = generateMaze(randomStream("indent"), 3, "dfs");
    const lines = mazePrompt("training", maze).split("\n");
    expect(lines.slice(-4)).toEqual(`    MAZE:\n    ${renderMaze(maze)}`.split("\n"));
    expect(lines[0]).not.toMatch(/^ /);
  });
});

const exampleMaze = mazeFromEdges(
  2,
  [
    [0, 1],
    [1, 3],
    [3, 2],
  ],
  0,
  2,
);
const example = publishedRow(exampleMaze, 1, "training", false);

describe("a wrong row", () => {
  it.each([
    ["Response", "<|right|>", "Response: expected a way to the target, got another end"],
    ["Response", "<|down|>", "Response: expected a way to the target, got a wall after 0 moves"],
    [
      "Response",
      "<|right|> <|down|>",
      'Response: expected a token <|…|> as token 2, got " <|down|>"',
    ],
    ["Response", "<|right|><|blank|>", 'Response: expected a direction as token 2, got "blank"'],
    ["Response", "", "Response: expected at least one direction, got the end"],
    [
      "Prompt",
      example.Prompt.replace("<|origin|><|0-1|>", "<|blank|><|0-1|>"),
      "Prompt: expected one cell with <|origin|>, got none",
    ],
    ["Prompt", 7, "Prompt: expected text, got a value of type number"],
    ["Prompt", null, "Prompt: expected text, got nothing"],
    ["Cot_Response", ["a"], "Cot_Response: expected text, got a list"],
    ["Cot_Response", "Step 1: Go right", "Cot_Response: expected a correct trace"],
    ["raw_token", "", "raw_token, word 1: expected <ADJLIST_START>, got the end"],
    ["raw_token", example.raw_token.replace("(0,1) ", "(1,0) "), "raw_token"],
    ["Level", 3, "Level: expected text, got a value of type number"],
  ])("with a wrong %s is named (%#)", (field, value, message) => {
    const row = { ...example, [field]: value };
    expect(() => fromRecord(row, "rows.jsonl, line 3")).toThrow(DataError);
    expect(() => fromRecord(row, "rows.jsonl, line 3")).toThrow(
      `rows.jsonl, line 3, field ${message}`,
    );
  });

  it("whose raw_token is of another maze is named", () => {
    const other = publishedRow(generateMaze(randomStream("other"), 2, "dfs"), 1, "training", false);
    expect(() => fromRecord({ ...example, raw_token: other.raw_token })).toThrow(DataError);
  });

  it("of another size asks for the setting", () => {
    expect(() =>
      format.read({ ...example }, "a.parquet, row 2", mazeConfig.parse({ size: 5 })),
    ).toThrow("a.parquet, row 2: expected a 5x5 maze, got a 2x2 maze (set the size of the task)");
  });
});

describe("the validator of traces", () => {
  /** Every way to exchange one token or one word of a text for another of its kind. */
  const corrupted = fc.tuple(rows, fc.nat(), fc.nat()).map(([{ maze, row }, at, choice]) => {
    const pattern = /<\|[^|]+\|>|Step \d+|Go \w+|RESET/g;
    const tokens = [...row.Cot_Response.matchAll(pattern)];
    const token = tokens[at % tokens.length]!;
    const others = [...new Set(tokens.map(([text]) => text))].filter((text) => text !== token[0]);
    const replacement = choice % 7 === 0 ? "" : others[choice % others.length]!;
    const end = token.index + token[0].length;
    const text = row.Cot_Response.slice(0, token.index) + replacement + row.Cot_Response.slice(end);
    return { maze, row, text };
  });

  it("catches any single token, direction, number or RESET that is not what it should be", () => {
    fc.assert(
      fc.property(corrupted, ({ maze, row, text }) => {
        expect(traceFault("full", row.Cot_Response, maze)).toBeNull();
        expect(traceFault("full", text, maze)).not.toBeNull();
        expect(() => fromRecord({ ...row, Cot_Response: text })).toThrow(DataError);
      }),
      { numRuns: 1000 },
    );
  });

  it("catches a step that is left out or told twice", () => {
    fc.assert(
      fc.property(rows, fc.nat(), fc.boolean(), ({ maze, row }, at, isTwice) => {
        const steps = row.Cot_Response.split(/(?=^Step )/m);
        const place = at % steps.length;
        // A failed attempt of one step is a whole attempt: without it, or with it twice, the trace is still right.
        fc.pre(!/^Step 1:[^]*RESET/.test(steps[place]!));
        const text = steps
          .flatMap((step, index) => (index !== place ? [step] : isTwice ? [step, step] : []))
          .join("");
        expect(traceFault("full", text, maze)).not.toBeNull();
      }),
      { numRuns: 300 },
    );
  });
});
