// Traces: what stands between `<think>` and `</think>`. Four kinds, each with a writer, a strict reader
// and a check that writes every step again and compares.
//
//   full    the published form: "Step k: Go up" and the whole maze drawn again, attempts parted by RESET
//   diff    `<|row-col|><|direction|>` a step, attempts parted by RESET
//   search  a depth-first search written out (search.ts)
//   none    nothing

import { DataError } from "../../core/errors.ts";
import { type Direction, directions, type Maze, simulate } from "./maze.ts";
import { renderSearch, renderSteps } from "./search.ts";
import { type Cells, cellsAlong, type Marker, parseCells, renderCells } from "./text.ts";

export const traceKinds = ["full", "diff", "none", "search"] as const;
export type TraceKind = (typeof traceKinds)[number];

/** One walk from the origin as a trace shows it. */
export interface Attempt {
  readonly moves: readonly Direction[];
  /** Line before RESET (`full` only); null: none. */
  readonly message: string | null;
}

/** A step as it was read. */
interface TraceStep {
  readonly direction: Direction;
  /** The coordinate token before the direction (`diff`, `search`), as it stands there. */
  readonly coordinate: string | null;
  /** The drawn maze (`full`). */
  readonly cells: Cells | null;
}

export interface ParsedAttempt {
  readonly steps: readonly TraceStep[];
  readonly message: string | null;
}

/** The maze as drawn at a step: `cell` is where the walker stands before the move. */
function drawStep(maze: Maze, cell: number, direction: Direction): Cells {
  const shown = maze.walls.map((_, other): Marker => {
    if (other === maze.origin && cell !== maze.origin) return "origin";
    if (other === maze.target) return "target";
    return other === cell ? direction : "blank";
  });
  return { size: maze.size, walls: maze.walls, markers: shown };
}

function renderFullAttempt(maze: Maze, moves: readonly Direction[]): string {
  const cells = cellsAlong(maze.size, maze.origin, moves);
  return moves
    .map((move, index) => {
      const picture = renderCells(drawStep(maze, cells[index]!, move));
      return `Step ${index + 1}: Go ${move}\n${picture}`;
    })
    .join("\n\n");
}

export function renderFull(maze: Maze, attempts: readonly Attempt[]): string {
  return attempts
    .map(({ moves, message }, index) => {
      const steps = renderFullAttempt(maze, moves);
      if (index === attempts.length - 1) return steps;
      return `${steps}\n${message === null ? "" : `${message}\n`}RESET\n`;
    })
    .join("");
}

export function renderDiff(maze: Maze, attempts: readonly Attempt[]): string {
  return attempts.map(({ moves }) => renderSteps(maze, moves)).join("RESET");
}

/** The assistant's message. */
export const renderResponse = (trace: string, answer: string): string =>
  `<think>\n${trace}\n</think>\n\n${answer}`;

const wrong = (where: string, expected: string, got: string | undefined): DataError =>
  new DataError({
    where,
    expected,
    got: got === undefined ? "the end" : JSON.stringify(got.slice(0, 40)),
  });

const asDirection = (name: string | undefined): Direction | undefined =>
  directions.find((direction) => direction === name);

/** Reads a `full` trace of a `size` x `size` maze. Any non-empty line between a maze row and RESET is a message. */
function parseFull(text: string, size: number, where = "trace"): ParsedAttempt[] {
  const lines = text.split("\n");
  const attempts: ParsedAttempt[] = [];
  let steps: TraceStep[] = [];
  let position = 0;
  const place = (): string => `${where}, line ${position + 1}`;
  for (;;) {
    const header = `Step ${steps.length + 1}: Go `;
    const line = lines[position];
    const direction = line?.startsWith(header) ? asDirection(line.slice(header.length)) : undefined;
    if (direction === undefined) throw wrong(place(), `"${header}" and a direction`, line);
    const picture = lines.slice(position + 1, position + 1 + size);
    if (picture.length < size) throw wrong(place(), `${size} maze rows after it`, undefined);
    const cells = parseCells(picture, `${where}, step ${steps.length + 1}`);
    steps.push({ direction, coordinate: null, cells });
    position += 1 + size;

    const after = lines[position];
    if (after === undefined) return [...attempts, { steps, message: null }];
    if (after === "") {
      position += 1;
      continue;
    }
    const message = after === "RESET" ? null : after;
    if (message !== null) position += 1;
    if (lines[position] !== "RESET") throw wrong(place(), "RESET", lines[position]);
    position += 1;
    attempts.push({ steps, message });
    steps = [];
  }
}

/** Reads `<|row-col|><|direction|>` pairs without anything between them. */
function parseSteps(text: string, where: string): TraceStep[] {
  const pattern = /(<\|\d+-\d+\|>)<\|(up|down|left|right)\|>/y;
  const steps: TraceStep[] = [];
  while (pattern.lastIndex < text.length) {
    const start = pattern.lastIndex;
    const match = pattern.exec(text);
    if (match === null) {
      const place = `${where}, step ${steps.length + 1}`;
      throw wrong(place, "<|row-col|><|direction|>", text.slice(start));
    }
    steps.push({ direction: asDirection(match[2])!, coordinate: match[1]!, cells: null });
  }
  if (steps.length === 0) throw wrong(where, "at least one step", text);
  return steps;
}

function parseDiff(text: string, where = "trace"): ParsedAttempt[] {
  return text.split("RESET").map((part, index) => {
    return { steps: parseSteps(part, `${where}, attempt ${index + 1}`), message: null };
  });
}

/** Reads a `search` trace: the walk (its last coordinate dropped) and the path, as two attempts. */
function parseSearch(text: string, where = "trace"): ParsedAttempt[] {
  const lines = text.split("\n");
  const [walk, path] = lines;
  if (walk === undefined || path === undefined || lines.length > 2) {
    throw wrong(where, "two lines: walk and path", text);
  }
  const end = walk.lastIndexOf("<|");
  if (end < 0 || !/^<\|\d+-\d+\|>$/.test(walk.slice(end))) {
    throw wrong(`${where}, walk`, "a coordinate at the end", walk.slice(Math.max(end, 0)));
  }
  const steps = parseSteps(walk.slice(0, end), `${where}, walk`);
  return [
    { steps, message: null },
    { steps: parseSteps(path, `${where}, path`), message: null },
  ];
}

function parseNone(text: string, _size: number, where: string): ParsedAttempt[] {
  if (text !== "") throw wrong(where, "nothing", text);
  return [];
}

const parsers: Readonly<Record<TraceKind, typeof parseNone>> = {
  full: parseFull,
  diff: (text, _size, where) => parseDiff(text, where),
  search: (text, _size, where) => parseSearch(text, where),
  none: parseNone,
};

/** Reads the attempts of a trace; throws a DataError that says where it stops making sense. */
export function parseTrace(
  kind: TraceKind,
  text: string,
  size: number,
  where = "trace",
): ParsedAttempt[] {
  return parsers[kind](text, size, where);
}

const movesOf = (attempt: ParsedAttempt): Direction[] =>
  attempt.steps.map((step) => step.direction);

/**
 * What is wrong with a trace of this maze, or null. Reads it, walks every attempt, requires the last one to
 * reach the target, writes everything again from the moves and compares character by character.
 * `limit` is the greatest number of steps of a search walk.
 */
export function traceFault(
  kind: TraceKind,
  text: string,
  maze: Maze,
  limit = Number.POSITIVE_INFINITY,
): string | null {
  let parsed: ParsedAttempt[];
  try {
    parsed = parseTrace(kind, text, maze.size);
  } catch (error) {
    if (error instanceof DataError) return error.message;
    throw error;
  }
  if (kind === "none") return null;
  const attempts = parsed.map((attempt) => ({ moves: movesOf(attempt), message: attempt.message }));
  for (const [index, { moves }] of attempts.entries()) {
    const { end, made } = simulate(maze, moves);
    const last = index === attempts.length - 1;
    if (end === "blocked" || end === "outside") {
      return `attempt ${index + 1}, step ${made + 1}: the way ${moves[made]} is closed`;
    }
    if (last && end !== "solved") return "the last attempt does not reach the target";
  }
  if (kind === "search") return searchFault(text, maze, attempts, limit);
  const again = kind === "full" ? renderFull(maze, attempts) : renderDiff(maze, attempts);
  return again === text ? null : "a step does not show the maze as it is";
}

function searchFault(
  text: string,
  maze: Maze,
  [walk, path]: readonly Attempt[],
  limit: number,
): string | null {
  const cut = walk!.moves.length >= limit;
  if (walk!.moves.length > limit) return `the walk is longer than ${limit} steps`;
  const visited = cellsAlong(maze.size, maze.origin, walk!.moves);
  if (!cut && visited.at(-1) !== maze.target) return "the walk does not reach the target";
  if (visited.indexOf(maze.target) < visited.length - 1 && visited.includes(maze.target)) {
    return "the walk goes on after the target";
  }
  const cells = cellsAlong(maze.size, maze.origin, path!.moves);
  if (new Set(cells).size < cells.length) return "the path visits a cell twice";
  const again = renderSearch(maze, walk!.moves, path!.moves, limit);
  return again === text ? null : "a coordinate is not where the walker stands";
}
