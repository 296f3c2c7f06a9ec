// Trains a task of your own with one call: a run directory, progress on the screen, Ctrl-C, resume, as `alidade train` has them.

import { existsSync } from "node:fs";
import { z } from "zod";
import { resolveConfig } from "../algorithms/resolve-config.ts";
import { taskScores, type Task } from "../core/task.ts";
import type { PostTrainSummary } from "../algorithms/post-train.ts";
import { ConfigError } from "../core/errors.ts";
import { Interrupted } from "../run/interrupted.ts";
import { RunDirectory, type RunStart } from "../run/run-directory.ts";
import {
  prepareRecipe,
  recipeSettings,
  trainRecipe,
  withAbsolutePaths,
  type Recipe,
  type RecipeConfig,
} from "../systems/recipe.ts";
import type { System } from "../systems/system.ts";
import { customScale, resumeByProgram } from "./custom-run.ts";
import { executeRun } from "./execute-run.ts";
import { flatSettings } from "./flat-settings.ts";

export interface TrainTaskOptions {
  /** Run directory; one that is not finished is resumed. */
  readonly out: string;
  readonly seed?: number;
  /** The reward: weight of each score. */
  readonly reward: Readonly<Record<string, number>>;
  /** Settings that differ from the defaults, nested: `{ sft: { steps: 100 }, grpo: { steps: 200, maxTokens: 8 } }`. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Silent: no progress on standard error. */
  readonly quiet?: boolean;
  /** Aborted: training stops after its step, writes a checkpoint and throws `Interrupted`. */
  readonly signal?: AbortSignal;
}

/**
 * SFT on the task's gold answers, then GRPO on its scores, with evaluations between; returns the accuracies. Ctrl-C writes a
 * checkpoint and ends the program; the same call goes on from there.
 */
export async function trainTask<Item, TaskConfig>(
  task: Task<Item, TaskConfig>,
  options: TrainTaskOptions,
): Promise<PostTrainSummary> {
  const { out, seed = 1, reward, settings, quiet = false, signal } = options;
  const scores = taskScores(task);
  const recipe: Recipe<Item, TaskConfig, Record<string, number>> = {
    task,
    reward: {
      settings: z.object(
        Object.fromEntries(
          Object.entries(scores).map(([name, help]) => [
            name,
            z.number().default(0).describe(`weight of: ${help}`),
          ]),
        ),
      ),
      weights: (weights) =>
        Object.fromEntries(Object.entries(weights).filter(([, weight]) => weight !== 0)),
    },
  };
  const schema = recipeSettings(recipe) as z.ZodType<
    RecipeConfig<TaskConfig, Record<string, number>>
  >;
  const config = withAbsolutePaths(resolveConfig(schema, { ...settings, reward }, []));
  if (Object.values(reward).every((weight) => weight === 0)) {
    const hint = `scores: ${Object.keys(scores).join(", ")}`;
    throw new ConfigError({
      where: "reward",
      expected: "a score with a weight",
      got: "none",
      hint,
    });
  }
  const start = { system: task.name, scale: customScale, config, seed, overrides: [] };
  if (!existsSync(out)) await prepareRecipe(recipe, config);
  const run = openRun(out, start);
  let summary: PostTrainSummary | undefined;
  const system: Pick<System<typeof config>, "train"> = {
    train: async (context) => {
      summary = await trainRecipe(recipe, context);
      return { ...summary };
    },
  };
  const stderr = quiet ? { write: () => true } : process.stderr;
  try {
    const { text } = await executeRun(
      {
        stderr,
        signals: process,
        kill: (code) => process.exit(code),
        howToResume: resumeByProgram,
        signal,
      },
      system,
      run,
      config,
    );
    stderr.write(`${text}\n`);
  } catch (error) {
    // Ctrl-C ends a program; this one only had a checkpoint to write first.
    if (error instanceof Interrupted && signal?.aborted !== true) process.exit(130);
    throw error;
  }
  return summary!;
}

/** A new run, or one that was stopped before its end and is now asked for in the same words. */
function openRun(path: string, start: RunStart): RunDirectory {
  if (!existsSync(path)) return RunDirectory.create(path, start);
  const run = RunDirectory.open(path);
  const hint = "choose another directory, or delete this one";
  if (run.record.status === "done") {
    const expected = "a new run directory, or a run that is not finished";
    throw new ConfigError({ where: path, expected, got: "a finished run", hint });
  }
  const { system, seed, config } = run.record;
  const known = new Set(identity({ system, seed, config }));
  const changed = identity(start).find((line) => !known.has(line));
  if (changed !== undefined) {
    const got = `one that began without ${changed}`;
    throw new ConfigError({ where: path, expected: "a run of the same settings", got, hint });
  }
  return run;
}

/** What a run may not change on its way, one setting a line. */
function identity({ system, seed, config }: Pick<RunStart, "system" | "seed" | "config">) {
  return [`task=${system}`, `seed=${seed}`, ...flatSettings(config as object)];
}
