import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sumTask, type Sum } from "../../tests/scripted-engine.ts";
import { ConfigError, EngineError } from "../core/errors.ts";
import { splitOf, TEST_SHARE, testItems, trainItem, weighScores } from "./items.ts";

const config = { largest: 40 };
const keys = (items: readonly Sum[]): string[] => items.map((item) => sumTask.key(item));
const trainItems = (seed: number, count: number): Sum[] =>
  Array.from({ length: count }, (_, index) => trainItem(sumTask, config, seed, index));

describe("items", () => {
  it("never meet in both splits, whatever the seeds", () => {
    const train = new Set([1, 2, 3].flatMap((seed) => keys(trainItems(seed, 700))));
    const test = new Set([1, 2, 9].flatMap((seed) => keys(testItems(sumTask, config, seed, 150))));
    expect([...test].filter((key) => train.has(key))).toEqual([]);
    // 1600 problems, of which every one has its place.
    expect(train.size).toBeGreaterThan(1000);
    expect(test.size).toBeGreaterThan(200);
  });

  it("are held out in about the share that is meant", () => {
    let held = 0;
    for (let a = 0; a < 100; a++) {
      for (let b = 0; b < 100; b++) held += Number(splitOf(sumTask, { a, b }) === "test");
    }
    expect(Math.abs(held / 10_000 - TEST_SHARE)).toBeLessThan(0.02);
  });

  it("go to a split by their split key where there is one", () => {
    const byFirst = { ...sumTask, splitKey: ({ a }: Sum) => String(a) };
    const firsts = (items: readonly Sum[]) => new Set(items.map(({ a }) => a));
    const train = firsts(
      Array.from({ length: 500 }, (_, index) => trainItem(byFirst, config, 1, index)),
    );
    const test = firsts(testItems(byFirst, config, 1, 60));
    expect([...test].some((a) => train.has(a))).toBe(false);
  });

  it("of training depend on seed and index alone", () => {
    const all = trainItems(5, 60);
    expect(trainItem(sumTask, config, 5, 59)).toEqual(all[59]);
    expect(trainItem(sumTask, config, 5, 3)).toEqual(all[3]);
    expect(keys(trainItems(6, 60))).not.toEqual(keys(all));
    expect(new Set(keys(all)).size).toBeGreaterThan(50);
    expect(trainItem(sumTask, config, 5, 1_000_000_003)).not.toEqual(all[3]);
  });

  it("of the test set are different from one another, and a smaller set begins a larger one", () => {
    const items = testItems(sumTask, config, 4, 200);
    expect(items.length).toBe(200);
    expect(new Set(keys(items)).size).toBe(200);
    expect(testItems(sumTask, config, 4, 50)).toEqual(items.slice(0, 50));
  });

  it("that are too few are an error that says so", () => {
    const few = { largest: 3 };
    expect(() => testItems(sumTask, few, 1, 9)).toThrow(ConfigError);
    expect(() => testItems(sumTask, few, 1, 9)).toThrow(
      /^task sum: expected 9 different held-out items, got about \d \(ask for fewer\)$/,
    );
    const onlyTrain = { ...sumTask, splitKey: () => "d" };
    const split = splitOf(onlyTrain, { a: 1, b: 1 });
    const draw = () =>
      split === "train" ? testItems(onlyTrain, config, 1, 1) : trainItem(onlyTrain, config, 1, 1);
    expect(draw).toThrow(/expected an item of the (test|train) split within 10000 tries, got none/);
  });
});

describe("weighScores", () => {
  it("is the weighted sum of the scores that do not abstain", () => {
    expect(weighScores({ a: 1, b: 0.5, c: 7 }, { a: 2, b: -1 })).toBe(1.5);
    expect(weighScores({ a: null, b: 0.5 }, { a: 2, b: 4 })).toBe(2);
    expect(weighScores({ a: 0 }, { a: 2 })).toBe(0);
  });

  it("abstains when all of them do, and is not a zero", () => {
    expect(weighScores({ a: null, b: null, c: 1 }, { a: 2, b: 4 })).toBeNull();
    expect(weighScores({ a: 1 }, {})).toBeNull();
  });

  it("names a score that the task did not return", () => {
    expect(() => weighScores({ a: 1 }, { b: 1 })).toThrow(EngineError);
    expect(() => weighScores({ a: 1 }, { b: 1 })).toThrow("score b: expected a number or null");
  });

  it("hands on what is not finite, for the stage to stop at", () => {
    fc.assert(
      fc.property(fc.constantFrom(Number.NaN, Infinity, -Infinity), (broken) => {
        expect(weighScores({ a: broken, b: 1 }, { a: 1, b: 1 })).toBe(broken);
      }),
    );
  });
});
