// Rows of a JSONL file: one JSON object a line. Opening finds where the lines begin; a row is read when it is asked for.

import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { DataError } from "../core/errors.ts";
import type { Row, RowFile } from "./rows.ts";

const NEWLINE = 10;

/** Byte positions `[start, end)` of every line that is not empty. */
async function findLines(
  path: string,
): Promise<{ starts: number[]; ends: number[]; lines: number[] }> {
  const [starts, ends, lines]: [number[], number[], number[]] = [[], [], []];
  let [start, position, line] = [0, 0, 1];
  const add = (end: number): void => {
    if (end > start) {
      starts.push(start);
      ends.push(end);
      lines.push(line);
    }
    start = end + 1;
    line++;
  };
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    const bytes = chunk as Buffer;
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) {
      add(position + at);
    }
    position += bytes.length;
  }
  add(position);
  return { starts, ends, lines };
}

/** A line as an object; throws a DataError that names file and line. */
function parseLine(text: string, where: string): Row {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const got = JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
    const hint = (cause as Error).message;
    throw new DataError({ where, expected: "a JSON object", got, hint, cause });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Row;
  throw new DataError({
    where,
    expected: "a JSON object",
    got: JSON.stringify(value).slice(0, 60),
  });
}

/** Opens a JSONL file; throws a DataError when it has no row. */
export async function openJsonl(path: string): Promise<RowFile> {
  const { starts, ends, lines } = await findLines(path);
  if (starts.length === 0) {
    throw new DataError({ where: path, expected: "at least one line", got: "an empty file" });
  }
  const place = (index: number): string => `${path}, line ${lines[index]}`;
  return {
    path,
    length: starts.length,
    place,
    read: async (index) => {
      const [start, end] = [starts[index]!, ends[index]!];
      const bytes = Buffer.alloc(end - start);
      const file = await open(path);
      try {
        await file.read(bytes, 0, bytes.length, start);
      } finally {
        await file.close();
      }
      return parseLine(bytes.toString("utf8"), place(index));
    },
  };
}
