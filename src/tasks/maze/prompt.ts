// Prompts around a maze text. The published prompt text belongs to the data set, whose rows carry
// it in their `Prompt` field and are shown as they are; the wording here is our own and follows the
// same order: role, legend of five items, task, `MAZE:`, maze.

import type { Maze } from "./maze.ts";
import { renderMaze } from "./text.ts";

export const promptTemplates = ["bare", "training", "benchmark", "deepseek-distil"] as const;
export type PromptTemplate = (typeof promptTemplates)[number];

const role = "You solve mazes. The maze is given to you as a series of tokens.";

const legend = [
  "What the tokens mean:",
  "- Coordinates: <|row-col|>, counted from the top left (for example <|0-0|> and <|1-1|>)",
  "- Walls: <|no_wall|>, <|up_wall|>, <|down_wall|>, <|left_wall|>, <|right_wall|>, <|up_down_wall|>, etc.",
  "- Origin: <|origin|>",
  "- Target: <|target|>",
  "- Movement: <|up|>, <|down|>, <|left|>, <|right|>, <|blank|>",
];

// The published task paragraph asks for spaces between the moves although its gold answers have none; so does ours.
const task =
  "Write the moves (<|up|>, <|down|>, <|left|>, <|right|>) that lead from the origin to the target. " +
  "Think step by step and choose one movement token at a time. " +
  "Your answer holds movement tokens only, separated by spaces.";

const outputFormat = [
  "Output format:",
  "Reason between <think> and </think>, then give the answer on a line of its own.",
  "An answer looks like this:",
  "<|up|><|right|><|right|><|down|>",
];

/**
 * The instruction, then the maze. `indent` spaces stand before every line but the first and the blank ones: the
 * published training rows have 4 (their template sat inside indented source code), so the first maze
 * row is indented and the others, which were filled in later, are not.
 */
export function trainingPrompt(mazeText: string, indent: number): string {
  const lines = [role, ...legend, "", task, "MAZE:", mazeText];
  return indented(lines, indent);
}

function indented(lines: readonly string[], indent: number): string {
  const space = " ".repeat(indent);
  return lines.map((line, index) => (index === 0 || line === "" ? line : space + line)).join("\n");
}

const templates: Readonly<Record<PromptTemplate, (mazeText: string) => string>> = {
  bare: (mazeText) => mazeText,
  training: (mazeText) => trainingPrompt(mazeText, 4),
  benchmark: (mazeText) => trainingPrompt(mazeText, 0),
  "deepseek-distil": (mazeText) =>
    [role, ...legend, "", task, "", ...outputFormat, "", "MAZE:", mazeText].join("\n"),
};

export function mazePrompt(template: PromptTemplate, maze: Maze): string {
  return templates[template](renderMaze(maze));
}
