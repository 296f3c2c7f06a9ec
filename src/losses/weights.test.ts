import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Example } from "../core/engine.ts";
import { completionLength, tokenWeights } from "./weights.ts";

const example = (completion: number, mask?: readonly number[]): Example => ({
  tokens: new Int32Array(2 + completion),
  promptLength: 2,
  ...(mask && { mask: Float32Array.from(mask) }),
});

const lists = (rows: readonly Float64Array[]): number[][] => rows.map((row) => Array.from(row));

describe("tokenWeights", () => {
  it("gives every sequence, or every token, the same say", () => {
    const batch = [example(2), example(4, [1, 0, 1, 0]), example(1)];
    expect(lists(tokenWeights(batch, "sequence-mean"))).toEqual([
      [1 / 6, 1 / 6],
      [1 / 6, 0, 1 / 6, 0],
      [1 / 3],
    ]);
    expect(lists(tokenWeights(batch, "token-mean"))).toEqual([
      [1 / 5, 1 / 5],
      [1 / 5, 0, 1 / 5, 0],
      [1 / 5],
    ]);
  });

  it("counts a sequence that is masked out or empty among N, as TRL does", () => {
    const batch = [example(2), example(2, [0, 0]), example(0)];
    expect(lists(tokenWeights(batch, "sequence-mean"))).toEqual([[1 / 6, 1 / 6], [0, 0], []]);
    expect(lists(tokenWeights([example(2, [0, 0])], "token-mean"))).toEqual([[0, 0]]);
  });

  it("adds up to one over sequences that count", () => {
    const anyBatch = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(anyBatch, fc.constantFrom("sequence-mean", "token-mean"), (lengths, kind) => {
        const batch = lengths.map((length) => example(length));
        const weights = tokenWeights(batch, kind);
        expect(weights.map((row) => row.length)).toEqual(batch.map(completionLength));
        const total = weights.reduce((sum, row) => sum + row.reduce((a, b) => a + b, 0), 0);
        expect(total).toBeCloseTo(1, 12);
      }),
    );
  });
});
