// Settings of the maze task.

import { z } from "zod";
import { mazeGenerators } from "./maze.ts";
import { promptTemplates } from "./prompt.ts";
import { searchOrders } from "./search.ts";
import { traceKinds } from "./trace.ts";

export const mazeConfig = z
  .object({
    size: z.int().min(2).max(10).default(5).describe("cells along one side of the maze"),
    generator: z
      .enum(mazeGenerators)
      .default("dfs")
      .describe(
        "dfs (published: long corridors, few different trees on small grids) or uniform (every spanning tree alike, more junctions)",
      ),
    trace: z
      .enum(traceKinds)
      .default("full")
      .describe(
        "thinking of the gold answer: full (published, maze drawn again at every step), diff (coordinate and direction), search (a depth-first search written out), none",
      ),
    prompt: z
      .enum(promptTemplates)
      .default("bare")
      .describe(
        "text around the maze: bare (none), training (indented as in the published rows), benchmark (not indented), deepseek-distil (with an example of the output format)",
      ),
    searchOrder: z
      .enum(searchOrders)
      .default("left-hand")
      .describe("search trace: which exit of a cell is tried first"),
    searchLimit: z
      .int()
      .min(1)
      .default(200)
      .describe("search trace: most steps of the walk that are written; 200 never cuts"),
    resetShare: z
      .number()
      .min(0)
      .max(1)
      .default(0)
      .describe(
        "full and diff traces: share of gold answers that try wrong ways first, among mazes whose origin has two or three exits",
      ),
    directShare: z
      .number()
      .min(0)
      .max(1)
      .default(0)
      .describe(
        "share of gold answers that skip the thinking, as if the walker guessed the whole way",
      ),
    minMoves: z.int().min(1).default(1).describe("fewest moves of a solution"),
    maxMoves: z.int().min(1).default(99).describe("most moves of a solution; 99: no bound"),
    levels: z
      .tuple([z.int().min(1), z.int().min(1)])
      .nullable()
      .default(null)
      .describe("most moves of an Easy and of a Medium maze, longer ones are Hard; null: by size"),
  })
  .check((context) => {
    const { size, trace, resetShare, minMoves, maxMoves, levels } = context.value;
    // A message says what was expected; the settings resolver adds what came.
    const refuse = (path: string, expected: string): void => {
      context.issues.push({
        code: "custom",
        path: [path],
        message: expected,
        input: context.value,
      });
    };
    if (minMoves > maxMoves) refuse("minMoves", `at most maxMoves (${maxMoves})`);
    const longest = size * size - 1;
    if (minMoves > longest) {
      refuse("minMoves", `at most ${longest}, the longest path of a ${size}x${size} maze`);
    }
    if (resetShare > 0 && trace !== "full" && trace !== "diff") {
      refuse("resetShare", `0 with the trace "${trace}"`);
    }
    if (levels !== null && levels[0] >= levels[1]) refuse("levels", "two rising numbers");
  });

export type MazeConfig = z.infer<typeof mazeConfig>;

export const levelNames = ["Easy", "Medium", "Hard"] as const;

/** Most moves of Easy and Medium. Size 5: Easy 1-4, Medium 5-8, Hard from 9, as MazeBench is believed to have. */
const boundsBySize: Readonly<Record<number, readonly [number, number]>> = {
  2: [1, 2],
  3: [2, 4],
  4: [2, 5],
  5: [4, 8],
};

/** Bounds for a size; above 5 they grow with the side, like those of size 5. */
export function levelBounds(size: number): readonly [number, number] {
  return boundsBySize[size] ?? [Math.round(0.8 * size), Math.round(1.6 * size)];
}
