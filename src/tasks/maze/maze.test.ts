import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { randomStream } from "../../core/random.ts";
import {
  directions,
  edgesOf,
  generateMaze,
  type Maze,
  mazeFromEdges,
  mazeGenerators,
  mazeKey,
  simulate,
  solve,
  treeKey,
} from "./maze.ts";

const mazes = fc
  .record({
    seed: fc.nat(),
    size: fc.integer({ min: 2, max: 7 }),
    generator: fc.constantFrom(...mazeGenerators),
  })
  .map(({ seed, size, generator }) =>
    generateMaze(randomStream("maze test", seed), size, generator),
  );

/** Distance by relaxing the passages until nothing changes (Bellman-Ford): shares no code with the solver. */
function distanceByRelaxation(maze: Maze): number {
  const distance = maze.walls.map((_, cell) => (cell === maze.origin ? 0 : Infinity));
  for (let changed = true; changed;) {
    changed = false;
    for (const [a, b] of edgesOf(maze)) {
      for (const [from, to] of [
        [a, b],
        [b, a],
      ] as const) {
        if (distance[from]! + 1 < distance[to]!) {
          distance[to] = distance[from]! + 1;
          changed = true;
        }
      }
    }
  }
  return distance[maze.target]!;
}

const around = (cell: number): number[] =>
  [
    cell - 3,
    cell + 3,
    ...(cell % 3 > 0 ? [cell - 1] : []),
    ...(cell % 3 < 2 ? [cell + 1] : []),
  ].filter((other) => other >= 0 && other < 9);

describe("generator", () => {
  test("makes spanning trees: n² - 1 passages that join every cell", () => {
    fc.assert(
      fc.property(mazes, (maze) => {
        const edges = edgesOf(maze);
        expect(edges).toHaveLength(maze.size ** 2 - 1);
        const group = maze.walls.map((_, cell) => cell);
        for (const [a, b] of edges) {
          expect(group[a]).not.toBe(group[b]);
          const [keep, drop] = [group[a]!, group[b]!];
          for (const cell of group.keys()) if (group[cell] === drop) group[cell] = keep;
        }
        expect(new Set(group).size).toBe(1);
        expect(maze.origin).not.toBe(maze.target);
      }),
    );
  });

  // 3x3 has 192 spanning trees (Kirchhoff); 88 of them are depth-first trees (counted by exhaustion below).
  test.each([
    ["uniform", 192],
    ["dfs", 88],
  ] as const)("%s reaches %i trees of 3x3 and all 72 pairs of ends", (generator, count) => {
    const trees = new Map<string, number>();
    const ends = new Set<string>();
    for (let seed = 0; seed < 4000; seed++) {
      const maze = generateMaze(randomStream("trees", seed), 3, generator);
      trees.set(treeKey(maze), (trees.get(treeKey(maze)) ?? 0) + 1);
      ends.add(`${maze.origin} ${maze.target}`);
    }
    expect(trees.size).toBe(count);
    expect(ends.size).toBe(72);
    // Uniform: 4000 / 192 = 21 a tree, standard deviation 4.6.
    if (generator === "uniform") expect(Math.max(...trees.values())).toBeLessThan(45);
  });

  test("88 trees of 3x3 can be left behind by a depth-first search", () => {
    const trees = new Set<string>();
    const extend = (stack: readonly number[], edges: readonly string[]): void => {
      const visited = new Set(edges.flatMap((edge) => edge.split("-").map(Number)));
      const isOpen = (cell: number): boolean => cell !== stack[0] && !visited.has(cell);
      const depth = stack.findLastIndex((cell) => around(cell).some(isOpen));
      if (depth < 0) return void trees.add([...edges].sort().join());
      const cell = stack[depth]!;
      for (const next of around(cell).filter(isOpen)) {
        const edge = cell < next ? `${cell}-${next}` : `${next}-${cell}`;
        extend([...stack.slice(0, depth + 1), next], [...edges, edge]);
      }
    };
    for (let start = 0; start < 9; start++) extend([start], []);
    expect(trees.size).toBe(88);
  });

  test("same stream, same maze", () => {
    expect(generateMaze(randomStream(7), 5, "dfs")).toEqual(
      generateMaze(randomStream(7), 5, "dfs"),
    );
  });
});

describe("solver and simulator", () => {
  test("agree with an independent solver", () => {
    fc.assert(
      fc.property(mazes, (maze) => {
        const moves = solve(maze)!;
        expect(moves).toHaveLength(distanceByRelaxation(maze));
        expect(simulate(maze, moves).end).toBe("solved");
      }),
    );
  });

  test("in a tree exactly one move list of the solution's length ends on the target", () => {
    fc.assert(
      fc.property(mazes, (maze) => {
        const length = solve(maze)!.length;
        // Walks of k moves from the origin to each cell; a random list of the right length is right with 4^-length.
        let walks: number[] = maze.walls.map((_, cell) => (cell === maze.origin ? 1 : 0));
        for (let index = 0; index < length; index++) {
          const next = walks.map(() => 0);
          for (const [a, b] of edgesOf(maze)) {
            next[b]! += walks[a]!;
            next[a]! += walks[b]!;
          }
          walks = next;
        }
        expect(walks[maze.target]).toBe(1);
      }),
    );
  });

  test("random move lists of the right length nearly never solve Medium and Hard 5x5 mazes", () => {
    const solved = { Medium: 0, Hard: 0 };
    const tried = { Medium: 0, Hard: 0 };
    for (let seed = 0; seed < 4000; seed++) {
      const random = randomStream("luck", seed);
      const maze = generateMaze(random, 5, "dfs");
      const length = solve(maze)!.length;
      if (length < 5) continue;
      const level = length <= 8 ? "Medium" : "Hard";
      for (let list = 0; list < 5; list++) {
        const moves = Array.from({ length }, () => random.pick(directions));
        tried[level] += 1;
        if (simulate(maze, moves).end === "solved") solved[level] += 1;
      }
    }
    expect(tried.Medium).toBeGreaterThan(3000);
    expect(tried.Hard).toBeGreaterThan(3000);
    // The bounds in expectation are 4^-5 and 4^-9.
    expect(solved.Medium / tried.Medium).toBeLessThan(0.02);
    expect(solved.Hard / tried.Hard).toBeLessThan(0.001);
  });

  test("tell how a walk ended", () => {
    // 0-0 — 0-1
    //        |
    // 1-0 — 1-1
    const edges = [
      [0, 1],
      [1, 3],
      [3, 2],
    ] as const;
    const maze = mazeFromEdges(2, edges, 0, 2);
    expect(simulate(maze, ["right", "down", "left"])).toEqual({ end: "solved", cell: 2, made: 3 });
    expect(simulate(maze, ["down"])).toEqual({ end: "blocked", cell: 0, made: 0 });
    expect(simulate(maze, ["right", "up"])).toEqual({ end: "outside", cell: 1, made: 1 });
    expect(simulate(maze, [])).toEqual({ end: "missed", cell: 0, made: 0 });
    // Passing the target is not enough, coming back to it is.
    expect(simulate(maze, ["right", "down", "left", "right"]).end).toBe("missed");
    expect(simulate(maze, ["right", "down", "left", "right", "left"]).end).toBe("solved");
    expect(() => mazeFromEdges(2, [[0, 3]], 0, 1)).toThrow("two neighbouring cells");
  });
});

test("keys do not depend on the order of the passages", () => {
  fc.assert(
    fc.property(mazes, fc.nat(), (maze, seed) => {
      const random = randomStream("order", seed);
      const edges = random.shuffle(edgesOf(maze).map(([a, b]) => random.shuffle([a, b])));
      const pairs = edges.map(([a, b]) => [a!, b!] as const);
      const again = mazeFromEdges(maze.size, pairs, maze.origin, maze.target);
      expect(mazeKey(again)).toBe(mazeKey(maze));
      const turned = mazeFromEdges(maze.size, pairs, maze.target, maze.origin);
      expect(mazeKey(turned)).not.toBe(mazeKey(maze));
      expect(treeKey(turned)).toBe(treeKey(maze));
    }),
  );
});
