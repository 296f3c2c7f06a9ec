// Prompts of published files as a task: what a scorer elsewhere can judge, and nothing here can draw.

import { z } from "zod";
import { ConfigError, DataError, shownJson, unknownName } from "../../core/errors.ts";
import { defineImageTask, type ImageTask, wordsOf } from "../../core/image-task.ts";
import type { Scorer } from "../../core/task.ts";
import type { Raster } from "../../image/raster.ts";

export interface PromptTaskOptions<Item> {
  readonly name: string;
  /** Items by suite. `train` is drawn from evenly, line by line: published files have the shares of their tags already. */
  readonly suites: Readonly<Record<"train" | "test", readonly Item[]>> &
    Readonly<Record<string, readonly Item[]>>;
  readonly prompt: (item: Item) => string;
  /** Evaluation averages over levels (the tag of a record); absent: all are one. */
  readonly level?: (item: Item) => string;
  /** Of every image. */
  readonly shape: Raster["shape"];
  readonly scorers: readonly Scorer<Item, object, Raster>[];
  /** The score (0 or 1) that is the accuracy. */
  readonly accuracy: string;
}

/** Throws a DataError for a prompt of `train` in another suite: what is held out would be trained on. */
function checkHeldOut<Item>({ name, suites, prompt }: PromptTaskOptions<Item>): void {
  const trained = new Set(suites.train.map(prompt));
  for (const [suite, items] of Object.entries(suites)) {
    const seen = suite === "train" ? undefined : items.find((item) => trained.has(prompt(item)));
    if (seen === undefined) continue;
    const where = `task ${name}, suite ${suite}`;
    const expected = "prompts that train does not have";
    throw new DataError({ where, expected, got: shownJson(prompt(seen)) });
  }
}

/**
 * A task of these prompts. It has no images of its own, so a run begins at a base model; `gold` and `illustrate` throw a
 * ConfigError. Throws a DataError when a training prompt is held out too.
 */
export function promptTask<Item>(
  options: PromptTaskOptions<Item>,
): ImageTask<Item, object, Raster> {
  const { name, suites, prompt, level = () => "all", shape, scorers, accuracy } = options;
  checkHeldOut(options);
  const items = Object.values(suites).flat();
  const words = [...new Set(items.flatMap((item) => wordsOf(prompt(item))))].sort();
  const noImage = (): never => {
    const hint = "begin at a base model";
    const expected = "a task that can draw";
    throw new ConfigError({ where: `task ${name}`, expected, got: "prompts of files", hint });
  };
  return defineImageTask<Item, object, Raster>({
    name,
    summary: `${items.length} prompts of files, judged elsewhere`,
    config: z.object({}),
    scores: {},
    score: () => ({}),
    scorers,
    accuracy,
    shape: () => shape,
    vocabulary: () => words,
    suites: Object.keys(suites),
    items: (suite) => {
      if (Object.hasOwn(suites, suite)) return suites[suite]!;
      throw unknownName(`task ${name}`, "suite", suite, Object.keys(suites));
    },
    make: (random) => random.pick(suites.train),
    prompt,
    gold: noImage,
    illustrate: noImage,
    key: prompt,
    levels: [...new Set(items.map(level))],
    level,
    errorClass: () => "wrong", // asked for wrong images alone; the scorer does not say why
  });
}
