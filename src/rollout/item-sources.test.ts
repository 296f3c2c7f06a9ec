import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Sum, sumEnvironment, sumTask } from "../../tests/scripted-engine.ts";
import { DataError } from "../core/errors.ts";
import type { Task } from "../core/task.ts";
import { openRunItems, type DataPaths } from "./item-sources.ts";
import { splitOf, testItems, trainItem } from "./items.ts";

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-sources-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const { config } = sumEnvironment;
type Config = typeof config;

/** Sums with published rows `{"ask": [1, 2], "work": "…"}`. */
const task: Task<Sum, Config> = {
  ...sumTask,
  rows: {
    fields: ["ask"],
    goldFields: ["work"],
    optionalFields: [],
    optionalGoldFields: [],
    read: ({ ask }, where) => {
      if (Array.isArray(ask)) return { ...base, a: Number(ask[0]), b: Number(ask[1]) };
      throw new DataError({
        where: `${where}, field ask`,
        expected: "two numbers",
        got: typeof ask,
      });
    },
    write: (item) => ({ ask: [item.a, item.b] }),
  },
};
const base = trainItem(sumTask, config, 1, 0);

const COUNT = 40;
function write(name: string, count = COUNT): string {
  const path = join(root, `${name}.jsonl`);
  const lines = Array.from({ length: count }, (_, a) => JSON.stringify({ ask: [a, 1], work: "-" }));
  writeFileSync(path, lines.join("\n"));
  return path;
}

const none: DataPaths = { sft: null, sft2: null, grpo: null, test: null };
const open = (paths: Partial<DataPaths>, seed = 1, count = 5) =>
  openRunItems(task, config, { ...none, ...paths }, seed, count);
const take = (source: (index: number) => Promise<Sum>, from: number, to: number): Promise<Sum[]> =>
  Promise.all(Array.from({ length: to - from }, (_, index) => source(from + index)));
const firsts = (items: readonly Sum[]): number[] => items.map(({ a }) => a);

describe("items of a run", () => {
  it("are made by the task where no path is given; SFT and GRPO never share one", async () => {
    const { sft, grpo, test } = await open({});
    expect(await sft(3)).toEqual(trainItem(sumTask, config, 1, 3));
    expect(await grpo(3)).toEqual(trainItem(sumTask, config, 1, 1_000_000_003));
    expect(test).toEqual(testItems(sumTask, config, 1, 5));
  });

  it("from rows come in a new order every epoch, the same for a seed, found again by index", async () => {
    const sft = write("epochs");
    const test = write("one", 1);
    const source = (await open({ sft, test })).sft;
    const [first, second] = [await take(source, 0, COUNT), await take(source, COUNT, 2 * COUNT)];
    expect(firsts(first)).not.toEqual(firsts(second));
    // Row 0 is a test row: its place is taken by the next one.
    const rows = Array.from({ length: COUNT - 1 }, (_, row) => row + 1);
    for (const epoch of [first, second]) {
      expect([...new Set(firsts(epoch))].toSorted((a, b) => a - b)).toEqual(rows);
    }
    const again = (await open({ sft, test })).sft;
    expect(await again(COUNT + 7)).toEqual(second[7]);
    expect(await again(7)).toEqual(first[7]);
    expect(firsts(await take((await open({ sft, test }, 2)).sft, 0, COUNT))).not.toEqual(
      firsts(first),
    );
  });

  it("of SFT and of GRPO have orders of their own", async () => {
    const path = write("both");
    const { sft, grpo } = await open({ sft: path, grpo: path });
    expect(await take(sft, 0, 20)).not.toEqual(await take(grpo, 0, 20));
  });

  it("never train on what is tested, whatever comes from where", async () => {
    const path = write("leak");
    const made = await open({ sft: path });
    for (const item of await take(made.sft, 0, 3 * COUNT))
      expect(splitOf(task, item)).toBe("train");
    const read = await open({ test: path }, 1, COUNT);
    expect(firsts(read.test)).toEqual(Array.from({ length: COUNT }, (_, row) => row));
    const keys = new Set(read.test.map((item) => task.key(item)));
    for (const item of await take(read.sft, 0, 300)) expect(keys).not.toContain(task.key(item));
    await expect((await open({ sft: path, test: path }, 1, COUNT)).sft(0)).rejects.toThrow(
      "expected a row that is not held out for the evaluation, got none among 40",
    );
  });

  it("never train on a test row that was not measured: a later evaluation may ask for all", async () => {
    const [sft, test] = [write("trained"), write("few", 10)];
    const { sft: source } = await open({ sft, test }, 1, 2);
    const trained = new Set(firsts(await take(source, 0, 3 * COUNT)));
    expect([...trained].filter((a) => a < 10)).toEqual([]);
  });

  it("to test on are spread over the file", async () => {
    expect(firsts((await open({ test: write("spread") }, 1, 4)).test)).toEqual([0, 10, 20, 30]);
  });

  it("are asked in the words of the training rows where they bring none", async () => {
    const words = {
      ...task.rows!,
      inWordsOf: (item: Sum, example: Sum) => ({ ...item, b: example.b + 8 }),
    };
    const paths = { ...none, sft: write("words"), test: write("asked") };
    const { test } = await openRunItems({ ...task, rows: words }, config, paths, 1, 2);
    expect(test.map(({ b }) => b)).toEqual([9, 9]);
    const gone = openRunItems({ ...task, rows: words }, config, { ...paths, sft: "/gone" }, 1, 2);
    await expect(gone).rejects.toThrow(
      /asked\.jsonl: expected training rows, in whose words .* got \/gone: .*\(with data\.sft=null/,
    );
  });
});

describe("rows that cannot be used", () => {
  it("are named when they are opened", async () => {
    const path = join(root, "bad.jsonl");
    writeFileSync(path, '{"ask":[1,2]}\n');
    await expect(open({ sft: path })).rejects.toThrow(
      `${path}, line 1: expected a field work, got ask`,
    );
    writeFileSync(path, '{"ask":5}\n');
    await expect(open({ grpo: path })).rejects.toThrow(
      `${path}, line 1, field ask: expected two numbers`,
    );
  });

  it("are refused for a task that reads none", async () => {
    const paths = { ...none, sft: write("plain") };
    await expect(openRunItems(sumTask, config, paths, 1, 5)).rejects.toThrow(
      "expected a task with published rows, got a task that reads none (sum)",
    );
  });
});
