// Files of GenEval records and prompts, as published:
//
//   flow_grpo   DIR/{train,test}_metadata.jsonl; of counting_edit also the images that they name, relative to DIR
//   geneval     evaluation_metadata.jsonl, generation_prompts.txt (line i is the prompt of record i), object_names.txt

import { statSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { readRows } from "../../data/rows.ts";
import { readText } from "../../data/text-file.ts";
import { DataError, shownJson } from "../../core/errors.ts";
import { formatLines, parseLines } from "./prompt-files.ts";
import { type GenevalRecord, parseRecord } from "./record.ts";

/**
 * All records of a file, or of the files of a folder that are of the split (`test` finds `test_metadata.jsonl`). Throws a
 * DataError that names file, line and field.
 */
export async function readRecords(path: string, split = "train"): Promise<GenevalRecord[]> {
  return readRows(path, split, (row, where) => parseRecord(row, where));
}

/** A record for editing, with the image it begins from. */
export interface EditRecord {
  readonly record: GenevalRecord & Required<Pick<GenevalRecord, "image" | "t2i_prompt">>;
  /** Absolute path of that image, which is there. */
  readonly imagePath: string;
}

/**
 * Records of a folder like counting_edit; `image` is relative to it. Throws a DataError that names file, line and field, also for
 * an image that is not there.
 */
export async function readEditRecords(folder: string, split = "train"): Promise<EditRecord[]> {
  return readRows(join(folder, `${split}_metadata.jsonl`), split, (row, where) => {
    const record = parseRecord(row, where);
    const { image, t2i_prompt } = record;
    const refuse = (field: string, expected: string, got: string): DataError =>
      new DataError({ where: `${where}, field ${field}`, expected, got });
    if (image === undefined) throw refuse("image", "the path of an image", "nothing");
    if (t2i_prompt === undefined) throw refuse("t2i_prompt", "the prompt of that image", "nothing");
    const imagePath = resolve(folder, image);
    if (statSync(imagePath, { throwIfNoEntry: false })?.isFile() !== true) {
      throw refuse("image", `an image in ${folder}`, shownJson(image));
    }
    return { record: { ...record, image, t2i_prompt }, imagePath };
  });
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

/** Writes the three prompt files of djghosh13/geneval. Throws a DataError for a prompt or a name that is not one line. */
export async function writeBenchmark(
  folder: string,
  { records, objectNames }: BenchmarkFiles,
): Promise<void> {
  const text = (name: string, lines: readonly string[]) => formatLines(lines, join(folder, name));
  const prompts = records.map(({ prompt }) => prompt);
  const files = {
    "evaluation_metadata.jsonl": recordLines(records),
    "generation_prompts.txt": text("generation_prompts.txt", prompts),
    "object_names.txt": text("object_names.txt", objectNames),
  };
  await mkdir(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
}

/** Reads the three files back; prompts must be those of the records, and every class one of the names. */
export async function readBenchmark(folder: string): Promise<BenchmarkFiles> {
  const [promptsPath, namesPath] = ["generation_prompts.txt", "object_names.txt"].map((name) =>
    join(folder, name),
  ) as [string, string];
  const objectNames = parseLines(await readText(namesPath), namesPath);
  const prompts = parseLines(await readText(promptsPath), promptsPath);
  const known = new Set(objectNames);
  let count = 0;
  const records = await readRows(
    join(folder, "evaluation_metadata.jsonl"),
    "test",
    (row, where) => {
      const record = parseRecord(row, where);
      checkClasses(record, known, where);
      const prompt = prompts[count++] ?? record.prompt; // one that is missing is counted below
      if (prompt === record.prompt) return record;
      const hint = `line ${count} of generation_prompts.txt`;
      const place = `${where}, field prompt`;
      throw new DataError({
        where: place,
        expected: shownJson(prompt),
        got: shownJson(record.prompt),
        hint,
      });
    },
  );
  if (prompts.length === count) return { records, objectNames };
  throw new DataError({
    where: promptsPath,
    expected: `${count} prompts`,
    got: String(prompts.length),
  });
}

/** Throws a DataError that names the field of a class that is not known. */
function checkClasses(record: GenevalRecord, known: ReadonlySet<string>, where: string): void {
  for (const field of ["include", "exclude"] as const) {
    record[field]?.forEach(({ class: name }, index) => {
      if (known.has(name)) return;
      const place = `${where}, field ${field}[${index}].class`;
      const expected = "a class of object_names.txt";
      throw new DataError({ where: place, expected, got: shownJson(name) });
    });
  }
}
