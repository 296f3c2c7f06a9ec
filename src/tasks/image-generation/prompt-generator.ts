// Prompts by the rules of GenEval (arXiv:2310.11513, prompts/create_prompts.py), mixed as Flow-GRPO trains on them
// (arXiv:2505.05470, appendix; scripts of yifan123/flow_grpo).
//
// Differs from the scripts in: the random numbers, so the published 553 prompts are read from their file, not made again.

import { ConfigError } from "../../core/errors.ts";
import type { Random } from "../../core/random.ts";
import { type GenevalRecord, orderlessKey, type Requirement } from "./record.ts";
import { colorNames, objectNames, type Relation, relations, type Tag, tags } from "./vocabulary.ts";

/** What prompts may speak of. */
export interface PromptWorld {
  readonly classes: readonly string[];
  readonly colors: readonly string[];
  /** Classes that no prompt gives a colour. */
  readonly uncolored: readonly string[];
  /** Numbers of counting prompts. */
  readonly counts: readonly number[];
}

export const genevalWorld: PromptWorld = {
  classes: objectNames,
  colors: colorNames,
  uncolored: ["person"],
  counts: [2, 3, 4],
};

/** Shares of the tags in Flow-GRPO's training file. */
export const trainingWeights: Readonly<Record<Tag, number>> = {
  position: 7,
  counting: 5,
  color_attr: 3,
  colors: 1,
  two_object: 1,
  single_object: 0,
};

const numberWords = "zero one two three four five six seven eight nine ten eleven twelve".split(
  " ",
);

/** A number as prompts write it. Throws a ConfigError above twelve. */
export function numberWord(count: number): string {
  const word = numberWords[count];
  if (word !== undefined) return word;
  const [where, expected] = ["counting prompt", "a whole number from 0 to 12"];
  throw new ConfigError({ where, expected, got: String(count) });
}

export const withArticle = (name: string): string =>
  /^[aeiou]/.test(name) ? `an ${name}` : `a ${name}`;

/** "es" behind an s, else "s": so the published files have "toothbrushs", and so do we. */
export const plural = (name: string): string => (name.endsWith("s") ? `${name}es` : `${name}s`);

const named = ({ class: name, color }: Requirement): string =>
  color === undefined ? name : `${color} ${name}`;

/** The text that asks for a list of entries. */
export function promptText(include: readonly Requirement[]): string {
  const [first, second] = include as readonly [Requirement, Requirement | undefined];
  const phrase = (entry: Requirement): string =>
    entry.count === 1
      ? withArticle(named(entry))
      : `${numberWord(entry.count)} ${plural(named(entry))}`;
  if (second?.position !== undefined) {
    return `a photo of ${phrase(second)} ${second.position[0]} ${phrase(first)}`;
  }
  return `a photo of ${include.map(phrase).join(" and ")}`;
}

const one = (name: string, color?: string): Requirement => ({
  class: name,
  count: 1,
  ...(color !== undefined && { color }),
});

const recordOf = (tag: Tag, include: Requirement[], exclude?: GenevalRecord["exclude"]) => ({
  tag,
  include,
  ...(exclude !== undefined && { exclude }),
  prompt: promptText(include),
});

/** The record of a counting prompt; one more of the class makes an image wrong. */
export function countingRecord(name: string, count: number, color?: string): GenevalRecord {
  const entry = { ...one(name, color), count };
  return recordOf("counting", [entry], [{ class: name, count: count + 1 }]);
}

/** "A above B": B, to which the position refers, is the first entry. */
export function positionRecord(
  placed: { readonly class: string; readonly color?: string },
  relation: Relation,
  reference: { readonly class: string; readonly color?: string },
): GenevalRecord {
  const object: Requirement = { ...one(placed.class, placed.color), position: [relation, 0] };
  return recordOf("position", [one(reference.class, reference.color), object]);
}

export const singleRecord = (name: string): GenevalRecord => recordOf("single_object", [one(name)]);
export const pairRecord = (a: string, b: string): GenevalRecord =>
  recordOf("two_object", [one(a), one(b)]);
export const colorRecord = (name: string, color: string): GenevalRecord =>
  recordOf("colors", [one(name, color)]);
export const colorPairRecord = (
  a: { readonly class: string; readonly color: string },
  b: { readonly class: string; readonly color: string },
): GenevalRecord => recordOf("color_attr", [one(a.class, a.color), one(b.class, b.color)]);

function pickTwo<T>(random: Random, list: readonly T[]): readonly [T, T] {
  const first = random.integer(list.length);
  const second = (first + 1 + random.integer(list.length - 1)) % list.length;
  return [list[first]!, list[second]!];
}

const coloredClasses = ({ classes, uncolored }: PromptWorld): readonly string[] =>
  classes.filter((name) => !uncolored.includes(name));

type Draw = (random: Random, world: PromptWorld) => GenevalRecord;

const draws: Readonly<Record<Tag, Draw>> = {
  single_object: (random, { classes }) => singleRecord(random.pick(classes)),
  two_object: (random, { classes }) => pairRecord(...pickTwo(random, classes)),
  counting: (random, { classes, counts }) =>
    countingRecord(random.pick(classes), random.pick(counts)),
  colors: (random, world) =>
    colorRecord(random.pick(coloredClasses(world)), random.pick(world.colors)),
  position: (random, { classes }) => {
    const [placed, reference] = pickTwo(random, classes);
    return positionRecord({ class: placed }, random.pick(relations), { class: reference });
  },
  color_attr: (random, world) => {
    const [a, b] = pickTwo(random, coloredClasses(world));
    const [colorA, colorB] = pickTwo(random, world.colors);
    return colorPairRecord({ class: a, color: colorA }, { class: b, color: colorB });
  },
};

/** A random record of the tag. */
export function drawRecord(tag: Tag, random: Random, world: PromptWorld): GenevalRecord {
  return draws[tag](random, world);
}

/** A tag, drawn by weight. Throws a ConfigError when no weight is above 0. */
export function drawTag(random: Random, weights: Readonly<Record<Tag, number>>): Tag {
  const total = tags.reduce((sum, tag) => sum + weights[tag], 0);
  let rest = random.uniform() * total;
  for (const tag of tags) {
    rest -= weights[tag];
    if (rest < 0) return tag;
  }
  const [where, expected] = ["tag weights", "at least one above 0"];
  throw new ConfigError({ where, expected, got: JSON.stringify(weights) });
}

/**
 * A benchmark as the official script makes it: every class once, then `count` draws of each other tag, exact repetitions left
 * out (the script keeps "A and B" beside "B and A").
 */
export function generateBenchmark(
  random: Random,
  world: PromptWorld = genevalWorld,
  count = 100,
): GenevalRecord[] {
  const records = random.shuffle(world.classes).map(singleRecord);
  for (const tag of tags.filter((name) => name !== "single_object")) {
    for (let index = 0; index < count; index++) records.push(drawRecord(tag, random, world));
  }
  return [...new Map(records.map((record) => [JSON.stringify(record), record])).values()];
}

const MAX_TRIES = 10_000;

/**
 * `count` training records, tags by weight; repetitions are likely. None asks for the same as one of `heldOut`, also not in the
 * other order.
 */
export function generateTraining(
  random: Random,
  count: number,
  options: {
    readonly world?: PromptWorld;
    readonly weights?: Readonly<Record<Tag, number>>;
    readonly heldOut: readonly GenevalRecord[];
  },
): GenevalRecord[] {
  const { world = genevalWorld, weights = trainingWeights, heldOut } = options;
  const keys = new Set(heldOut.map(orderlessKey));
  const draw = (): GenevalRecord => {
    // The tag stays when a record is drawn again: what is held out does not change the shares.
    const tag = drawTag(random, weights);
    for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
      const record = drawRecord(tag, random, world);
      if (!keys.has(orderlessKey(record))) return record;
    }
    const expected = `a ${tag} prompt that is not held out within ${MAX_TRIES} tries`;
    throw new ConfigError({ where: "training prompts", expected, got: "none" });
  };
  return Array.from({ length: count }, draw);
}

/** The world without some classes, and the world of those alone: training and test of the unseen-objects experiment. */
export function splitClasses(
  world: PromptWorld,
  unseen: readonly string[],
): { readonly seen: PromptWorld; readonly unseen: PromptWorld } {
  const stranger = unseen.find((name) => !world.classes.includes(name));
  if (stranger !== undefined) {
    const [where, expected] = ["unseen classes", "classes of the world"];
    throw new ConfigError({ where, expected, got: JSON.stringify(stranger) });
  }
  const seen = world.classes.filter((name) => !unseen.includes(name));
  return { seen: { ...world, classes: seen }, unseen: { ...world, classes: unseen } };
}
