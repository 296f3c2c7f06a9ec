import { readFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { grpoSettings } from "../src/algorithms/grpo-settings.ts";
import { grpo } from "../src/algorithms/grpo.ts";
import { resolveConfig } from "../src/algorithms/resolve-config.ts";
import { silentProgress } from "../src/core/progress.ts";
import { randomStream } from "../src/core/random.ts";
import { defineTask } from "../src/core/task.ts";
import { LocalEngine } from "../src/engine/local-engine.ts";
import type { ProfileName } from "../src/losses/index.ts";
import { readMetrics, RunDirectory } from "../src/run/run-directory.ts";
import { ChatTokenizer } from "../src/text/chat-tokenizer.ts";
import { grpoLoop } from "./grpo-loop.ts";

/** Random weights reach it now and then, so that every group has something to compare. */
const oddLength = defineTask<{ n: number }, Record<string, never>>({
  name: "odd-length",
  summary: "writes an odd number of characters",
  config: z.object({}),
  scores: { odd: "the number is odd" },
  accuracy: "odd",
  make: (random) => ({ n: random.integer(1000) }),
  prompt: ({ n }) => [{ role: "user", content: String(n) }],
  gold: () => "a",
  score: (_item, { text }) => ({ odd: text.length % 2 }),
  key: ({ n }) => String(n),
});

const folder = mkdtempSync(join(tmpdir(), "alidade-loop-"));
afterAll(() => rmSync(folder, { recursive: true }));

const tokenizer = ChatTokenizer.ofTokens([]);
const seed = 3;
const sizes = { steps: 4, prompts: 3, group: 4, maxTokens: 6 };
const item = (index: number): { n: number } => oddLength.make(randomStream("item", index), {});

function makeEngine(): LocalEngine {
  const engine = new LocalEngine({
    vocabularySize: tokenizer.vocabularySize,
    contextLength: 32,
    layers: 2,
    width: 32,
    heads: 2,
    kvHeads: 2,
    headSize: 16,
    hiddenWidth: 64,
    ropeTheta: 10_000,
    normEpsilon: 1e-6,
    qkvBias: false,
    qkNorm: true,
    tiedEmbeddings: true,
  });
  engine.initialise(randomStream(seed, "weights"));
  return engine;
}

/** The losses of the GRPO stage, from its run directory. */
async function stageLosses(profile: ProfileName, engine: LocalEngine): Promise<number[]> {
  const overrides = [`grpo.profile=${profile}`, "grpo.temperature=1"];
  const config = resolveConfig(z.object({ grpo: grpoSettings }), { grpo: sizes }, overrides);
  const start = { system: "loop", scale: "test", config, seed, overrides: [] };
  const run = RunDirectory.create(join(folder, profile), start);
  const settings = config.grpo;
  if (settings.loss.kl.type === "loss" && settings.loss.kl.weight > 0) {
    await engine.freezeReference();
  }
  await grpo(
    {
      engine,
      environment: { task: oddLength, config: {}, tokenizer },
      items: async (index) => item(index),
      run,
      progress: silentProgress,
      signal: new AbortController().signal,
      seed,
      done: 0,
      state: {},
      checkpointEvery: 100,
      evaluate: async () => {},
      evaluateEvery: 0,
    },
    settings,
    { odd: 1 },
  );
  run.finish("done");
  return readMetrics(run.path).map(({ loss }) => Number(loss));
}

describe("the loop in one file", () => {
  it.each(["trl-0.14", "trl-1.13", "trl-0.18"] as const)(
    "has the losses of the stage, to the bit: %s",
    async (profile) => {
      const [ours, theirs] = [makeEngine(), makeEngine()];
      const { optimiser: stageOptimiser } = grpoSettings.parse({ ...sizes });
      const { schedule: _s, warmup: _w, floor: _f, ...optimiser } = stageOptimiser;
      expect(stageOptimiser.schedule).toBe("constant");
      const losses = await grpoLoop({
        engine: ours,
        tokenizer,
        task: oddLength,
        config: {},
        seed,
        item,
        ...sizes,
        loss: { profile },
        optimiser,
      });
      const expected = await stageLosses(profile, theirs);
      expect(losses).toEqual(expected);
      expect(new Set(losses).size).toBeGreaterThan(1);
      ours.dispose();
      theirs.dispose();
    },
  );

  it("takes a scorer that abstains for no zero", async () => {
    const silent = { ...oddLength, score: () => ({ odd: null }) };
    const engine = makeEngine();
    const {
      schedule: _s,
      warmup: _w,
      floor: _f,
      ...optimiser
    } = grpoSettings.parse(sizes).optimiser;
    const loss = { profile: "trl-1.13" } as const;
    const given = { engine, tokenizer, task: silent, config: {}, seed, item, ...sizes, loss };
    await expect(grpoLoop({ ...given, optimiser })).rejects.toThrow("no odd for item 0 of step 1");
    engine.dispose();
  });

  it("is short", () => {
    const text = readFileSync(new URL("grpo-loop.ts", import.meta.url), "utf8");
    expect(text.split("\n").length).toBeLessThan(150);
  });
});
