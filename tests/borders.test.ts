// What a real run does at the borders: no space, broken numbers, settings that cannot be. Nothing is lost and the error says where.

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readMetrics, RunDirectory } from "../src/run/run-directory.ts";

const bin = fileURLToPath(new URL("../bin/alidade.js", import.meta.url));
const isBuilt = existsSync(new URL("../dist/cli/main.js", import.meta.url));

/** A model of some hundred kilobytes: SFT keeps two numbers a weight beside it, GRPO with its reference three. */
const settings = [
  "model.layers=1",
  "model.width=96",
  "model.heads=2",
  "model.kvHeads=2",
  "model.hiddenWidth=384",
  "sft.steps=4",
  "sft.batch=8",
  "grpo.steps=2",
  "grpo.prompts=2",
  "grpo.group=2",
  "evaluate.count=10",
  "checkpointEvery=2",
  "engine.spinning=false",
];

let root: string;
let path: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "alidade-borders-"));
  path = join(root, "run");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

interface Options {
  readonly set?: readonly string[];
  /** Largest file that the process may write, in kilobytes. */
  readonly fileLimit?: number;
}

function alidade(argv: readonly string[], { set = [], fileLimit }: Options = {}) {
  const words = [bin, ...argv, ...set.flatMap((setting) => ["--set", setting])];
  const done =
    fileLimit === undefined
      ? spawnSync(process.execPath, words, { encoding: "utf8" })
      : spawnSync(
          "bash",
          ["-c", `ulimit -f ${fileLimit}; exec "$@"`, "bash", process.execPath, ...words],
          { encoding: "utf8" },
        );
  return { code: done.status, stdout: done.stdout, stderr: done.stderr };
}

const train = (options: Options = {}, out = path) =>
  alidade(["train", "alphamaze", "--seed", "2", "--out", out, "--json"], {
    ...options,
    set: [...settings, ...(options.set ?? [])],
  });

const checkpoints = (run = path): string[] => readdirSync(join(run, "checkpoints")).sort();

// `npm test` builds first.
describe.skipIf(!isBuilt)("a real run", () => {
  it.each([
    [
      "grpo.group=1",
      "settings.grpo.group: expected integer >= 2, got 1 (completions a prompt (G))",
    ],
    ["sft.optimiser.beta2=1", "settings.sft.optimiser.beta2: expected number >= 0, < 1, got 1"],
    ["model.headSize=21", "settings.model.headSize: expected"],
    ["model.kvHeads=3", "settings.model.kvHeads: expected a divisor of 2 heads, got 3"],
    ["model.qkvBias=true", "settings.model.qkvBias: expected false with qkNorm"],
    ["engine.device=cud", 'did you mean "cuda"?'],
    ["task.trace=serch", "settings.task.trace: expected one of"],
    ["reward.solvd=1", 'did you mean "reward.solved"?'],
    ["dpo.beta=0", "settings.dpo.beta: expected number > 0, got 0"],
    ["dpo.loss=hinge", 'settings.dpo.loss: expected one of sigmoid | ipo, got "hinge"'],
    ["rft.kept=0", "settings.rft.kept: expected integer >= 1, got 0"],
    ["rft.score=right", "settings.rft.score: expected a score of the task (solved, "],
    [
      ["dpo.steps=1", "dpo.maxTokens=9999"],
      "settings.model.contextLength: expected more than the 9999 tokens of an answer",
    ],
    [
      ["model.from=/none", "model.lora.rank=4", "rft.optimiser.method=muon"],
      "settings.rft.optimiser.method: expected adamw with model.lora",
    ],
  ])("with %s is refused before anything is written", (given, message) => {
    const { code, stdout, stderr } = train({ set: typeof given === "string" ? [given] : given });
    expect(stderr).toContain(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(existsSync(path)).toBe(false);
  });

  it("never writes where something is", () => {
    mkdirSync(path);
    writeFileSync(join(path, "thesis.tex"), "x");
    const { code, stderr } = train();
    expect(code).toBe(2);
    expect(stderr).toContain(`${path}: expected a path that does not exist yet`);
    expect(readdirSync(path)).toEqual(["thesis.tex"]);
  });

  it.skipIf(process.platform === "win32")(
    "that may write no larger file keeps its last checkpoint, and goes on when it may",
    () => {
      // The checkpoints of SFT fit, those of GRPO with the reference policy do not.
      const weights = 150_000; // numbers in the padded block of the model, about
      const stopped = train({ fileLimit: Math.round((weights * 4 * 2.5) / 1024) });
      expect(stopped.stderr).toMatch(
        /checkpoint grpo-000002: expected room on the disk for the checkpoint grpo-000002, got EFBIG/,
      );
      expect(stopped.stderr).toMatch(
        /checkpoint sft-000004 is intact; continue from it with: alidade resume/,
      );
      expect(stopped.code).toBe(1);
      expect(checkpoints()).toEqual(["sft-000002", "sft-000004"]);
      expect(RunDirectory.open(path).record.status).toBe("failed");
      const resumed = alidade(["resume", path]);
      expect(resumed.stderr).toContain("from sft 4");
      expect(resumed.code).toBe(0);
      expect(readMetrics(path).map(({ step }) => step)).toEqual([1, 2, 3, 4, 1, 2]);
    },
  );

  it("on a full disk keeps its last checkpoint, and goes on when there is room", ({ skip }) => {
    const disk = join(root, "disk");
    mkdirSync(disk);
    const mount = (options: string): void =>
      void execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", disk], {
        stdio: "ignore",
      });
    try {
      mount("size=2600k");
    } catch {
      skip("only root may mount a small disk");
    }
    try {
      const run = join(disk, "run");
      const stopped = train({}, run);
      expect(stopped.stderr).toMatch(
        /expected room on the disk for the checkpoint \w+-\d+, got ENOSPC/,
      );
      expect(stopped.stderr).toMatch(/checkpoint sft-000002 is intact/);
      expect(stopped.code).toBe(1);
      expect(checkpoints(run)).toEqual(["sft-000002"]);
      mount("remount,size=40m");
      const resumed = alidade(["resume", run]);
      expect(resumed.stderr).toContain("from sft 2");
      expect(resumed.code).toBe(0);
      expect(checkpoints(run)).toEqual(["grpo-000002", "sft-000004"]);
    } finally {
      execFileSync("umount", [disk]);
    }
  });

  const huge = ["learningRate=1e15", "clipNorm=1e30", "warmup=0", "schedule=constant"];

  it("whose loss breaks stops, names the step, and keeps a checkpoint that can be loaded", () => {
    const set = [
      ...huge.map((one) => `grpo.optimiser.${one}`),
      "grpo.steps=4",
      "checkpointEvery=4",
    ];
    const { code, stderr } = train({ set });
    const broken = /alidade: (grpo step \d: expected finite numbers, got .*(?:NaN|that are not).*)/;
    const [, message] = broken.exec(stderr) ?? [];
    expect(message, stderr).toContain("(the newest checkpoint is sft-000004)");
    expect(stderr).toMatch(/continue it \(from sft-000004\) with:\n {2}.*resume/);
    expect(code).toBe(1);
    expect(checkpoints()).toEqual(["sft-000004"]);
    expect(RunDirectory.open(path).record.status).toBe("failed");
    // It loads: the resumed run gets as far, and stops at the same place.
    const again = alidade(["resume", path]);
    expect(again.stderr).toContain("from sft 4");
    expect(again.stderr).toContain(message);
    expect(again.code).toBe(1);
  });

  it("whose weights break in the last step of a stage is no model of accuracy 0", () => {
    const set = [...huge.map((one) => `sft.optimiser.${one}`), "sft.steps=1", "grpo.steps=0"];
    const { code, stderr } = train({ set });
    expect(stderr).toMatch(
      /sample: expected finite probabilities, got NaN for token 1 after prompt 0/,
    );
    expect(code).toBe(1);
    expect(existsSync(join(path, "model"))).toBe(false);
  });
});
