// Failed attempts before the right one, as in the published reset data (Maze-Reasoning-Reset): they
// teach a model to notice a wrong way, say RESET and start again from the origin.
//
// Policy by the walls of the origin, as there: two exits ("order-2"), one wrong walk of 3, else 2, else 1
// steps; three exits ("order-1"), one wrong walk an exit, which stops after 1 step in a dead end and
// otherwise goes 3, else 2 steps; one or four exits, none.
//
// Differs from the published script in: the wording of the messages is our own; the script swaps the two
// messages (it writes the dead-end one when the walk did not end in a dead end), ours fit the cell.

import type { Random } from "../../core/random.ts";
import { type Direction, exits, type Maze, solve, step } from "./maze.ts";
import { cellsAlong } from "./text.ts";
import type { Attempt } from "./trace.ts";

const messages = {
  one: {
    deadEnd: "This is a dead end, so I go back to the origin and look for another way.",
    wrongWay: "This leads away from the target, so I go back to the origin and take another path.",
  },
  several: { deadEnd: "This is a dead end.", wrongWay: "This leads away from the target." },
} as const;

/** Every message a trace of ours can hold; a tokenizer keeps them whole. */
export const resetMessages: readonly string[] = Object.values(messages).flatMap((pair) =>
  Object.values(pair),
);

interface Walk {
  readonly moves: readonly Direction[];
  /** Chance that steps drawn uniformly among the allowed ones give this walk. */
  readonly chance: number;
}

const exitCount = (maze: Maze, cell: number): number => exits(maze, cell).length;
const lastCell = (maze: Maze, moves: readonly Direction[]): number =>
  cellsAlong(maze.size, maze.origin, moves).at(-1)!;

/** Every continuation of a walk to `length` moves that avoids the solution and its own cells. */
function walksOf(maze: Maze, path: ReadonlySet<number>, start: Walk, length: number): Walk[] {
  if (start.moves.length === length) return [start];
  const cells = cellsAlong(maze.size, maze.origin, start.moves);
  const allowed = exits(maze, cells.at(-1)!).filter((direction) => {
    const next = step(maze, cells.at(-1)!, direction)!;
    return !path.has(next) && !cells.includes(next);
  });
  const chance = start.chance / allowed.length;
  return allowed.flatMap((direction) =>
    walksOf(maze, path, { moves: [...start.moves, direction], chance }, length),
  );
}

/** One walk of the first length that allows any; the published script redraws until a walk is long enough, which has these odds. */
function drawWalk(
  maze: Maze,
  path: ReadonlySet<number>,
  start: readonly Direction[],
  lengths: readonly number[],
  random: Random,
): readonly Direction[] {
  for (const length of lengths) {
    const walks = walksOf(maze, path, { moves: start, chance: 1 }, length);
    if (walks.length === 0) continue;
    let left = random.uniform() * walks.reduce((sum, walk) => sum + walk.chance, 0);
    return (walks.find((walk) => (left -= walk.chance) < 0) ?? walks.at(-1)!).moves;
  }
  return start;
}

function failed(maze: Maze, moves: readonly Direction[], kind: keyof typeof messages): Attempt {
  const deadEnd = exitCount(maze, lastCell(maze, moves)) === 1;
  return { moves, message: messages[kind][deadEnd ? "deadEnd" : "wrongWay"] };
}

/** Failed attempts for this maze; empty when the policy has none for its origin. */
export function wrongAttempts(maze: Maze, random: Random): Attempt[] {
  const solution = solve(maze);
  if (solution === null) return [];
  const path = new Set(cellsAlong(maze.size, maze.origin, solution));
  const wrongExits = exits(maze, maze.origin).filter((direction) => direction !== solution[0]);
  if (wrongExits.length === 1) {
    return [failed(maze, drawWalk(maze, path, [], [3, 2, 1], random), "one")];
  }
  if (wrongExits.length !== 2) return [];
  return random.shuffle(wrongExits).map((exit) => {
    const deadEnd = exitCount(maze, lastCell(maze, [exit])) === 1;
    const moves = deadEnd ? [exit] : drawWalk(maze, path, [exit], [3, 2], random);
    return failed(maze, moves, "several");
  });
}
