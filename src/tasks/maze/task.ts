// The maze task: find the moves from the origin to the target of a maze written as tokens.
//
// Paper: AlphaMaze: Enhancing Large Language Models' Spatial Intelligence via GRPO, arXiv 2502.14669;
// scores follow its released reward functions and its MazeBench evaluator.

import { ConfigError, DataError } from "../../core/errors.ts";
import type { Random } from "../../core/random.ts";
import { defineTask, type Output, type Scores } from "../../core/task.ts";
import {
  answerOf,
  isDirection,
  isOnlyMoves,
  isSoftThink,
  isStrictThink,
  namesIn,
  occursOnce,
  thinkingOf,
} from "./answer.ts";
import { levelBounds, levelNames, type MazeConfig, mazeConfig } from "./config.ts";
import {
  type Direction,
  directions,
  type Edge,
  generateMaze,
  type Maze,
  mazeKey,
  type Outcome,
  simulate,
  solve,
  treeKey,
} from "./maze.ts";
import { mazePrompt } from "./prompt.ts";
import { resetMessages, wrongAttempts } from "./reset.ts";
import { fromRecord, inWordsOf, toRecord } from "./rows.ts";
import { renderSearch, searchMoves } from "./search.ts";
import { mazeTokens, renderMoves } from "./text.ts";
import { renderDiff, renderFull, renderResponse, traceFault } from "./trace.ts";

export interface MazeItem {
  readonly maze: Maze;
  /** Moves of the gold answer. */
  readonly moves: readonly Direction[];
  /** Prompt of a published row, shown as it is; absent: made from the config's template. */
  readonly prompt?: string;
  /** Level of a published row; absent: by the number of moves. */
  readonly level?: string;
  /** Thinking of a published row (kind `full`); absent: made from the config. */
  readonly trace?: string;
  /** Passages in the order of a published row; absent: sorted. */
  readonly edges?: readonly Edge[];
}

/** Mazes drawn before the bounds on the solution are given up. */
const attemptLimit = 20_000;

export function itemOf(maze: Maze): MazeItem {
  const moves = solve(maze);
  if (moves === null) {
    const expected = "a way from origin to target";
    throw new ConfigError({ where: "maze item", expected, got: "none" });
  }
  return { maze, moves };
}

function make(random: Random, config: MazeConfig): MazeItem {
  for (let attempt = 0; attempt < attemptLimit; attempt++) {
    const item = itemOf(generateMaze(random, config.size, config.generator));
    if (item.moves.length >= config.minMoves && item.moves.length <= config.maxMoves) return item;
  }
  throw new ConfigError({
    where: "maze task",
    expected: `mazes with ${config.minMoves} to ${config.maxMoves} moves`,
    got: `none in ${attemptLimit} random ${config.size}x${config.size} mazes`,
    hint: "widen minMoves and maxMoves",
  });
}

const promptOf = (item: MazeItem, config: MazeConfig): string =>
  item.prompt ?? mazePrompt(config.prompt, item.maze);

function goldTrace(item: MazeItem, config: MazeConfig, random: Random): string {
  const { maze, moves } = item;
  // `at` leaves the stream where it is: the traces are the same for every share.
  if (config.trace === "none" || random.at(0) < config.directShare) return "";
  if (config.trace === "search") {
    const walk = searchMoves(maze, config.searchOrder, random);
    return renderSearch(maze, walk, moves, config.searchLimit);
  }
  if (config.trace === "full" && item.trace !== undefined) return item.trace;
  const resets = random.uniform() < config.resetShare ? wrongAttempts(maze, random) : [];
  const render = config.trace === "full" ? renderFull : renderDiff;
  return render(maze, [...resets, { moves, message: null }]);
}

function readRow(
  row: Readonly<Record<string, unknown>>,
  where: string,
  { size }: MazeConfig,
): MazeItem {
  const item = fromRecord(row, where);
  if (item.maze.size === size) return item;
  const [expected, got] = [size, item.maze.size].map((side) => `a ${side}x${side} maze`);
  throw new DataError({ where, expected: expected!, got: got!, hint: "set the size of the task" });
}

/** How an answer ends as MazeBench reads it: tokens that are no direction do nothing. */
export function runAnswer(item: MazeItem, answer: string): Outcome {
  return simulate(item.maze, namesIn(answer).filter(isDirection));
}

function score(item: MazeItem, { text }: Output, config: MazeConfig): Scores {
  const answer = answerOf(text);
  const length = item.moves.length;
  const exact = answer === renderMoves(item.moves);
  const solved = runAnswer(item, answer).end === "solved";
  const thinking = thinkingOf(text);
  const trace = traceFault(config.trace, thinking, item.maze, config.searchLimit) === null;
  return {
    solved: Number(solved),
    solvedStrict: Number(solved && namesIn(answer).every(isDirection)),
    solvedMoves: solved ? length : 0,
    exact: Number(exact),
    exactMoves: exact ? length : 0,
    integrity: Number(isOnlyMoves(answer)),
    thinkOpen: Number(occursOnce(text, "<think>\n")),
    thinkClose: Number(occursOnce(text, "\n</think>\n")),
    strictThink: Number(isStrictThink(text)),
    softThink: Number(isSoftThink(text)),
    parsed: Number(answer !== ""),
    reset: Number(thinking.includes("RESET")),
    direct: Number(thinking === ""),
    trace: Number(trace),
  };
}

function errorClass(item: MazeItem, { text, stopReason }: Output): string | null {
  const answer = answerOf(text);
  const { end } = runAnswer(item, answer);
  if (end === "solved") return null;
  if (stopReason === "length") return "too long";
  if (!namesIn(answer).some(isDirection)) return "no answer";
  return { blocked: "hit wall", outside: "left the grid", missed: "missed target" }[end];
}

function level(item: MazeItem, config: MazeConfig): string {
  if (item.level !== undefined) return item.level;
  const bounds = config.levels ?? levelBounds(config.size);
  return levelNames[bounds.filter((most) => item.moves.length > most).length]!;
}

export const mazeTask = defineTask<MazeItem, MazeConfig>({
  name: "maze",
  summary: "find the moves from the origin to the target of a maze written as tokens",
  config: mazeConfig,
  scores: {
    solved: "1 when the moves of the answer end on the target (MazeBench; detours are fine)",
    solvedStrict: "solved, and every token of the answer is a direction",
    solvedMoves: "moves of the gold answer when solved, else 0",
    exact: "1 when the answer is the gold answer, character by character",
    exactMoves: "moves of the gold answer when exact, else 0",
    integrity: "1 when the answer is one or more direction tokens and white space",
    thinkOpen: "1 when `<think>` and a newline occur exactly once",
    thinkClose: "1 when `</think>` on a line of its own occurs exactly once",
    strictThink: "1 when thinking, blank line, answer and a last newline are the whole output",
    softThink: "1 when the output starts with `<think>` and closes it",
    parsed: "1 when there is an answer behind `</think>`",
    reset: "1 when the thinking says RESET",
    direct: "1 when there is no thinking",
    trace: "1 when the thinking is a correct trace of the configured kind",
  },
  accuracy: "solved",
  tokens: (config) => [
    ...mazeTokens(config.size),
    "<think>",
    "</think>",
    "RESET",
    // Words of a full trace, so that a step costs a handful of tokens beside its maze.
    ...(config.trace === "full" ? ["Step ", ": Go ", ...directions, ...resetMessages] : []),
  ],
  addedTokens: (config) => mazeTokens(config.size),
  make,
  prompt: (item, config) => [{ role: "user", content: promptOf(item, config) }],
  gold: (item, config, random) =>
    renderResponse(goldTrace(item, config, random), renderMoves(item.moves)),
  score,
  rows: {
    fields: ["Prompt", "Response"],
    goldFields: ["Cot_Response"],
    optionalFields: ["Level"],
    optionalGoldFields: ["raw_token"],
    read: readRow,
    inWordsOf: (item, example, config) => inWordsOf(item, example, config.prompt),
    write: (item, config, random) => {
      const full: MazeConfig = { ...config, trace: "full", directShare: 0 };
      return { ...toRecord(item, promptOf(item, config), goldTrace(item, full, random)) };
    },
  },
  key: (item) => mazeKey(item.maze),
  splitKey: (item) => treeKey(item.maze),
  levels: levelNames,
  level,
  errorClass,
});
