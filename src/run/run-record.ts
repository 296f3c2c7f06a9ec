// run.json: what a run is and how it ended.

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { arch, cpus, platform } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { ConfigError, DataError } from "../core/errors.ts";

const packageDirectory = fileURLToPath(new URL("../..", import.meta.url));

const runRecordSchema = z.object({
  system: z.string(),
  scale: z.string(),
  config: z.unknown(),
  seed: z.number(),
  overrides: z.array(z.string()),
  versions: z.record(z.string(), z.string()),
  revision: z.string().nullable(),
  start: z.string(),
  resumed: z.array(z.string()),
  end: z.string().nullable(),
  status: z.enum(["running", "done", "interrupted", "failed"]),
  summary: z.record(z.string(), z.unknown()).optional(),
});

export type RunRecord = z.infer<typeof runRecordSchema>;
export type RunStatus = RunRecord["status"];

function packageVersion(name: string): string {
  try {
    const require = createRequire(import.meta.url);
    return (require(`${name}/package.json`) as { version: string }).version;
  } catch {
    return "unknown";
  }
}

/** Version of this package. */
export function alidadeVersion(): string {
  const text = readFileSync(join(packageDirectory, "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

/** Everything that decides the bits of a run beside its config and seed. */
export function currentVersions(): Record<string, string> {
  return {
    alidade: alidadeVersion(),
    node: process.versions.node,
    onnxruntime: packageVersion("onnxruntime-node"),
    platform: `${platform()}-${arch()}`,
    cpu: cpus()[0]?.model.trim() ?? "unknown",
  };
}

/** Git revision of the clone this code runs from, else of the working folder; "+" after it means local changes. */
export function currentRevision(): string | null {
  const cwd = existsSync(join(packageDirectory, ".git")) ? packageDirectory : process.cwd();
  const git = (...words: string[]): string =>
    execFileSync("git", words, {
      cwd,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
      timeout: 5000,
    }).trim();
  try {
    const revision = git("rev-parse", "HEAD");
    return git("status", "--porcelain", "--untracked-files=no") === "" ? revision : `${revision}+`;
  } catch {
    return null;
  }
}

/** Replaces a file in one step, so that a reader never sees half of it. */
export function writeJsonFile(path: string, value: unknown): void {
  const partial = `${path}.partial`;
  try {
    writeFileSync(partial, `${JSON.stringify(value, null, 2)}\n`, { flush: true });
    renameSync(partial, path);
  } catch (error) {
    rmSync(partial, { force: true });
    throw error;
  }
}

/** Reads and checks run.json of a folder. */
export function readRunRecord(directory: string): RunRecord {
  const path = join(directory, "run.json");
  const fail = (expected: string, got: string, cause: unknown): DataError =>
    new DataError({ where: path, expected, got, cause });
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    const got = (cause as NodeJS.ErrnoException).code === "ENOENT" ? "no such file" : String(cause);
    throw new ConfigError({ where: path, expected: "a run directory with a run.json", got, cause });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw fail("JSON", (cause as Error).message, cause);
  }
  const parsed = runRecordSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw fail("the record of a run", `${issue.path.join(".")}: ${issue.message}`, parsed.error);
}
