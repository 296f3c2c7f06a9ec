// Rows of a JSONL file: one JSON object a line. Opening finds where the lines begin; a row is read when it is asked for.

import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { DataError } from "../core/errors.ts";
import type { Row, RowFile } from "./rows.ts";
import { decodeText } from "./text-file.ts";

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

/** Bytes `[start, end)` of a file. Throws a DataError when it has become shorter. */
async function readRange(path: string, start: number, end: number): Promise<Uint8Array> {
  const bytes = Buffer.alloc(end - start);
  const file = await open(path);
  try {
    for (let filled = 0; filled < bytes.length;) {
      const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, start + filled);
      if (bytesRead === 0) {
        const [expected, got] = [`${end} bytes, as when it was opened`, String(start + filled)];
        throw new DataError({ where: path, expected, got });
      }
      filled += bytesRead;
    }
  } finally {
    await file.close();
  }
  return bytes;
}

/** Bytes that are read at once when lines are asked for in order; a longer line is read alone. */
const BLOCK_BYTES = 1 << 18;

/** Opens a JSONL file; throws a DataError when it has no row. */
export async function openJsonl(path: string): Promise<RowFile> {
  const { starts, ends, lines } = await findLines(path);
  if (starts.length === 0) {
    throw new DataError({ where: path, expected: "at least one line", got: "an empty file" });
  }
  const place = (index: number): string => `${path}, line ${lines[index]}`;
  // Opening the file for every line costs more than reading it.
  let block: { readonly start: number; readonly bytes: Uint8Array } = {
    start: 0,
    bytes: new Uint8Array(),
  };
  let last = -1;
  const lineBytes = async (index: number): Promise<Uint8Array> => {
    const [start, end] = [starts[index]!, ends[index]!];
    const isNext = index === last + 1;
    last = index;
    let held = block;
    if (start < held.start || end > held.start + held.bytes.length) {
      const limit = isNext ? start + BLOCK_BYTES : end;
      let stop = end;
      for (let next = index + 1; next < ends.length && ends[next]! <= limit; next++)
        stop = ends[next]!;
      held = { start, bytes: await readRange(path, start, stop) };
      block = held;
    }
    return held.bytes.subarray(start - held.start, end - held.start);
  };
  return {
    path,
    length: starts.length,
    place,
    read: async (index) =>
      parseLine(decodeText(await lineBytes(index), place(index)), place(index)),
  };
}
