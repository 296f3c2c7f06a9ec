// Published rows of the AlphaMaze data sets: a row to an item, and back.
//
//   Maze-Reasoning, -Reset, -GRPO   Prompt, Cot_Response, Response, raw_token, conversations
//   Maze-Bench                      Prompt (the bare maze text), Response, Level, Maze_image (not read)

import { DataError } from "../../core/errors.ts";
import { directionBetween, type Direction, type Maze, simulate } from "./maze.ts";
import type { PromptTemplate } from "./prompt.ts";
import type { MazeItem } from "./task.ts";
import {
  cellsAlong,
  parseMaze,
  parseMoves,
  parseRawToken,
  renderMaze,
  renderMoves,
  renderRawToken,
} from "./text.ts";
import { renderResponse, traceFault } from "./trace.ts";

/** One row, with the published field names. */
export interface MazeRecord {
  readonly Prompt: string;
  readonly Cot_Response: string;
  readonly Response: string;
  readonly raw_token: string;
  readonly conversations: readonly { readonly content: string; readonly role: string }[];
  /** Only in benchmark rows. */
  readonly Level?: string;
}

/** The row of an item that is shown as `prompt` and thinks `trace` (kind `full`). */
export function toRecord(item: MazeItem, prompt: string, trace: string): MazeRecord {
  const { maze, moves, edges, level } = item;
  const answer = renderMoves(moves);
  return {
    Prompt: prompt,
    Cot_Response: trace,
    Response: answer,
    raw_token: renderRawToken(maze, cellsAlong(maze.size, maze.origin, moves), edges),
    conversations: [
      { content: prompt.trim(), role: "user" },
      { content: renderResponse(trace, answer), role: "assistant" },
    ],
    ...(level !== undefined && { Level: level }),
  };
}

/** The moves along a path of neighbouring cells. */
export function movesAlong(size: number, path: readonly number[]): Direction[] {
  return path.slice(1).map((cell, index) => directionBetween(size, path[index]!, cell)!);
}

/** The maze text of a prompt: what follows the last line `MAZE:`, or the whole prompt. */
export function mazeTextOf(prompt: string): string {
  const lines = prompt.split("\n");
  const heading = lines.findLastIndex((line) => line.trim() === "MAZE:");
  return lines.slice(heading + 1).join("\n");
}

type Row = Readonly<Record<string, unknown>>;

/** Reads the text fields of one row. */
class Fields {
  readonly #row: Row;
  readonly #where: string;

  constructor(row: Row, where: string) {
    this.#row = row;
    this.#where = where;
  }

  place(name: string): string {
    return `${this.#where}, field ${name}`;
  }

  /** Null where the row does not have it. */
  optional(name: string): string | null {
    const value = this.#row[name] ?? null;
    if (value === null || typeof value === "string") return value;
    const got = Array.isArray(value) ? "a list" : `a value of type ${typeof value}`;
    throw new DataError({ where: this.place(name), expected: "text", got });
  }

  text(name: string): string {
    const value = this.optional(name);
    if (value !== null) return value;
    throw new DataError({ where: this.place(name), expected: "text", got: "nothing" });
  }

  /** Throws unless both are the same. */
  agree(name: string, expected: string, got: string): void {
    if (expected !== got) throw new DataError({ where: this.place(name), expected, got });
  }
}

/** The passages as `raw_token` lists them; throws when it is of another maze or way. */
function edgesFrom(fields: Fields, raw: string, maze: Maze, moves: readonly Direction[]) {
  const read = parseRawToken(raw, fields.place("raw_token"));
  fields.agree("Prompt", renderMaze(read.maze), renderMaze(maze));
  fields.agree("Response", renderMoves(movesAlong(maze.size, read.path)), renderMoves(moves));
  const isSorted =
    renderRawToken(read.maze, read.path) === renderRawToken(read.maze, read.path, read.edges);
  return isSorted ? {} : { edges: read.edges };
}

/**
 * The item of a row, its prompt and its trace kept as they are; a prompt that is a maze and nothing else is left to the
 * template of the task. Fields that say the same thing must agree, the way must end on the target, and the trace must be
 * one of this maze. Throws a DataError that names `where` (for example file and line) and the field.
 */
export function fromRecord(row: Row, where = "maze row"): MazeItem {
  const fields = new Fields(row, where);
  const prompt = fields.text("Prompt");
  const maze = parseMaze(mazeTextOf(prompt), fields.place("Prompt"));
  const moves = parseMoves(fields.text("Response").trim(), fields.place("Response"));
  const { end, made } = simulate(maze, moves);
  if (end !== "solved") {
    const got = end === "missed" ? "another end" : `a wall after ${made} moves`;
    throw new DataError({ where: fields.place("Response"), expected: "a way to the target", got });
  }
  const [trace, raw, level] = ["Cot_Response", "raw_token", "Level"].map((name) =>
    fields.optional(name),
  );
  const fault = typeof trace === "string" ? traceFault("full", trace, maze) : null;
  if (fault !== null) {
    const expected = "a correct trace";
    throw new DataError({ where: fields.place("Cot_Response"), expected, got: fault });
  }
  return {
    maze,
    moves,
    ...(prompt.trim() !== renderMaze(maze) && { prompt }),
    ...(typeof trace === "string" && { trace }),
    ...(typeof raw === "string" && edgesFrom(fields, raw, maze, moves)),
    ...(typeof level === "string" && { level }),
  };
}

/**
 * A bare benchmark maze in the words of a training row: its prompt with another maze. The benchmark's template is that of
 * the training rows without their indentation; other templates, and items with a prompt, stay as they are.
 */
export function inWordsOf(
  item: MazeItem,
  { prompt }: MazeItem,
  template: PromptTemplate,
): MazeItem {
  if (item.prompt !== undefined || prompt === undefined) return item;
  if (template !== "training" && template !== "benchmark") return item;
  const mazeText = mazeTextOf(prompt);
  const words =
    prompt.slice(0, prompt.length - mazeText.trimStart().length) + renderMaze(item.maze);
  return { ...item, prompt: template === "training" ? words : words.replaceAll(/^ {4}/gm, "") };
}
