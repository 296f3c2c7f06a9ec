// All prompts of GenEval-mini, in suites that share none.

import { hashKey } from "../../../core/random.ts";
import {
  colorPairRecord,
  colorRecord,
  countingRecord,
  pairRecord,
  positionRecord,
  singleRecord,
} from "../prompt-generator.ts";
import { type GenevalRecord, orderlessKey } from "../record.ts";
import { relations, type Tag, tags } from "../vocabulary.ts";
import type { MiniConfig } from "./config.ts";

/** A prompt with what its image must show. */
export interface MiniItem {
  readonly record: GenevalRecord;
}

/** `test`: held out; then what no training prompt has: a class, and a number of objects. */
export const miniSuites = ["train", "test", "unseenClass", "unseenCount"] as const;
export type MiniSuite = (typeof miniSuites)[number];

/** Share of the order-insensitive keys of each tag that is held out; of each tag at least one. */
const HELD_OUT = 0.2;
const COUNTS = [2, 3, 4];
const UNSEEN_COUNT = 5;

const pairsOf = <T>(list: readonly T[]): (readonly [T, T])[] =>
  list.flatMap((a) => list.filter((b) => b !== a).map((b) => [a, b] as const));

function countingRecords(
  classes: readonly string[],
  counts: readonly number[],
  { coloredPrompts, colors }: MiniConfig,
): GenevalRecord[] {
  const words = coloredPrompts.includes("counting") ? colors : [undefined];
  return classes.flatMap((name) =>
    counts.flatMap((count) => words.map((color) => countingRecord(name, count, color))),
  );
}

function positionRecords(
  classes: readonly string[],
  { coloredPrompts, colors }: MiniConfig,
): GenevalRecord[] {
  return pairsOf(classes).flatMap(([placed, reference]) =>
    relations.flatMap((relation) => {
      const plain = positionRecord({ class: placed }, relation, { class: reference });
      if (!coloredPrompts.includes("position")) return [plain];
      return pairsOf(colors).map(([a, b]) =>
        positionRecord({ class: placed, color: a }, relation, { class: reference, color: b }),
      );
    }),
  );
}

/** Every prompt about the classes, tag by tag. */
function recordsAbout(classes: readonly string[], config: MiniConfig): GenevalRecord[] {
  const { colors } = config;
  return [
    ...classes.map(singleRecord),
    ...pairsOf(classes).map(([a, b]) => pairRecord(a, b)),
    ...countingRecords(classes, COUNTS, config),
    ...classes.flatMap((name) => colors.map((color) => colorRecord(name, color))),
    ...positionRecords(classes, config),
    ...pairsOf(classes).flatMap(([a, b]) =>
      pairsOf(colors).map(([colorA, colorB]) =>
        colorPairRecord({ class: a, color: colorA }, { class: b, color: colorB }),
      ),
    ),
  ];
}

/** Keys that are held out: of each tag those with the smallest hashes, the same for every seed. */
function heldOutKeys(records: readonly GenevalRecord[]): ReadonlySet<string> {
  const held = tags.flatMap((tag) => {
    const keys = new Set(records.filter((one) => one.tag === tag).map(orderlessKey));
    const ranked = [...keys]
      .map((key) => ({ key, rank: hashKey(["held out", key])[0] }))
      .sort((a, b) => a.rank - b.rank);
    return ranked.slice(0, Math.max(1, Math.round(HELD_OUT * keys.size))).map(({ key }) => key);
  });
  return new Set(held);
}

function makeSuites(config: MiniConfig): MiniPrompts["suites"] {
  const { classes, unseenClass } = config;
  const seen = recordsAbout(
    classes.filter((name) => name !== unseenClass),
    config,
  );
  const held = heldOutKeys(seen);
  const isHeldOut = (record: GenevalRecord): boolean => held.has(orderlessKey(record));
  const all = recordsAbout(
    [...classes.filter((name) => name !== unseenClass), unseenClass],
    config,
  );
  return {
    train: seen.filter((record) => !isHeldOut(record)),
    test: seen.filter(isHeldOut),
    unseenClass: all.filter(({ include }) => include.some((entry) => entry.class === unseenClass)),
    unseenCount: countingRecords(classes, [UNSEEN_COUNT], config),
  };
}

interface MiniPrompts {
  readonly suites: Readonly<Record<MiniSuite, readonly GenevalRecord[]>>;
  /** The training prompts, and those of all suites, of each tag. */
  readonly trainByTag: Readonly<Record<Tag, readonly GenevalRecord[]>>;
  readonly allByTag: Readonly<Record<Tag, readonly GenevalRecord[]>>;
}

const byTag = (records: readonly GenevalRecord[]): MiniPrompts["allByTag"] =>
  Object.fromEntries(
    tags.map((tag) => [tag, records.filter((one) => one.tag === tag)]),
  ) as unknown as MiniPrompts["allByTag"];

const known = new WeakMap<MiniConfig, MiniPrompts>();

/** All prompts; made once for a config. */
export function promptsOf(config: MiniConfig): MiniPrompts {
  const made = known.get(config);
  if (made !== undefined) return made;
  const suites = makeSuites(config);
  const prompts = {
    suites,
    trainByTag: byTag(suites.train),
    allByTag: byTag(Object.values(suites).flat()),
  };
  known.set(config, prompts);
  return prompts;
}
