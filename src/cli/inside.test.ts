// samples, rescore and metrics on a run of a scripted engine.

import { EventEmitter } from "node:events";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { ScriptedEngine, solve, sumEnvironment, sumTask } from "../../tests/scripted-engine.ts";
import { grpo, grpoSettings } from "../algorithms/grpo.ts";
import { silentProgress } from "../core/progress.ts";
import { openParquet } from "../data/parquet.ts";
import { trainItem } from "../rollout/items.ts";
import { readMetrics, RunDirectory } from "../run/run-directory.ts";
import type { System } from "../systems/system.ts";
import { customScale } from "./custom-run.ts";
import { main } from "./main.ts";

const settings = z.strictObject({
  steps: z.int().default(3),
  reward: z.strictObject({
    correct: z.number().default(1).describe("weight of the right sum"),
    short: z.number().default(0.25).describe("weight of a short answer"),
  }),
});

const summing: System<z.output<typeof settings>> = {
  name: "summing",
  title: "Summing",
  summary: "adds",
  paper: { title: "On Sums", arxiv: "0000.00000" },
  settings,
  scales: { tiny: { summary: "three steps", settings: {} } },
  stages: ["grpo"],
  claims: [],
  task: sumTask,
  scoring: ({ reward }) => ({ taskConfig: sumEnvironment.config, weights: reward }),
  train: async () => ({}),
  evaluate: async () => ({}),
};

let root: string;
let path: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "alidade-inside-"));
  path = join(root, "run");
  await makeRun(path, "tiny");
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Three steps of two prompts: a right answer, a wrong one, one that is cut, and one that the model finds unlikely. */
async function makeRun(directory: string, scale: string): Promise<void> {
  const config = settings.parse({ reward: {} });
  const start = { system: "summing", scale, config, seed: 5, overrides: [] };
  const run = RunDirectory.create(directory, start);
  const engine = new ScriptedEngine({
    answer: (question, sample) =>
      [solve(question), "777", { text: solve(question), isCut: true }, { text: "1", logProb: -4 }][
        sample
      ]!,
  });
  await grpo(
    {
      engine,
      environment: sumEnvironment,
      items: async (index) => trainItem(sumTask, sumEnvironment.config, 5, index),
      run,
      progress: silentProgress,
      signal: new AbortController().signal,
      seed: 5,
      done: 0,
      checkpointEvery: 100,
      evaluateEvery: 0,
      evaluate: async () => {},
    },
    grpoSettings.parse({ steps: 3, prompts: 2, group: 4, maxTokens: 9 }),
    config.reward,
  );
  run.finish("done");
}

async function alidade(...argv: string[]) {
  let [stdout, stderr] = ["", ""];
  const code = await main(argv, {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: (text: string) => (stderr += text) },
    systems: [summing],
    tasks: [],
    signals: new EventEmitter(),
    kill: () => {},
  });
  const json = () => JSON.parse(stdout) as Record<string, never>;
  return { code, stdout, stderr, json };
}

describe("alidade samples", () => {
  it("says how the outputs fare by error class, and lists one of each group", async () => {
    const { code, stdout } = await alidade("samples", path);
    expect(code).toBe(0);
    expect(stdout).toContain("grpo: 24 samples in 6 groups, steps 1 to 3");
    expect(stdout).toMatch(/right +12 +50\.0 % +1\.25 +\+0\.\d+[^]*wrong sum +12 +50\.0 %/);
    expect(stdout.match(/^ {2}\d\/\d\/0 /gm)?.length).toBe(6);
  });

  it("shows a sample whole, with the rewards of its group", async () => {
    const { stdout } = await alidade("samples", path, "--sample", "2/1/1");
    expect(stdout).toMatch(/^2\/1\/1 {2}(Easy|Hard) {2}wrong sum {2}reward 0 /);
    expect(stdout).toContain("completion, 4 tokens\n    777\n");
    expect(stdout).toContain("reward       0 = correct 0 + short 0");
    expect(stdout).toMatch(/group +1\.25 {2}\[0\] {2}1\.25 {2}0\.25/);
    const plain = await alidade("samples", path, "--sample", "2/1/1", "--tokens");
    expect(plain.stdout).toContain("{-0.50}");
    expect(plain.stdout).not.toContain("\u001B");
  });

  it("finds the best, the worst and the most surprising", async () => {
    const argv = ["--best", "1", "--worst", "1", "--surprising", "2", "--mismatch", "1", "--json"];
    const found = (await alidade("samples", path, ...argv)).json()["shown"] as unknown as Record<
      string,
      { step: number; sample: number; reward: number; surprise: number; mismatch: number }[]
    >;
    expect(found["best"]).toMatchObject([{ step: 3, reward: 1.25 }]);
    expect(found["worst"]).toMatchObject([{ step: 3, sample: 1, reward: 0 }]);
    expect(found["surprising"]).toMatchObject([
      { sample: 3, surprise: 4 },
      { sample: 3, surprise: 4 },
    ]);
    expect(found["mismatch"]).toMatchObject([{ sample: 3, mismatch: 3.5 }]);
    expect(found).not.toHaveProperty("groups");
  });

  it.each([
    [["--class", "wrong sum"], 12],
    [["--stop", "length"], 6],
    [["--step", "2..", "--score", "correct=1"], 8],
    [["--step", "..1"], 8],
  ])("filters with %j", async (argv, count) => {
    expect((await alidade("samples", path, ...argv, "--json")).json()["count"]).toBe(count);
  });

  it.each([
    [["--class", "wrong som"], 'did you mean "wrong sum"?'],
    [["--stage", "grop"], 'did you mean "grpo"?'],
    [["--score", "correct"], "expected a score and its value"],
    [["--step", "a"], "Expected a step or a range of steps"],
    [
      ["--sample", "9/9/9"],
      "expected a stored sample of grpo that the filters let through, got 9/9/9",
    ],
  ])("refuses %j", async (argv, message) => {
    const { code, stdout, stderr } = await alidade("samples", path, ...argv);
    expect(stderr).toContain(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });

  it("writes what passes the filters to Parquet, and no file when a filter is mistyped", async () => {
    const file = join(root, "wrong.parquet");
    await alidade("samples", path, "--class", "wrong som", "--parquet", file);
    expect(readdirSync(root)).toEqual(["run"]);
    const { stdout } = await alidade("samples", path, "--class", "wrong sum", "--parquet", file);
    expect(stdout).toContain("12 samples written to");
    const required = ["step", "sample", "text", "origin", "lossMask", "scores", "class"];
    const rows = await openParquet(file, { required, optional: [] });
    expect(rows.length).toBe(12);
    expect(await rows.read(0)).toEqual({
      step: 1,
      sample: 1,
      text: "777",
      origin: ["model", "model", "model", "model"],
      lossMask: [1, 1, 1, 1],
      scores: '{"correct":0,"short":0}',
      class: "wrong sum",
    });
    rmSync(file);
  });
});

describe("alidade rescore", () => {
  it("without a change finds everything as it is stored", async () => {
    const found = (await alidade("rescore", path, "--json")).json() as Record<string, unknown>;
    expect(found).toMatchObject({
      samples: 24,
      disagreeing: {},
      unexplained: { rewards: 0, advantages: 0 },
      flipped: 0,
      movers: [],
    });
    expect(found["correlation"]).toBeCloseTo(1, 12);
  });

  it("shows how rewards and advantages move", async () => {
    const out = join(root, "moved.jsonl");
    const argv = ["rescore", path, "--set", "reward.correct=0", "--set", "reward.short=2"];
    const { stdout } = await alidade(...argv, "--out", out);
    expect(stdout).toMatch(/correct +1 +0 +changed\n {2}short +0\.25 +2 +changed/);
    expect(stdout).toContain("24 outputs were scored again; all scores are as stored.");
    // Right, wrong, right, short: 1.25, 0, 1.25, 0.25 become 2, 0, 2, 2.
    expect(stdout).toMatch(/mean reward +0\.6875 +1\.5\n/);
    expect(stdout).toContain("the sign flips for 6 samples (25.0 %)");
    const lines = readFileSync(out, "utf8").trim().split("\n");
    expect(lines.length).toBe(24);
    expect(JSON.parse(lines[3]!)).toMatchObject({
      step: 1,
      prompt: 0,
      sample: 3,
      scores: { correct: 0, short: 1 },
      reward: { before: 0.25, after: 2 },
    });
    expect((await alidade(...argv, "--out", out)).stderr).toContain(
      "a path that does not exist yet",
    );
    rmSync(out);
  });

  it("tells when the task no longer scores as it did", async () => {
    const other = join(root, "other");
    await makeRun(other, "tiny");
    const file = join(other, "samples", "grpo.jsonl");
    const [first = "", ...rest] = readFileSync(file, "utf8").split("\n");
    writeFileSync(file, [first.replace('"correct":1', '"correct":0'), ...rest].join("\n"));
    const { stdout } = await alidade("rescore", other);
    expect(stdout).toContain("Scores DISAGREE with the stored ones (samples by score: correct 1)");
    expect(stdout).toMatch(/1\/0\/0 +correct +0 +1/);
    const stored = await alidade("rescore", other, "--stored");
    expect(stored.stdout).toContain("nothing was scored again");
    expect(stored.stdout).toContain("With the weights of the run, 1 rewards and 4 advantages");
    rmSync(other, { recursive: true });
  });

  it("refuses what it cannot change, and runs whose task it does not have", async () => {
    const set = await alidade("rescore", path, "--set", "steps=4");
    expect(set.stderr).toContain(
      'expected a setting of the reward, for example --set reward.correct=2, got "steps=4"',
    );
    const typed = await alidade("rescore", path, "--set", "reward.corect=4");
    expect(typed.stderr).toContain('did you mean "reward.correct"?');
    const own = join(root, "own");
    await makeRun(own, customScale);
    const refused = await alidade("rescore", own);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain("expected a run of a system, got one of the task summing");
    rmSync(own, { recursive: true });
  });
});

describe("alidade metrics", () => {
  it("lists every number of a run, and writes it for others", async () => {
    expect((await alidade("metrics", path)).stdout).toMatch(/grpo\/reward\/mean +3 +0\.6875/);
    const [board, wandb, csv] = ["board", "wandb", "run.csv"].map((name) => join(root, name));
    const argv = ["--tensorboard", board!, "--wandb", wandb!, "--csv", csv!, "--json"];
    const written = (await alidade("metrics", path, ...argv)).json()[
      "written"
    ] as unknown as object;
    expect(Object.keys(written)).toEqual(["tensorboard", "wandb", "csv"]);
    for (const file of Object.values(written)) expect(existsSync(file as string)).toBe(true);
    expect(readFileSync(csv!, "utf8").split("\n").length).toBe(1 + 3 + 1);
    expect((await alidade("metrics", path, "--csv", csv!)).stderr).toContain("a new file");
  });
});

describe("docs/looking-inside.md", () => {
  it("explains every number of a GRPO step", () => {
    const text = readFileSync(new URL("../../docs/looking-inside.md", import.meta.url), "utf8");
    const rows = text.split("## What a GRPO step reports")[1]!.split("\n## ")[0]!;
    const cells = [...rows.matchAll(/^\| ([^|]*) \|/gm)].map((match) => match[1]!);
    const names = cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map((one) => one[1]!));
    const patterns = names.map((name) => new RegExp(`^${name.replaceAll(/<[^>]+>/g, "[^/]+")}$`));
    const found = readMetrics(path).flatMap((record) => Object.keys(record));
    const unexplained = new Set(
      found.filter((name) => !patterns.some((pattern) => pattern.test(name))),
    );
    expect([...unexplained].filter((name) => name !== "step" && name !== "stage")).toEqual([]);
  });
});
