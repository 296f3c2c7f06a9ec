import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DataError } from "../../core/errors.ts";
import { randomStream } from "../../core/random.ts";
import { generateMaze, mazeFromEdges, solve } from "./maze.ts";
import { mazePrompt, promptTemplates } from "./prompt.ts";
import { mazeTextOf, movesAlong } from "./rows.ts";
import {
  cellsAlong,
  mazeTokens,
  parseMaze,
  parseRawToken,
  renderMaze,
  renderRawToken,
} from "./text.ts";

const mazes = fc
  .record({ seed: fc.nat(), size: fc.integer({ min: 2, max: 6 }) })
  .map(({ seed, size }) => generateMaze(randomStream("text test", seed), size, "dfs"));

const example = `<|0-0|><|up_down_left_wall|><|origin|><|0-1|><|up_right_wall|><|blank|>
<|1-0|><|up_down_left_wall|><|target|><|1-1|><|down_right_wall|><|blank|>`;
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

describe("vocabulary", () => {
  test("has the 48 published tokens in their order for size 5", () => {
    const tokens = mazeTokens(5);
    expect(tokens).toHaveLength(48);
    expect(new Set(tokens).size).toBe(48);
    expect(tokens.slice(0, 6).join("")).toBe("<|0-0|><|0-1|><|0-2|><|0-3|><|0-4|><|1-0|>");
    expect(tokens.slice(25).join(" ")).toBe(
      "<|up|> <|down|> <|left|> <|right|> <|blank|> <|origin|> <|target|> <|no_wall|> " +
        "<|up_wall|> <|down_wall|> <|left_wall|> <|right_wall|> <|up_down_wall|> <|up_left_wall|> " +
        "<|up_right_wall|> <|down_left_wall|> <|down_right_wall|> <|left_right_wall|> " +
        "<|up_down_left_wall|> <|up_down_right_wall|> <|up_left_right_wall|> " +
        "<|down_left_right_wall|> <|all_wall|>",
    );
  });
});

describe("maze text", () => {
  test("is 3 n² tokens on n lines, and reads back", () => {
    expect(renderMaze(exampleMaze)).toBe(example);
    fc.assert(
      fc.property(mazes, (maze) => {
        const text = renderMaze(maze);
        expect(text.split("\n")).toHaveLength(maze.size);
        expect(text.match(/<\|/g)).toHaveLength(3 * maze.size ** 2);
        expect(parseMaze(text)).toEqual(maze);
      }),
    );
  });

  test.each([
    ["no target", ["target", "blank"], "one cell with <|target|>, got none"],
    ["two origins", ["target", "origin"], "one cell with <|origin|>, got 0-0, 1-0"],
    [
      "a direction",
      ["blank", "left"],
      "row 0, column 1: expected blank, origin or target, got left",
    ],
    ["a coordinate", ["1-1", "1-0"], 'row 1, column 1: expected <|1-1|>, got "1-0"'],
    [
      "an unknown wall",
      ["up_right_wall", "right_up_wall"],
      "row 0, column 1: expected a wall token",
    ],
    ["an unknown marker", ["blank", "exit"], "row 0, column 1: expected a marker token"],
    [
      "an open border",
      ["up_right_wall", "right_wall"],
      "column 1: expected a wall up at the border",
    ],
    ["one-sided walls", ["1-0|><|up_", "1-0|><|"], "expected the same wall as in cell 1-0"],
    ["a space", ["|><|0-1", "|> <|0-1"], "row 0: expected a token <|…|> as token 4"],
    ["a cell too many", ["\n", "<|0-2|><|no_wall|><|blank|>\n"], "row 0: expected 6 tokens, got 9"],
    [
      "a cell too few",
      ["<|0-1|><|up_right_wall|><|blank|>", ""],
      "column 1: expected <|0-1|>, got the end",
    ],
    ["a row too few", [/\n.*/s, ""], "expected at least 2 rows, got 1"],
    ["a row too many", ["\n", "\n\n"], "row 0, column 2: expected <|0-2|>"],
  ] as const)("refuses %s", (_, [from, to], message) => {
    const text = example.replace(from, to);
    expect(() => parseMaze(text)).toThrow(DataError);
    expect(() => parseMaze(text)).toThrow(message);
  });
});

describe("raw_token", () => {
  const raw =
    "<ADJLIST_START> (0,0) <--> (0,1) ; (0,1) <--> (1,1) ; (1,1) <--> (1,0) ; <ADJLIST_END> " +
    "<ORIGIN_START> (0,0) <ORIGIN_END> <TARGET_START> (1,0) <TARGET_END> " +
    "<PATH_START> (0,0) (0,1) (1,1) (1,0) <PATH_END>";

  test("reads and writes the layout of maze-dataset", () => {
    const { maze, path, edges } = parseRawToken(raw);
    expect(maze).toEqual(exampleMaze);
    expect(movesAlong(2, path)).toEqual(["right", "down", "left"]);
    expect(renderRawToken(maze, path, edges)).toBe(raw);
    fc.assert(
      fc.property(mazes, (any) => {
        const walked = cellsAlong(any.size, any.origin, solve(any)!);
        const read = parseRawToken(renderRawToken(any, walked));
        expect(read.maze).toEqual(any);
        expect(read.path).toEqual(walked);
      }),
    );
  });

  test.each([
    ["a missing arrow", ["<-->", "--"], "word 3: expected <-->"],
    ["a bad cell", ["(0,1)", "(0,x)"], "word 4: expected a cell (row,column)"],
    ["cells that do not touch", ["(0,1) ;", "(1,1) ;"], "expected two neighbouring cells"],
    ["a repeated passage", ["(0,1) <--> (1,1)", "(0,1) <--> (0,0)"], "every passage once"],
    ["another origin", ["<ORIGIN_START> (0,0)", "<ORIGIN_START> (0,1)"], "from origin to target"],
    ["a path through a wall", ["(0,0) (0,1) (1,1) (1,0)", "(0,0) (1,0)"], "0-0 to 1-0"],
    ["words after the end", ["<PATH_END>", "<PATH_END> more"], "expected the end"],
    ["a missing end", [" <PATH_END>", ""], "expected a cell (row,column), got the end"],
  ] as const)("refuses %s", (_, [from, to], message) => {
    const text = raw.replace(from, to);
    expect(() => parseRawToken(text)).toThrow(DataError);
    expect(() => parseRawToken(text)).toThrow(message);
  });
});

test("every prompt ends with the maze text, which reads back", () => {
  for (const template of promptTemplates) {
    const prompt = mazePrompt(template, exampleMaze);
    expect(parseMaze(mazeTextOf(prompt))).toEqual(exampleMaze);
    expect(prompt.split("\n").some((line) => line.startsWith("    "))).toBe(
      template === "training",
    );
  }
});

test("no mutation of a maze text or raw_token crashes a reader or passes as the wrong maze", () => {
  fc.assert(
    fc.property(
      mazes,
      fc.nat(),
      fc.nat(),
      fc.string({ unit: "binary", maxLength: 4 }),
      (maze, at, width, put) => {
        for (const [text, parse] of [
          [renderMaze(maze), parseMaze],
          [
            renderRawToken(maze, cellsAlong(maze.size, maze.origin, solve(maze)!)),
            (raw: string) => parseRawToken(raw).maze,
          ],
        ] as const) {
          const start = at % text.length;
          const mutated = text.slice(0, start) + put + text.slice(start + (width % 12));
          try {
            const read = parse(mutated);
            // What was accepted is a maze that can be written again and is what the text says.
            const again = parse === parseMaze ? renderMaze(read) : undefined;
            if (again !== undefined) expect(again).toBe(mutated.trim());
          } catch (error) {
            expect(error).toBeInstanceOf(DataError);
          }
        }
      },
    ),
    { numRuns: 2000 },
  );
});
