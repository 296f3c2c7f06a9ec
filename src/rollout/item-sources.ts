// Where the items of a run come from: made by the task, or rows of published files. Both give an item for every index, the same
// for a seed, whatever else is drawn and wherever a run was resumed.

import { DataError } from "../core/errors.ts";
import { randomStream } from "../core/random.ts";
import type { RowFormat, Task } from "../core/task.ts";
import { openRows, type Row, type Rows } from "../data/rows.ts";
import { splitOf, testItems, trainItem } from "./items.ts";

/** The training item with this index, counted from 0 without end. */
export type ItemSource<Item> = (index: number) => Promise<Item>;

export interface RunItems<Item> {
  readonly sft: ItemSource<Item>;
  readonly sft2: ItemSource<Item>;
  readonly grpo: ItemSource<Item>;
  readonly test: readonly Item[];
  /** The files that were opened. */
  readonly files: Readonly<Partial<Record<keyof DataPaths, Rows["files"]>>>;
}

/** Files, patterns or folders with rows; null: the task makes the items. */
export interface DataPaths {
  readonly sft: string | null;
  readonly sft2: string | null;
  readonly grpo: string | null;
  readonly test: string | null;
}

/** Indices of made items from here on are for reinforcement learning: never those of SFT. */
const RL_ITEMS = 1_000_000_000;
/** The same for the second supervised stage. */
const SFT2_ITEMS = 2_000_000_000;

/** Rows of a task as items. */
export interface ItemRows<Item> extends Pick<Rows, "length" | "files" | "place"> {
  read(index: number): Promise<Item>;
}

const pick = (row: Row, names: readonly string[]): Row =>
  Object.fromEntries(names.filter((name) => name in row).map((name) => [name, row[name]]));

function formatOf<Item, Config>(task: Task<Item, Config>, path: string): RowFormat<Item, Config> {
  if (task.rows !== undefined) return task.rows;
  const got = `a task that reads none (${task.name})`;
  throw new DataError({ where: path, expected: "a task with published rows", got });
}

/**
 * Opens rows as items and reads the first one as a check.
 * @param view `gold`: with the whole gold output, to imitate; `answer`: question and right answer, to be scored; `any`: with
 *   what is there.
 * @throws DataError that names file, row and field.
 */
export async function openItemRows<Item, Config>(
  task: Task<Item, Config>,
  config: Config,
  path: string,
  split: "train" | "test",
  view: "gold" | "answer" | "any",
): Promise<ItemRows<Item>> {
  const format = formatOf(task, path);
  const { fields, goldFields, optionalFields, optionalGoldFields } = format;
  const required = view === "gold" ? [...fields, ...goldFields] : fields;
  const optional =
    view === "answer" ? optionalFields : [...optionalFields, ...goldFields, ...optionalGoldFields];
  const names = [...required, ...optional];
  const rows = await openRows(path, split, { required, optional });
  const items: ItemRows<Item> = {
    length: rows.length,
    files: rows.files,
    place: (index) => rows.place(index),
    read: async (index) => {
      const [row, where] = [await rows.read(index), rows.place(index)];
      const missing = required.find((name) => (row[name] ?? null) === null);
      if (missing === undefined) return format.read(pick(row, names), where, config);
      throw new DataError({
        where,
        expected: `a field ${missing}`,
        got: Object.keys(row).join(", "),
      });
    },
  };
  await items.read(0);
  return items;
}

/**
 * Rows in a new random order every epoch. A row whose item is held out is left out: the next one in the order takes
 * its place.
 */
function shuffledRows<Item>(
  rows: ItemRows<Item>,
  isHeldOut: (item: Item) => boolean,
  ...name: readonly [seed: number, use: string]
): ItemSource<Item> {
  let [orderOf, order]: [number, readonly number[]] = [-1, []];
  return async (index) => {
    const epoch = Math.floor(index / rows.length);
    if (epoch !== orderOf) {
      const all = Array.from({ length: rows.length }, (_, row) => row);
      [orderOf, order] = [epoch, randomStream(...name, "row order", epoch).shuffle(all)];
    }
    const current = order; // another index may ask for another epoch while this one reads
    for (let offset = 0; offset < rows.length; offset++) {
      const item = await rows.read(current[(index + offset) % rows.length]!);
      if (!isHeldOut(item)) return item;
    }
    const expected = "a row that is not held out for the evaluation";
    throw new DataError({ where: rows.place(0), expected, got: `none among ${rows.length}` });
  };
}

/** The test rows of a path, each in the words in which it is asked. */
async function openTestRows<Item, Config>(
  task: Task<Item, Config>,
  config: Config,
  { sft, sft2, grpo }: DataPaths,
  test: string,
): Promise<ItemRows<Item>> {
  const rows = await openItemRows(task, config, test, "test", "answer");
  const format = formatOf(task, test);
  const training = sft ?? sft2 ?? grpo;
  if (format.inWordsOf === undefined || training === null) return rows;
  let example: Item;
  try {
    example = await (await openItemRows(task, config, training, "train", "answer")).read(0);
  } catch (cause) {
    const expected = "training rows, in whose words the test rows are asked";
    const hint =
      "with data.sft=null, data.sft2=null and data.grpo=null they are asked in those of the task";
    throw new DataError({ where: test, expected, got: (cause as Error).message, hint, cause });
  }
  return {
    ...rows,
    read: async (index) => format.inWordsOf!(await rows.read(index), example, config),
  };
}

/** At most `count` rows, spread evenly over the files. */
async function spreadRows<Item>(rows: ItemRows<Item>, count: number): Promise<Item[]> {
  const wanted = Math.min(count, rows.length);
  const items: Item[] = [];
  for (let index = 0; index < wanted; index++) {
    items.push(await rows.read(Math.floor((index * rows.length) / wanted)));
  }
  return items;
}

/**
 * `count` held-out items: rows of the split `test`, or made by the task. Test rows without a wording of their own are asked
 * in that of the training rows.
 */
export async function openTestItems<Item, Config>(
  task: Task<Item, Config>,
  config: Config,
  paths: DataPaths,
  seed: number,
  count: number,
): Promise<readonly Item[]> {
  const { test } = paths;
  if (test === null) return testItems(task, config, seed, count);
  return spreadRows(await openTestRows(task, config, paths, test), count);
}

/** Keys of all rows: an evaluation of the trained model may ask for more of them than the run measured. */
async function keysOf<Item, Config>(
  task: Task<Item, Config>,
  rows: ItemRows<Item>,
): Promise<ReadonlySet<string>> {
  const keys = new Set<string>();
  for (let index = 0; index < rows.length; index++) keys.add(task.key(await rows.read(index)));
  return keys;
}

/**
 * Opens everything a run reads. No item of the test set is ever trained on: made test items are a split of their own,
 * all rows of the test files, measured or not, are left out of the training by their key.
 * @throws DataError that names file, row and field.
 */
export async function openRunItems<Item, Config>(
  task: Task<Item, Config>,
  config: Config,
  paths: DataPaths,
  seed: number,
  testCount: number,
): Promise<RunItems<Item>> {
  const testRows = paths.test === null ? null : await openTestRows(task, config, paths, paths.test);
  const testKeys = testRows && (await keysOf(task, testRows));
  const isHeldOut = (item: Item): boolean =>
    testKeys === null ? splitOf(task, item) === "test" : testKeys.has(task.key(item));
  const made =
    (start: number): ItemSource<Item> =>
    async (index) =>
      trainItem(task, config, seed, start + index, isHeldOut);
  const files: Partial<Record<keyof DataPaths, Rows["files"]>> = {};
  if (testRows !== null) files.test = testRows.files;
  const open = async (use: "sft" | "sft2" | "grpo", path: string): Promise<ItemSource<Item>> => {
    const view = use === "grpo" ? "answer" : "gold";
    const rows = await openItemRows(task, config, path, "train", view);
    files[use] = rows.files;
    return shuffledRows(rows, isHeldOut, seed, use);
  };
  return {
    files,
    sft: paths.sft === null ? made(0) : await open("sft", paths.sft),
    sft2: paths.sft2 === null ? made(SFT2_ITEMS) : await open("sft2", paths.sft2),
    grpo: paths.grpo === null ? made(RL_ITEMS) : await open("grpo", paths.grpo),
    test:
      testRows === null
        ? testItems(task, config, seed, testCount)
        : await spreadRows(testRows, testCount),
  };
}
