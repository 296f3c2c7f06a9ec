// kill -9 at any moment, then `alidade resume`: the run ends with the bits of one that was never stopped.

import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { randomStream } from "../src/core/random.ts";
import { readEvaluations } from "../src/run/run-directory.ts";
import { metricsWithoutTimes, sha256 } from "./command-line.ts";

const bin = fileURLToPath(new URL("../bin/alidade.js", import.meta.url));
const isBuilt = existsSync(new URL("../dist/cli/main.js", import.meta.url));

const SFT_STEPS = 12;
/** Large enough for the writing of a checkpoint to take a while. */
const settings = [
  "model.layers=2",
  "model.width=128",
  "model.heads=4",
  "model.kvHeads=2",
  "model.hiddenWidth=640",
  `sft.steps=${SFT_STEPS}`,
  "sft.batch=8",
  "grpo.steps=8",
  "grpo.prompts=3",
  "grpo.group=4",
  "grpo.iterations=2",
  "evaluate.count=40",
  "checkpointEvery=2",
  "engine.spinning=false",
];

let root: string;
const children: ChildProcess[] = [];
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-kill-"))));
afterAll(() => {
  for (const child of children) child.kill("SIGKILL"); // one that was held would wait for ever
  rmSync(root, { recursive: true, force: true });
});

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

function alidade(...argv: string[]): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(process.execPath, [bin, ...argv], { stdio: ["ignore", "ignore", "pipe"] });
  children.push(child);
  let stderr = "";
  child.stderr.on("data", (text) => (stderr += String(text)));
  const ended = new Promise<Ended>((resolve) =>
    child.on("close", (code, signal) => resolve({ code, signal, stderr })),
  );
  return { child, ended };
}

const train = (path: string) =>
  alidade(
    "train",
    "alphamaze",
    "--seed",
    "11",
    "--out",
    path,
    ...settings.flatMap((setting) => ["--set", setting]),
  );

/** Lines of metrics that are on the disk. */
function linesOf(path: string): number {
  const file = join(path, "metrics.jsonl");
  return existsSync(file) ? readFileSync(file, "utf8").split("\n").length - 1 : 0;
}

/** The folder of a checkpoint that is being written, with what is in it. */
function partialOf(path: string): string[] | null {
  const parent = join(path, "checkpoints");
  try {
    const name = readdirSync(parent).find((one) => one.startsWith(".partial-"));
    return name === undefined ? null : readdirSync(join(parent, name));
  } catch {
    return null; // not there yet, or renamed in between
  }
}

type Moment = (path: string, child: ChildProcess, isOver: () => boolean) => Promise<void>;

/** When so many steps are behind, and then a random part of the next ones. */
const afterLines =
  (count: number, delayMs: number): Moment =>
  async (path, _child, isOver) => {
    while (linesOf(path) < count && !isOver()) await setTimeout(1);
    await setTimeout(delayMs);
  };

/**
 * While a checkpoint is being written, after so many steps and files. From there on the process runs in slices shorter than
 * a write; between two of them it is held, so that what is seen stays true.
 */
const inCheckpoint =
  (count: number, files: number): Moment =>
  async (path, child, isOver) => {
    const isDue = (): boolean => (partialOf(path)?.length ?? -1) >= files;
    while (linesOf(path) < count && !isOver()) await setTimeout(1);
    while (!isOver()) {
      await new Promise(setImmediate);
      child.kill("SIGSTOP");
      if (isDue()) {
        await setTimeout(5); // until the last thread stands still
        if (isDue()) return;
      }
      child.kill("SIGCONT");
    }
  };

const afterStart =
  (delayMs: number): Moment =>
  async () =>
    setTimeout(delayMs);

const resultsOf = (path: string) => ({
  metrics: metricsWithoutTimes(path),
  evaluations: readEvaluations(path),
  samples: sha256(join(path, "samples/grpo.jsonl")),
  histograms: sha256(join(path, "histograms.jsonl")),
  weights: sha256(join(path, "model/model.safetensors")),
  checkpoints: readdirSync(join(path, "checkpoints")).map((name) => [
    name,
    sha256(join(path, "checkpoints", name, "model.safetensors")),
    sha256(join(path, "checkpoints", name, "training.safetensors")),
  ]),
});

// `npm test` builds first. Windows has no signal that holds a process.
describe.skipIf(!isBuilt || process.platform === "win32")("kill -9", () => {
  it("loses nothing, wherever it strikes", async () => {
    const whole = join(root, "whole");
    expect(await train(whole).ended).toMatchObject({ code: 0 });

    const random = randomStream(1, "kill");
    const moments: readonly (readonly [string, Moment])[] = [
      ["in SFT, before the first checkpoint", afterLines(1, random.integer(30))],
      ["in SFT", afterLines(3, random.integer(60))],
      ["in SFT, while a checkpoint is begun", inCheckpoint(5, 0)],
      ["in SFT, at its end", afterLines(10, random.integer(60))],
      ["while it resumes", afterStart(150 + random.integer(400))],
      ["in GRPO, before its first checkpoint", afterLines(SFT_STEPS + 1, random.integer(60))],
      ["in GRPO, while a checkpoint is half written", inCheckpoint(SFT_STEPS + 1, 3)],
      ["in GRPO", afterLines(SFT_STEPS + 3, random.integer(60))],
      ["in GRPO, while a checkpoint is begun", inCheckpoint(SFT_STEPS + 3, 1)],
    ];
    const path = join(root, "killed");
    for (const [place, moment] of moments) {
      const { child, ended } = existsSync(path) ? alidade("resume", path) : train(path);
      let isOver = false;
      void ended.then(() => (isOver = true));
      await moment(path, child, () => isOver);
      const isWriting = partialOf(path) !== null;
      child.kill("SIGKILL");
      const { signal, stderr } = await ended;
      expect(signal, `${place}: it was still running\n${stderr}`).toBe("SIGKILL");
      if (place.includes("while a checkpoint")) expect(isWriting, place).toBe(true);
    }
    const last = await alidade("resume", path).ended;
    expect(last, last.stderr).toMatchObject({ code: 0 });
    expect(resultsOf(path)).toEqual(resultsOf(whole));
    expect(readdirSync(join(path, "checkpoints")).some((name) => name.startsWith("."))).toBe(false);
  }, 300_000); // no timing decides a test
});
