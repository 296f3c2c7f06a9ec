// Mazes as text: one coordinate, wall and marker token a cell (arXiv 2502.14669 and its released
// data), and the `raw_token` layout of maze-dataset from which those rows were made.

import { DataError } from "../../core/errors.ts";
import {
  columnOf,
  directionBetween,
  type Direction,
  directions,
  type Edge,
  edgesOf,
  isWalled,
  type Maze,
  mazeFromEdges,
  neighbour,
  opposite,
  rowOf,
  wallBit,
} from "./maze.ts";

const markers = [...directions, "blank", "origin", "target"] as const;
export type Marker = (typeof markers)[number];

/** A drawn grid: what a maze text or one picture of a trace says, before it is asked whether it makes sense. */
export interface Cells {
  readonly size: number;
  readonly walls: readonly number[];
  readonly markers: readonly Marker[];
}

/** Wall sums in the order in which the published vocabulary lists their tokens. */
const wallOrder = [0, 1, 2, 4, 8, 3, 5, 9, 6, 10, 12, 7, 11, 13, 14, 15];

function wallName(walls: number): string {
  if (walls === 0) return "no_wall";
  if (walls === 15) return "all_wall";
  return `${directions.filter((direction) => walls & wallBit[direction]).join("_")}_wall`;
}

const wallNames = Array.from({ length: 16 }, (_, walls) => wallName(walls));
const wallsByName = new Map(wallNames.map((name, walls) => [name, walls]));
const markerNames: ReadonlySet<string> = new Set(markers);

export const token = (name: string): string => `<|${name}|>`;
export const coordinateName = (size: number, cell: number): string =>
  `${rowOf(size, cell)}-${columnOf(size, cell)}`;
export const coordinateToken = (size: number, cell: number): string =>
  token(coordinateName(size, cell));

/** The added tokens in the published order: coordinates, markers, walls; 48 for size 5. */
export function mazeTokens(size: number): string[] {
  const coordinates = Array.from({ length: size * size }, (_, cell) => coordinateName(size, cell));
  const walls = wallOrder.map((sum) => wallNames[sum]!);
  return [...coordinates, ...markers, ...walls].map(token);
}

/** One text line a row, no separators, no final newline. */
export function renderCells(cells: Cells): string {
  const rows = Array.from({ length: cells.size }, (_, row) =>
    Array.from({ length: cells.size }, (_column, column) => {
      const cell = row * cells.size + column;
      const names = [wallNames[cells.walls[cell]!]!, cells.markers[cell]!];
      return coordinateToken(cells.size, cell) + names.map(token).join("");
    }).join(""),
  );
  return rows.join("\n");
}

export function renderMaze(maze: Maze): string {
  const shown = maze.walls.map((_, cell) =>
    cell === maze.origin ? "origin" : cell === maze.target ? "target" : "blank",
  );
  return renderCells({ size: maze.size, walls: maze.walls, markers: shown });
}

/** What `parse` functions call the text in their errors, for example a file, line and field. */
const quote = (text: string | undefined): string =>
  text === undefined || text === "" ? "the end" : JSON.stringify(text.slice(0, 40));

/** Names of the tokens of one line; throws a DataError at the first character outside a token. */
function readRow(line: string, where: string): string[] {
  const pattern = /<\|([^|\n]*)\|>/y;
  const names: string[] = [];
  while (pattern.lastIndex < line.length) {
    const start = pattern.lastIndex;
    const match = pattern.exec(line);
    if (match === null) {
      const got = quote(line.slice(start));
      throw new DataError({ where, expected: `a token <|…|> as token ${names.length + 1}`, got });
    }
    names.push(match[1]!);
  }
  return names;
}

/** Reads a grid of `size` lines; checks the tokens and their order, not the sense of walls and markers. */
export function parseCells(lines: readonly string[], where: string): Cells {
  const size = lines.length;
  const walls: number[] = [];
  const shown: Marker[] = [];
  for (const [row, line] of lines.entries()) {
    const names = readRow(line, `${where}, row ${row}`);
    for (let column = 0; column < size; column++) {
      const place = `${where}, row ${row}, column ${column}`;
      const [coordinate, wall, marker] = names.slice(3 * column, 3 * column + 3);
      const expected = coordinateName(size, row * size + column);
      if (coordinate !== expected) {
        throw new DataError({ where: place, expected: token(expected), got: quote(coordinate) });
      }
      const sum = wallsByName.get(wall ?? "");
      if (sum === undefined) {
        throw new DataError({ where: place, expected: "a wall token", got: quote(wall) });
      }
      if (!markerNames.has(marker ?? "")) {
        throw new DataError({ where: place, expected: "a marker token", got: quote(marker) });
      }
      walls.push(sum);
      shown.push(marker as Marker);
    }
    if (names.length !== 3 * size) {
      const expected = `${3 * size} tokens`;
      throw new DataError({ where: `${where}, row ${row}`, expected, got: `${names.length}` });
    }
  }
  return { size, walls, markers: shown };
}

function checkWalls(maze: Maze, where: string): void {
  for (const cell of maze.walls.keys()) {
    for (const direction of directions) {
      const place = `${where}, row ${rowOf(maze.size, cell)}, column ${columnOf(maze.size, cell)}`;
      const walled = isWalled(maze, cell, direction);
      const other = neighbour(maze.size, cell, direction);
      if (other === null && !walled) {
        const expected = `a wall ${direction} at the border`;
        throw new DataError({ where: place, expected, got: "an open side" });
      }
      if (other !== null && walled !== isWalled(maze, other, opposite[direction])) {
        const expected = `the same wall as in cell ${coordinateName(maze.size, other)}`;
        const got = `${walled ? "a wall" : "no wall"} ${direction}`;
        throw new DataError({ where: place, expected, got });
      }
    }
  }
}

function findMarker(cells: Cells, marker: Marker, where: string): number {
  const found = cells.markers.flatMap((name, cell) => (name === marker ? [cell] : []));
  if (found.length !== 1) {
    const got =
      found.length === 0 ? "none" : found.map((c) => coordinateName(cells.size, c)).join(", ");
    throw new DataError({ where, expected: `one cell with ${token(marker)}`, got });
  }
  return found[0]!;
}

/** Reads a maze text. Throws a DataError that names row and column; white space around the text is ignored. */
export function parseMaze(text: string, where = "maze text"): Maze {
  const lines = text.trim().split("\n");
  if (lines.length < 2) {
    throw new DataError({ where, expected: "at least 2 rows", got: `${lines.length}` });
  }
  const cells = parseCells(lines, where);
  const moving = cells.markers.findIndex((name) =>
    (directions as readonly string[]).includes(name),
  );
  if (moving >= 0) {
    const place = `${where}, row ${rowOf(cells.size, moving)}, column ${columnOf(cells.size, moving)}`;
    const expected = "blank, origin or target";
    throw new DataError({ where: place, expected, got: cells.markers[moving]! });
  }
  const origin = findMarker(cells, "origin", where);
  const target = findMarker(cells, "target", where);
  const maze = { size: cells.size, walls: cells.walls, origin, target };
  checkWalls(maze, where);
  return maze;
}

export const renderMoves = (moves: readonly Direction[]): string => moves.map(token).join("");

/** Reads direction tokens with nothing between them; throws a DataError at the first that is none. */
export function parseMoves(text: string, where: string): Direction[] {
  const names = readRow(text, where);
  if (names.length === 0) {
    throw new DataError({ where, expected: "at least one direction", got: quote(text) });
  }
  return names.map((name, index) => {
    const direction = directions.find((one) => one === name);
    if (direction !== undefined) return direction;
    const expected = `a direction as token ${index + 1}`;
    throw new DataError({ where, expected, got: quote(name) });
  });
}

/** Cells a walk passes, the first one included; walls are not looked at. */
export function cellsAlong(size: number, origin: number, moves: readonly Direction[]): number[] {
  const cells = [origin];
  for (const move of moves) cells.push(neighbour(size, cells.at(-1)!, move) ?? cells.at(-1)!);
  return cells;
}

/** The `raw_token` layout of maze-dataset ("adjacency, origin, target, path"); `edges` lists the passages in the order to write. */
export function renderRawToken(
  maze: Maze,
  path: readonly number[],
  edges: readonly Edge[] = edgesOf(maze),
): string {
  const pair = (cell: number): string => `(${rowOf(maze.size, cell)},${columnOf(maze.size, cell)})`;
  return [
    "<ADJLIST_START>",
    ...edges.map(([a, b]) => `${pair(a)} <--> ${pair(b)} ;`),
    `<ADJLIST_END> <ORIGIN_START> ${pair(maze.origin)} <ORIGIN_END>`,
    `<TARGET_START> ${pair(maze.target)} <TARGET_END>`,
    `<PATH_START> ${path.map(pair).join(" ")} <PATH_END>`,
  ].join(" ");
}

type Pair = readonly [row: number, column: number];

/** Reads the words of a `raw_token` text one after the other. */
function rawTokenReader(text: string, where: string) {
  const words = text.trim().split(/\s+/);
  let position = 0;
  const fail = (expected: string): never => {
    const place = `${where}, word ${position + 1}`;
    throw new DataError({ where: place, expected, got: quote(words[position]) });
  };
  return {
    at: (word: string): boolean => words[position] === word,
    word(expected: string): void {
      if (words[position] !== expected) fail(expected);
      position++;
    },
    pair(): Pair {
      const match = /^\((\d{1,2}),(\d{1,2})\)$/.exec(words[position] ?? "");
      if (match === null) return fail("a cell (row,column)");
      position++;
      return [Number(match[1]), Number(match[2])];
    },
    end(): void {
      if (position < words.length) fail("the end");
    },
  };
}

/** Reads `raw_token`. The grid size is the largest coordinate plus one, which is right for connected mazes. */
export function parseRawToken(
  text: string,
  where = "raw_token",
): { readonly maze: Maze; readonly path: readonly number[]; readonly edges: readonly Edge[] } {
  const reader = rawTokenReader(text, where);
  const pairs: [Pair, Pair][] = [];
  reader.word("<ADJLIST_START>");
  while (!reader.at("<ADJLIST_END>")) {
    const from = reader.pair();
    reader.word("<-->");
    pairs.push([from, reader.pair()]);
    reader.word(";");
  }
  reader.word("<ADJLIST_END>");
  reader.word("<ORIGIN_START>");
  const origin = reader.pair();
  reader.word("<ORIGIN_END>");
  reader.word("<TARGET_START>");
  const target = reader.pair();
  reader.word("<TARGET_END>");
  reader.word("<PATH_START>");
  const path = [reader.pair()];
  while (!reader.at("<PATH_END>")) path.push(reader.pair());
  reader.word("<PATH_END>");
  reader.end();

  const size = Math.max(2, ...[...pairs.flat(), origin, target, ...path].flat().map((n) => n + 1));
  const cell = ([row, column]: Pair): number => row * size + column;
  const edges = pairs.map(([a, b]): Edge => [cell(a), cell(b)]);
  const maze = mazeFromEdges(size, edges, cell(origin), cell(target), where);
  if (edgesOf(maze).length !== edges.length) {
    throw new DataError({ where, expected: "every passage once", got: "a repeated passage" });
  }
  const cells = path.map(cell);
  checkPath(maze, cells, where);
  return { maze, path: cells, edges };
}

/** Throws a DataError unless the path leads from origin to target through open sides. */
function checkPath(maze: Maze, path: readonly number[], where: string): void {
  if (maze.origin === maze.target) {
    throw new DataError({ where, expected: "two different cells", got: "origin = target" });
  }
  if (path[0] !== maze.origin || path.at(-1) !== maze.target) {
    throw new DataError({ where, expected: "a path from origin to target", got: "other ends" });
  }
  for (const [index, cell] of path.entries()) {
    const next = path[index + 1];
    if (next === undefined) continue;
    const direction = directionBetween(maze.size, cell, next);
    if (direction === null || isWalled(maze, cell, direction)) {
      const name = (c: number): string => coordinateName(maze.size, c);
      const got = `${name(cell)} to ${name(next)}`;
      throw new DataError({ where, expected: "a path through open sides", got });
    }
  }
}
