// Every system of image models at scale tiny, shrunk to a few steps: it trains, evaluates, saves and resumes.

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodePng } from "../src/image/png.ts";
import { readEvaluations, readMetrics } from "../src/run/run-directory.ts";
import { systems } from "../src/systems/registry.ts";
import { alidade, metricsWithoutTimes, sha256 } from "./command-line.ts";

const level = (name: string): string[] =>
  [
    "base.steps=4",
    "base.batch=16",
    "grpo.epochs=2",
    "grpo.prompts=4",
    "grpo.group=4",
    "grpo.advantages.epsilon=0.001",
    "evaluate.images=2",
    "evaluate.steps=3",
    "checkpointEvery=3",
    "model.width=16",
    "model.layers=1",
    "model.heads=2",
  ].map((setting) => `${name}.${setting}`);

/** What makes the tiny scale of a system tinier, and the stages that it then has. */
const shrink: Readonly<Record<string, { settings: readonly string[]; stages: readonly string[] }>> =
  {
    "flow-grpo": {
      settings: [...level("ring"), ...level("quadrant"), "engine.microBatch=16"],
      stages: ["ring-base", "ring-grpo", "quadrant-base", "quadrant-grpo"],
    },
    vipo: {
      settings: [...level("quadrant"), "backbone.steps=4", "engine.microBatch=16"],
      stages: ["base", "scalar", "vipo", "flipped"],
    },
  };

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-image-systems-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** What a run computed, without what the clock and the names of the folders decide. */
const resultsOf = (path: string) => ({
  metrics: metricsWithoutTimes(path),
  evaluations: readEvaluations(path),
  images: readdirSync(join(path, "images")).map((name) => [
    name,
    sha256(join(path, "images", name)),
  ]),
  model: sha256(join(path, "model/model.safetensors")),
});

const names = systems.filter(({ stages }) => stages.includes("base")).map(({ name }) => name);

describe.each(names)("%s", (name) => {
  const { settings = [], stages = [] } = shrink[name] ?? {};
  const flags = (path: string): string[] => [
    "train",
    name,
    "--scale=tiny",
    "--seed=3",
    `--out=${path}`,
    "--json",
    ...settings.flatMap((setting) => ["--set", setting]),
  ];
  const whole = (): string => join(root, `${name}-whole`);

  it("trains through all its stages, and writes down what it did", async () => {
    expect(Object.keys(shrink), "settings that shrink every system").toContain(name);
    const { code, stderr, json } = await alidade(flags(whole()));
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(json()).toMatchObject({ run: whole(), status: "done" });
    const evaluations = readEvaluations(whole());
    expect([...new Set(evaluations.map(({ stage }) => stage))]).toEqual(stages);
    for (const record of readMetrics(whole())) {
      const broken = Object.entries(record).filter(([, value]) => Number.isNaN(value));
      expect(broken, `${record.stage} ${record.step}`).toEqual([]);
      if ("ratio/first" in record) expect(record["ratio/first"]).toBe(0);
    }
    for (const { stage, split } of evaluations) {
      const picture = join(whole(), "images", `${String(stage)}-${split}.png`);
      expect(decodePng(readFileSync(picture), picture).shape[1]).toBeGreaterThan(100);
    }
  });

  it("saves a model that evaluates to the same numbers", async () => {
    const last = readEvaluations(whole()).findLast(({ stage }) => stage === stages.at(-1))!;
    const first = readEvaluations(whole()).find(({ stage }) => stage === last["stage"])!;
    const count = String(first.count);
    const { code, json } = await alidade([
      "evaluate",
      whole(),
      "--count",
      count,
      "--seed",
      "3",
      "--json",
    ]);
    expect(code).toBe(0);
    expect(json()["accuracy"]).toBe(first["correct"]);
    for (const key of ["count", "ci95", "levels", "errors"]) {
      expect(json()[key], key).toEqual(first[key]);
    }
    // A run may also compare with its base model, which a model alone does not have.
    expect(first["scores"]).toMatchObject(json()["scores"] as object);
  });

  it("has no text to show and no decoder to export, and says so", async () => {
    const samples = await alidade(["samples", whole()]);
    expect(samples.stderr).toContain("image models leave pictures in its images/ instead");
    const exported = await alidade([
      "export",
      whole(),
      "--format=hf",
      `--out=${join(root, `${name}-exported`)}`,
    ]);
    expect(exported.stderr).toMatch(/expected a decoder \(config\.json\), got an image model/);
  });

  it("may begin at the base model of another run, of the same words alone", async () => {
    const last = stages.findLast((stage) => stage.endsWith("base"))!;
    const from = join(root, `${name}-from`);
    cpSync(join(whole(), last), from, { recursive: true });
    const begun = [`--set=quadrant.base.from=${from}`, "--set=quadrant.grpo.epochs=0"];
    const first = await alidade([...flags(join(root, `${name}-begun`)), ...begun]);
    expect({ code: first.code, stderr: first.stderr }).toMatchObject({ code: 0 });
    const refused = async (file: string, change: (text: string) => string, message: RegExp) => {
      const path = join(from, file);
      const text = readFileSync(path, "utf8");
      writeFileSync(path, change(text));
      const { code, stderr } = await alidade([
        ...flags(join(root, `${name}-refused-${file}`)),
        ...begun,
      ]);
      expect(code).not.toBe(0);
      expect(stderr).toMatch(message);
      writeFileSync(path, text);
    };
    const adapters = { rank: 2, alpha: 2, targets: ["q_proj"] };
    await refused(
      "flow.json",
      (text) => JSON.stringify({ ...(JSON.parse(text) as object), lora: adapters }),
      /base\.from: .*: expected a model without adapters, got one with adapters of rank 2/,
    );
    const message = /base\.from: .*: expected the words .* red .*, got .*"rot"/;
    await refused("words.json", (text) => text.replace("red", "rot"), message);
  });

  it.each(stages)("goes on after Ctrl-C in %s as if nothing had happened", async (stage) => {
    const path = join(root, `${name}-${stage}`);
    let isStopped = false;
    const stopped = await alidade(flags(path), (text, signals) => {
      if (isStopped || !text.startsWith(`${stage} `)) return;
      isStopped = true;
      signals.emit("SIGINT");
    });
    expect(stopped.code).toBe(130);
    const resumed = await alidade(["resume", path, "--json"]);
    expect({ code: resumed.code, stderr: resumed.stderr }).toMatchObject({ code: 0 });
    expect(resultsOf(path)).toEqual(resultsOf(whole()));
  });
});
