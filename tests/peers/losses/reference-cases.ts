// Runs reference_losses.py, where there is a Python with torch and transformers.

import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TrainerCases } from "./trainer-cases.ts";

const script = fileURLToPath(new URL("reference_losses.py", import.meta.url));

/** Of the environment that ALIDADE_PEERS_VENV names; undefined: none is named. */
export function peersPython(): string | undefined {
  const folder = process.env["ALIDADE_PEERS_VENV"];
  if (folder === undefined || folder === "") return undefined;
  const python = join(folder, "bin", "python");
  if (!existsSync(python)) throw new Error(`ALIDADE_PEERS_VENV: expected ${python}, got nothing`);
  return python;
}

export const readCases = (path: string): TrainerCases =>
  JSON.parse(readFileSync(path, "utf8")) as TrainerCases;

export function referenceCases(python: string, batches: number, seed: number): TrainerCases {
  const folder = mkdtempSync(join(tmpdir(), "alidade-losses-"));
  try {
    const out = join(folder, "losses.json");
    const size = ["--batches", String(batches), "--seed", String(seed), "--out", out];
    execFileSync(python, ["-B", script, ...size], { stdio: ["ignore", "ignore", "inherit"] });
    return readCases(out);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
