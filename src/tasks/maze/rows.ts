// Published rows of the Maze-Reasoning data sets: a maze and its traces to a row, and back.

import { DataError } from "../../core/errors.ts";
import { directionBetween, type Direction, type Edge, type Maze } from "./maze.ts";
import { trainingPrompt } from "./prompt.ts";
import type { MazeItem } from "./task.ts";
import {
  cellsAlong,
  parseMaze,
  parseRawToken,
  renderMaze,
  renderMoves,
  renderRawToken,
} from "./text.ts";
import { type Attempt, renderFull, renderResponse, traceFault } from "./trace.ts";

/** One row, with the published field names. */
export interface MazeRecord {
  readonly Prompt: string;
  readonly Cot_Response: string;
  readonly Response: string;
  readonly raw_token: string;
  readonly conversations: readonly { readonly content: string; readonly role: string }[];
}

export interface RecordOptions {
  /** Spaces before the lines of the prompt: 4 as published, 0 as in the benchmark. */
  readonly indent: number;
  /** Failed attempts before the right one. */
  readonly attempts: readonly Attempt[];
  /** Passages in the order in which `raw_token` lists them; default sorted. */
  readonly edges?: readonly Edge[];
}

const published: RecordOptions = { indent: 4, attempts: [] };

export function toRecord(
  maze: Maze,
  moves: readonly Direction[],
  options: RecordOptions = published,
): MazeRecord {
  const prompt = trainingPrompt(renderMaze(maze), options.indent);
  const trace = renderFull(maze, [...options.attempts, { moves, message: null }]);
  const answer = renderMoves(moves);
  return {
    Prompt: prompt,
    Cot_Response: trace,
    Response: answer,
    raw_token: renderRawToken(maze, cellsAlong(maze.size, maze.origin, moves), options.edges),
    conversations: [
      { content: prompt.trim(), role: "user" },
      { content: renderResponse(trace, answer), role: "assistant" },
    ],
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

/**
 * The item of a row, its prompt kept as it is. `raw_token` says what the maze is; the other fields must
 * agree with it. Throws a DataError that names `where` (for example file and line) and the field.
 */
export function fromRecord(
  record: Pick<MazeRecord, "Prompt" | "Cot_Response" | "Response" | "raw_token">,
  where = "maze row",
): MazeItem {
  const { maze, path } = parseRawToken(record.raw_token, `${where}, field raw_token`);
  const moves = movesAlong(maze.size, path);
  const agree = (field: string, expected: string, got: string): void => {
    if (expected !== got) {
      throw new DataError({ where: `${where}, field ${field}`, expected, got });
    }
  };
  const shown = parseMaze(mazeTextOf(record.Prompt), `${where}, field Prompt`);
  agree("Prompt", renderMaze(maze), renderMaze(shown));
  agree("Response", renderMoves(moves), record.Response.trim());
  const fault = traceFault("full", record.Cot_Response, maze);
  if (fault !== null) {
    const expected = "a correct trace";
    throw new DataError({ where: `${where}, field Cot_Response`, expected, got: fault });
  }
  return { maze, moves, prompt: record.Prompt };
}
