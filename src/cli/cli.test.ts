import { EventEmitter } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync } from "node:fs";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { defineTask, type Scorer } from "../core/task.ts";
import { Interrupted } from "../run/interrupted.ts";
import type { System, TrainContext } from "../systems/system.ts";
import { main } from "./main.ts";

const addition = defineTask({
  name: "addition",
  summary: "adds two numbers",
  config: z.strictObject({
    largest: z.int().min(1).default(9).describe("largest number"),
    showSum: z.boolean().default(false).describe("whether the sum is shown"),
  }),
  scores: { correct: "the sum is right" },
  accuracy: "correct",
  make: (random, { largest }) => ({ a: random.integer(largest + 1), b: random.integer(largest) }),
  prompt: ({ a, b }) => [{ role: "user" as const, content: `${a}+${b}=` }],
  gold: ({ a, b }) => String(a + b),
  score: ({ a, b }, { text }) => ({ correct: Number(text === String(a + b)) }),
  key: ({ a, b }) => `${a} ${b}`,
  rows: {
    fields: ["a", "b"],
    goldFields: [],
    optionalFields: [],
    optionalGoldFields: [],
    read: ({ a, b }) => ({ a: Number(a), b: Number(b) }),
    write: (item) => {
      beforeRow();
      return item;
    },
  },
});

const settings = z.strictObject({
  steps: z.int().min(1).default(3).describe("steps of training"),
  engine: z.strictObject({ device: z.string().default("cpu"), threads: z.int().default(1) }),
  failAt: z.int().default(0),
});
type Config = z.infer<typeof settings>;

/** Called before a row is written. */
let beforeRow: () => void;
/** Called before each step of the fake system; a test presses Ctrl-C here. */
let beforeStep: (step: number) => void;

/** Trains by counting; a checkpoint at every second step. */
async function train({ config, seed, run, progress, signal }: TrainContext<Config>) {
  const position = run.resume();
  let total = Number(position?.state["total"] ?? 0);
  const first = (position?.state.step ?? 0) + 1;
  const save = (step: number) =>
    run.saveCheckpoint({ stage: "count", step, total }, async (directory) => {
      writeFileSync(join(directory, "total"), String(total));
    });
  progress.begin("count", config.steps);
  for (let step = first; step <= config.steps; step++) {
    beforeStep(step);
    if (step === config.failAt) throw new Error("the sky fell");
    total += seed * step;
    run.logMetrics({ step, stage: "count", loss: 1 / step, "reward/mean": total });
    run.logSamples("count", [{ step, completion: `sum ${total}`, stopReason: "stop" }]);
    progress.advance(step, `loss ${(1 / step).toFixed(2)}`);
    if (step % 2 === 0 || signal.aborted) await save(step);
    if (signal.aborted) throw new Interrupted(run.path);
  }
  run.logEvaluation({
    step: config.steps,
    stage: "count",
    task: "addition",
    split: "test",
    count: 100,
    correct: 0.5,
    ci95: [0.4, 0.6],
  });
  await run.saveModel(async (directory) => writeFileSync(join(directory, "config.json"), "{}"));
  return { total, device: config.engine.device };
}

const counting: System<Config> = {
  name: "counting",
  title: "Counting",
  summary: "counts",
  paper: { title: "On Counting", arxiv: "0000.00000", code: "example/counting" },
  settings,
  scales: {
    tiny: { summary: "three steps", settings: {} },
    small: { summary: "ten steps", settings: { steps: 10 } },
  },
  stages: ["count"],
  claims: [{ metric: "accuracy", paper: "100 %", source: "Table 1" }],
  task: addition,
  train,
  evaluate: async ({ count, seed, modelDirectory }) => ({
    correct: 0.25,
    count,
    seed,
    modelDirectory,
  }),
};

/** Scorers of the task beside its own. */
let scorers: readonly Scorer<unknown, unknown>[];

let root: string;
let path: string;
let signals: EventEmitter;
let killed: number[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "alidade-cli-"));
  path = join(root, "run");
  signals = new EventEmitter();
  killed = [];
  beforeStep = () => undefined;
  beforeRow = () => undefined;
  scorers = [];
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

async function alidade(...argv: string[]) {
  let [stdout, stderr] = ["", ""];
  const code = await main(argv, {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: (text: string) => (stderr += text) },
    systems: [counting],
    tasks: [{ ...addition, scorers }],
    signals,
    kill: (exit) => killed.push(exit),
  });
  const json = (): Record<string, unknown> => JSON.parse(stdout) as Record<string, unknown>;
  return { code, stdout, stderr, json };
}

describe("wrong usage", () => {
  it.each([
    [["lst"], "Did you mean list?"],
    [["list", "--jsn"], "Did you mean --json?"],
    [["show", "countin"], 'did you mean "counting"?'],
    [["train", "countin"], 'did you mean "counting"?'],
    [["train", "vipo"], "it is planned; ready: counting"],
    [["train", "counting", "--scale", "smal"], 'did you mean "small"?'],
    [["train", "counting", "--set", "step=2"], 'did you mean "steps"?'],
    [
      ["train", "counting", "--set", "steps=0"],
      "settings.steps: expected integer >= 1, got 0 (steps of training)",
    ],
    [["train", "counting", "--seed", "x"], "Expected a whole number of at least 0."],
    [["train"], "missing required argument"],
    [["data", "additon"], 'did you mean "addition"?'],
    [["data", "addition", "--larges", "3"], "Did you mean --largest?"],
    [
      ["data", "addition", "--largest", "many"],
      'settings.largest: expected integer >= 1, got "many" (largest number)',
    ],
    [["resume", "nowhere"], "expected a run directory with a run.json, got no such file"],
    [["evaluate", "nowhere"], "expected a run with a trained model"],
  ])("%j", async (argv, message) => {
    const { code, stdout, stderr } = await alidade(...argv);
    expect(stderr).toContain(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });

  it("prints help with an example for every command", async () => {
    const reading = ["list", "show", "data", "samples", "rescore", "metrics"];
    for (const command of [...reading, "train", "resume", "evaluate", "export"]) {
      const { code, stdout } = await alidade(command, "--help");
      expect(code).toBe(0);
      expect(stdout).toMatch(/--json[^]*Example:\n {2}alidade /);
    }
  });
});

describe("list, show and data", () => {
  it("lists what can be trained and what is planned", async () => {
    expect((await alidade("list")).stdout).toMatch(/counting +tiny, small[^]*vipo +planned/);
    const { systems } = (await alidade("list", "--json")).json();
    expect(systems).toHaveLength(13);
  });

  it("shows a system with its settings", async () => {
    const { stdout } = await alidade("show", "counting");
    expect(stdout).toMatch(/arXiv {3}0000\.00000[^]*small: ten steps\n +steps=10/);
    expect(stdout).toMatch(/steps +3 +integer +>= 1\n +steps of training/);
    const { settings: table } = (await alidade("show", "counting", "--json")).json();
    expect(table).toContainEqual(
      expect.objectContaining({ path: "engine.device", default: "cpu" }),
    );
  });

  it("shows every choice of a profile, those that it leaves open too", async () => {
    const shown = (await alidade("show", "profile", "trl-1.13", "--json")).json();
    const { choices, defaults } = shown as Record<string, { path: string }[]>;
    const paths = [...choices!, ...defaults!].map((one) => one.path);
    const open = ["loss.offPolicyMask", "loss.entropy", "loss.surrogate.cap", "overlong.mask"];
    expect(paths).toEqual(expect.arrayContaining([...open, "withoutSpread.type", "topK"]));
    expect(new Set(paths).size).toBe(paths.length);
  });

  it("shows items with the task's settings as flags", async () => {
    const argv = ["data", "addition", "--count", "2", "--largest", "999", "--json"];
    const { items, config } = (await alidade(...argv)).json();
    expect(config).toEqual({ largest: 999, showSum: false });
    expect(items).toMatchObject([{ scores: { correct: 1 } }, { scores: { correct: 1 } }]);
    const named = await alidade("data", "addition", "--show-sum", "true", "--set", "largest=2");
    expect(named.stdout).toMatch(/addition 3[^]*user[^]*gold output[^]*correct 1/);
    const again = await alidade(...argv, "--seed", "1");
    expect(again.json()["items"]).toEqual(items);
    expect((await alidade(...argv, "--seed", "2")).json()["items"]).not.toEqual(items);
  });

  it("waits for every scorer, and names one that fails beside the scores of the others", async () => {
    const judge = (score: Scorer<unknown, unknown>["score"]) => ({ scores: { judge: "" }, score });
    scorers = [judge(async () => ({ judge: null }))];
    const waited = await alidade("data", "addition", "--count", "1");
    expect(waited.stdout).toContain("correct 1, judge abstains");
    scorers = [judge(() => JSON.parse("{") as never)];
    const failed = await alidade("data", "addition", "--count", "1");
    expect([failed.code, failed.stdout]).toEqual([
      0,
      expect.stringMatching(/correct 1, judge failed: .*JSON/),
    ]);
    const { items } = (await alidade("data", "addition", "--count", "1", "--json")).json();
    expect(items).toMatchObject([
      { scores: { correct: 1 }, failures: { judge: { kind: "error" } } },
    ]);
  });
});

describe("train", () => {
  it("writes a run, and says where", async () => {
    const flags = ["--seed", "7", "--out", path, "--device", "cuda", "--json"];
    const { code, stderr, json } = await alidade("train", "counting", ...flags);
    expect(code).toBe(0);
    expect(json()).toMatchObject({ run: path, summary: { total: 42, device: "cuda" } });
    expect(stderr).toMatch(/seed 7; writing .*run\ncount +3\/3 +\d:\d\d taken +loss 0\.33/);
    const logs = ["evaluations.jsonl", "metrics.jsonl", "samples"];
    const others = ["checkpoints", "curves.svg", "model", "run.json"];
    expect(readdirSync(path).sort()).toEqual([...logs, ...others].sort());
    const shown = await alidade("show", path);
    expect(shown.stdout).toMatch(/status +done[^]*50\.0 % +40\.0 % to 60\.0 %[^]*▁▃█|█[^]*sum 42/);
    const again = await alidade("train", "counting", "--out", path);
    expect(again.code).toBe(2);
    expect(again.stderr).toContain(`for example ${path}-2`);
    expect((await alidade("resume", path)).stderr).toContain("got one that is done");
  });

  it("stops at Ctrl-C with a checkpoint, and resumes to the same end", async () => {
    const whole = join(root, "whole");
    await alidade("train", "counting", "--scale", "small", "--out", whole);
    beforeStep = (step) => void (step === 5 && signals.emit("SIGINT"));
    const argv = ["train", "counting", "--scale", "small", "--out", path];
    const stopped = await alidade(...argv);
    expect(stopped).toMatchObject({ code: 130, stdout: "" });
    expect(stopped.stderr).toMatch(/continue it \(from count-000005\) with:\n {2}.*resume .*run\n/);
    expect((await alidade("show", path)).stdout).toMatch(/status +interrupted/);
    beforeStep = () => undefined;
    const resumed = await alidade("resume", path);
    expect(resumed.code).toBe(0);
    expect(resumed.stderr).toContain("from count 5");
    for (const file of ["metrics.jsonl", "samples/count.jsonl", "evaluations.jsonl"]) {
      expect(readFileSync(join(path, file))).toEqual(readFileSync(join(whole, file)));
    }
    expect(signals.listenerCount("SIGINT")).toBe(0);
  });

  it("takes one key press for one, and kills at the second", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    beforeStep = (step) => {
      if (step !== 2) return;
      signals.emit("SIGINT");
      signals.emit("SIGINT"); // npm's copy of the same key
      expect(killed).toEqual([]);
      vi.advanceTimersByTime(1000);
      signals.emit("SIGINT");
    };
    await alidade("train", "counting", "--out", path);
    vi.useRealTimers();
    expect(killed).toEqual([130]);
  });

  it("marks a failed run and says how to go on", async () => {
    const failed = await alidade("train", "counting", "--out", path, "--set", "failAt=3");
    expect(failed.code).toBe(1);
    expect(failed.stderr).toMatch(/from count-000002[^]*the sky fell/);
    const { status, summary } = (await alidade("show", path, "--json")).json();
    expect({ status, summary }).toEqual({ status: "failed", summary: { error: "the sky fell" } });
  });
});

describe("data --write", () => {
  const count = 5000; // more than is kept in memory before the file is opened
  const write = (to: string) =>
    alidade("data", "addition", "--count", String(count), "--write", to);

  it("has the file there only when it is whole, wherever it is stopped", async () => {
    const file = join(root, "rows.jsonl");
    let rows = 0;
    beforeRow = () => {
      rows++;
      expect(readdirSync(root)).not.toContain("rows.jsonl");
    };
    expect((await write(file)).code).toBe(0);
    expect(rows).toBe(count);
    expect(readFileSync(file, "utf8").trim().split("\n").length).toBe(count);
    beforeRow = () => {
      throw new Error("the sky fell");
    };
    expect((await write(join(root, "other.jsonl"))).stderr).toContain("the sky fell");
    expect(readdirSync(root)).toEqual(["rows.jsonl"]);
  });

  it("names a path that cannot be written", async () => {
    const file = join(root, "nowhere/rows.jsonl");
    const { code, stderr } = await write(file);
    expect(code).toBe(2);
    expect(stderr).toContain(`${file}: expected a path that can be written, got ENOENT`);
    expect(stderr).not.toMatch(/\n +at /);
  });
});

describe("evaluate", () => {
  it("finds the model and the settings of a run", async () => {
    await alidade("train", "counting", "--out", path);
    const flags = ["--task", "addition", "--count", "9", "--json"];
    const { json } = await alidade("evaluate", path, ...flags);
    const model = join(path, "model");
    expect(json()).toMatchObject({ system: "counting", correct: 0.25, count: 9, model });
    expect((await alidade("evaluate", model)).code).toBe(0);
    const wrong = await alidade("evaluate", path, "--task", "maze");
    expect(wrong).toMatchObject({ code: 2 });
  });

  it("names the version of a run whose settings it does not know", async () => {
    await alidade("train", "counting", "--out", path);
    const file = join(path, "run.json");
    const record = JSON.parse(readFileSync(file, "utf8")) as { config: object };
    const old = { ...record, config: { ...record.config, klBeta: 0.04 }, status: "interrupted" };
    writeFileSync(file, JSON.stringify({ ...old, revision: "0123456789abcdef" }));
    for (const command of ["resume", "evaluate"]) {
      const { code, stderr } = await alidade(command, path);
      expect(stderr).toMatch(/run\.json: expected settings that this version knows, got a run of/);
      expect(stderr).toContain("revision 0123456789ab: settings: expected a known setting");
      expect(code).not.toBe(0);
    }
    expect((await alidade("show", path)).code).toBe(0);
  });

  it("takes a model folder of its own with a system", async () => {
    mkdirSync(path);
    writeFileSync(join(path, "config.json"), "{}");
    expect((await alidade("evaluate", path)).stderr).toContain("expected --system");
    const { json } = await alidade("evaluate", path, "--system", "counting", "--json");
    expect(json()).toMatchObject({ count: 1000, seed: 1 });
  });
});
