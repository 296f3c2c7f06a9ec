// Trains a task of your own with one call: a run directory, progress on the screen, Ctrl-C, resume, as `alidade train` has them.

import { existsSync } from "node:fs";
import { z } from "zod";
import { resolveSettings } from "../core/settings.ts";
import type { Task } from "../core/task.ts";
import type { PostTrainSummary } from "../algorithms/post-train.ts";
import { RunDirectory } from "../run/run-directory.ts";
import { recipeSettings, trainRecipe, type Recipe, type RecipeConfig } from "../systems/recipe.ts";
import type { System } from "../systems/system.ts";
import { executeRun } from "./execute-run.ts";

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
}

/** SFT on the task's gold answers, then GRPO on its scores, with evaluations between; returns the accuracies. */
export async function trainTask<Item, TaskConfig>(
  task: Task<Item, TaskConfig>,
  options: TrainTaskOptions,
): Promise<PostTrainSummary> {
  const { out, seed = 1, reward, settings, quiet = false } = options;
  const recipe: Recipe<Item, TaskConfig, Record<string, number>> = {
    task,
    reward: {
      settings: z.object(
        Object.fromEntries(
          Object.entries(task.scores).map(([name, help]) => [
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
  const config = resolveSettings(schema, { ...settings, reward }, []);
  const run = existsSync(out)
    ? RunDirectory.open(out)
    : RunDirectory.create(out, { system: task.name, scale: "custom", config, seed, overrides: [] });
  let summary: PostTrainSummary | undefined;
  const system: Pick<System<typeof config>, "train"> = {
    train: async (context) => {
      summary = await trainRecipe(recipe, context);
      return { ...summary };
    },
  };
  const stderr = quiet ? { write: () => true } : process.stderr;
  await executeRun(
    { stderr, signals: process, kill: (code) => process.exit(code) },
    system,
    run,
    config,
  );
  return summary!;
}
