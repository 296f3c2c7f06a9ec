// Text files of prompts, one a line:
//
//   flow_grpo   DIR/{train,test}.txt: ocr, pickscore, drawbench
//   DanceGRPO   a file of HPDv2 or VidProM prompts; lines with Chinese characters left out, the first 50,000 used
//
// Differs from DanceGRPO in: an empty line between others is an error, not a prompt; lines end where an editor ends them, not at
// U+2028 and the like too.

import { statSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError, DataError, shownJson } from "../../core/errors.ts";
import { readText } from "../../data/text-file.ts";
import { quotedText } from "./text-reward.ts";

const LINE_END = /\r\n|\r|\n/;

/** A line of a text file, counted from 1. */
interface TextLine {
  readonly text: string;
  readonly line: number;
}

function textLines(text: string, where: string): TextLine[] {
  const lines = text
    .replace(/^\uFEFF/, "")
    .split(LINE_END)
    .map((line, index) => ({ text: line.trim(), line: index + 1 }));
  while (lines.at(-1)?.text === "") lines.pop();
  if (lines.length === 0) throw new DataError({ where, expected: "lines", got: "none" });
  const empty = lines.find((line) => line.text === "");
  if (empty === undefined) return lines;
  const expected = "a prompt or a name";
  throw new DataError({ where: `${where}, line ${empty.line}`, expected, got: "an empty line" });
}

/**
 * The lines of a text file of prompts or names, white space around them removed; empty lines at its end are no prompts. Throws a
 * DataError for an empty line between others, since it would be a prompt that asks for nothing.
 */
export const parseLines = (text: string, where: string): string[] =>
  textLines(text, where).map((line) => line.text);

/** The text of lines. Throws a DataError for one that would not come back: empty, of several lines, with white space around it. */
export function formatLines(lines: readonly string[], where: string): string {
  lines.forEach((line, index) => {
    if (line !== "" && line.trim() === line && !LINE_END.test(line)) return;
    const expected = "one line of text, without white space around it";
    throw new DataError({ where: `${where}, line ${index + 1}`, expected, got: shownJson(line) });
  });
  return lines.map((line) => `${line}\n`).join("");
}

export interface PromptFileOptions {
  /** Which file of a folder: `DIR/train.txt`. */
  readonly split: string;
  /** Lines with a CJK ideograph (U+4E00 to U+9FFF); DanceGRPO leaves them out. */
  readonly cjk: "keep" | "drop";
  /** How many of what is left, from the first (DanceGRPO: 50,000); null: all. */
  readonly first: number | null;
}

const CJK = /[\u4E00-\u9FFF]/;

async function readLines(
  path: string,
  { split = "train", cjk = "keep", first = null }: Partial<PromptFileOptions>,
): Promise<{ file: string; lines: TextLine[] }> {
  if (first !== null && !(Number.isInteger(first) && first > 0)) {
    const got = String(first);
    throw new ConfigError({ where: path, expected: "first: null, or how many prompts", got });
  }
  const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  const file = isFolder ? join(path, `${split}.txt`) : path;
  const lines = textLines(await readText(file), file);
  const kept = cjk === "keep" ? lines : lines.filter(({ text }) => !CJK.test(text));
  if (kept.length > 0) return { file, lines: kept.slice(0, first ?? kept.length) };
  const expected = "a line without CJK characters";
  throw new DataError({ where: file, expected, got: `${lines.length} lines with some` });
}

/**
 * Prompts of a file, or of the split of a folder. All lines are prompts where the options do not say otherwise. Throws a DataError
 * that names file and line, also when no prompt is left.
 */
export async function readPrompts(
  path: string,
  options: Partial<PromptFileOptions> = {},
): Promise<string[]> {
  return (await readLines(path, options)).lines.map(({ text }) => text);
}

/** A prompt and the text that its image must show. */
export interface TextPrompt {
  readonly prompt: string;
  /** The first double-quoted span. */
  readonly text: string;
}

/** Prompts for text rendering (flow_grpo's `ocr`). Throws a DataError that names the line of a prompt without quoted text. */
export async function readTextPrompts(
  path: string,
  options: Partial<PromptFileOptions> = {},
): Promise<TextPrompt[]> {
  const { file, lines } = await readLines(path, options);
  return lines.map(({ text: prompt, line }) => ({
    prompt,
    text: quotedText(prompt, `${file}, line ${line}`),
  }));
}

/** Writes prompts, one a line. Throws a DataError for one that would not come back. */
export async function writePrompts(path: string, prompts: readonly string[]): Promise<void> {
  await writeFile(path, formatLines(prompts, path));
}
