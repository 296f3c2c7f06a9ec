// Checkpoints of a run: one folder each, complete or not there. A folder is written under a temporary
// name, forced to the disk and then renamed; a kill at any moment leaves the older ones untouched.

import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { RunError } from "../core/errors.ts";

/** Position of a run: plain JSON; `stage` and `step` also name the checkpoint. */
export interface CheckpointState {
  readonly stage: string;
  readonly step: number;
  readonly [key: string]: unknown;
}

export interface Checkpoint {
  readonly name: string;
  readonly directory: string;
  /** Rises with every checkpoint of a run. */
  readonly ordinal: number;
  /** Length of every append-only file when the checkpoint was made, by path inside the run. */
  readonly logSizesBytes: Readonly<Record<string, number>>;
  readonly state: CheckpointState;
}

const partialPrefix = ".partial-";
const replacedPrefix = ".replaced-";
const removedPrefix = ".removed-";
const damagedPrefix = ".damaged-";

const stateFileSchema = z.object({
  ordinal: z.int(),
  logSizesBytes: z.record(z.string(), z.int().min(0)),
  state: z.looseObject({ stage: z.string(), step: z.number() }),
});

function syncPath(path: string, flags: "r" | "r+"): void {
  const file = openSync(path, flags);
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Forces a folder and everything in it to the disk. */
function syncTree(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) syncTree(path);
    else if (entry.isFile()) syncPath(path, "r+");
  }
  syncDirectory(directory);
}

function syncDirectory(directory: string): void {
  try {
    syncPath(directory, "r");
  } catch {
    // Windows cannot open a folder; its renames are journaled.
  }
}

/**
 * Fills a folder through `write` and puts it at `parent/name` in one step. On a failure nothing is left
 * of it, and what stood at that name before still stands there.
 */
export async function writeFolder(
  parent: string,
  name: string,
  write: (directory: string) => Promise<void>,
): Promise<string> {
  const target = join(parent, name);
  const partial = join(parent, partialPrefix + name);
  const replaced = join(parent, replacedPrefix + name);
  mkdirSync(parent, { recursive: true });
  rmSync(partial, { recursive: true, force: true });
  try {
    mkdirSync(partial);
    await write(partial);
    syncTree(partial);
    if (existsSync(target)) renameSync(target, replaced);
    renameSync(partial, target);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    restoreReplaced(parent);
    throw error;
  }
  syncDirectory(parent);
  rmSync(replaced, { recursive: true, force: true });
  return target;
}

/** Undoes a replacement that was cut off between its two renames. */
function restoreReplaced(parent: string): void {
  for (const name of readdirSync(parent)) {
    if (!name.startsWith(replacedPrefix)) continue;
    const target = join(parent, name.slice(replacedPrefix.length));
    if (existsSync(target)) rmSync(join(parent, name), { recursive: true, force: true });
    else renameSync(join(parent, name), target);
  }
}

/** Removes what a killed write or deletion left behind. */
export function cleanFolder(parent: string): void {
  if (!existsSync(parent)) return;
  restoreReplaced(parent);
  for (const name of readdirSync(parent)) {
    const isLeft = name.startsWith(partialPrefix) || name.startsWith(removedPrefix);
    if (isLeft) rmSync(join(parent, name), { recursive: true });
  }
}

export function checkpointName(state: CheckpointState): string {
  return `${state.stage}-${String(state.step).padStart(6, "0")}`;
}

function readCheckpoint(parent: string, name: string): Checkpoint | null {
  const directory = join(parent, name);
  try {
    const text = readFileSync(join(directory, "state.json"), "utf8");
    return { name, directory, ...stateFileSchema.parse(JSON.parse(text)) };
  } catch {
    return null;
  }
}

/** Complete checkpoints of a run, newest first. */
export function listCheckpoints(parent: string): Checkpoint[] {
  if (!existsSync(parent)) return [];
  return readdirSync(parent)
    .filter((name) => !name.startsWith("."))
    .map((name) => readCheckpoint(parent, name))
    .filter((checkpoint) => checkpoint !== null)
    .sort((a, b) => b.ordinal - a.ordinal);
}

/** Writes state.json; a number that JSON cannot hold is an error, since a resume would not get it back. */
export function writeStateFile(directory: string, content: Omit<Checkpoint, "name" | "directory">) {
  const text = JSON.stringify(content, (key, value: unknown) => {
    const isLost = typeof value === "number" && !Number.isFinite(value);
    if (!isLost && typeof value !== "function" && typeof value !== "bigint") return value;
    throw new RunError({
      where: `checkpoint state, ${key}`,
      expected: "plain JSON",
      got: String(value),
    });
  });
  writeFileSync(join(directory, "state.json"), `${text}\n`);
}

/** Takes a checkpoint that cannot be read out of the list. Its files stay until the next one is complete. */
export function setAside(parent: string, { name, directory }: Checkpoint): void {
  const damaged = join(parent, damagedPrefix + name);
  rmSync(damaged, { recursive: true, force: true });
  renameSync(directory, damaged);
}

/**
 * Deletes all but the newest `keep` checkpoints, and those set aside. Each leaves its place first: a kill never leaves half
 * of one there.
 */
export function pruneCheckpoints(parent: string, keep: number): void {
  for (const old of listCheckpoints(parent).slice(keep)) {
    const removed = join(parent, removedPrefix + old.name);
    rmSync(removed, { recursive: true, force: true });
    renameSync(old.directory, removed);
    rmSync(removed, { recursive: true, force: true });
  }
  for (const name of readdirSync(parent)) {
    if (name.startsWith(damagedPrefix)) rmSync(join(parent, name), { recursive: true });
  }
}
