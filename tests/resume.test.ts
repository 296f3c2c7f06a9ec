// A run that was stopped anywhere and resumed is the run that was never stopped, bit by bit.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Scorer } from "../src/core/task.ts";
import { LocalEngine } from "../src/engine/local-engine.ts";
import {
  localModel,
  localTask,
  remains,
  trainLocally,
  type EngineVerb,
  type LocalRun,
} from "./local-run.ts";
import { sumEnvironment, type Sum } from "./scripted-engine.ts";

type Config = typeof sumEnvironment.config;

let root: string;
/** One for runs from their beginning, another one for what follows a stop: it knows only what it loads. */
let first: LocalEngine;
let second: LocalEngine;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "alidade-resume-"));
  [first, second] = [new LocalEngine(localModel), new LocalEngine(localModel)];
});
afterAll(() => {
  first.dispose();
  second.dispose();
  rmSync(root, { recursive: true, force: true });
});

type Plan = Omit<LocalRun, "engine" | "path" | "after">;

/** The calls at which a run can be stopped, in their order. */
async function wholeRun(name: string, plan: Plan) {
  const verbs: EngineVerb[] = [];
  const path = join(root, name, "whole");
  const { lines } = await trainLocally({
    ...plan,
    engine: first,
    path,
    after: (verb) => void verbs.push(verb),
  });
  return { verbs, lines, remains: remains(path, first) };
}

/** Stops after the n-th call of the engine, counted from 1, and resumes. */
async function stoppedRun(name: string, plan: Plan, at: number) {
  const path = join(root, name, `stopped ${at}`);
  let calls = 0;
  const start = await trainLocally({
    ...plan,
    engine: first,
    path,
    after: (_verb, abort) => void (++calls === at && abort()),
  });
  if (start.ended) return { isWhole: true, remains: remains(path, first), lines: start.lines };
  const rest = await trainLocally({ ...plan, engine: second, path });
  expect(rest.ended).toBe(true);
  const lines = [...start.lines, ...rest.lines];
  return { isWhole: false, remains: remains(path, second), lines };
}

/** Stops at every call of these verbs. */
async function expectSame(
  name: string,
  plan: Plan,
  verbs: readonly EngineVerb[] = ["accumulate", "step"],
): Promise<{ lines: readonly string[] }> {
  const whole = await wholeRun(name, plan);
  const points = whole.verbs.flatMap((verb, index) => (verbs.includes(verb) ? [index + 1] : []));
  expect(points.length).toBeGreaterThan(4);
  let stops = 0;
  for (const at of points) {
    const stopped = await stoppedRun(name, plan, at);
    expect(stopped.remains, `stopped after call ${at}, ${whole.verbs[at - 1]}`).toEqual(
      whole.remains,
    );
    expect(stopped.lines, "nothing is said twice or forgotten").toEqual(whole.lines);
    if (!stopped.isWhole) stops++;
  }
  expect(stops).toBeGreaterThanOrEqual(points.length - 3); // after the last step there is nothing to resume
  return whole;
}

const kl = { type: "loss", weight: 0.1 };

describe("a run that is resumed ends as one that was never stopped", () => {
  it("at the boundary of generation batches, and of epochs of rows", async () => {
    const rows = join(root, "rows.jsonl");
    const lines = [0, 1, 2, 3, 4].map((a) => JSON.stringify({ a, b: 2 * a + 1 }));
    writeFileSync(rows, lines.join("\n"));
    // Two prompts of five rows a step: epochs end in the middle of a batch and at its end.
    await expectSame("rows", { grpo: { steps: 6 }, rows }, ["sample", "accumulate", "step"]);
  });

  it("in the middle of accumulation", async () => {
    await expectSame("accumulation", { grpo: { steps: 3, accumulation: 3, loss: { kl } } });
  });

  it("in the middle of the generation buffer", async () => {
    await expectSame("minibatches", { grpo: { steps: 7, minibatches: 4 } });
  });

  it("between the passes over a generation batch", async () => {
    await expectSame("iterations", { grpo: { steps: 7, iterations: 3 } });
  });

  it("everywhere in minibatches of passes of accumulated batches", async () => {
    const grpo = { steps: 7, minibatches: 2, iterations: 2, accumulation: 2, samplesEvery: 2 };
    await expectSame("all", { grpo }, ["sample", "logProbs", "accumulate", "step"]);
  });

  it("from checkpoints of its own inside the buffer, when it died at any moment after them", async () => {
    const grpo = { steps: 7, minibatches: 2, iterations: 2, accumulation: 2 };
    const plan: Plan = { grpo, checkpointEvery: 3 };
    const whole = await wholeRun("died", plan);
    for (let at = 2; at <= whole.verbs.length; at += 2) {
      const path = join(root, "died", `at ${at}`);
      let calls = 0;
      const after = (): void => {
        if (++calls === at) throw new Error("the power went");
      };
      const dying = trainLocally({ ...plan, engine: first, path, after });
      await expect(dying).rejects.toThrow("the power went");
      const verbs: EngineVerb[] = [];
      const { ended } = await trainLocally({
        ...plan,
        engine: second,
        path,
        after: (verb) => void verbs.push(verb),
      });
      expect(ended).toBe(true);
      expect(remains(path, second), `died after call ${at}`).toEqual(whole.remains);
      const stepsBefore = whole.verbs.slice(0, at - 1).filter((verb) => verb === "step").length;
      const kept = stepsBefore - (stepsBefore % 3);
      expect(verbs.filter((verb) => verb === "step").length).toBe(7 - kept);
    }
  });
});

const inBuffer = { steps: 4, minibatches: 2, accumulation: 2 };

/** A judge that abstains now and then, fails now and then, and gives every answer the same mark for its style. */
const judge: Scorer<Sum, Config> = {
  scores: { judge: "how early the text begins", style: "always 1" },
  score: (_item, { text }) => {
    if (text.length === 2) throw new Error("cannot read this");
    return { judge: text.length === 3 ? null : (text.codePointAt(0) ?? 0), style: 1 };
  },
};
const warnings = { steps: 2, onConstant: "warn", onNull: "warn", onNoSpread: "warn" };

describe("the same holds in the buffer with", () => {
  it.each<[string, Plan]>([
    ["KL in the loss", { grpo: { loss: { kl } } }],
    ["KL in the reward", { grpo: { loss: { kl: { type: "reward", weight: 0.1 } } } }],
    [
      "a sampler correction",
      { grpo: { loss: { sampler: { type: "correction", outside: "mask", max: 1.5 } } } },
    ],
    [
      "groups that are refilled",
      {
        grpo: { withoutSpread: { type: "refill", rounds: 2 }, group: 2 },
        weights: { correct: 1 },
      },
    ],
    [
      "groups that are dropped",
      {
        grpo: { steps: 8, withoutSpread: { type: "drop" }, group: 3, prompts: 4 },
        weights: { correct: 1 },
      },
    ],
    [
      "greedy baselines",
      { grpo: { advantages: { type: "reward", baseline: "greedy", scale: { type: "none" } } } },
    ],
    [
      "masked and penalised overlong completions",
      { grpo: { steps: 6, maxTokens: 9, overlong: { mask: true, penalty: { buffer: 3 } } } },
    ],
    ["Muon", { grpo: { optimiser: { learningRate: 0.02, method: "muon" } } }],
    [
      "an entropy bonus and the ratio of sequences",
      { grpo: { loss: { ratio: "sequence", entropy: { weight: 0.01 } } } },
    ],
  ])("%s", async (name, plan) => {
    await expectSame(name, { ...plan, grpo: { ...inBuffer, ...plan.grpo } }, ["accumulate"]);
  });
});

it("counters, windows and what was said of failing rewards go on", async () => {
  const rewards = { error: { type: "stop-after", count: 999 }, window: warnings };
  const plan: Plan = {
    grpo: { ...inBuffer, steps: 8, group: 8, rewards },
    task: { ...localTask, scorers: [judge] },
    weights: { judge: 1, style: 1 },
  };
  const { lines } = await expectSame("failing", plan, ["accumulate"]);
  const said = lines.filter((line) => line.includes("judge failed") || line.includes("style"));
  expect(said).toEqual([
    expect.stringContaining("reward judge failed, its sample is left out"),
    expect.stringContaining("reward style failed, its sample is left out"),
    expect.stringMatching(/^grpo step 3: .* last 2 steps: style = 1$/),
  ]);
});

describe("a damaged buffer", () => {
  const plan: Plan = { grpo: { steps: 7, minibatches: 4 }, checkpointEvery: 2 };

  it.each([
    ["cut off", (text: string) => text.slice(0, text.length / 2)],
    ["of another form", () => JSON.stringify({ examples: 7 })],
  ])("%s is told, and the run goes on from the checkpoint before", async (name, damage) => {
    const whole = await wholeRun(`buffer ${name}`, plan);
    const path = join(root, `buffer ${name}`, "damaged");
    let steps = 0;
    const after = (verb: EngineVerb, abort: () => void): void => {
      if (verb === "step" && ++steps === 6) abort();
    };
    expect((await trainLocally({ ...plan, engine: first, path, after })).ended).toBe(false);
    const buffer = join(path, "checkpoints", "grpo-000006", "buffer.json");
    writeFileSync(buffer, damage(readFileSync(buffer, "utf8")));
    const { lines, ended } = await trainLocally({ ...plan, engine: second, path });
    expect(ended).toBe(true);
    expect(lines[0]).toContain(`checkpoint grpo-000006 cannot be read: ${buffer}: expected`);
    expect(lines[1]).toBe("going on from the checkpoint before it, grpo-000004");
    expect(remains(path, second)).toEqual(whole.remains);
  });
});
