// Rows of a JSONL file: one JSON object a line. Opening finds where the lines begin; a row is read when it is asked for.

import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { DataError } from "../core/errors.ts";
import type { Row, RowFile } from "./rows.ts";

const [NEWLINE, RETURN] = [10, 13];
/** Some programs of Windows begin a text file with it. */
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

/** Byte positions `[start, end)` of every line that is not empty, whatever its line end. */
async function findLines(
  path: string,
): Promise<{ starts: number[]; ends: number[]; lines: number[] }> {
  const [starts, ends, lines]: [number[], number[], number[]] = [[], [], []];
  let [start, position, line, before] = [0, 0, 1, NEWLINE];
  /** `last`: the byte before the line's end. */
  const add = (end: number, last: number): void => {
    if (end - start > (last === RETURN ? 1 : 0)) {
      starts.push(start);
      ends.push(end);
      lines.push(line);
    }
    start = end + 1;
    line++;
  };
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    const bytes = chunk as Buffer;
    const hasMark = position === 0 && bytes.subarray(0, 3).equals(BYTE_ORDER_MARK);
    if (hasMark) start = BYTE_ORDER_MARK.length;
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) {
      add(position + at, at > 0 ? bytes[at - 1]! : before);
    }
    position += bytes.length;
    before = bytes.at(-1)!;
  }
  add(position, before);
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
