// MazeBench results in the published JSON shape, with what it lacks: error classes, a strict accuracy and
// 95 % intervals (Wilson).
//
// Differs from the published evaluator in: every row counts in its level as well as in the total (there, a
// failed batch drops out of the levels only), and a maze text that cannot be read is an error of the data.

import { ConfigError } from "../../core/errors.ts";
import { type Interval, wilsonInterval } from "../../core/statistics.ts";
import type { Output } from "../../core/task.ts";
import { answerOf } from "../../tasks/maze/answer.ts";
import type { MazeConfig } from "../../tasks/maze/config.ts";
import { coordinateName, renderMaze } from "../../tasks/maze/text.ts";
import { type MazeItem, mazeTask, runAnswer } from "../../tasks/maze/task.ts";

export interface MazeBenchRow {
  readonly item: MazeItem;
  readonly output: Output;
  /** Free text; rows are grouped by it. */
  readonly level: string;
}

/** Percentages, as published; intervals in percent too. */
interface Accuracy {
  readonly accuracy: number;
  readonly correct: number;
  readonly total: number;
  readonly interval: Interval;
}

interface MazeBenchDetail {
  readonly level: string;
  readonly maze: string;
  readonly solution: string;
  readonly is_correct: boolean;
  /** What went wrong; null when correct. */
  readonly error: string | null;
  readonly error_class: string | null;
}

export interface MazeBenchResult {
  readonly model_name: string;
  readonly timestamp: string;
  readonly overall_accuracy: number;
  readonly overall_interval: Interval;
  /** Correct, and nothing but directions in the answer. */
  readonly strict_accuracy: number;
  readonly strict_interval: Interval;
  readonly error_classes: Readonly<Record<string, number>>;
  readonly level_accuracies: Readonly<Record<string, Accuracy>>;
  readonly detailed_results: readonly MazeBenchDetail[];
}

function accuracyOf(correct: number, total: number): Accuracy {
  const { low, high } = wilsonInterval(correct, total);
  const interval = { low: 100 * low, high: 100 * high };
  return { accuracy: (100 * correct) / total, correct, total, interval };
}

function explain(item: MazeItem, answer: string): string | null {
  if (answer === "") return "no answer was found after </think>";
  const { end, cell, made } = runAnswer(item, answer);
  const place = coordinateName(item.maze.size, cell);
  if (end === "solved") return null;
  if (end === "missed") {
    return `the walk ends at ${place}, the target is ${coordinateName(item.maze.size, item.maze.target)}`;
  }
  return `move ${made + 1} ${end === "outside" ? "leaves the grid" : "meets a wall"} at ${place}`;
}

function detailOf({ item, output, level }: MazeBenchRow, config: MazeConfig): MazeBenchDetail {
  const solution = answerOf(output.text);
  const error = explain(item, solution);
  return {
    level,
    maze: renderMaze(item.maze),
    solution,
    is_correct: error === null,
    error,
    error_class: mazeTask.errorClass!(item, output, config),
  };
}

function countBy<Row>(
  rows: readonly Row[],
  name: (row: Row) => string | null,
): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const row of rows) {
    const key = name(row);
    if (key !== null) counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

/** `timestamp` is passed in (ISO 8601), since results are a pure function of their rows. Throws on an empty list. */
export function mazeBenchResult(
  modelName: string,
  timestamp: string,
  rows: readonly MazeBenchRow[],
  config: MazeConfig,
): MazeBenchResult {
  if (rows.length === 0) {
    throw new ConfigError({ where: "MazeBench", expected: "at least one row", got: "none" });
  }
  const details = rows.map((row) => detailOf(row, config));
  const correct = details.filter((detail) => detail.is_correct);
  const strict = rows.filter((row) => {
    return mazeTask.score(row.item, row.output, config)["solvedStrict"] === 1;
  });
  const overall = accuracyOf(correct.length, rows.length);
  const strictly = accuracyOf(strict.length, rows.length);
  const correctByLevel = countBy(correct, (detail) => detail.level);
  const levels = [...countBy(details, (detail) => detail.level)].map(
    ([level, total]) => [level, accuracyOf(correctByLevel.get(level) ?? 0, total)] as const,
  );
  return {
    model_name: modelName,
    timestamp,
    overall_accuracy: overall.accuracy,
    overall_interval: overall.interval,
    strict_accuracy: strictly.accuracy,
    strict_interval: strictly.interval,
    error_classes: Object.fromEntries(countBy(details, (detail) => detail.error_class)),
    level_accuracies: Object.fromEntries(levels),
    detailed_results: details,
  };
}
