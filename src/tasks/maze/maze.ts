// Square mazes: rules, generator, solver, simulator. Knows nothing of prompts or tokens.
//
// Coordinates: row counts from the top, column from the left, both from 0; a cell is the number
// `row * size + column`. "up" is one row less, "left" one column less.

import { DataError } from "../../core/errors.ts";
import type { Random } from "../../core/random.ts";

export const directions = ["up", "down", "left", "right"] as const;
export type Direction = (typeof directions)[number];

/** A maze as plain data. */
export interface Maze {
  /** Cells along one side. */
  readonly size: number;
  /** Walled sides of each cell: sum of up 1, down 2, left 4, right 8. */
  readonly walls: readonly number[];
  readonly origin: number;
  readonly target: number;
}

/** Two neighbouring cells with a passage between them. */
export type Edge = readonly [number, number];

/** How a list of moves ended; only `solved` is right. */
export interface Outcome {
  readonly end: "solved" | "blocked" | "outside" | "missed";
  /** Where the walker stands at the end. */
  readonly cell: number;
  /** Moves that were made before the walker stopped. */
  readonly made: number;
}

export const wallBit: Readonly<Record<Direction, number>> = { up: 1, down: 2, left: 4, right: 8 };
export const opposite: Readonly<Record<Direction, Direction>> = {
  up: "down",
  down: "up",
  left: "right",
  right: "left",
};
const allWalls = 15;

export const rowOf = (size: number, cell: number): number => Math.floor(cell / size);
export const columnOf = (size: number, cell: number): number => cell % size;

const offset: Readonly<Record<Direction, readonly [rows: number, columns: number]>> = {
  up: [-1, 0],
  down: [1, 0],
  left: [0, -1],
  right: [0, 1],
};

/** The cell next to `cell`, or null beyond the border. */
export function neighbour(size: number, cell: number, direction: Direction): number | null {
  const row = rowOf(size, cell) + offset[direction][0];
  const column = columnOf(size, cell) + offset[direction][1];
  const inside = row >= 0 && row < size && column >= 0 && column < size;
  return inside ? row * size + column : null;
}

/** The direction from a cell to a neighbouring one, or null when they are not neighbours. */
export function directionBetween(size: number, from: number, to: number): Direction | null {
  return directions.find((direction) => neighbour(size, from, direction) === to) ?? null;
}

export function isWalled(maze: Maze, cell: number, direction: Direction): boolean {
  return (maze.walls[cell]! & wallBit[direction]) !== 0;
}

/** Open sides of a cell, in the order up, down, left, right. */
export function exits(maze: Maze, cell: number): Direction[] {
  return directions.filter((direction) => !isWalled(maze, cell, direction));
}

/** The cell a move leads to, or null when a wall or the border stops it. */
export function step(maze: Maze, cell: number, direction: Direction): number | null {
  return isWalled(maze, cell, direction) ? null : neighbour(maze.size, cell, direction);
}

/** Throws a DataError when an edge does not join two neighbouring cells. */
export function mazeFromEdges(
  size: number,
  edges: readonly Edge[],
  origin: number,
  target: number,
  where = "maze edges",
): Maze {
  const walls = Array.from({ length: size * size }, () => allWalls);
  for (const [a, b] of edges) {
    const direction = directionBetween(size, a, b);
    if (direction === null) {
      throw new DataError({
        where,
        expected: `two neighbouring cells of a ${size}x${size} grid`,
        got: `${a} and ${b}`,
      });
    }
    walls[a]! &= ~wallBit[direction];
    walls[b]! &= ~wallBit[opposite[direction]];
  }
  return { size, walls, origin, target };
}

/** Every passage once, smaller cell first, sorted. */
export function edgesOf(maze: Maze): Edge[] {
  return maze.walls.flatMap((_, cell) =>
    (["right", "down"] as const).flatMap((direction): Edge[] => {
      const other = step(maze, cell, direction);
      return other === null ? [] : [[cell, other]];
    }),
  );
}

const neighbours = (size: number, cell: number): number[] =>
  directions
    .map((direction) => neighbour(size, cell, direction))
    .filter((other): other is number => other !== null);

/**
 * Iterative randomised depth-first search, `gen_dfs` of maze-dataset (maze_dataset/generation/generators.py).
 * Makes long corridors, and only trees that such a search can leave behind: 88 of the 192 spanning
 * trees of 3x3, 3,820 of the 100,352 of 4x4, 453,164 of the 557,568,000 of 5x5.
 *
 * Differs from maze-dataset in: the search starts in any cell. There it never starts in the last row or column
 * (an exclusive bound taken for an inclusive one), which leaves 42 trees of 3x3, 2,046 of 4x4 and 271,666 of 5x5.
 */
function depthFirstTree(random: Random, size: number): Edge[] {
  const first = random.integer(size * size);
  const visited = new Set([first]);
  const stack = [first];
  const edges: Edge[] = [];
  while (stack.length > 0) {
    const cell = stack.pop()!;
    const open = neighbours(size, cell).filter((other) => !visited.has(other));
    if (open.length === 0) continue;
    if (open.length > 1) stack.push(cell);
    const next = random.pick(open);
    edges.push([cell, next]);
    visited.add(next);
    stack.push(next);
  }
  return edges;
}

/**
 * Wilson's algorithm: every spanning tree with the same chance. From each cell outside the tree a random
 * walk runs until it meets the tree; the last exit taken from each cell is kept, which drops the loops.
 */
function uniformTree(random: Random, size: number): Edge[] {
  const inTree = new Set([random.integer(size * size)]);
  const edges: Edge[] = [];
  for (let start = 0; start < size * size; start++) {
    const exitOf = new Map<number, number>();
    for (let cell = start; !inTree.has(cell); cell = exitOf.get(cell)!) {
      exitOf.set(cell, random.pick(neighbours(size, cell)));
    }
    for (let cell = start; !inTree.has(cell); cell = exitOf.get(cell)!) {
      inTree.add(cell);
      edges.push([cell, exitOf.get(cell)!]);
    }
  }
  return edges;
}

const generators = { dfs: depthFirstTree, uniform: uniformTree };
export type MazeGenerator = keyof typeof generators;
export const mazeGenerators = ["dfs", "uniform"] as const satisfies readonly MazeGenerator[];

/** A random spanning tree of the grid (size² - 1 passages) with two different cells, drawn uniformly, as origin and target. */
export function generateMaze(random: Random, size: number, generator: MazeGenerator): Maze {
  const edges = generators[generator](random, size);
  const origin = random.integer(size * size);
  const other = random.integer(size * size - 1);
  return mazeFromEdges(size, edges, origin, other < origin ? other : other + 1);
}

/** Shortest moves from origin to target (in a tree the only simple path), or null when there is no way. */
export function solve(maze: Maze): Direction[] | null {
  const moves = new Map<number, Direction[]>([[maze.origin, []]]);
  // A map iterates in the order of insertion and sees what is added meanwhile: the queue of a breadth-first search.
  for (const [cell, path] of moves) {
    if (cell === maze.target) return path;
    for (const direction of exits(maze, cell)) {
      const next = step(maze, cell, direction);
      if (next !== null && !moves.has(next)) moves.set(next, [...path, direction]);
    }
  }
  return null;
}

/**
 * Walks from the origin. Passing the target earlier does not count; revisits and detours are allowed.
 * A move beyond the border is `outside`, although a well-formed maze also has a wall there.
 */
export function simulate(maze: Maze, moves: readonly Direction[]): Outcome {
  let cell = maze.origin;
  for (const [made, direction] of moves.entries()) {
    const beyond = neighbour(maze.size, cell, direction);
    if (beyond === null) return { end: "outside", cell, made };
    if (isWalled(maze, cell, direction)) return { end: "blocked", cell, made };
    cell = beyond;
  }
  return { end: cell === maze.target ? "solved" : "missed", cell, made: moves.length };
}

/** Key of the passages alone. */
export function treeKey(maze: Maze): string {
  const passages = edgesOf(maze).map(([a, b]) => `${a}-${b}`);
  return `${maze.size}:${passages.join(",")}`;
}

/** Two mazes with one key are the same problem, in whatever order their passages were listed. */
export function mazeKey(maze: Maze): string {
  return `${treeKey(maze)}:${maze.origin}>${maze.target}`;
}
