import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DataError } from "../../core/errors.ts";
import { randomStream } from "../../core/random.ts";
import { exits, generateMaze, type Maze, mazeFromEdges, simulate, solve } from "./maze.ts";
import { wrongAttempts } from "./reset.ts";
import { renderSearch, searchMoves, searchOrders } from "./search.ts";
import { cellsAlong, renderMoves } from "./text.ts";
import {
  parseTrace,
  renderDiff,
  renderFull,
  renderResponse,
  type TraceKind,
  traceFault,
} from "./trace.ts";

const mazes = fc
  .record({
    seed: fc.nat(),
    size: fc.integer({ min: 2, max: 6 }),
    generator: fc.constantFrom("dfs", "uniform"),
  })
  .map(({ seed, size, generator }) => {
    return generateMaze(randomStream("trace test", seed), size, generator);
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

/** One trace of each form for a maze, with its kind. */
function tracesOf(maze: Maze, seed: number): [TraceKind, string][] {
  const random = randomStream("traces", seed);
  const moves = solve(maze)!;
  const attempts = [...wrongAttempts(maze, random), { moves, message: null }];
  return [
    ["full", renderFull(maze, attempts)],
    ["diff", renderDiff(maze, attempts)],
    ["search", renderSearch(maze, searchMoves(maze, "random", random), moves, 200)],
    ["none", ""],
  ];
}

test("the example of the published form, character by character", () => {
  const moves = solve(exampleMaze)!;
  const text = renderResponse(
    renderFull(exampleMaze, [{ moves, message: null }]),
    renderMoves(moves),
  );
  expect(text).toBe(`<think>
Step 1: Go right
<|0-0|><|up_down_left_wall|><|right|><|0-1|><|up_right_wall|><|blank|>
<|1-0|><|up_down_left_wall|><|target|><|1-1|><|down_right_wall|><|blank|>

Step 2: Go down
<|0-0|><|up_down_left_wall|><|origin|><|0-1|><|up_right_wall|><|down|>
<|1-0|><|up_down_left_wall|><|target|><|1-1|><|down_right_wall|><|blank|>

Step 3: Go left
<|0-0|><|up_down_left_wall|><|origin|><|0-1|><|up_right_wall|><|blank|>
<|1-0|><|up_down_left_wall|><|target|><|1-1|><|down_right_wall|><|left|>
</think>

<|right|><|down|><|left|>`);
});

test("every kind reads back to its moves and passes its check", () => {
  fc.assert(
    fc.property(mazes, fc.nat(), (maze, seed) => {
      for (const [kind, text] of tracesOf(maze, seed)) {
        expect(traceFault(kind, text, maze)).toBeNull();
        const last = parseTrace(kind, text, maze.size).at(-1);
        if (kind === "none") expect(last).toBeUndefined();
        else expect(last!.steps.map((step) => step.direction)).toEqual(solve(maze));
      }
    }),
  );
});

describe("reset attempts", () => {
  test("follow the policy of the published data", () => {
    fc.assert(
      fc.property(mazes, fc.nat(), (maze, seed) => {
        const attempts = wrongAttempts(maze, randomStream("reset", seed));
        const open = exits(maze, maze.origin).length;
        expect(attempts).toHaveLength(open === 2 ? 1 : open === 3 ? 2 : 0);
        const path = cellsAlong(maze.size, maze.origin, solve(maze)!);
        for (const { moves, message } of attempts) {
          expect(simulate(maze, moves)).toMatchObject({ end: "missed", made: moves.length });
          const cells = cellsAlong(maze.size, maze.origin, moves);
          expect(new Set(cells).size).toBe(cells.length);
          for (const cell of cells.slice(1)) expect(path).not.toContain(cell);
          expect(moves.length).toBeLessThanOrEqual(3);
          const isDeadEnd = exits(maze, cells.at(-1)!).length === 1;
          expect(message!.includes("dead end")).toBe(isDeadEnd);
          // Only a dead end stops a walk early.
          if (moves.length < 3) expect(exits(maze, cells.at(-1)!).length).toBeLessThan(3);
        }
      }),
    );
  });

  test("any line before RESET is a message; in diff RESET stands between the steps", () => {
    const edges = [
      [0, 1],
      [0, 2],
      [2, 3],
    ] as const;
    const maze = mazeFromEdges(2, edges, 0, 3);
    const right = { moves: solve(maze)!, message: null };
    const wrong = { moves: ["right"], message: "Hm, <no> |good|." } as const;
    const full = renderFull(maze, [wrong, right]);
    expect(full).toContain("<|target|>\nHm, <no> |good|.\nRESET\nStep 1: Go down\n");
    expect(traceFault("full", full, maze)).toBeNull();
    expect(parseTrace("full", full, 2)[0]!.message).toBe(wrong.message);
    expect(traceFault("full", full.replace("Hm, <no> |good|.\n", ""), maze)).toBeNull();
    expect(renderDiff(maze, [wrong, right])).toBe(
      "<|0-0|><|right|>RESET<|0-0|><|down|><|1-0|><|right|>",
    );
  });
});

describe("search", () => {
  test("walks a depth-first search that stops at the target", () => {
    fc.assert(
      fc.property(mazes, fc.constantFrom(...searchOrders), fc.nat(), (maze, order, seed) => {
        const walk = searchMoves(maze, order, randomStream(seed));
        expect(simulate(maze, walk).end).toBe("solved");
        const cells = cellsAlong(maze.size, maze.origin, walk);
        expect(cells.indexOf(maze.target)).toBe(cells.length - 1);
        const taken = walk.map((move, index) => `${cells[index]} ${move}`);
        expect(new Set(taken).size).toBe(taken.length);
        // The path is the last way out of each of its cells.
        const last = new Map(walk.map((move, index) => [cells[index]!, move]));
        const path = solve(maze)!;
        const passed = cellsAlong(maze.size, maze.origin, path);
        expect(passed.slice(0, -1).map((cell) => last.get(cell))).toEqual(path);
      }),
    );
  });

  test("left-hand: a direction depends on the last one and the walls of the cell alone", () => {
    const seen = new Map<string, string>();
    for (let seed = 0; seed < 300; seed++) {
      const maze = generateMaze(randomStream("left", seed), 5, "uniform");
      const walk = searchMoves(maze, "left-hand", randomStream(seed));
      const cells = cellsAlong(maze.size, maze.origin, walk);
      for (const [index, move] of walk.entries()) {
        const state = `${walk[index - 1] ?? "start"} ${maze.walls[cells[index]!]}`;
        expect(seen.get(state) ?? move).toBe(move);
        seen.set(state, move);
      }
    }
    expect(seen.size).toBeGreaterThan(40);
  });

  test("writes the walk with its end, then the path; a limit cuts the walk only", () => {
    const maze = mazeFromEdges(
      2,
      [
        [0, 1],
        [0, 2],
        [2, 3],
      ],
      0,
      1,
    );
    const walk = searchMoves(maze, "fixed", randomStream(0));
    const whole = renderSearch(maze, walk, solve(maze)!, 200);
    expect(whole).toBe(
      "<|0-0|><|down|><|1-0|><|right|><|1-1|><|left|><|1-0|><|up|><|0-0|><|right|><|0-1|>\n" +
        "<|0-0|><|right|>",
    );
    const cut = renderSearch(maze, walk, solve(maze)!, 2);
    expect(cut).toBe("<|0-0|><|down|><|1-0|><|right|><|1-1|>\n<|0-0|><|right|>");
    expect(traceFault("search", cut, maze)).toBe("the walk does not reach the target");
    expect(traceFault("search", cut, maze, 2)).toBeNull();
    expect(traceFault("search", whole, maze, 2)).toBe("the walk is longer than 2 steps");
  });
});

// The message line is free text, and it may be missing.
const plain = (trace: string): string => trace.replace(/\n[^<\n][^\n]*\nRESET/g, "\nRESET");

describe("faults", () => {
  const full = renderFull(exampleMaze, [{ moves: solve(exampleMaze)!, message: null }]);
  test.each([
    ["full", full.replace("Step 2", "Step 3"), '"Step 2: Go " and a direction'],
    ["full", full.replace("Go down", "Go left"), "attempt 1, step 3: the way left is closed"],
    ["full", full.replace("<|down|>", "<|up|>"), "does not show the maze"],
    ["full", full.split("\n\n")[0]!, "does not reach the target"],
    ["full", `${full}\n`, '"Step 4: Go " and a direction'],
    ["full", `${full}\nRESET`, '"Step 1: Go " and a direction'],
    ["diff", "<|0-0|><|right|><|0-0|><|down|><|1-1|><|left|>", "does not show the maze"],
    ["diff", "<|0-0|><|right|>RESET", "at least one step"],
    ["diff", "<|0-0|><|right|> <|0-1|><|down|>", "<|row-col|><|direction|>"],
    ["search", "<|0-0|><|right|><|0-1|>", "two lines"],
    ["search", "<|0-0|><|right|>\n<|0-0|><|right|>", "a coordinate at the end"],
    ["none", "text", "expected nothing"],
  ] as const)("%s %#", (kind, text, message) => {
    expect(traceFault(kind, text, exampleMaze)).toContain(message);
  });

  test("a changed trace is never accepted unless it says the same", () => {
    fc.assert(
      fc.property(
        mazes,
        fc.nat(),
        fc.nat(),
        fc.nat(12),
        fc.string({ unit: "binary", maxLength: 3 }),
        (maze, seed, at, width, put) => {
          for (const [kind, text] of tracesOf(maze, seed)) {
            const start = at % (text.length + 1);
            const mutated = text.slice(0, start) + put + text.slice(start + width);
            if (mutated === text) continue;
            const fault = traceFault(kind, mutated, maze);
            if (fault === null) {
              expect(kind).toBe("full");
              expect(mutated.replaceAll(/\|>\n[^\n]+\nRESET/g, "|>\nRESET")).toBe(plain(text));
            }
            try {
              parseTrace(kind, mutated, maze.size);
            } catch (error) {
              expect(error).toBeInstanceOf(DataError);
            }
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});
