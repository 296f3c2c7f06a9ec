// A Xiangqi engine that is a program of its own and says what a test tells it. Everything it is told is written down.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * Lines that the program prints. Those that begin with ! are orders: `!raw text` without a line end, `!pause`, `!stderr text`,
 * `!stop line` to be said when told to stop, `!deaf` from now on, `!exit 3`, `!die` by SIGKILL, `!flood` without end.
 */
type Lines = readonly string[];

interface Life {
  /** Instead of the hello of all lives. */
  readonly hello?: Lines;
  /** Instead of readyok. */
  readonly ready?: Lines;
  /** Answers to one `go` after the other; the last is repeated. */
  readonly go?: readonly Lines[];
}

export interface EngineScript {
  readonly hello: Lines;
  /** One start of the program after the other; the last is repeated. */
  readonly lives?: readonly Life[];
  /** Answers to `go` in positions, by FEN, whatever the life says. */
  readonly positions?: Readonly<Record<string, Lines>>;
  /** FEN of the start position, and the answer in it. */
  readonly start?: string;
  readonly startAnswer?: Lines;
  readonly lineEnd?: string;
}

export interface ScriptedProgram {
  readonly command: readonly string[];
  /** What it was told so far; `(start)` where it was started. */
  log(): string[];
  /** Removes its files. */
  remove(): void;
}

const program = fileURLToPath(new URL("scripted-xiangqi-engine.mjs", import.meta.url));

export function scriptedProgram(script: EngineScript): ScriptedProgram {
  const folder = mkdtempSync(join(tmpdir(), "alidade-engine-"));
  const [file, log] = [join(folder, "script.json"), join(folder, "log.txt")];
  writeFileSync(log, "");
  writeFileSync(file, JSON.stringify({ lives: [{}], ...script, log }));
  return {
    command: [process.execPath, program, file],
    log: () => readFileSync(log, "utf8").split("\n").slice(0, -1),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
