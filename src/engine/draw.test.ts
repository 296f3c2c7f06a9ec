import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { drawToken, type DrawOptions } from "./draw.ts";

const row = Float32Array.of(0.1, 0.4, 0, 0.25, 0.05, 0.2);

/** How often each token is drawn when the uniform number takes `count` equally spaced values. */
function shares(options: DrawOptions, probabilities = row, count = 20_000): number[] {
  const counts = Array.from(probabilities, () => 0);
  for (let index = 0; index < count; index++) {
    const uniform = (index + 0.5) / count;
    counts[drawToken(probabilities, 0, probabilities.length, () => uniform, options)]!++;
  }
  return counts.map((value) => value / count);
}

const close = (found: readonly number[], expected: readonly number[]): void =>
  found.forEach((share, token) => {
    expect(Math.abs(share - expected[token]!), `token ${token}`).toBeLessThan(2e-4);
  });

describe("drawToken", () => {
  it("follows the distribution", () => {
    close(shares({ temperature: 1 }), Array.from(row));
  });

  it("is greedy at temperature 0, the first of equals, without a draw", () => {
    const never = (): number => {
      throw new Error("drew a number");
    };
    expect(drawToken(row, 0, 6, never, { temperature: 0 })).toBe(1);
    expect(drawToken(row, 0, 6, never, { temperature: 0, topK: 3, topP: 0.5 })).toBe(1);
    expect(drawToken(Float32Array.of(0.3, 0.35, 0.35), 0, 3, never, { temperature: 0 })).toBe(1);
  });

  it("keeps the k most likely tokens, renormalised", () => {
    close(shares({ temperature: 1, topK: 1 }), [0, 1, 0, 0, 0, 0]);
    close(
      shares({ temperature: 1, topK: 3 }),
      [0, 0.4, 0, 0.25, 0, 0.2].map((x) => x / 0.85),
    );
    close(shares({ temperature: 1, topK: 6 }), Array.from(row));
    close(shares({ temperature: 1, topK: 100 }), Array.from(row));
  });

  it("keeps the smallest set of tokens that reaches p, renormalised", () => {
    close(shares({ temperature: 1, topP: 0.3 }), [0, 1, 0, 0, 0, 0]);
    close(
      shares({ temperature: 1, topP: 0.5 }),
      [0, 0.4, 0, 0.25, 0, 0].map((x) => x / 0.65),
    );
    close(
      shares({ temperature: 1, topP: 0.9 }),
      [0.1, 0.4, 0, 0.25, 0, 0.2].map((x) => x / 0.95),
    );
    close(shares({ temperature: 1, topP: 1 }), Array.from(row));
    close(shares({ temperature: 1, topP: 1e-9 }), [0, 1, 0, 0, 0, 0]);
  });

  it("takes the tighter of k and p", () => {
    close(
      shares({ temperature: 1, topK: 2, topP: 0.9 }),
      [0, 0.4, 0, 0.25, 0, 0].map((x) => x / 0.65),
    );
    close(
      shares({ temperature: 1, topK: 5, topP: 0.5 }),
      [0, 0.4, 0, 0.25, 0, 0].map((x) => x / 0.65),
    );
  });

  it("breaks ties at the border by the smaller id", () => {
    const even = Float32Array.of(0.25, 0.25, 0.25, 0.25);
    close(shares({ temperature: 1, topK: 2 }, even), [0.5, 0.5, 0, 0]);
  });

  it("reads its own row only", () => {
    const both = Float32Array.of(0, 1, 0, 0, 0, 1);
    expect([0, 1].map((at) => drawToken(both, at, 3, () => 0.5, { temperature: 1 }))).toEqual([
      1, 2,
    ]);
    expect(
      [0, 1].map((at) => drawToken(both, at, 3, () => 0.5, { temperature: 1, topK: 2 })),
    ).toEqual([1, 2]);
    expect([0, 1].map((at) => drawToken(both, at, 3, () => 0.5, { temperature: 0 }))).toEqual([
      1, 2,
    ]);
  });

  it("never draws a token of probability 0, whatever the number", () => {
    const anyRow = fc
      .array(fc.oneof(fc.constant(0), fc.double({ min: 1e-6, max: 1, noNaN: true })), {
        minLength: 1,
        maxLength: 12,
      })
      .filter((list) => list.some((value) => value > 0));
    const anyUniform = fc.oneof(
      fc.constantFrom(0, 1 - 2 ** -53, 0.5),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    );
    const anyOptions = fc.record(
      {
        temperature: fc.constant(1),
        topK: fc.integer({ min: 1, max: 12 }),
        topP: fc.double({ min: 1e-6, max: 1, noNaN: true }),
      },
      { requiredKeys: ["temperature"] },
    );
    fc.assert(
      fc.property(anyRow, anyUniform, anyOptions, (list, uniform, options) => {
        const total = list.reduce((sum, value) => sum + value, 0);
        const probabilities = Float32Array.from(list, (value) => value / total);
        const token = drawToken(probabilities, 0, list.length, () => uniform, options);
        expect(probabilities[token]!).toBeGreaterThan(0);
      }),
      { numRuns: 2000 },
    );
  });
});
