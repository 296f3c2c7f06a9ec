// Which files a path means: a file, a pattern (`train-*.parquet`), or a folder laid out as on the Hugging Face Hub.
//
// In a folder the files of a split are those with its name as a word in their path: `data/train-00000-of-00005.parquet`,
// `order-1/train-*.parquet` (one folder a config), `train.jsonl`, `default/test/0000.parquet`. The folder of one config
// gives that config; the folder above gives all of them, one after the other.

import { readdirSync, statSync } from "node:fs";
import { basename, dirname, join, sep } from "node:path";
import { DataError } from "../core/errors.ts";

export const rowFormats = ["parquet", "jsonl"] as const;
export type RowFormat = (typeof rowFormats)[number];

/** The format that a file's name says, or undefined. */
export function formatOf(path: string): RowFormat | undefined {
  return rowFormats.find((format) => path.toLowerCase().endsWith(`.${format}`));
}

const formatNames = rowFormats.map((format) => `.${format}`).join(" or ");

/** Every file below a folder, hidden ones left out, in the order of their paths relative to it. */
function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => !path.split(sep).some((part) => part.startsWith(".")))
    .filter((path) => formatOf(path) !== undefined)
    .sort();
}

const isWordOf = (word: string, path: string): boolean =>
  new RegExp(`(?:^|[^a-z0-9])${word}(?:[^a-z0-9]|$)`, "i").test(path);

const escaped = (text: string): string => text.replaceAll(/[.+?^${}()|[\]\\]/g, String.raw`\$&`);

function matching(pattern: string): string[] {
  const folder = dirname(pattern);
  const expression = new RegExp(`^${escaped(basename(pattern)).replaceAll("*", ".*")}$`);
  const names = isFolder(folder) ? readdirSync(folder) : [];
  return names
    .filter((name) => expression.test(name))
    .sort()
    .map((name) => join(folder, name));
}

const statOf = (path: string) => statSync(path, { throwIfNoEntry: false });
const isFolder = (path: string): boolean => statOf(path)?.isDirectory() === true;

/**
 * The files of a path, in the order in which their rows count.
 * @param path A file, a pattern with `*` in the file name, or a folder.
 * @param split Which files of a folder: `train` or `test`.
 * @throws DataError when nothing is there, no file is of that split, or the formats are mixed.
 */
export function findFiles(path: string, split: string): string[] {
  const files = candidates(path, split);
  const formats = new Set(files.map(formatOf));
  const stranger = files.find((file) => formatOf(file) === undefined);
  if (stranger !== undefined) {
    throw new DataError({
      where: stranger,
      expected: `a file ${formatNames}`,
      got: "another name",
    });
  }
  if (formats.size > 1) {
    const hint = "name the files with a pattern";
    throw new DataError({ where: path, expected: "files of one format", got: "both", hint });
  }
  return files;
}

function candidates(path: string, split: string): string[] {
  if (isFolder(path)) {
    const files = filesBelow(path).filter((file) => isWordOf(split, file));
    if (files.length > 0) return files.map((file) => join(path, file));
    const there = filesBelow(path);
    throw new DataError({
      where: path,
      expected: `files of the split ${split} (for example data/${split}-*.parquet or ${split}.jsonl)`,
      got: there.length === 0 ? `no file ${formatNames}` : there.slice(0, 5).join(", "),
      hint: "a file or a pattern can be named instead",
    });
  }
  if (basename(path).includes("*")) {
    const files = matching(path);
    if (files.length > 0) return files;
    throw new DataError({ where: path, expected: "files that match", got: "none" });
  }
  if (statOf(path) !== undefined) return [path];
  const expected = "a file, a pattern or a folder with rows";
  throw new DataError({ where: path, expected, got: "nothing of that name" });
}
