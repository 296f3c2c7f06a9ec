// A task of images with what is needed to show its prompts to a model and to judge what it draws.

import type { TokenIds } from "../core/engine.ts";
import { wordIds, type Drawing, type ImageTask } from "../core/image-task.ts";
import { scoreOutputs, type ScoredOutput, type ScoringSettings } from "./score-outputs.ts";

export interface ImageEnvironment<Item, Config, Image extends Drawing> {
  readonly task: ImageTask<Item, Config, Image>;
  readonly config: Config;
  /** How long, how often and how many at once; absent: the defaults. */
  readonly scoring?: ScoringSettings;
}

/** The word ids of an item's prompt. */
export function promptEncoder<Item, Config, Image extends Drawing>({
  task,
  config,
}: ImageEnvironment<Item, Config, Image>): (item: Item) => TokenIds {
  const vocabulary = task.vocabulary(config);
  return (item) => Int32Array.from(wordIds(task.prompt(item), vocabulary));
}

/** Samples of a model `[row · sample]` as images; no copies. */
export function imagesOf<Item, Config, Image extends Drawing>(
  { task, config }: ImageEnvironment<Item, Config, Image>,
  samples: Float32Array,
): Image[] {
  const shape = task.shape(config);
  const size = shape.reduce((product, extent) => product * extent, 1);
  return Array.from({ length: samples.length / size }, (_, row) => {
    const data = samples.subarray(row * size, (row + 1) * size);
    return { shape, data } as Drawing as Image;
  });
}

/** Lets the scorers of the task judge an image of each item. */
export const scoreImages = <Item, Config, Image extends Drawing>(
  { task, config, scoring }: ImageEnvironment<Item, Config, Image>,
  items: readonly Item[],
  images: readonly Image[],
): Promise<ScoredOutput[]> =>
  scoreOutputs(
    task,
    config,
    items.map((item, index) => ({ item, output: images[index]! })),
    scoring,
  );
