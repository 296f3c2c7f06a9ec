// Analyses kept in a file, so that no position is searched twice: one line of JSON each, appended as soon as it is known.
//
// The key is the pieces, the side to move, the engine's id, and the depth and number of lines asked for; plies since the last
// capture are left out, and an engine behind a cache is asked about positions with none. A process that is killed leaves at most
// half a line, at the end of the file, which the next one cuts off. Several processes may write to one file: each appends whole
// lines (O_APPEND). What another has added since the file was opened is found when it is opened again.

import { type FileHandle, mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { z } from "zod";
import { DataError, RunError, shownJson } from "../../../core/errors.ts";
import { decodeText } from "../../../data/text-file.ts";
import { formatPlacement, parseFen } from "../rules/fen.ts";
import { RED } from "../rules/position.ts";
import type { Variant } from "../rules/variant.ts";
import { type Analysis, type AnalysisLimits, MATE, type XiangqiEngine } from "./engine.ts";

const NEWLINE = 10;
/** Half a line that is still being written by another process is longer after this. */
const WRITING_MS = 50;

const move = z.string().regex(/^[a-i]\d[a-i]\d$/);
const recordSchema = z.object({
  fen: z.string(),
  engine: z.string(),
  depth: z.int().min(1),
  lines: z.int().min(1),
  analysis: z.object({
    depth: z.int().min(0),
    lines: z.array(
      z.object({ move, value: z.number().min(-MATE).max(MATE), moves: z.array(move).min(1) }),
    ),
  }),
});

/** What an analysis is found by. */
export interface LabelKey {
  /** Pieces and side to move, as `normalFen` writes them. */
  readonly fen: string;
  /** The id of the engine. */
  readonly engine: string;
  readonly depth: number;
  readonly lines: number;
}

const keyText = ({ fen, engine, depth, lines }: LabelKey): string =>
  JSON.stringify([fen, engine, depth, lines]);

/** Pieces and side to move of a FEN, always written alike. Throws a DataError for a position that cannot occur. */
export function normalFen(fen: string, variant: Variant): string {
  const { position } = parseFen(fen, { variant });
  return `${formatPlacement(position)} ${position.side === RED ? "w" : "b"}`;
}

/** Calls `take` for every whole line, the first with number 1. */
function eachLine(bytes: Buffer, take: (line: Buffer, number: number) => void): void {
  let [start, number] = [0, 1];
  for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
    take(bytes.subarray(start, end), number++);
    start = end + 1;
  }
}

function readRecord(line: Buffer, where: string): z.infer<typeof recordSchema> {
  const text = decodeText(line, where);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const hint = (cause as Error).message;
    throw new DataError({ where, expected: "a line of JSON", got: shownJson(text), hint, cause });
  }
  const parsed = recordSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const hint = `${issue?.path.join(".")}: ${issue?.message}`;
  throw new DataError({ where, expected: "a kept analysis", got: shownJson(value), hint });
}

async function sizeOf(file: FileHandle): Promise<number> {
  return (await file.stat()).size;
}

async function readBytes(file: FileHandle, start: number, end: number): Promise<Buffer> {
  const bytes = Buffer.alloc(end - start);
  let filled = 0;
  while (filled < bytes.length) {
    const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, start + filled);
    if (bytesRead === 0) break; // cut off meanwhile
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

/** Bytes that are searched at once for the end of the last whole line. */
const TAIL_BYTES = 1 << 12;

/** Where the last whole line ends. */
async function endOfLines(file: FileHandle, size: number): Promise<number> {
  for (let end = size; end > 0;) {
    const start = Math.max(0, end - TAIL_BYTES);
    const newline = (await readBytes(file, start, end)).lastIndexOf(NEWLINE);
    if (newline >= 0) return start + newline + 1;
    end = start;
  }
  return 0;
}

/**
 * Cuts half a line off the end, unless somebody is just writing it. Of two that cut at the same moment one may lose the line that
 * it has just added, and makes that label again another time; no line is damaged.
 */
async function cutHalfLine(file: FileHandle): Promise<void> {
  for (;;) {
    const size = await sizeOf(file);
    const end = await endOfLines(file, size);
    if (end === size) return;
    await wait(WRITING_MS);
    if ((await sizeOf(file)) === size) await file.truncate(end);
  }
}

/** Analyses of one file. */
export class LabelCache {
  readonly path: string;
  readonly #file: FileHandle;
  readonly #kept: Map<string, Analysis>;
  /** Analyses under way, so that none is made twice at the same time. */
  readonly #underWay = new Map<string, Promise<Analysis>>();
  /** Settled when everything so far is written; it never fails. */
  #queue: Promise<unknown> = Promise.resolve();
  #hits = 0;
  #misses = 0;

  /** Of `openLabelCache`. */
  constructor(path: string, file: FileHandle, kept: Map<string, Analysis>) {
    this.path = path;
    this.#file = file;
    this.#kept = kept;
  }

  /** Analyses kept. */
  get size(): number {
    return this.#kept.size;
  }

  /** Analyses that were there when they were asked for, or already under way. */
  get hits(): number {
    return this.#hits;
  }

  /** Analyses that had to be made. */
  get misses(): number {
    return this.#misses;
  }

  /**
   * The analysis that is kept, or the one that `analyse` makes, which is on the disk when this returns.
   * @throws what `analyse` throws; RunError when the file cannot be written.
   */
  async get(key: LabelKey, analyse: () => Promise<Analysis>): Promise<Analysis> {
    const text = keyText(key);
    const kept = this.#kept.get(text);
    if (kept !== undefined) {
      this.#hits++;
      return kept;
    }
    const underWay = this.#underWay.get(text);
    if (underWay !== undefined) {
      this.#hits++;
      return underWay;
    }
    this.#misses++;
    const made = this.#make(key, text, analyse).finally(() => this.#underWay.delete(text));
    this.#underWay.set(text, made);
    return made;
  }

  async #make(key: LabelKey, text: string, analyse: () => Promise<Analysis>): Promise<Analysis> {
    const analysis = await analyse();
    const { fen, engine, depth, lines } = key;
    const record = { fen, engine, depth, lines, analysis };
    const written = this.#queue.then(() => this.#append(`${JSON.stringify(record)}\n`));
    this.#queue = written.catch(() => undefined);
    await written;
    this.#kept.set(text, analysis);
    return analysis;
  }

  /** One line with one write: the system adds it behind those of other processes, and whole. */
  async #append(line: string): Promise<void> {
    const bytes = Buffer.from(line);
    let got: string;
    try {
      await cutHalfLine(this.#file);
      const { bytesWritten } = await this.#file.write(bytes);
      if (bytesWritten === bytes.length) return;
      got = `${bytesWritten}`; // a full disk; the half line is cut off by the next who writes or opens
    } catch (cause) {
      got = (cause as Error).message;
    }
    throw new RunError({ where: this.path, expected: `${bytes.length} bytes written`, got });
  }

  /** Waits until all is written, and closes the file. */
  async close(): Promise<void> {
    await this.#queue;
    await this.#file.close();
  }
}

/**
 * Opens the file of a cache, or makes it. Half a line at its end is cut off.
 * @throws DataError that names file and line for any other line that is no analysis, RunError when there can be no such file.
 */
export async function openLabelCache(path: string): Promise<LabelCache> {
  let file: FileHandle;
  try {
    await mkdir(dirname(path), { recursive: true });
    file = await open(path, "a+");
  } catch (cause) {
    const [expected, got] = ["a file that can be written", (cause as Error).message];
    throw new RunError({ where: path, expected, got, cause });
  }
  try {
    await cutHalfLine(file);
    const kept = new Map<string, Analysis>();
    eachLine(await readBytes(file, 0, await sizeOf(file)), (line, number) => {
      const record = readRecord(line, `${path}, line ${number}`);
      kept.set(keyText(record), record.analysis);
    });
    return new LabelCache(path, file, kept);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The same engine, asked only for what the cache does not have. Closing it closes the engine, not the cache. */
export function cachedEngine(engine: XiangqiEngine, cache: LabelCache): XiangqiEngine {
  const { id, variant } = engine;
  return {
    id,
    variant,
    analyse: async (fen: string, limits: AnalysisLimits): Promise<Analysis> => {
      const { depth, lines = 1 } = limits;
      const normal = normalFen(fen, variant);
      return cache.get({ fen: normal, engine: id, depth, lines }, () =>
        engine.analyse(`${normal} - - 0 1`, { depth, lines }),
      );
    },
    close: () => engine.close(),
  };
}
