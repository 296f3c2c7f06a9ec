// A file of JSON lines that only grows. Whole lines are appended synchronously, so a process that is
// killed leaves at most one half line, at the end; readers skip it and a resume cuts it off.

import { closeSync, existsSync, fstatSync, fsyncSync, ftruncateSync, mkdirSync } from "node:fs";
import { openSync, readFileSync, readSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { DataError, RunError } from "../core/errors.ts";

const nonFinite: Readonly<Record<string, number>> = {
  NaN: Number.NaN,
  Infinity: Infinity,
  "-Infinity": -Infinity,
};

function toJson(_key: string, value: unknown): unknown {
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  // Nine significant digits carry every float32 exactly.
  if (value instanceof Float32Array)
    return Array.from(value, (x) => (Number.isFinite(x) ? Number(x.toPrecision(9)) : x));
  if (ArrayBuffer.isView(value) && !(value instanceof DataView))
    return Array.from(value as unknown as ArrayLike<number>);
  return value;
}

/**
 * One record as one line of JSON. JSON has no NaN and no infinities: they are written as the strings
 * "NaN", "Infinity" and "-Infinity", never as null. Typed arrays become plain arrays.
 */
export function jsonLine(record: object): string {
  return `${JSON.stringify(record, toJson)}\n`;
}

/** The number that a stored value stands for (see `jsonLine`), or undefined when it is not a number. */
export function storedNumber(value: unknown): number | undefined {
  if (typeof value === "number") return value;
  return typeof value === "string" ? nonFinite[value] : undefined;
}

/** The records of a file of JSON lines; none when it does not exist. A half-written last line is left out. */
export function readJsonLines(path: string): unknown[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, "utf8").split("\n");
  lines.pop(); // empty after a whole last line; otherwise the half line
  return lines.map((line, index) => parseLine(line, `${path}:${index + 1}`));
}

/** A line of a file, parsed, with its number counted from 1. */
export interface JsonLine {
  readonly value: unknown;
  readonly line: number;
}

/**
 * The records of a file of JSON lines one by one, however large it is; none when it does not exist. A half-written last line
 * is left out.
 */
export function* eachJsonLine(path: string): Generator<JsonLine, void> {
  if (!existsSync(path)) return;
  const file = openSync(path, "r");
  try {
    const chunk = Buffer.alloc(1 << 20);
    let kept: Buffer[] = []; // the pieces of a line that began in an earlier chunk
    let line = 0;
    for (let read = 1; (read = readSync(file, chunk, 0, chunk.length, null)) > 0;) {
      let start = 0;
      for (let end = chunk.indexOf(10); end >= 0 && end < read; end = chunk.indexOf(10, start)) {
        const text = Buffer.concat([...kept, chunk.subarray(start, end)]).toString("utf8");
        kept = [];
        start = end + 1;
        line++;
        yield { value: parseLine(text, `${path}:${line}`), line };
      }
      kept.push(Buffer.from(chunk.subarray(start, read)));
    }
  } finally {
    closeSync(file);
  }
}

function parseLine(line: string, where: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch (cause) {
    throw new DataError({ where, expected: "a line of JSON", got: line.slice(0, 60), cause });
  }
}

/** The last `count` records, read from the last megabyte of the file only. */
export function readLastJsonLines(path: string, count: number): unknown[] {
  if (!existsSync(path)) return [];
  const file = openSync(path, "r");
  try {
    const { size } = fstatSync(file);
    const bytes = Buffer.alloc(Math.min(size, 1 << 20));
    readSync(file, bytes, 0, bytes.length, size - bytes.length);
    const lines = bytes
      .toString("utf8")
      .split("\n")
      .slice(size > bytes.length ? 1 : 0, -1);
    return lines.slice(-count).map((line) => JSON.parse(line) as unknown);
  } finally {
    closeSync(file);
  }
}

/** Writer of one append-only file. */
export class AppendLog {
  readonly path: string;
  readonly #file: number;
  #sizeBytes: number;

  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true });
    this.path = path;
    this.#file = openSync(path, "a");
    this.#sizeBytes = fstatSync(this.#file).size;
  }

  /** Appends all records or none of them. */
  append(records: readonly object[]): void {
    const bytes = Buffer.from(records.map(jsonLine).join(""));
    try {
      for (let done = 0; done < bytes.length;) done += writeSync(this.#file, bytes, done);
    } catch (cause) {
      ftruncateSync(this.#file, this.#sizeBytes);
      throw new RunError({
        where: this.path,
        expected: `room for ${bytes.length} more bytes`,
        got: String(cause),
        cause,
      });
    }
    this.#sizeBytes += bytes.length;
  }

  /** Forces the file to the disk and returns its length. */
  sync(): number {
    fsyncSync(this.#file);
    return this.#sizeBytes;
  }

  close(): void {
    closeSync(this.#file);
  }
}
