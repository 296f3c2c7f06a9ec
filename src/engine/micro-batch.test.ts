import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Sequence } from "../core/engine.ts";
import { microBatches } from "./micro-batch.ts";

const sequenceOf = (promptLength: number, completion: number): Sequence => ({
  tokens: new Int32Array(promptLength + completion),
  promptLength,
});

const anySequence = fc
  .tuple(fc.integer({ min: 1, max: 80 }), fc.integer({ min: 0, max: 80 }))
  .map(([prompt, completion]) => sequenceOf(prompt, completion));

describe("microBatches", () => {
  it("holds every sequence once, in a rectangle that it fits", () => {
    fc.assert(
      fc.property(
        fc.array(anySequence, { minLength: 1, maxLength: 70 }),
        fc.integer({ min: 1, max: 5000 }),
        (batch, budget) => {
          const pieces = microBatches(batch, budget);
          const members = pieces.flatMap((piece) => piece.members);
          expect([...members].sort((a, b) => a - b)).toEqual(batch.map((_, index) => index));
          for (const { members: own, rows, time, completionTime } of pieces) {
            expect(own.length).toBeGreaterThan(0);
            expect(own.length).toBeLessThanOrEqual(rows);
            expect(Number.isInteger(Math.log2(rows))).toBe(true);
            for (const index of own) {
              const { tokens, promptLength } = batch[index]!;
              expect(tokens.length).toBeLessThanOrEqual(time);
              expect(tokens.length - promptLength).toBeLessThanOrEqual(completionTime);
            }
            // One row may be longer than the budget; more rows never are.
            if (rows > 1) expect(rows * time).toBeLessThanOrEqual(Math.max(budget, 2 * time));
          }
        },
      ),
    );
  });

  it("needs few shapes: lengths in steps, rows in powers of two", () => {
    const shapes = new Set<string>();
    for (let length = 2; length <= 64; length++) {
      for (const count of [1, 3, 8, 30]) {
        const batch = Array.from({ length: count }, () => sequenceOf(1, length - 1));
        for (const { rows, time, completionTime } of microBatches(batch, 512)) {
          shapes.add(`${rows} ${time} ${completionTime}`);
          expect(Number.isInteger(Math.log2(rows))).toBe(true);
        }
      }
    }
    expect(shapes.size).toBeLessThan(25);
  });

  it("puts sequences of similar length together", () => {
    const batch = [60, 4, 61, 5, 62, 6, 63, 7].map((length) => sequenceOf(1, length - 1));
    const pieces = microBatches(batch, 256);
    expect(pieces.map(({ members }) => members)).toEqual([
      [6, 4, 2, 0],
      [7, 5, 3, 1],
    ]);
    expect(pieces.map(({ time }) => time)).toEqual([64, 16]);
  });
});
