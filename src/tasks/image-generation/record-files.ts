// Files of GenEval records and prompts, as published:
//
//   flow_grpo   DIR/{train,test}_metadata.jsonl
//   geneval     evaluation_metadata.jsonl, generation_prompts.txt (line i is the prompt of record i), object_names.txt
//   text only   DIR/{train,test}.txt: ocr, pickscore, drawbench

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openRows } from "../../data/rows.ts";
import { DataError, shownJson } from "../../core/errors.ts";
import { type GenevalRecord, parseRecord } from "./record.ts";

/**
 * All records of a file, or of the files of a folder that are of the split (`test` finds `test_metadata.jsonl`). Throws a
 * DataError that names file, line and field.
 */
export async function readRecords(path: string, split = "train"): Promise<GenevalRecord[]> {
  const rows = await openRows(path, split, { required: [], optional: [] });
  const records: GenevalRecord[] = [];
  for (let index = 0; index < rows.length; index++) {
    records.push(parseRecord(await rows.read(index), rows.place(index)));
  }
  return records;
}

/** JSONL text of records, as json.dumps of Python separates it (`", "` and `": "`). */
export function recordLines(records: readonly unknown[]): string {
  return records.map((record) => `${pythonJson(record)}\n`).join("");
}

/** JSON with the separators of Python's json.dumps, and like there nothing but ASCII. */
export function pythonJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).filter(([, one]) => one !== undefined);
    const fields = entries.map(([key, one]) => `${pythonJson(key)}: ${pythonJson(one)}`);
    return `{${fields.join(", ")}}`;
  }
  const escape = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(value).replaceAll(/[\u007f-\uffff]/g, escape);
}

/** Writes `{train,test}_metadata.jsonl`. */
export async function writeSplits(
  folder: string,
  splits: Readonly<Record<"train" | "test", readonly GenevalRecord[]>>,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const split of ["train", "test"] as const) {
    await writeFile(join(folder, `${split}_metadata.jsonl`), recordLines(splits[split]));
  }
}

export interface BenchmarkFiles {
  readonly records: readonly GenevalRecord[];
  readonly objectNames: readonly string[];
}

/** Writes the three prompt files of djghosh13/geneval. */
export async function writeBenchmark(
  folder: string,
  { records, objectNames }: BenchmarkFiles,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "evaluation_metadata.jsonl"), recordLines(records));
  const lines = (list: readonly string[]): string => list.map((line) => `${line}\n`).join("");
  await writeFile(join(folder, "generation_prompts.txt"), lines(records.map((one) => one.prompt)));
  await writeFile(join(folder, "object_names.txt"), lines(objectNames));
}

/** Reads the three files back; prompts must be those of the records, and every class one of the names. */
export async function readBenchmark(folder: string): Promise<BenchmarkFiles> {
  const metadata = join(folder, "evaluation_metadata.jsonl");
  const records = await readRecords(metadata);
  const namesPath = join(folder, "object_names.txt");
  const objectNames = parseLines(await readFile(namesPath, "utf8"), namesPath);
  const promptsPath = join(folder, "generation_prompts.txt");
  const prompts = parseLines(await readFile(promptsPath, "utf8"), promptsPath);
  if (prompts.length !== records.length) {
    const [expected, got] = [`${records.length} prompts`, String(prompts.length)];
    throw new DataError({ where: promptsPath, expected, got });
  }
  const known = new Set(objectNames);
  records.forEach(({ prompt, include, exclude = [] }, index) => {
    const where = `${promptsPath}, line ${index + 1}`;
    if (prompts[index] !== prompt) {
      const [expected, got] = [shownJson(prompt), shownJson(prompts[index])];
      throw new DataError({ where, expected, got, hint: "record and prompt differ" });
    }
    const stranger = [...include, ...exclude].find((one) => !known.has(one.class));
    if (stranger === undefined) return;
    const got = shownJson(stranger.class);
    const expected = "a class of object_names.txt";
    throw new DataError({ where: `${metadata}, record ${index + 1}`, expected, got });
  });
  return { records, objectNames };
}

/**
 * The lines of a text file of prompts or names, white space around them removed; empty lines at its end are no prompts. Throws a
 * DataError for an empty line between others, since it would be a prompt that asks for nothing.
 */
export function parseLines(text: string, where: string): string[] {
  const lines = text
    .replace(/^\uFEFF/, "")
    .split(/\r\n|\r|\n/)
    .map((line) => line.trim());
  while (lines.at(-1) === "") lines.pop();
  if (lines.length === 0) throw new DataError({ where, expected: "lines", got: "none" });
  const empty = lines.indexOf("");
  if (empty < 0) return lines;
  const expected = "a prompt or a name";
  throw new DataError({ where: `${where}, line ${empty + 1}`, expected, got: "an empty line" });
}

/** Prompts of `DIR/{train,test}.txt`, or of a file. */
export async function readPrompts(path: string): Promise<string[]> {
  return parseLines(await readFile(path, "utf8"), path);
}
