// Every system of language models at scale tiny, shrunk to a few steps: it trains, evaluates, saves and resumes.

import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readEvaluations, readMetrics, readSamples } from "../src/run/run-directory.ts";
import { sampleStages } from "../src/run/sample-groups.ts";
import { systems } from "../src/systems/registry.ts";
import { alidade, metricsWithoutTimes, sha256 } from "./command-line.ts";

const root = mkdtempSync(join(tmpdir(), "alidade-systems-"));

/** What makes the tiny scale of a system tinier. */
const shrink: Readonly<Record<string, readonly string[]>> = {
  alphamaze: [
    "model.layers=1",
    "model.width=48",
    "model.heads=3",
    "model.kvHeads=3",
    "model.hiddenWidth=96",
    "sft.steps=20",
    "sft.batch=32",
    "sft.optimiser.learningRate=0.01",
    "grpo.steps=4",
    "grpo.prompts=4",
    "grpo.group=4",
    "grpo.iterations=2",
    "rft.steps=3",
    "rft.roundSteps=2",
    "rft.prompts=8",
    "rft.threshold=0", // so little SFT gets nothing right
    "dpo.steps=2",
    "dpo.prompts=16",
    "evaluate.count=60",
    "checkpointEvery=3",
    "engine.spinning=false",
  ],
  "xiangqi-r1": [
    `labels.folder=${join(root, "labels")}`,
    "labels.legal=200",
    "labels.annotated=40",
    "labels.rl=20",
    "labels.test=60",
    "task.depth=1",
    "task.selfPlay.depths=[1]",
    "model.layers=1",
    "model.width=48",
    "model.heads=3",
    "model.kvHeads=3",
    "model.hiddenWidth=96",
    "sft.steps=20",
    "sft.batch=32",
    "sft2.steps=150", // until some outputs have the format and some moves are legal
    "sft2.batch=32",
    "sft2.optimiser.learningRate=0.005",
    "grpo.steps=4",
    "grpo.prompts=4",
    "grpo.group=4",
    "grpo.iterations=2",
    "grpo.loss.kl.weight=0.04",
    "rft.steps=3",
    "rft.roundSteps=2",
    "rft.prompts=8",
    "rft.threshold=0",
    "dpo.steps=2",
    "dpo.prompts=16",
    "evaluate.count=60",
    "checkpointEvery=3",
  ],
};

afterAll(() => rmSync(root, { recursive: true, force: true }));

/** What a run computed, without what the clock and the names of the folders decide. */
const resultsOf = (path: string) => ({
  metrics: metricsWithoutTimes(path),
  evaluations: readEvaluations(path),
  samples: readdirSync(join(path, "samples")).map((name) => sha256(join(path, "samples", name))),
  model: sha256(join(path, "model/model.safetensors")),
  checkpoints: readdirSync(join(path, "checkpoints")).map((name) => [
    name,
    sha256(join(path, "checkpoints", name, "training.safetensors")),
  ]),
});

/** Those that draw have other stages: image-systems.test.ts. */
const languageSystems = systems.filter(({ stages }) => stages.includes("sft"));

describe.each(languageSystems.map(({ name }) => name))("%s", (name) => {
  const settings = (shrink[name] ?? []).flatMap((setting) => ["--set", setting]);
  const flags = (path: string): string[] =>
    ["train", name, "--scale", "tiny", "--seed", "3", "--out", path, "--json"].concat(settings);
  const whole = (): string => join(root, `${name}-whole`);

  it("trains through all its stages, and writes down what it did", async () => {
    expect(Object.keys(shrink), "settings that shrink every system").toContain(name);
    const { code, stderr, json } = await alidade(flags(whole()));
    expect({ code, stderr }).toMatchObject({ code: 0 });
    const stages = systems.find((system) => system.name === name)!.stages;
    expect(readEvaluations(whole()).map(({ stage }) => stage)).toEqual(stages);
    expect(json()).toMatchObject({ run: whole(), status: "done" });
    const metrics = readMetrics(whole());
    for (const record of metrics) {
      const broken = Object.entries(record).filter(([, value]) => Number.isNaN(value));
      expect(broken, `${record.stage} ${record.step}`).toEqual([]);
    }
    const losses = metrics.filter(({ stage }) => stage === "sft").map(({ loss }) => Number(loss));
    expect(losses.at(-1)!).toBeLessThan(0.6 * losses[0]!);
    const grpo = metrics.filter(({ stage }) => stage === "grpo");
    const generations = grpo.filter((record) => "reward/mean" in record);
    expect(generations.length).toBe(grpo.length / 2); // grpo.iterations
    expect(readSamples(whole(), "grpo").length).toBe(generations.length * 16);
    for (const record of generations) {
      expect(Number(record["mismatch/max"]), "sampler and trainer agree").toBeLessThan(1e-4);
    }
    for (const record of grpo) {
      expect(Number(record["kl"])).toBeGreaterThanOrEqual(-1e-6);
    }
    expect(Math.abs(Number(grpo[0]!["kl"])), "the reference is the policy at first").toBeLessThan(
      1e-6,
    );
    expect(existsSync(join(whole(), "curves.svg"))).toBe(true);
  });

  it("shows the samples of every stage that stores some", async () => {
    for (const stage of sampleStages(whole())) {
      const { code, stderr, json } = await alidade([
        "samples",
        whole(),
        "--stage",
        stage,
        "--json",
      ]);
      expect({ code, stderr }, stage).toMatchObject({ code: 0 });
      const classes = json()["classes"] as readonly { name: string; count: number }[];
      expect(
        classes.reduce((total, { count }) => total + count, 0),
        stage,
      ).toBe(json()["total"]);
    }
    expect(sampleStages(whole())).toEqual(["dpo", "grpo", "rft"]);
  });

  it("saves a model that evaluates to the same numbers", async () => {
    const flagsOf = (model: string): string[] => [
      "evaluate",
      model,
      "--count",
      "60",
      "--seed",
      "3",
      "--json",
    ];
    const { code, json } = await alidade(flagsOf(whole()));
    expect(code).toBe(0);
    const { correct, ...last } = readEvaluations(whole()).at(-1)!;
    expect(json()["accuracy"]).toBe(correct);
    for (const key of ["count", "ci95", "levels", "errors", "scores", "meanTokens"]) {
      expect(json()[key], key).toEqual(last[key]);
    }
    const files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    expect(readdirSync(join(whole(), "model"))).toEqual(expect.arrayContaining(files));
  });

  it("goes on after Ctrl-C as if nothing had happened", async () => {
    const path = join(root, `${name}-stopped`);
    let isStopped = false;
    const stopped = await alidade(flags(path), (text, signals) => {
      // When the evaluation after SFT has been printed, the next stage begins: it stops as soon as it can.
      if (isStopped || !text.startsWith("sft ")) return;
      isStopped = true;
      setImmediate(() => signals.emit("SIGINT"));
    });
    expect(stopped.code).toBe(130);
    const steps = readMetrics(path).length;
    expect(steps).toBeLessThan(readMetrics(whole()).length);
    const resumed = await alidade(["resume", path, "--json"]);
    expect({ code: resumed.code, stderr: resumed.stderr }).toMatchObject({ code: 0 });
    expect(resultsOf(path)).toEqual(resultsOf(whole()));
  });
});
