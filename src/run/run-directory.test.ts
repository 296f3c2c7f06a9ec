import { spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
} from "node:fs";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ConfigError, DataError, RunError } from "../core/errors.ts";
import { RunDirectory, readEvaluations, readMetrics, readSamples } from "./run-directory.ts";

let root: string;
let path: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "alidade-run-"));
  path = join(root, "run");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const start = { system: "fake", scale: "tiny", config: { a: 1 }, seed: 7, overrides: ["a=1"] };
const weights = (text: string) => async (directory: string) => {
  writeFileSync(join(directory, "weights.bin"), text);
};

/** A write that ends in a full disk. */
const full = async (directory: string) => {
  writeFileSync(join(directory, "weights.bin"), "half");
  const cause = Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
  throw new Error("saving failed", { cause });
};

/** Training that logs steps `from + 1 … to` and makes a checkpoint at every second step. */
async function train(run: RunDirectory, from: number, to: number): Promise<void> {
  for (let step = from + 1; step <= to; step++) {
    run.logMetrics({ step, stage: "sft", loss: 1 / step });
    run.logHistograms({ step, stage: "sft" });
    run.logSamples("sft", [{ step, logProbs: Float32Array.of(0.1) }]);
    if (step % 2 === 0) await run.saveCheckpoint({ stage: "sft", step }, weights(`w${step}`));
  }
}

/** Every file of the run with its content, without what the clock decides. */
function contents(): Record<string, string> {
  const files = readdirSync(path, { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isFile() && entry.name !== "run.json",
  );
  const names = files.map((entry) => join(entry.parentPath, entry.name)).sort();
  return Object.fromEntries(names.map((name) => [name, readFileSync(name, "utf8")]));
}

describe("create and open", () => {
  it("records what the run is", () => {
    const run = RunDirectory.create(path, start);
    run.finish("done", { accuracy: 0.5 });
    const { record } = RunDirectory.open(path);
    expect(record).toMatchObject({ ...start, status: "done", summary: { accuracy: 0.5 } });
    expect(record.versions["node"]).toBe(process.versions.node);
    expect(record.versions["onnxruntime"]).toMatch(/^\d+\.\d+/);
  });

  it("never touches what exists, and names a free path", () => {
    mkdirSync(path);
    writeFileSync(join(path, "thesis.tex"), "x");
    mkdirSync(`${path}-2`);
    expect(() => RunDirectory.create(path, start)).toThrow(ConfigError);
    expect(() => RunDirectory.create(path, start)).toThrow(`for example ${path}-3`);
    expect(readdirSync(path)).toEqual(["thesis.tex"]);
  });

  it("refuses a path below a file", () => {
    writeFileSync(path, "");
    expect(() => RunDirectory.create(join(path, "x"), start)).toThrow(ConfigError);
  });

  it("names the file that is missing or broken", () => {
    expect(() => RunDirectory.open(root)).toThrow(`${join(root, "run.json")}: expected a run dir`);
    for (const text of ["", '{"system": "a"', '{"system": 3}', "[]"]) {
      writeFileSync(join(root, "run.json"), text);
      expect(() => RunDirectory.open(root)).toThrow(DataError);
      expect(() => RunDirectory.open(root)).toThrow(join(root, "run.json"));
    }
  });

  it("writes only after create or resume", () => {
    RunDirectory.create(path, start).close();
    const run = RunDirectory.open(path);
    expect(() => run.logMetrics({ step: 1, stage: "sft" })).toThrow("call resume() first");
  });
});

describe("logs", () => {
  it("keeps NaN and infinities, and every float32 exactly", () => {
    const run = RunDirectory.create(path, start);
    run.logMetrics({ step: 1, stage: "NaN", loss: Number.NaN, a: -Infinity, b: 0.1 });
    run.logSamples("sft", [
      { logProbs: Float32Array.of(-0.1, Number.NaN), tokens: Int32Array.of(3) },
    ]);
    run.logEvaluation({ step: 1, task: "maze", split: "test", count: 3, correct: 1 });
    run.close();
    expect(readFileSync(join(path, "metrics.jsonl"), "utf8")).toContain('"loss":"NaN"');
    expect(readMetrics(path)).toEqual([
      { step: 1, stage: "NaN", loss: Number.NaN, a: -Infinity, b: 0.1 },
    ]);
    const sample = readSamples(path, "sft")[0]!;
    expect(Math.fround((sample["logProbs"] as number[])[0]!)).toBe(Math.fround(-0.1));
    expect(sample).toMatchObject({ logProbs: [-0.100000001, "NaN"], tokens: [3] });
    expect(readEvaluations(path)).toHaveLength(1);
  });

  it("reads past a half last line, and names a broken line in the middle", () => {
    RunDirectory.create(path, start).close();
    const file = join(path, "metrics.jsonl");
    writeFileSync(file, '{"step":1,"stage":"sft"}\n{"step":2,"sta');
    expect(readMetrics(path)).toHaveLength(1);
    writeFileSync(file, '{"step":1\n{"step":2,"stage":"sft"}\n');
    expect(() => readMetrics(path)).toThrow(`${file}:1: expected a line of JSON`);
  });
});

describe("checkpoints", () => {
  it("keeps the newest two", async () => {
    const run = RunDirectory.create(path, start);
    await train(run, 0, 8);
    await run.saveCheckpoint({ stage: "grpo", step: 0 }, weights("g"));
    expect(run.checkpointNames()).toEqual(["grpo-000000", "sft-000008"]);
    expect(readdirSync(join(path, "checkpoints")).sort()).toEqual(["grpo-000000", "sft-000008"]);
    run.close();
  });

  it("replaces one of the same name", async () => {
    const run = RunDirectory.create(path, start);
    await run.saveCheckpoint({ stage: "sft", step: 2, note: "a" }, weights("a"));
    const directory = await run.saveCheckpoint({ stage: "sft", step: 2, note: "b" }, weights("b"));
    expect(readFileSync(join(directory, "weights.bin"), "utf8")).toBe("b");
    expect(readdirSync(join(path, "checkpoints"))).toEqual(["sft-000002"]);
    run.close();
  });

  it("loses nothing when the disk is full", async () => {
    const run = RunDirectory.create(path, start);
    await train(run, 0, 2);
    for (const step of [3, 2]) {
      const saving = run.saveCheckpoint({ stage: "sft", step }, full);
      await expect(saving).rejects.toThrow(RunError);
    }
    await expect(run.saveCheckpoint({ stage: "sft", step: 3 }, full)).rejects.toThrow(
      /expected room on the disk .*checkpoint sft-000002 is intact; .*: alidade resume .*run\)/,
    );
    expect(readdirSync(join(path, "checkpoints"))).toEqual(["sft-000002"]);
    await run.saveCheckpoint({ stage: "sft", step: 4 }, weights("after"));
    expect(run.checkpointNames()[0]).toBe("sft-000004");
    run.close();
  });

  it("refuses a state that JSON would change", async () => {
    const run = RunDirectory.create(path, start);
    const saving = run.saveCheckpoint({ stage: "sft", step: 1, best: Number.NaN }, weights("x"));
    await expect(saving).rejects.toThrow("best: expected plain JSON, got NaN");
    run.close();
  });
});

describe("resume", () => {
  it("of a stopped run gives the files of one that was never stopped", async () => {
    const whole = RunDirectory.create(path, start);
    await train(whole, 0, 6);
    whole.close();
    const expected = contents();
    for (const stop of [1, 2, 3, 5]) {
      rmSync(path, { recursive: true });
      const run = RunDirectory.create(path, start);
      await train(run, 0, stop);
      run.close();
      appendFileSync(join(path, "metrics.jsonl"), '{"step":');
      appendFileSync(join(path, "histograms.jsonl"), '{"step":');
      appendFileSync(join(path, "evaluations.jsonl"), "{}\n");
      const partial = join(path, "checkpoints", ".partial-sft-000004");
      mkdirSync(partial, { recursive: true });
      writeFileSync(join(partial, "state.json"), "{");
      mkdirSync(join(path, "checkpoints", "sft-000009")); // folder of a copy that was cut off
      const removed = join(path, "checkpoints", ".removed-sft-000001");
      mkdirSync(removed);
      writeFileSync(join(removed, "weights.bin"), "half deleted");

      const again = RunDirectory.open(path);
      const position = again.resume();
      expect(position?.state.step ?? 0).toBe(stop - (stop % 2));
      expect(again.resume()).toEqual(position);
      await train(again, position?.state.step ?? 0, 6);
      again.close();
      expect([partial, removed].some((one) => existsSync(one))).toBe(false);
      expect(contents()).toEqual(expected);
    }
  });

  it("puts back a checkpoint whose replacement was cut off", async () => {
    const run = RunDirectory.create(path, start);
    await train(run, 0, 2);
    run.close();
    const folder = join(path, "checkpoints");
    spawnSync("mv", [join(folder, "sft-000002"), join(folder, ".replaced-sft-000002")]);
    expect(RunDirectory.open(path).resume()?.state.step).toBe(2);
  });

  it("refuses logs that are shorter than the checkpoint says", async () => {
    const run = RunDirectory.create(path, start);
    await train(run, 0, 2);
    run.close();
    writeFileSync(join(path, "metrics.jsonl"), "");
    expect(() => RunDirectory.open(path).resume()).toThrow(/metrics\.jsonl: expected at least/);
    expect(RunDirectory.open(path).isActive).toBe(false);
  });
});

describe("lock", () => {
  it("keeps a second writer out while the first lives", () => {
    const run = RunDirectory.create(path, start);
    expect(() => RunDirectory.open(path).resume()).toThrow(`lock of process ${process.pid}`);
    expect(RunDirectory.open(path).isActive).toBe(true);
    run.finish("interrupted");
    const again = RunDirectory.open(path);
    expect(again.isActive).toBe(false);
    again.resume();
    expect(again.record).toMatchObject({ status: "running", end: null });
    again.close();
  });

  it("is taken over from a killed process, also when another one has its id", async () => {
    const child = spawn("sleep", ["60"]);
    RunDirectory.create(path, start).close();
    writeFileSync(join(path, "lock"), `${child.pid} -\n`);
    expect(() => RunDirectory.open(path).resume()).toThrow(`process ${child.pid}`);
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
    const run = RunDirectory.open(path);
    run.resume();
    run.close();
    if (process.platform === "linux") {
      writeFileSync(join(path, "lock"), `${process.pid} 1\n`);
      expect(RunDirectory.open(path).isActive).toBe(false);
    }
    writeFileSync(join(path, "lock"), ""); // killed while it wrote the lock
    expect(RunDirectory.open(path).resume()).toBeNull();
  });
});
