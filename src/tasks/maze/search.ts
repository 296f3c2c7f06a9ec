// The `search` trace: a depth-first search written out so that a small model can learn every token locally.
//
// Line 1, the walk: `<|row-col|><|direction|>` for every step, stepping back included, until the
// target's coordinate is written. Line 2, the path: the same without the dead ends.
//
//   <|0-0|><|down|><|1-0|><|up|><|0-0|><|right|><|0-1|>
//   <|0-0|><|right|>
//
// Why each token is easy: a coordinate follows from the coordinate and direction before it. In the order
// `left-hand` a direction follows from the last direction and the walls of the present cell alone (look
// them up in the prompt): the first open side clockwise from where the walker came from, which in a
// tree is a depth-first search with nothing to remember. In line 2 a direction is the one taken when the
// walk last left that coordinate. The answer copies the directions of line 2.

import type { Random } from "../../core/random.ts";
import { type Direction, exits, type Maze, neighbour, opposite } from "./maze.ts";
import { coordinateToken, token } from "./text.ts";

/**
 * Which exit of a cell is tried first. `left-hand`: clockwise from the side the walker came from;
 * `fixed`: up, down, left, right; `random`: a new order at every cell.
 */
export const searchOrders = ["left-hand", "fixed", "random"] as const;
export type SearchOrder = (typeof searchOrders)[number];

const clockwise: readonly Direction[] = ["up", "right", "down", "left"];

/** Exits of a cell in the order to try them, the way back last; `from` is the side the walker came from. */
function exitOrder(
  maze: Maze,
  cell: number,
  from: Direction | null,
  order: SearchOrder,
  random: Random,
): Direction[] {
  const others = exits(maze, cell).filter((direction) => direction !== from);
  const open = order === "random" ? random.shuffle(others) : others;
  if (order === "left-hand") {
    // At the origin nothing lies behind: it is taken as entered from below.
    const behind = clockwise.indexOf(from ?? "down");
    const turn = (side: Direction): number => (clockwise.indexOf(side) - behind + 4) % 4;
    // The side behind (turn 0, open only at the origin) comes last.
    open.sort((a, b) => (turn(a) || 4) - (turn(b) || 4));
  }
  return from === null ? open : [...open, from];
}

/** Moves of a depth-first search from the origin until the target, stepping back included. Ends there in any maze without loops. */
export function searchMoves(maze: Maze, order: SearchOrder, random: Random): Direction[] {
  const untried = new Map([[maze.origin, exitOrder(maze, maze.origin, null, order, random)]]);
  const moves: Direction[] = [];
  let cell = maze.origin;
  while (cell !== maze.target) {
    const direction = untried.get(cell)!.shift();
    // Nothing left at the origin: the target cannot be reached.
    if (direction === undefined) return moves;
    moves.push(direction);
    cell = neighbour(maze.size, cell, direction)!;
    if (!untried.has(cell)) {
      untried.set(cell, exitOrder(maze, cell, opposite[direction], order, random));
    }
  }
  return moves;
}

/** `<|row-col|><|direction|>` for every move of a walk from the origin. */
export function renderSteps(maze: Maze, moves: readonly Direction[]): string {
  let cell = maze.origin;
  return moves
    .map((move) => {
      const text = coordinateToken(maze.size, cell) + token(move);
      cell = neighbour(maze.size, cell, move) ?? cell;
      return text;
    })
    .join("");
}

/** Both lines; the walk is cut after `limit` steps. */
export function renderSearch(
  maze: Maze,
  walk: readonly Direction[],
  path: readonly Direction[],
  limit: number,
): string {
  const shown = walk.slice(0, limit);
  let end = maze.origin;
  for (const move of shown) end = neighbour(maze.size, end, move) ?? end;
  return `${renderSteps(maze, shown)}${coordinateToken(maze.size, end)}\n${renderSteps(maze, path)}`;
}
