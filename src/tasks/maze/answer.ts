// What an output says: the answer behind the thinking, the moves in it, the shape of the tags.
// Answer and tag rules: the reward functions and the MazeBench evaluator of AlphaMaze (arXiv 2502.14669).

import { type Direction, directions } from "./maze.ts";

/** Text between the first and the second `</think>` (or the end), trimmed; "" without `</think>`. */
export const answerOf = (text: string): string => text.split("</think>")[1]?.trim() ?? "";

/** Text before the first `</think>` and after the first `<think>` before it, without the newline of each tag. */
export function thinkingOf(text: string): string {
  const before = text.split("</think>", 1)[0]!;
  const open = before.indexOf("<think>");
  return (open < 0 ? before : before.slice(open + "<think>".length))
    .replace(/^\n/, "")
    .replace(/\n$/, "");
}

/** Names of every `<|name|>` in an answer; the closing `>` may be missing. */
export function namesIn(answer: string): string[] {
  return [...answer.matchAll(/<\|([^\n]*?)\|>?/g)].map((match) => match[1]!);
}

export const isDirection = (name: string): name is Direction =>
  (directions as readonly string[]).includes(name);

/** Whether an answer, its white space removed, is one or more direction tokens and nothing else. */
export const isOnlyMoves = (answer: string): boolean =>
  /^(?:<\|(?:up|down|left|right)\|>)+$/.test(answer.replace(/\s+/g, ""));

/** Whether `part` occurs exactly once. */
export function occursOnce(text: string, part: string): boolean {
  const first = text.indexOf(part);
  return first >= 0 && text.indexOf(part, first + part.length) < 0;
}

/**
 * `^<think>\n.*?\n</think>\n\n.*?\n$` with `.` matching newlines. It asks for a newline at the very end,
 * which the gold message does not have.
 */
export function isStrictThink(text: string): boolean {
  const open = "<think>\n";
  const close = "\n</think>\n\n";
  const at = text.indexOf(close, open.length);
  return text.startsWith(open) && at >= 0 && text.endsWith("\n") && text.length > at + close.length;
}

/** `<think>.*?</think>` at the start, `.` matching newlines. */
export const isSoftThink = (text: string): boolean =>
  text.startsWith("<think>") && text.includes("</think>", "<think>".length);
