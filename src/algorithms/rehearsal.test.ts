import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ScriptedEngine, sumEnvironment, sumTask, tokenizer } from "../../tests/scripted-engine.ts";
import type { Engine, MemoryPart, Workload } from "../core/engine.ts";
import { EngineError, RunError } from "../core/errors.ts";
import { silentProgress } from "../core/progress.ts";
import { openRunItems } from "../rollout/item-sources.ts";
import { RunDirectory } from "../run/run-directory.ts";
import { postTrainSettings } from "./post-train.ts";
import { planRehearsal, type Rehearsal } from "./rehearsal.ts";

let root: string;
let run: RunDirectory;
let told: string[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "alidade-rehearsal-"));
  const start = { system: "sum", scale: "tiny", config: {}, seed: 5, overrides: [] };
  run = RunDirectory.create(join(root, "run"), start);
  told = [];
});
afterEach(() => {
  run.close();
  rmSync(root, { recursive: true, force: true });
});

const MB = 1e6;
const result = (): string => join(run.path, "rehearsal.json");

async function plan(changes: Partial<Engine>, obtainable = 8e9): Promise<Rehearsal> {
  return planRehearsal({
    engine: Object.assign(new ScriptedEngine(), changes),
    environment: sumEnvironment,
    items: await openRunItems(
      sumTask,
      sumEnvironment.config,
      { sft: null, sft2: null, grpo: null, test: null },
      5,
      20,
    ),
    run,
    progress: { ...silentProgress, line: (text) => void told.push(text) },
    seed: 5,
    settings: postTrainSettings.parse({
      sft: { steps: 30, batch: 3 },
      grpo: {
        steps: 4000,
        prompts: 2,
        group: 5,
        maxTokens: 90,
        iterations: 2,
        topK: 7,
        loss: { kl: { type: "loss", weight: 0.04 } },
      },
      evaluate: { count: 20, maxTokens: 70 },
    }),
    obtainable,
  });
}

const needOf =
  (...megabytes: number[]) =>
  (): MemoryPart[] =>
    megabytes.map((size, index) => ({
      what: `part ${index}`,
      bytes: size * MB,
      remedy: `a smaller part ${index}`,
    }));

describe("planRehearsal", () => {
  it("asks for the longest samples of every stage and of the evaluation", async () => {
    let asked: readonly Workload[] = [];
    await plan({ memoryNeed: (loads) => ((asked = loads), []) });
    const longestPrompt = tokenizer.encodePrompt([{ role: "user", content: "10+10" }]).length;
    const [sft, grpo, evaluation] = asked;
    expect(sft).toMatchObject({ prompts: 3, group: 1, sampling: null, completionTokens: 3 });
    expect(grpo).toMatchObject({
      prompts: 2,
      group: 5,
      promptTokens: longestPrompt,
      completionTokens: 90,
      sampling: { temperature: 1, topK: 7 },
      training: {
        passes: 2,
        loss: {
          surrogate: { type: "clip", low: 0.2, high: 0.2 },
          kl: { type: "loss", weight: 0.04 },
          temperature: 1,
        },
      },
    });
    expect(evaluation).toMatchObject({
      prompts: 20,
      group: 1,
      completionTokens: 70,
      training: null,
    });
  });

  it("refuses a run that needs more than there is, before the engine runs anything", async () => {
    let ran = 0;
    const engine: Partial<Engine> = {
      memoryNeed: needOf(1500, 4000, 20),
      rehearse: async () => ({ sampleMs: ran++, trainMs: 0 }),
    };
    const refusal = await plan(engine, 5e9).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(RunError);
    const { message } = refusal as RunError;
    expect(message).toMatch(
      /^rehearsal: expected a run that needs at most 5\.0 GB of memory, what this process can have, got \d\.\d GB: part 1 4\.0 GB, part 0 1\.5 GB, /,
    );
    expect(message).toMatch(
      /a smaller part 1; a smaller part 0; rehearsal=false starts it all the same\)$/,
    );
    expect(ran).toBe(0);
    expect(existsSync(result())).toBe(false);
  });

  it("tells and records the bounds", async () => {
    const rehearsal = await plan(
      {
        memoryNeed: needOf(9000),
        rehearse: async ({ sampling }) =>
          sampling === null ? { sampleMs: 0, trainMs: 130 } : { sampleMs: 1200, trainMs: 900 },
      },
      24e9,
    );
    await rehearsal.measure();
    expect(told).toEqual([
      "rehearsal: SFT step at most 0.13 s, 30 steps 0:04",
      "rehearsal: GRPO generation batch of 2 steps at most 2.1 s (sampling 1.2, training 0.90), 4000 steps 1:10:00",
      expect.stringMatching(
        /^rehearsal: memory at most 9\.\d GB of 24\.0 GB; all with every sample at its longest$/,
      ),
    ]);
    const record = JSON.parse(readFileSync(result(), "utf8"));
    expect(record.stages).toMatchObject([
      { stage: "sft", steps: 30, trainMs: 130, totalMs: 3900 },
      { stage: "grpo", steps: 4000, sampleMs: 1200, completionTokens: 90, totalMs: 4_200_000 },
    ]);
    expect(record.memory).toMatchObject({ obtainableBytes: 24e9 });
    expect(record.memory.computedBytes).toBeGreaterThan(9e9);
  });

  it("says nothing about an engine that cannot tell", async () => {
    await (await plan({})).measure();
    expect(told).toEqual([]);
  });

  it.each([
    new RangeError("Array buffer allocation failed"),
    new EngineError("ONNX Runtime Run: Failed to allocate memory for requested buffer of size 7"),
  ])("turns %s into the same refusal", async (cause) => {
    const engine = { memoryNeed: needOf(10), rehearse: () => Promise.reject(cause) };
    const error = await (await plan(engine)).measure().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(RunError);
    expect(error).toMatchObject({ cause });
    expect((error as Error).message).toContain(cause.message);
    expect((error as Error).message).toContain("a smaller part 0");
  });

  it("does not take other errors for a lack of memory", async () => {
    const cause = new EngineError("ONNX Runtime Run: Invalid input name");
    const rehearsal = await plan({ rehearse: () => Promise.reject(cause) });
    await expect(rehearsal.measure()).rejects.toBe(cause);
  });
});
