import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Sequence } from "../core/engine.ts";
import { microBatches } from "./micro-batch.ts";

/** Prompts are told apart by their token. */
const sequenceOf = (promptLength: number, completion: number, prompt = 0): Sequence => ({
  tokens: new Int32Array(promptLength + completion).fill(prompt),
  promptLength,
});

const anySequence = fc
  .tuple(fc.integer({ min: 1, max: 80 }), fc.integer({ min: 0, max: 80 }), fc.nat(3))
  .map(([prompt, completion, kind]) => sequenceOf(prompt, completion, kind));

const shapeOf = (shape: object): string => Object.values(shape).join();

describe("microBatches", () => {
  it("holds every completion once, in extents that it fits, with room for a padding token", () => {
    fc.assert(
      fc.property(
        fc.array(anySequence, { minLength: 1, maxLength: 70 }),
        fc.integer({ min: 1, max: 5000 }),
        (batch, budget) => {
          const pieces = microBatches(batch, budget);
          const members = pieces.flatMap(({ spans }) => spans.map(({ member }) => member));
          const lengthOf = (index: number) =>
            batch[index]!.tokens.length - batch[index]!.promptLength;
          expect(members.toSorted((a, b) => a - b)).toEqual(
            batch.flatMap((_, index) => (lengthOf(index) > 0 ? [index] : [])),
          );
          for (const { shape, groups, spans } of pieces) {
            expect(groups.length).toBeLessThanOrEqual(shape.groups);
            let [prompts, rows] = [0, 0];
            const order = spans.values();
            for (const group of groups) {
              expect(group.prompt.length).toBeLessThanOrEqual(shape.promptTime);
              expect(group.rows.length).toBeLessThanOrEqual(shape.rows);
              prompts += group.prompt.length;
              for (const row of group.rows) {
                const { member, start, length } = order.next().value!;
                expect(start).toBe(rows);
                expect(length).toBe(row.length);
                const { tokens, promptLength } = batch[member]!;
                expect([...group.prompt, ...row]).toEqual([...tokens.subarray(0, -1)]);
                expect(group.prompt.length).toBe(promptLength - 1);
                expect(row.length).toBeLessThanOrEqual(shape.rowTime);
                rows += row.length;
              }
            }
            expect(prompts).toBeLessThanOrEqual(shape.promptTokens);
            expect(rows).toBeLessThan(shape.rowTokens);
          }
        },
      ),
    );
  });

  it("bounds the rectangles of attention, however different the lengths", () => {
    const apart = (length: number) => sequenceOf(1, length);
    const ragged = [1000, ...Array.from({ length: 63 }, () => 20)];
    const sameGroup = ragged.map((length) => sequenceOf(3, length));
    const prompts = ragged.map((length, index) => sequenceOf(length, 5, index));
    for (const batch of [ragged.map(apart), sameGroup, prompts]) {
      for (const budget of [256, 1024, 4096]) {
        for (const { shape } of microBatches(batch, budget)) {
          const { groups, rows, promptTime, rowTime } = shape;
          const isAlone = groups === 1 && rows === 1;
          if (!isAlone)
            expect(groups * (promptTime + rows * rowTime)).toBeLessThanOrEqual(2 * budget + 1024);
        }
      }
    }
  });

  it("runs the prompt of a group once, unless its rows are more than a piece", () => {
    const long = [60, 60, 60].map((length) => sequenceOf(300, length));
    expect(microBatches(long, 200)).toHaveLength(1);
    const group = [9, 12, 7, 12].map((length) => sequenceOf(30, length));
    const [whole, ...none] = microBatches(group, 200);
    expect(none).toEqual([]);
    expect(whole!.groups.map(({ prompt, rows }) => [prompt.length, rows.length])).toEqual([
      [29, 4],
    ]);
    expect(whole!.spans.map(({ member }) => member)).toEqual([1, 3, 0, 2]);
    const cut = microBatches(group, 26);
    expect(cut.flatMap(({ groups }) => groups.map(({ rows }) => rows.length))).toEqual([2, 2]);
  });

  it("needs few shapes", () => {
    const shapes = new Set<string>();
    let pieces = 0;
    for (let length = 2; length <= 64; length++) {
      for (const count of [1, 3, 8, 30]) {
        const batch = Array.from({ length: count }, () => sequenceOf(1, length - 1));
        for (const { shape } of microBatches(batch, 512)) {
          shapes.add(shapeOf(shape));
          pieces++;
        }
      }
    }
    expect(shapes.size).toBeLessThan(pieces / 3);
  });

  it("pads little: one part in eight and 32 tokens at most", () => {
    fc.assert(
      fc.property(fc.array(anySequence, { minLength: 1, maxLength: 70 }), (batch) => {
        for (const { shape, groups, spans } of microBatches(batch, 2048)) {
          const prompts = groups.reduce((total, { prompt }) => total + prompt.length, 0);
          const rows = spans.reduce((total, { length }) => total + length, 0);
          expect(shape.promptTokens + shape.rowTokens).toBeLessThanOrEqual(
            (prompts + rows) * (1 + 1 / 8) + 32,
          );
        }
      }),
    );
  });

  it("orders by length and cuts into pieces of as many groups", () => {
    const batch = [60, 4, 61, 5, 62, 6, 63, 7].map((length) => sequenceOf(1, length));
    const pieces = microBatches(batch, 140);
    expect(pieces.map(({ spans }) => spans.map(({ member }) => member))).toEqual([
      [6, 4, 2, 0],
      [7, 5, 3, 1],
    ]);
    expect(pieces.map(({ shape }) => [shape.groups, shape.rowTime])).toEqual([
      [4, 64],
      [4, 16],
    ]);
  });
});
