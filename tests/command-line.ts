// The command line in this process, and what is left of a run when the clock is taken out of it.

import { createHash } from "node:crypto";
import { EventEmitter } from "node:events";
import { readFileSync } from "node:fs";
import { main } from "../src/cli/main.ts";
import { readMetrics } from "../src/run/run-directory.ts";

/** Runs the command line in this process; `onText` sees what it writes for people. */
export async function alidade(
  argv: readonly string[],
  onText: (text: string, signals: EventEmitter) => void = () => undefined,
) {
  let [stdout, stderr] = ["", ""];
  const signals = new EventEmitter();
  const code = await main(argv, {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: {
      write: (text: string) => {
        stderr += text;
        onText(text, signals);
      },
    },
    signals,
  });
  return { code, stderr, json: () => JSON.parse(stdout) as Record<string, unknown> };
}

export const sha256 = (path: string): string =>
  createHash("sha256").update(readFileSync(path)).digest("hex");

/** The metrics of a run without what the clock says. */
export const metricsWithoutTimes = (path: string) =>
  readMetrics(path).map((record) =>
    Object.fromEntries(Object.entries(record).filter(([name]) => !name.startsWith("time/"))),
  );
