// What a base model of GenEval-mini is trained on: prompts with images, some of which show something else.
//
// A flow that is fitted to them draws what the prompt says about as often as a published model does: the probabilities are one
// minus the scores of SD3.5-M in Flow-GRPO (arXiv:2505.05470, table 1), less what a sampler of our own gets wrong.

import type { Illustration } from "../../../core/image-task.ts";
import type { Random } from "../../../core/random.ts";
import type { Raster } from "../../../image/raster.ts";
import type { GenevalRecord, Requirement } from "../record.ts";
import { relations, type Tag, tags } from "../vocabulary.ts";
import type { MiniConfig } from "./config.ts";
import { type MiniItem, promptsOf } from "./prompts.ts";
import { drawScene, renderScene } from "./scene.ts";

const MOST_OBJECTS = 5;
const SWAPPED = 0.6;

const other = <T>(random: Random, list: readonly T[], but: T): T =>
  random.pick(list.filter((one) => one !== but));

type Wrong = (
  include: readonly [Requirement, Requirement],
  random: Random,
  colors: readonly string[],
) => Requirement[];

const recolored = (entry: Requirement, random: Random, colors: readonly string[]): Requirement => ({
  ...entry,
  color: other(random, colors, entry.color!),
});

/** What a wrong image shows instead, as entries. */
const wrongEntries: Readonly<Record<Tag, Wrong>> = {
  single_object: ([first]) => [{ ...first, count: 2 }],
  two_object: (include, random) => {
    const [kept, changed] = random.shuffle(include) as [Requirement, Requirement];
    return random.uniform() < 0.5 ? [kept] : [kept, { ...changed, count: 2 }];
  },
  counting: ([first], random) => {
    const counts = Array.from({ length: MOST_OBJECTS }, (_, index) => index + 1);
    return [{ ...first, count: other(random, counts, first.count) }];
  },
  colors: ([first], random, colors) => [recolored(first, random, colors)],
  position: ([first, second], random) => {
    const [relation, index] = second.position!;
    return [first, { ...second, position: [other(random, relations, relation), index] }];
  },
  color_attr: ([first, second], random, colors) => {
    if (random.uniform() < SWAPPED) {
      return [
        { ...first, color: second.color! },
        { ...second, color: first.color! },
      ];
    }
    return random.uniform() < 0.5
      ? [recolored(first, random, colors), second]
      : [first, recolored(second, random, colors)];
  },
};

/** The record with what a wrong image for it shows. */
function wronged(record: GenevalRecord, random: Random, { colors }: MiniConfig): GenevalRecord {
  const include = record.include as unknown as readonly [Requirement, Requirement];
  return { ...record, include: wrongEntries[record.tag](include, random, colors) };
}

/** A tag, each alike; one of its prompts from any suite; an image that is wrong with the tag's probability. */
export function illustrate(random: Random, config: MiniConfig): Illustration<MiniItem, Raster> {
  const tag = random.pick(tags);
  const record = random.pick(promptsOf(config).allByTag[tag]);
  const isRight = random.uniform() >= config.wrong[tag];
  const shown = isRight ? record : wronged(record, random, config);
  const scene = drawScene(shown, random, config);
  return { item: { record }, ...renderScene(scene, config.noise, random), isRight };
}
