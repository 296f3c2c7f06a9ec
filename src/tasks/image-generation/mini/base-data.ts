// What a base model of GenEval-mini is trained on: prompts with images, some of which show something else.
//
// A flow that is fitted to them draws what the prompt says about as often as a published model does: the probabilities are one
// minus the scores of SD3.5-M in Flow-GRPO (arXiv:2505.05470, table 1), less what a sampler of our own gets wrong.

import type { Illustration } from "../../../core/image-task.ts";
import type { Random } from "../../../core/random.ts";
import type { Raster } from "../../../image/raster.ts";
import type { GenevalRecord, Requirement } from "../record.ts";
import { relations, tags } from "../vocabulary.ts";
import type { MiniConfig } from "./config.ts";
import { type MiniItem, suitesOf } from "./prompts.ts";
import { drawScene, renderScene } from "./scene.ts";

const MOST_OBJECTS = 5;
const SWAPPED = 0.6;

const other = <T>(random: Random, list: readonly T[], but: T): T =>
  random.pick(list.filter((one) => one !== but));

/** What a wrong image for the record shows instead, as entries. */
function wrongEntries(
  { tag, include }: GenevalRecord,
  random: Random,
  colors: readonly string[],
): Requirement[] {
  const [first, second] = include as [Requirement, Requirement];
  const recolored = (entry: Requirement): Requirement => ({
    ...entry,
    color: other(random, colors, entry.color!),
  });
  switch (tag) {
    case "single_object":
      return [{ ...first, count: 2 }];
    case "two_object": {
      const [kept, changed] = random.shuffle([first, second]) as [Requirement, Requirement];
      return random.uniform() < 0.5 ? [kept] : [kept, { ...changed, count: 2 }];
    }
    case "counting": {
      const counts = Array.from({ length: MOST_OBJECTS }, (_, index) => index + 1);
      return [{ ...first, count: other(random, counts, first.count) }];
    }
    case "colors":
      return [recolored(first)];
    case "position": {
      const [relation, index] = second.position!;
      return [first, { ...second, position: [other(random, relations, relation), index] }];
    }
    case "color_attr": {
      if (random.uniform() < SWAPPED) {
        return [
          { ...first, color: second.color! },
          { ...second, color: first.color! },
        ];
      }
      return random.uniform() < 0.5 ? [recolored(first), second] : [first, recolored(second)];
    }
  }
}

/** A tag, each alike; one of its prompts from any suite; an image that is wrong with the tag's probability. */
export function illustrate(random: Random, config: MiniConfig): Illustration<MiniItem, Raster> {
  const tag = random.pick(tags);
  const records = Object.values(suitesOf(config)).flat();
  const record = random.pick(records.filter((one) => one.tag === tag));
  const isRight = random.uniform() >= config.wrong[tag];
  const shown = isRight
    ? record
    : { ...record, include: wrongEntries(record, random, config.colors) };
  const scene = drawScene(shown, random, config);
  return { item: { record }, ...renderScene(scene, config.noise, random), isRight };
}
