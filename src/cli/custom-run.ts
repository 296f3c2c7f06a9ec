// Runs of `trainTask`: their task lives in a program of the user, so the command line can show them but not go on with them.

import { ConfigError } from "../core/errors.ts";
import type { RunRecord } from "../run/run-record.ts";
import { resumeCommand } from "./execute-run.ts";

/** Scale that `trainTask` records. */
export const customScale = "custom";

export const resumeByProgram = "run the program that started it again";

export function howToResume({ scale }: RunRecord, path: string): string {
  return scale === customScale ? resumeByProgram : resumeCommand(path);
}

/** Throws when a run was made by `trainTask`. */
export function refuseCustomRun({ scale, system }: RunRecord, path: string, hint: string): void {
  if (scale !== customScale) return;
  const got = `one of the task ${system}, started by a program with trainTask`;
  throw new ConfigError({ where: path, expected: "a run of a system", got, hint });
}
