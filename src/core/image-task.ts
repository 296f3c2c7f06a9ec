// A task whose outputs are drawn, not written: images, videos, points. As pure as task.ts: no tensors, no clock, no disk.

import type { z } from "zod";
import { DataError } from "./errors.ts";
import type { Random } from "./random.ts";
import type { ScoredTask } from "./task.ts";

/** What a model drew. An image is [height, width, channel], a video [frame, height, width, channel], a point [axis]. */
export interface Drawing {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** An item with an image to imitate. */
export interface Illustration<Item, Image extends Drawing> {
  readonly item: Item;
  readonly image: Image;
  /** 1 where an object is, of the shape of the image without channels. */
  readonly mask: Uint8Array;
  /** Whether the image shows what the prompt says. */
  readonly isRight: boolean;
}

/**
 * Prompts with images that can be checked. Every method is pure; `Item` is plain data (JSON). A model gets `condition` of an
 * item, draws an `Image` of `shape`, and `score` states facts about it. Samples with the same `prompt` are one group.
 */
export interface ImageTask<Item, Config, Image extends Drawing> extends ScoredTask<
  Item,
  Config,
  Image
> {
  /** One line for `alidade list`. */
  readonly summary: string;
  /** Schema with defaults and help for every setting. */
  readonly config: z.ZodType<Config>;
  /** Score (0 or 1) that evaluation reports as accuracy, averaged over the levels. */
  readonly accuracy: string;
  /** Shape of every image; values lie in [-1, 1], a model may leave that range. */
  shape(config: Config): Image["shape"];
  /** Words of all prompts; the id of a word is its index plus 1, 0 stands for "no word". */
  vocabulary(config: Config): readonly string[];
  /** Names of the disjoint sets of items: `train`, `test` (held out), then those that ask for what training never shows. */
  readonly suites: readonly string[];
  /** All items of a suite, in a fixed order. */
  items(suite: string, config: Config): readonly Item[];
  /** A training item, in the shares of the paper. */
  make(random: Random, config: Config): Item;
  prompt(item: Item): string;
  /** An image with full marks. */
  gold(item: Item, config: Config, random: Random): Image;
  /** What a base model is trained on: items of all suites, with images that are wrong as often as those of a published model. */
  illustrate(random: Random, config: Config): Illustration<Item, Image>;
  /** Two items with one key ask for the same. */
  key(item: Item): string;
  /** Names of the levels (for GenEval its tags); tables keep this order. */
  readonly levels: readonly string[];
  level(item: Item): string;
  /** What is wrong with an image, for tables and captions; null when it is right. */
  errorClass(item: Item, image: Image, config: Config): string | null;
}

/** Gives a task literal its types. */
export function defineImageTask<Item, Config, Image extends Drawing>(
  task: ImageTask<Item, Config, Image>,
): ImageTask<Item, Config, Image> {
  return task;
}

/** Words of a prompt: what stands between spaces. */
export const wordsOf = (prompt: string): string[] =>
  prompt.split(" ").filter((word) => word !== "");

/** The ids of a prompt's words. Throws a DataError for a word that the vocabulary does not have. */
export function wordIds(prompt: string, vocabulary: readonly string[]): number[] {
  return wordsOf(prompt).map((word) => {
    const index = vocabulary.indexOf(word);
    if (index >= 0) return index + 1;
    throw new DataError({
      where: `prompt ${JSON.stringify(prompt)}`,
      expected: "words of the task's vocabulary",
      got: JSON.stringify(word),
    });
  });
}
