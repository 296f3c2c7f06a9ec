import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { histogram } from "./histogram.ts";

describe("histogram", () => {
  it("puts a value on an edge into the bin above it", () => {
    expect(histogram([0, 1, 5, Number.NaN, Infinity], [0, 1, 2])).toEqual({
      count: 3,
      min: 0,
      max: 5,
      sum: 6,
      sumSquares: 26,
      edges: [0, 1, 5],
      counts: [1, 2],
    });
    expect(histogram([-3], [0, 1])).toMatchObject({ edges: [-3, 1], counts: [1] });
    expect(histogram([Number.NaN], [0, 1])).toBeNull();
  });

  it("loses nothing, and every value lies between the edges of its bin", () => {
    const numbers = fc.array(fc.double({ min: -50, max: 50, noNaN: true }), { minLength: 1 });
    const cuts = fc.uniqueArray(fc.integer({ min: -20, max: 20 }), { minLength: 2 });
    fc.assert(
      fc.property(numbers, cuts, (values, unsorted) => {
        const { edges, counts, count } = histogram(
          values,
          unsorted.toSorted((a, b) => a - b),
        )!;
        expect(count).toBe(values.length);
        counts.forEach((inBin, bin) => {
          const isLast = bin === counts.length - 1;
          const inside = values.filter(
            (value) =>
              value >= edges[bin]! && (isLast ? value <= edges[bin + 1]! : value < edges[bin + 1]!),
          );
          expect(inBin).toBe(inside.length);
        });
      }),
    );
  });

  it("refuses edges that do not rise", () => {
    expect(() => histogram([1], [0, 0])).toThrow("expected rising edges, got 0, 0");
    expect(() => histogram([1], [0])).toThrow("rising edges");
  });
});
