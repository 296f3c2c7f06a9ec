// samples, rescore and metrics on a run of a scripted engine.

import { EventEmitter } from "node:events";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import {
  type Script,
  ScriptedEngine,
  solve,
  sumEnvironment,
  sumTask,
  type Sum,
} from "../../tests/scripted-engine.ts";
import { grpoSettings } from "../algorithms/grpo-settings.ts";
import { grpo } from "../algorithms/grpo.ts";
import { silentProgress } from "../core/progress.ts";
import { defineTask } from "../core/task.ts";
import { openParquet } from "../data/parquet.ts";
import { trainItem } from "../rollout/items.ts";
import { scoringSettings } from "../rollout/score-outputs.ts";
import { readMetrics, RunDirectory } from "../run/run-directory.ts";
import type { System } from "../systems/system.ts";
import { customScale } from "./custom-run.ts";
import { main } from "./main.ts";

const weight = (initial: number, help: string) => z.number().default(initial).describe(help);
const settings = z.object({
  reward: z.object({
    correct: weight(1, "weight of the right sum"),
    short: weight(0.25, "weight of a short answer"),
    judge: weight(0, "weight of the judge"),
  }),
  scoring: scoringSettings.prefault({ retries: 0 }),
  grpo: grpoSettings.prefault({ steps: 3, prompts: 2, group: 4, maxTokens: 9 }),
});
type Settings = z.output<typeof settings>;

/** Sums with a judge that answers later, is out for "1", and has no number for the tone of "777". */
const judgedTask = defineTask<Sum, { largest: number }>({
  ...sumTask,
  scorers: [
    {
      scores: { judge: "likes it", tone: "how it sounds" },
      score: async (_item, { text }) => {
        if (text === "1") throw new Error("the judge is out");
        return { judge: text.length, tone: text === "777" ? Number.NaN : 1 };
      },
    },
  ],
});
const tasks = { summing: sumTask, judging: judgedTask };
type Name = keyof typeof tasks;

const systemOf = (name: Name): System<Settings> => ({
  name,
  title: name,
  summary: "adds",
  paper: { title: "On Sums", arxiv: "0000.00000" },
  settings,
  scales: { tiny: { summary: "three steps", settings: {} } },
  stages: ["grpo"],
  claims: [],
  task: tasks[name],
  scoring: (config) => ({
    task: tasks[name],
    taskConfig: sumEnvironment.config,
    weights: weightsOf(name, config),
    settings: config.scoring,
    grpo: config.grpo,
  }),
  train: async () => ({}),
  evaluate: async () => ({}),
});

function weightsOf(name: Name, { reward }: Settings): Record<string, number> {
  const { judge, ...plain } = reward;
  return name === "judging" && judge !== 0 ? reward : plain;
}

interface RunOptions {
  readonly scale?: string;
  readonly system?: Name;
  /** Beside three steps of two prompts with four answers. */
  readonly grpo?: object;
  readonly reward?: object;
  readonly script?: Script;
}

/** A right answer, a wrong one, one that is cut, and one that the model finds unlikely. */
const four: Script = {
  answer: (question, sample) =>
    [solve(question), "777", { text: solve(question), isCut: true }, { text: "1", logProb: -4 }][
      sample
    ]!,
};
/** The same answers, but every group has others of them. */
const mixed: Script = {
  answer: (question, _sample, uniform) => four.answer!(question, Math.floor(4 * uniform), uniform),
  logProb: (sequence, policy) => -0.5 - (policy === "reference" ? sequence / 10 : 0),
};

let root: string;
let path: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "alidade-inside-"));
  path = join(root, "run");
  await makeRun(path);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function makeRun(directory: string, options: RunOptions = {}): Promise<void> {
  const { scale = "tiny", system = "summing", script = four } = options;
  const config = settings.parse({
    reward: options.reward ?? {},
    grpo: { steps: 3, prompts: 2, group: 4, maxTokens: 9, ...options.grpo },
  });
  const start = { system, scale, config, seed: 5, overrides: [] };
  const run = RunDirectory.create(directory, start);
  await grpo(
    {
      engine: new ScriptedEngine(script),
      environment: { ...sumEnvironment, task: tasks[system], scoring: config.scoring },
      items: async (index) => trainItem(sumTask, sumEnvironment.config, 5, index),
      run,
      progress: silentProgress,
      signal: new AbortController().signal,
      seed: 5,
      done: 0,
      state: {},
      checkpointEvery: 100,
      evaluateEvery: 0,
      evaluate: async () => {},
    },
    config.grpo,
    weightsOf(system, config),
  );
  run.finish("done");
}

/** Does something with a run that is gone afterwards. */
async function withRun(options: RunOptions, use: (directory: string) => Promise<void>) {
  const directory = join(root, "other");
  try {
    await makeRun(directory, options);
    await use(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Failures of the judge take samples out. */
const judging: RunOptions = {
  system: "judging",
  reward: { judge: 1 },
  grpo: { rewards: { error: { type: "drop-sample" }, notFinite: { type: "drop-sample" } } },
};

async function alidade(...argv: string[]) {
  let [stdout, stderr] = ["", ""];
  const code = await main(argv, {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: (text: string) => (stderr += text) },
    systems: [systemOf("summing"), systemOf("judging")],
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

describe("alidade samples of a run with failures", () => {
  it("shows them by score, with what was left out and taken off", async () => {
    const overlong = { penalty: { buffer: 6, weight: 1 } };
    await withRun({ ...judging, grpo: { ...judging.grpo, overlong } }, async (other) => {
      const { stdout } = await alidade("samples", other);
      expect(stdout).toMatch(/^ {2}dropped +6 +25\.0 % +- +0 /m);
      expect(stdout).toContain("Failed scores: tone 12 (6 notFinite, 6 error), judge 6 (6 error)");
      expect(stdout).toContain("6 samples were left out of the training.");
      const { stdout: one } = await alidade("samples", other, "--sample", "1/0/3");
      expect(one).toContain("scores       correct 0, short 1, judge failed, tone failed\n");
      expect(one).toContain(
        "reward       none: left out of the training (correct 0 + short 0.25 + judge failed)\n",
      );
      expect(one).toContain("failure      judge, error: the judge is out\n");
      const { stdout: cut } = await alidade("samples", other, "--sample", "1/0/1");
      expect(cut).toContain("failure      tone, notFinite: score tone: expected a finite number");
      expect(cut).toContain(
        "penalties    overlong 0.1667, taken off the reward before it was compared\n",
      );
    });
  });

  it("says when a sample left for the failure of another one", async () => {
    const rewards = { error: { type: "drop-group" } };
    await withRun({ ...judging, grpo: { rewards } }, async (other) => {
      const { stdout } = await alidade("samples", other, "--sample", "1/0/0");
      expect(stdout).toMatch(
        /reward +none: left out of the training \(another sample of its group/,
      );
    });
  });

  it("compares sampler and trainer only where both speak of one temperature", async () => {
    await withRun({ grpo: { logits: "plain", temperature: 0.7 } }, async (other) => {
      const { stdout } = await alidade("samples", other, "--sample", "1/0/0");
      expect(stdout).toContain("surprise ");
      expect(stdout).not.toContain("sampler and trainer");
      expect((await alidade("samples", other, "--mismatch", "1")).stderr).toContain(
        "expected a run whose loss has the temperature of the sampling",
      );
    });
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

  const penalties = {
    loss: { kl: { type: "reward", weight: 0.5 } },
    overlong: { mask: true, penalty: { buffer: 6, weight: 1 } },
  };
  const none = { type: "none" };
  it.each<[string, RunOptions]>([
    ["Dr. GRPO", { grpo: { advantages: { type: "reward", scale: none } } }],
    [
      "RLOO, with penalties",
      {
        grpo: {
          ...penalties,
          advantages: { type: "reward", baseline: "leave-one-out", scale: none },
        },
      },
    ],
    [
      "the deviation of the batch",
      { grpo: { advantages: { type: "reward", scale: { type: "batch" } } } },
    ],
    [
      "tokens made white, with penalties and masks",
      {
        grpo: {
          ...penalties,
          advantages: { type: "reward", baseline: "none", scale: { type: "whiten-tokens" } },
        },
      },
    ],
    [
      "GDPO, with dropped samples",
      { ...judging, grpo: { ...judging.grpo, advantages: { type: "gdpo" } } },
    ],
    ["dropped groups", { ...judging, grpo: { rewards: { error: { type: "drop-group" } } } }],
    ["groups without spread that leave", { grpo: { withoutSpread: { type: "drop" } } }],
    ["groups that are refilled", { grpo: { withoutSpread: { type: "refill" } } }],
    ["several steps a generation batch", { grpo: { steps: 8, iterations: 2, minibatches: 2 } }],
  ])("reproduces rewards and advantages of %s", async (_name, options) => {
    const given = { ...options, script: mixed, grpo: { steps: 4, prompts: 3, ...options.grpo } };
    await withRun(given, async (other) => {
      const found = (await alidade("rescore", other, "--json")).json();
      expect(found).toMatchObject({
        disagreeing: {},
        unexplained: { rewards: 0, advantages: 0 },
        movers: [],
        correlation: expect.closeTo(1, 9) as number,
      });
      const changed = (
        await alidade("rescore", other, "--json", "--set", "reward.short=-1")
      ).json();
      expect(changed["movers"]).not.toEqual([]);
    });
  });

  it("refuses a run whose baseline is not stored", async () => {
    await withRun(
      { grpo: { advantages: { type: "reward", baseline: "greedy", scale: none } } },
      async (other) => {
        expect((await alidade("rescore", other)).stderr).toContain(
          "expected a run whose advantages follow from its stored samples, got grpo.advantages.baseline=greedy",
        );
      },
    );
  });

  it("shows failures of the new scoring, which are no numbers before or after", async () => {
    await withRun({ ...judging, reward: {} }, async (other) => {
      const { stdout } = await alidade("rescore", other, "--set", "reward.judge=1");
      expect(stdout).toContain("Failed scores, no number before or after: ");
      expect(stdout).toContain("judge 6 (6 error)");
      expect(stdout).toMatch(/samples without a reward +0 +6\n/);
    });
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
    await makeRun(other);
    const file = join(other, "samples", "grpo.jsonl");
    const [first = "", ...rest] = readFileSync(file, "utf8").split("\n");
    writeFileSync(file, [first.replace('"correct":1', '"correct":0'), ...rest].join("\n"));
    const { stdout } = await alidade("rescore", other);
    expect(stdout).toContain("Scores DISAGREE with the stored ones (samples by score: correct 1)");
    expect(stdout).toMatch(/1\/0\/0 +correct +0 +1/);
    const stored = await alidade("rescore", other, "--stored");
    expect(stored.stdout).toContain("nothing was scored again");
    expect(stored.stdout).toContain("By the rule of the run, 1 rewards and 4 advantages");
    rmSync(other, { recursive: true });
  });

  it("refuses what it cannot change, and runs whose task it does not have", async () => {
    const set = await alidade("rescore", path, "--set", "grpo.steps=4");
    expect(set.stderr).toContain(
      'expected a setting of the reward, for example --set reward.correct=2, got "grpo.steps=4"',
    );
    const typed = await alidade("rescore", path, "--set", "reward.corect=4");
    expect(typed.stderr).toContain('did you mean "reward.correct"?');
    const own = join(root, "own");
    await makeRun(own, { scale: customScale });
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

/** Runs that together write every number of a GRPO step. */
const everyMetric: readonly RunOptions[] = [
  {},
  judging,
  {
    grpo: {
      minibatches: 2,
      loss: {
        surrogate: { type: "clip", dual: 3 },
        sampler: { type: "correction" },
        offPolicyMask: { threshold: 1 },
        kl: { type: "loss", weight: 0.1 },
      },
    },
  },
  {
    grpo: {
      loss: { kl: { type: "reward", weight: 0.1 } },
      overlong: { penalty: { buffer: 3, weight: 1 } },
    },
  },
  { grpo: { withoutSpread: { type: "refill", rounds: 1 } }, script: { answer: solve } },
];

describe("docs/looking-inside.md", () => {
  it("explains every number of a GRPO step, and none that no step has", async () => {
    const text = readFileSync(new URL("../../docs/looking-inside.md", import.meta.url), "utf8");
    const rows = text.split("## What a GRPO step reports")[1]!.split("\n## ")[0]!;
    const cells = [...rows.matchAll(/^\| (`[^|]*) \|/gm)].map((match) => match[1]!);
    const names = cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map((one) => one[1]!));
    const patterns = names.map((name) => new RegExp(`^${name.replaceAll(/<[^>]+>/g, "[^/]+")}$`));
    const found = new Set<string>();
    for (const options of everyMetric) {
      await withRun(options, async (other) => {
        for (const record of readMetrics(other)) for (const name in record) found.add(name);
      });
    }
    const metrics = [...found].filter((name) => name !== "step" && name !== "stage");
    const isExplained = (name: string) => patterns.some((pattern) => pattern.test(name));
    expect(metrics.filter((name) => !isExplained(name))).toEqual([]);
    const isWritten = (pattern: RegExp) => metrics.some((name) => pattern.test(name));
    expect(names.filter((_, index) => !isWritten(patterns[index]!))).toEqual([]);
  });

  it("says which lines have the numbers of a generation batch, and where none are comparable", async () => {
    await withRun({ grpo: { steps: 4, minibatches: 2 } }, async (other) => {
      const lines = readMetrics(other);
      expect(lines.map((line) => "reward/mean" in line)).toEqual([true, false, true, false]);
      expect(lines.every((line) => "ratio/max" in line && "entropy" in line)).toBe(true);
    });
    await withRun({ grpo: { logits: "plain", temperature: 0.7 } }, async (other) => {
      expect(readMetrics(other).some((line) => "mismatch/max" in line)).toBe(false);
    });
  });
});
