// The GRPO stage with the scripted engine, in a run directory of its own.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "vitest";
import { grpo } from "../src/algorithms/grpo.ts";
import { grpoSettings } from "../src/algorithms/grpo-settings.ts";
import type { StageState } from "../src/algorithms/stage.ts";
import { silentProgress } from "../src/core/progress.ts";
import type { Output, Scores } from "../src/core/task.ts";
import type { ItemSource } from "../src/rollout/item-sources.ts";
import { trainItem } from "../src/rollout/items.ts";
import { RunDirectory } from "../src/run/run-directory.ts";
import {
  ScriptedEngine,
  solve,
  sumEnvironment,
  sumTask,
  type Script,
  type Sum,
} from "./scripted-engine.ts";

export interface StageChanges {
  readonly script?: Script;
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly score?: (item: Sum, output: Output) => Scores;
  readonly weights?: Readonly<Record<string, number>>;
  readonly done?: number;
  /** With its folder: what a checkpoint gives a resumed stage. */
  readonly state?: StageState;
  readonly directory?: string;
  readonly checkpointEvery?: number;
  readonly evaluateEvery?: number;
  readonly signal?: AbortSignal;
  readonly items?: ItemSource<Sum>;
}

/** Right, wrong, right, … within a group. */
export const alternating: Script = {
  answer: (question, sample) => (sample % 2 === 0 ? solve(question) : "777"),
};

export const madeItems: ItemSource<Sum> = async (index) =>
  trainItem(sumTask, sumEnvironment.config, 5, index);

/** A fresh run directory for every test of the file. */
export function scriptedStage() {
  let root: string;
  let run: RunDirectory;
  let evaluated: number[];
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "alidade-stage-"));
    const start = { system: "sum", scale: "tiny", config: {}, seed: 5, overrides: [] };
    run = RunDirectory.create(join(root, "run"), start);
    evaluated = [];
  });
  afterEach(() => {
    run.close();
    rmSync(root, { recursive: true, force: true });
  });

  async function train(changes: StageChanges = {}): Promise<ScriptedEngine> {
    const engine = new ScriptedEngine(changes.script ?? alternating);
    engine.steps = changes.done ?? 0;
    const { score } = changes;
    await grpo<Sum, { largest: number }>(
      {
        engine,
        environment: score ? { ...sumEnvironment, task: { ...sumTask, score } } : sumEnvironment,
        items: changes.items ?? madeItems,
        run,
        progress: silentProgress,
        signal: changes.signal ?? new AbortController().signal,
        seed: 5,
        done: changes.done ?? 0,
        state: changes.state ?? {},
        directory: changes.directory,
        checkpointEvery: changes.checkpointEvery ?? 100,
        evaluateEvery: changes.evaluateEvery ?? 0,
        evaluate: async (step) => void evaluated.push(step),
      },
      grpoSettings.parse({ steps: 1, prompts: 2, group: 4, maxTokens: 9, ...changes.settings }),
      changes.weights ?? { correct: 1 },
    );
    return engine;
  }

  return {
    train,
    /** The error of a training that must fail. */
    failure: async (changes: StageChanges): Promise<Error> => {
      try {
        await train(changes);
      } catch (error) {
        return error as Error;
      }
      throw new Error("the training did not fail");
    },
    path: () => run.path,
    positions: () => run.positions(),
    checkpoints: () => readdirSync(join(run.path, "checkpoints")).toSorted(),
    evaluated: () => evaluated,
  };
}
