// The directory of a run (append-only, readable by anything):
//
//   run.json            system, scale, resolved config, seed, versions, revision, start, end, status
//   data.json           names, sizes and rows of the data files, where the items come from files
//   metrics.jsonl       one line a step
//   evaluations.jsonl   one line an evaluation
//   samples/            one file of JSON lines a stage
//   checkpoints/        the newest few; everything a bit-exact resume needs
//   model/              the trained model
//   lock                process that writes the run

import { existsSync, mkdirSync, readdirSync, rmSync, statSync, truncateSync } from "node:fs";
import { dirname, join } from "node:path";
import { ConfigError, RunError } from "../core/errors.ts";
import { AppendLog } from "./append-log.ts";
import { checkpointName, cleanFolder, listCheckpoints, pruneCheckpoints } from "./checkpoints.ts";
import { setAside, writeFolder, writeStateFile } from "./checkpoints.ts";
import type { Checkpoint, CheckpointState } from "./checkpoints.ts";
import { lockHolder, releaseLock, takeLock } from "./lock.ts";
import { type EvaluationRecord, evaluationsFile, type MetricsRecord } from "./records.ts";
import { type HistogramRecord, histogramsFile, metricsFile, samplesFile } from "./records.ts";
import { currentRevision, currentVersions, readRunRecord, writeJsonFile } from "./run-record.ts";
import type { RunRecord, RunStatus } from "./run-record.ts";

export * from "./records.ts";

export interface RunStart {
  readonly system: string;
  readonly scale: string;
  /** The resolved config: plain JSON. */
  readonly config: unknown;
  readonly seed: number;
  /** As given on the command line, for the reader. */
  readonly overrides: readonly string[];
}

/** Where a resumed run stands: a checkpoint, the state it recorded and the folder it wrote. */
export type ResumePosition = Pick<Checkpoint, "name" | "state" | "directory">;

const diskFull: ReadonlySet<string | undefined> = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

function freeAlternative(path: string): string {
  for (let number = 2; ; number++) {
    if (!existsSync(`${path}-${number}`)) return `${path}-${number}`;
  }
}

function isDiskFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return diskFull.has((error as NodeJS.ErrnoException).code) || isDiskFull(error.cause);
}

/** Milliseconds of a clock that never runs backwards; for `time/*` metrics. */
export function now(): number {
  return performance.now();
}

/** Reader and writer of one run. Reading needs no lock; `create` and `resume` take it. */
export class RunDirectory {
  readonly path: string;
  #record: RunRecord;
  readonly #logs = new Map<string, AppendLog>();
  readonly #openedAt = now();
  #isWriter = false;
  #position: ResumePosition | null = null;
  #ordinal = 0;

  private constructor(path: string, record: RunRecord) {
    this.path = path;
    this.#record = record;
  }

  /** Starts a run in a new folder. Throws a ConfigError, and touches nothing, when the path exists. */
  static create(path: string, start: RunStart): RunDirectory {
    try {
      mkdirSync(dirname(path), { recursive: true });
      mkdirSync(path);
    } catch (cause) {
      if (!existsSync(path)) {
        throw new ConfigError({
          where: path,
          expected: "a path for a new run",
          got: String(cause),
          cause,
        });
      }
      const hint = `choose another one, for example ${freeAlternative(path)}`;
      throw new ConfigError({
        where: path,
        expected: "a path that does not exist yet",
        got: "an existing one",
        hint,
      });
    }
    const run = new RunDirectory(path, {
      ...start,
      overrides: [...start.overrides],
      versions: currentVersions(),
      revision: currentRevision(),
      start: new Date().toISOString(),
      resumed: [],
      end: null,
      status: "running",
    });
    run.#lock();
    run.#writeRecord({});
    return run;
  }

  /** Opens an existing run for reading; `resume` makes it writable. */
  static open(path: string): RunDirectory {
    return new RunDirectory(path, readRunRecord(path));
  }

  /** Content of run.json. */
  get record(): RunRecord {
    return this.#record;
  }

  /** Whether a living process (this one included) writes the run. */
  get isActive(): boolean {
    return lockHolder(this.#lockPath) !== null;
  }

  /** Folder of the trained model. */
  get modelDirectory(): string {
    return join(this.path, "model");
  }

  /** Milliseconds since this process created or opened the run. */
  elapsedMs(): number {
    return now() - this.#openedAt;
  }

  /** Writes a result in a format of its own, as `<name>.json`; a later one of that name replaces it. */
  writeResult(name: string, make: (timestamp: string) => object): void {
    this.#requireWriter();
    writeJsonFile(join(this.path, `${name}.json`), make(new Date().toISOString()));
  }

  logMetrics(record: MetricsRecord): void {
    this.#append(metricsFile, [record]);
  }

  logHistograms(record: HistogramRecord): void {
    this.#append(histogramsFile, [record]);
  }

  logEvaluation(record: EvaluationRecord): void {
    this.#append(evaluationsFile, [record]);
  }

  logSamples(stage: string, records: readonly object[]): void {
    this.#append(samplesFile(stage), records);
  }

  /**
   * Makes a checkpoint of everything a resume needs. `write` fills a folder with the weights and
   * optimiser state; `state` is the rest, as plain JSON. Afterwards only the newest `keep` remain.
   * On a failure the partial folder is removed and the older checkpoints are intact.
   */
  async saveCheckpoint(
    state: CheckpointState,
    write: (directory: string) => Promise<void>,
    keep = 2,
  ): Promise<string> {
    this.#requireWriter();
    const parent = this.#checkpoints;
    const name = checkpointName(state);
    const ordinal = this.#ordinal + 1;
    let directory: string;
    try {
      directory = await writeFolder(parent, name, async (partial) => {
        await write(partial);
        writeStateFile(partial, { ordinal, logSizesBytes: this.#syncLogs(), state });
      });
    } catch (cause) {
      throw this.#writeError(`checkpoint ${name}`, cause);
    }
    this.#ordinal = ordinal;
    pruneCheckpoints(parent, Math.max(1, keep));
    return directory;
  }

  /** Fills the model folder through `write`; it is replaced in one step. */
  async saveModel(write: (directory: string) => Promise<void>): Promise<string> {
    this.#requireWriter();
    try {
      return await writeFolder(this.path, "model", write);
    } catch (cause) {
      throw this.#writeError("model", cause);
    }
  }

  /**
   * Makes the run writable and puts it back to its newest complete checkpoint: half-written folders are
   * deleted and every append-only file is cut to its length at that checkpoint. Null: there is none; the
   * files are gone and the run starts again from its beginning. Called again, or on a run that was just
   * created, it only returns the position.
   */
  resume(): ResumePosition | null {
    if (this.#isWriter) return this.#position;
    this.#lock();
    try {
      this.#position = this.#rewind();
      const resumed = [...this.#record.resumed, new Date().toISOString()];
      this.#writeRecord({ status: "running", end: null, resumed });
    } catch (error) {
      this.close();
      throw error;
    }
    return this.#position;
  }

  /** The complete checkpoints, newest first: where a resume may begin. */
  positions(): readonly ResumePosition[] {
    return listCheckpoints(this.#checkpoints);
  }

  /** Goes on from an older checkpoint than `resume` chose, because what is newer cannot be read. */
  resumeAt({ name }: ResumePosition): void {
    this.#requireWriter();
    const all = listCheckpoints(this.#checkpoints);
    const chosen = all.find((checkpoint) => checkpoint.name === name)!;
    for (const newer of all.slice(0, all.indexOf(chosen))) setAside(this.#checkpoints, newer);
    this.#standAt(chosen);
    this.#position = chosen;
  }

  /** Names of the complete checkpoints, newest first. */
  checkpointNames(): string[] {
    return listCheckpoints(this.#checkpoints).map((checkpoint) => checkpoint.name);
  }

  /** Records how the run ended, closes its files and gives up the lock. */
  finish(status: Exclude<RunStatus, "running">, summary?: Readonly<Record<string, unknown>>): void {
    this.#requireWriter();
    const changes = { status, end: new Date().toISOString() };
    try {
      this.#writeRecord(summary === undefined ? changes : { ...changes, summary: { ...summary } });
    } finally {
      this.close();
    }
  }

  /** Closes the files and gives up the lock; the record stays as it is. */
  close(): void {
    for (const log of this.#logs.values()) log.close();
    this.#logs.clear();
    if (this.#isWriter) releaseLock(this.#lockPath);
    this.#isWriter = false;
  }

  get #checkpoints(): string {
    return join(this.path, "checkpoints");
  }

  get #lockPath(): string {
    return join(this.path, "lock");
  }

  #lock(): void {
    takeLock(this.#lockPath);
    this.#isWriter = true;
  }

  #requireWriter(): void {
    if (this.#isWriter) return;
    throw new RunError({
      where: this.path,
      expected: "a run that is being written",
      got: "one opened for reading",
      hint: "call resume() first",
    });
  }

  #writeRecord(changes: Partial<RunRecord>): void {
    this.#record = { ...this.#record, ...changes };
    writeJsonFile(join(this.path, "run.json"), this.#record);
  }

  #append(file: string, records: readonly object[]): void {
    this.#requireWriter();
    let log = this.#logs.get(file);
    if (log === undefined) this.#logs.set(file, (log = new AppendLog(join(this.path, file))));
    log.append(records);
  }

  /** Paths inside the run of the append-only files that exist. */
  #logFiles(): string[] {
    const samples = join(this.path, "samples");
    const stages = existsSync(samples) ? readdirSync(samples).sort() : [];
    const samplesFiles = stages.map((name) => join("samples", name));
    return [metricsFile, histogramsFile, evaluationsFile, ...samplesFiles].filter(
      (file) => file.endsWith(".jsonl") && existsSync(join(this.path, file)),
    );
  }

  /** Forces every append-only file to the disk; returns their lengths. */
  #syncLogs(): Record<string, number> {
    for (const log of this.#logs.values()) log.sync();
    return Object.fromEntries(
      this.#logFiles().map((file) => [file, statSync(join(this.path, file)).size]),
    );
  }

  #rewind(): ResumePosition | null {
    cleanFolder(this.#checkpoints);
    cleanFolder(this.path);
    const newest = listCheckpoints(this.#checkpoints)[0];
    this.#standAt(newest);
    return newest ?? null;
  }

  #standAt(checkpoint: Checkpoint | undefined): void {
    this.#cutLogs(checkpoint);
    this.#ordinal = checkpoint?.ordinal ?? 0;
  }

  #cutLogs(checkpoint: Checkpoint | undefined): void {
    const sizes = checkpoint?.logSizesBytes ?? {};
    for (const file of new Set([...this.#logFiles(), ...Object.keys(sizes)])) {
      const path = join(this.path, file);
      const keptBytes = sizes[file] ?? 0;
      const sizeBytes = existsSync(path) ? statSync(path).size : 0;
      if (sizeBytes < keptBytes) {
        throw new RunError({
          where: path,
          expected: `at least the ${keptBytes} bytes that checkpoint ${checkpoint?.name} recorded`,
          got: `${sizeBytes}`,
        });
      }
      if (keptBytes === 0) rmSync(path, { force: true });
      else if (sizeBytes > keptBytes) truncateSync(path, keptBytes);
    }
  }

  #writeError(what: string, cause: unknown): RunError {
    const good = this.checkpointNames()[0];
    const again = `alidade resume ${this.path}`;
    return new RunError({
      where: `${this.path}: ${what}`,
      expected: isDiskFull(cause) ? `room on the disk for the ${what}` : "to write it",
      got: cause instanceof Error ? cause.message : String(cause),
      hint:
        good === undefined
          ? `no checkpoint is complete yet; ${again} starts from the beginning`
          : `checkpoint ${good} is intact; continue from it with: ${again}`,
      cause,
    });
  }
}
