// One writer a run directory: a file with the process id. The lock of a dead process is taken over,
// so that a killed run can be resumed at once.

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { RunError } from "../core/errors.ts";

/** When a process started, in the kernel's own unit; tells it from a later one with the same id. Linux only. */
function startOfProcess(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // proc(5): field 22; the command in field 2 may hold spaces, so count from its closing bracket.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}

function isAlive(pid: number, start: string | null): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  const now = startOfProcess(pid);
  return now === null || start === null || now === start;
}

/** Id of the living process that holds the lock, or null. */
export function lockHolder(path: string): number | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return null;
  }
  const [pid, start] = text.trim().split(" ");
  const number = Number(pid);
  if (!Number.isInteger(number) || number < 1) return null; // killed while it wrote the lock
  return isAlive(number, start === undefined || start === "-" ? null : start) ? number : null;
}

/** Takes the lock, or throws when a living process holds it. */
export function takeLock(path: string): void {
  const content = `${process.pid} ${startOfProcess(process.pid) ?? "-"}\n`;
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      writeFileSync(path, content, { flag: "wx" });
      return;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "EEXIST") {
        throw new RunError({ where: path, expected: "to write it", got: String(cause), cause });
      }
    }
    if (lockHolder(path) === null) rmSync(path, { force: true });
  }
  throw new RunError({
    where: path,
    expected: "a run that no other process writes",
    got: `a lock of process ${lockHolder(path) ?? "unknown"}`,
    hint: "wait for it or stop it first",
  });
}

export function releaseLock(path: string): void {
  rmSync(path, { force: true });
}
