import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { storedSample } from "../../tests/stored-samples.ts";
import { ConfigError } from "../core/errors.ts";
import type { SampleGroup } from "./sample-groups.ts";
import { classOf, mismatchOf, querySamples, surpriseOf } from "./sample-query.ts";
import type { SampleRecord } from "./sample-record.ts";

const groupsOf = (...groups: readonly (readonly Partial<SampleRecord>[])[]): SampleGroup[] =>
  groups.map((changes, prompt) => {
    const step = changes[0]?.step ?? 1;
    const samples = changes.map((change, sample) =>
      storedSample({ step, prompt, sample, ...change }),
    );
    return { step, prompt, samples };
  });

describe("surprise and mismatch", () => {
  it("leave out what the model did not write, and what does not count", () => {
    const record = storedSample({
      tokens: [1, 2, 3, 4],
      origin: [
        ["model", 2],
        ["tool", 1],
        ["model", 1],
      ],
      lossMask: [
        [1, 3],
        [0, 1],
      ],
      samplerLogProbs: [-1, -2, -9, -3],
      trainerLogProbs: [-1, -2.25, -9, 0],
    });
    expect(surpriseOf(record)).toEqual({ mean: 2, max: 3, time: 3 });
    expect(mismatchOf(record)).toBe(0.25);
    const older = { ...record, origin: undefined, lossMask: undefined };
    expect(surpriseOf(older)?.max).toBe(9);
    expect(mismatchOf(older)).toBe(3);
    const none = storedSample({ tokens: [], samplerLogProbs: [], trainerLogProbs: [] });
    expect([surpriseOf({ ...none, origin: [] }), mismatchOf({ ...none, lossMask: [] })]).toEqual([
      null,
      null,
    ]);
  });
});

describe("querySamples", () => {
  const groups = groupsOf(
    [{ reward: 1 }, { reward: 0, errorClass: "hit wall", stopReason: "length" }],
    [
      { reward: 0.5, step: 2, level: "Hard", scores: { correct: null } },
      { reward: null, step: 2, error: "broke", scores: undefined, errorClass: undefined },
    ],
  );

  it("counts classes apart, a failed scorer among them, and its missing reward is no zero", () => {
    const { classes, ...rest } = querySamples(groups, {}, {});
    expect(rest).toMatchObject({ total: 4, count: 4, groups: 2, steps: [1, 2], orders: {} });
    expect(classes.map(({ name, count, reward }) => [name, count, reward])).toEqual([
      ["right", 2, 0.75],
      ["hit wall", 1, 0],
      ["scorer failed", 1, Number.NaN],
    ]);
  });

  it("counts failures by score and kind, and samples that were left out, where filters let them pass", () => {
    const late = { kind: "timeout", message: "late" };
    const failures = { judge: late, tone: { kind: "notFinite", message: "NaN" } };
    const out = groupsOf([
      { failures, dropped: true, reward: null },
      { failures: { judge: late }, dropped: true, reward: null, level: "Hard" },
      { failures: { tone: { kind: "error", message: "broke" } } },
      {},
    ]);
    expect(querySamples(out, {}, {})).toMatchObject({
      dropped: 2,
      failures: { judge: { timeout: 2 }, tone: { notFinite: 1, error: 1 } },
      classes: [{ name: "dropped" }, { name: "right" }],
    });
    expect(querySamples(out, { level: "Hard" }, {})).toMatchObject({
      dropped: 1,
      failures: { judge: { timeout: 1 } },
    });
    // A score that never came out is known all the same.
    expect(querySamples(out, { scores: { judge: 1 } }, {}).count).toBe(0);
  });

  it.each([
    [{ errorClass: "hit wall" }, ["1/0/1"]],
    [{ errorClass: "right" }, ["1/0/0", "2/1/0"]],
    [{ level: "Hard" }, ["2/1/0"]],
    [{ steps: [2, Infinity] as const }, ["2/1/0", "2/1/1"]],
    [{ stop: "length" as const }, ["1/0/1"]],
    [{ scores: { correct: 1 } }, ["1/0/0", "1/0/1"]],
    [{ scores: { correct: null } }, ["2/1/0"]],
    [{ only: [2, 1, 1] as const }, ["2/1/1"]],
    [{ level: "Hard", stop: "length" as const }, []],
  ])("lets pass what the filters %j say", (filters, expected) => {
    const seen: string[] = [];
    const each = ({ step, prompt, sample }: SampleRecord): void =>
      void seen.push([step, prompt, sample].join("/"));
    expect(querySamples(groups, filters, {}, each).count).toBe(expected.length);
    expect(seen).toEqual(expected);
  });

  it("names the nearest class, level or score to one that does not occur", () => {
    const asking = (filters: object) => () => querySamples(groups, filters, {});
    expect(asking({ errorClass: "hit wal" })).toThrow(ConfigError);
    expect(asking({ errorClass: "hit wal" })).toThrow('did you mean "hit wall"?');
    expect(asking({ level: "hard" })).toThrow('did you mean "Hard"?');
    expect(asking({ scores: { corect: 1 } })).toThrow('did you mean "correct"?');
    const older = groupsOf([{ level: undefined }]);
    expect(() => querySamples(older, { level: "Easy" }, {})).toThrow(
      "expected samples with a level",
    );
  });

  it("gives the first of every order as sorting all would, the later one of equals first", () => {
    const rewards = fc.array(fc.option(fc.integer({ min: -3, max: 3 })), { minLength: 1 });
    fc.assert(
      fc.property(fc.array(rewards), fc.nat(6), (lists, size) => {
        const all = groupsOf(...lists.map((list) => list.map((reward) => ({ reward }))));
        const { orders } = querySamples(
          all,
          {},
          { best: size, worst: size, newest: size, groups: size },
        );
        const records = all.flatMap(({ samples }) => samples).reverse(); // sorting is stable
        const known = records.filter(({ reward }) => reward !== null);
        const found = (order: keyof typeof orders) => orders[order]!.map(({ record }) => record);
        const first = (list: readonly SampleRecord[]) => list.slice(0, size);
        expect(found("best")).toEqual(first(known.toSorted((a, b) => b.reward! - a.reward!)));
        expect(found("worst")).toEqual(first(known.toSorted((a, b) => a.reward! - b.reward!)));
        expect(found("newest")).toEqual(first(records));
        expect(found("groups")).toEqual(first(records.filter(({ sample }) => sample === 0)));
        for (const { record, groupRewards } of orders.best!)
          expect(groupRewards[record.sample]).toBe(record.reward);
      }),
    );
  });
});

it("an output of a task without classes has none", () => {
  expect(classOf(storedSample({ errorClass: undefined }))).toBe("no class");
});
