// Items of a task: train items by index, held-out test items. Which split an item belongs to is a hash of its split key
// alone, so no seed and no size of a test set ever lets a training item in.

import { ConfigError, EngineError } from "../core/errors.ts";
import { hashKey, randomStream, type Random } from "../core/random.ts";
import type { Split, Task } from "../core/task.ts";

/** Share of split keys that are held out. */
export const TEST_SHARE = 0.2;
const MAX_TRIES = 10_000;

export function splitOf<Item, Config>(task: Task<Item, Config>, item: Item): Split {
  const key = task.splitKey?.(item) ?? task.key(item);
  return hashKey(["split", key])[0] / 4294967296 < TEST_SHARE ? "test" : "train";
}

function drawItem<Item, Config>(
  task: Task<Item, Config>,
  config: Config,
  split: Split,
  random: Random,
  isHeldOut: (item: Item) => boolean = () => false,
): Item {
  for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
    const item = task.make(random.fork(attempt), config);
    if (splitOf(task, item) === split && !isHeldOut(item)) return item;
  }
  throw new ConfigError({
    where: `task ${task.name}`,
    expected: `an item of the ${split} split within ${MAX_TRIES} tries`,
    got: "none",
    hint: "the settings allow too few different items",
  });
}

/** The training item with this index; the same for a seed whatever else is drawn. Items that `isHeldOut` names are drawn again. */
export function trainItem<Item, Config>(
  task: Task<Item, Config>,
  config: Config,
  seed: number,
  index: number,
  isHeldOut?: (item: Item) => boolean,
): Item {
  return drawItem(task, config, "train", randomStream(seed, "train item", index), isHeldOut);
}

/** `count` different held-out items. Throws a ConfigError when there are not that many. */
export function testItems<Item, Config>(
  task: Task<Item, Config>,
  config: Config,
  seed: number,
  count: number,
): Item[] {
  const items = new Map<string, Item>();
  for (let index = 0; items.size < count; index++) {
    if (index > count * 20 + 1000) {
      throw new ConfigError({
        where: `task ${task.name}`,
        expected: `${count} different held-out items`,
        got: `about ${items.size}`,
        hint: "ask for fewer",
      });
    }
    const item = drawItem(task, config, "test", randomStream(seed, "test item", index));
    items.set(task.key(item), item);
  }
  return [...items.values()];
}

/** The reward of one output: Σ weight · score over the scores that do not abstain; null when all of them do. */
export function weighScores(
  scores: Readonly<Record<string, number | null>>,
  weights: Readonly<Record<string, number>>,
): number | null {
  let total: number | null = null;
  for (const [name, weight] of Object.entries(weights)) {
    const score = scores[name];
    if (score === undefined) {
      throw new EngineError({
        where: `score ${name}`,
        expected: "a number or null",
        got: "nothing",
        hint: "the task did not return it",
      });
    }
    if (score !== null) total = (total ?? 0) + weight * score;
  }
  return total;
}
