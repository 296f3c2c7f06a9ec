// Rows of data files: any number of them, read one at a time by index, so that a set may be larger than memory.

import { statSync } from "node:fs";
import { DataError } from "../core/errors.ts";
import { findFiles, formatOf } from "./find-files.ts";
import { openJsonl } from "./jsonl.ts";
import { openParquet } from "./parquet.ts";

/** One row by its field names. What a field holds is not checked here. */
export type Row = Readonly<Record<string, unknown>>;

/** Fields that are read; a file without a required one is refused. */
export interface RowColumns {
  readonly required: readonly string[];
  readonly optional: readonly string[];
}

/** What tells one version of a file from another, as far as it is cheap to know. */
export interface RowFileFacts {
  readonly file: string;
  readonly sizeBytes: number;
  readonly rows: number;
}

/** The rows of one file or of several, one after the other. */
export interface Rows {
  readonly length: number;
  readonly files: readonly RowFileFacts[];
  /** File and row (counted from 0) or line (from 1), for errors. */
  place(index: number): string;
  /** Throws a DataError that names the place. */
  read(index: number): Promise<Row>;
}

export interface RowFile extends Omit<Rows, "files"> {
  readonly path: string;
}

/**
 * Opens the files of a path and checks what can be known without reading every row: that they are there, whole, and have
 * the required columns (JSONL: whether every line is JSON shows when it is read).
 * @param path A file, a pattern or a folder (find-files.ts).
 * @throws DataError that names the file.
 */
export async function openRows(path: string, split: string, columns: RowColumns): Promise<Rows> {
  const files = await Promise.all(
    findFiles(path, split).map((file) =>
      formatOf(file) === "parquet" ? openParquet(file, columns) : openJsonl(file),
    ),
  );
  const starts = [0];
  for (const { length } of files) starts.push(starts.at(-1)! + length);
  const locate = (index: number): readonly [RowFile, number] => {
    const file = starts.findLastIndex((start) => start <= index);
    return [files[file]!, index - starts[file]!];
  };
  return {
    length: starts.at(-1)!,
    files: files.map(({ path: file, length }) => ({
      file,
      sizeBytes: statSync(file).size,
      rows: length,
    })),
    place: (index) => {
      const [file, row] = locate(index);
      return file.place(row);
    },
    read: async (index) => {
      const [file, row] = locate(index);
      return file.read(row);
    },
  };
}

/**
 * All rows of JSONL files, each through `parse`, which is told its file and line.
 * @throws DataError that names the place; also for a file of another format, whose columns would have to be named.
 */
export async function readRows<Value>(
  path: string,
  split: string,
  parse: (row: Row, where: string) => Value | Promise<Value>,
): Promise<Value[]> {
  const stranger = findFiles(path, split).find((file) => formatOf(file) !== "jsonl");
  if (stranger !== undefined) {
    throw new DataError({ where: stranger, expected: "a file .jsonl", got: "another format" });
  }
  const rows = await openRows(path, split, { required: [], optional: [] });
  const values: Value[] = [];
  for (let index = 0; index < rows.length; index++) {
    values.push(await parse(await rows.read(index), rows.place(index)));
  }
  return values;
}
