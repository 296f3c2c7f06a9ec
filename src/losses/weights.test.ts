import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Aggregation } from "../core/loss-spec.ts";
import { tokenWeights, wholeWindow } from "./weights.ts";

const lists = (rows: readonly Float64Array[]): number[][] => rows.map((row) => Array.from(row));
const sequenceMean = { type: "sequence-mean", empty: "count" } as const;
const tokenMean = { type: "token-mean", tokens: "loss", of: "step" } as const;

it("takes any number of sequences into a window", () => {
  const masks = Array.from({ length: 200_000 }, () => [1]);
  expect(wholeWindow(masks)).toMatchObject({ sequences: 200_000, filled: 200_000, maxTokens: 1 });
});

describe("tokenWeights", () => {
  const masks = [
    [1, 1],
    [1, 0, 1, 0],
    [0, 0],
  ];
  it.each([
    [
      "sequence-mean",
      sequenceMean,
      [
        [1 / 6, 1 / 6],
        [1 / 6, 0, 1 / 6, 0],
        [0, 0],
      ],
    ],
    [
      "sequence-mean without empty ones",
      { ...sequenceMean, empty: "skip" },
      [
        [1 / 4, 1 / 4],
        [1 / 4, 0, 1 / 4, 0],
        [0, 0],
      ],
    ],
    [
      "token-mean",
      tokenMean,
      [
        [1 / 4, 1 / 4],
        [1 / 4, 0, 1 / 4, 0],
        [0, 0],
      ],
    ],
    [
      "token-mean over completions",
      { ...tokenMean, tokens: "completion" },
      [
        [1 / 8, 1 / 8],
        [1 / 8, 0, 1 / 8, 0],
        [0, 0],
      ],
    ],
    [
      "micro-batches of two",
      { type: "micro-batch-token-mean", sequences: 2 },
      [
        [1 / 8, 1 / 8],
        [1 / 8, 0, 1 / 8, 0],
        [0, 0],
      ],
    ],
    [
      "micro-batches of one",
      { type: "micro-batch-token-mean", sequences: 1 },
      [
        [1 / 6, 1 / 6],
        [1 / 6, 0, 1 / 6, 0],
        [0, 0],
      ],
    ],
    [
      "fixed-length",
      { type: "fixed-length", length: 10, empty: "count" },
      [
        [1 / 30, 1 / 30],
        [1 / 30, 0, 1 / 30, 0],
        [0, 0],
      ],
    ],
    [
      "fixed-length, longest",
      { type: "fixed-length", length: null, empty: "skip" },
      [
        [1 / 8, 1 / 8],
        [1 / 8, 0, 1 / 8, 0],
        [0, 0],
      ],
    ],
    [
      "sequence-sum",
      { type: "sequence-sum", empty: "skip" },
      [
        [1 / 2, 1 / 2],
        [1 / 2, 0, 1 / 2, 0],
        [0, 0],
      ],
    ],
    [
      "token-sum",
      { type: "token-sum" },
      [
        [1, 1],
        [1, 0, 1, 0],
        [0, 0],
      ],
    ],
  ] as const)("%s", (_name, aggregation, expected) => {
    expect(lists(tokenWeights(masks, aggregation))).toEqual(expected);
  });

  it("has the normalisers of TRL when a generation batch feeds several steps", () => {
    // 4 loss tokens here, 8 in the step (two batches), 16 in the generation batch.
    const window = {
      ...wholeWindow(masks),
      batches: 2,
      step: { loss: 8, completion: 16 },
      generation: { loss: 16, completion: 32 },
      share: 1 / 2,
    };
    const weight = (aggregation: Aggregation): number =>
      tokenWeights(masks, aggregation, window)[0]![0]!;
    expect(weight({ ...tokenMean, of: "step" })).toBe(1 / 8);
    expect(weight({ ...tokenMean, of: "share" })).toBe(1 / 8);
    expect(weight({ ...tokenMean, of: "generation" })).toBe(1 / 16);
    expect(weight({ type: "token-mean", tokens: "completion", of: "generation" })).toBe(1 / 32);
  });

  it("gives no weight, and no NaN, to a batch without loss tokens", () => {
    for (const aggregation of [
      sequenceMean,
      { ...sequenceMean, empty: "skip" },
      tokenMean,
    ] as const) {
      expect(lists(tokenWeights([[0, 0], []], aggregation))).toEqual([[0, 0], []]);
    }
  });

  it("adds up to one over sequences that count", () => {
    const anyBatch = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(anyBatch, fc.constantFrom(sequenceMean, tokenMean), (lengths, aggregation) => {
        const ones = lengths.map((length) => new Array<number>(length).fill(1));
        const weights = tokenWeights(ones, aggregation);
        expect(weights.map((row) => row.length)).toEqual(lengths);
        const total = weights.reduce((sum, row) => sum + row.reduce((a, b) => a + b, 0), 0);
        expect(total).toBeCloseTo(1, 12);
      }),
    );
  });
});
