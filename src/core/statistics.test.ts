import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mean, meanEstimate, pairedDifference, quantile } from "./statistics.ts";
import { standardDeviation, wilsonInterval } from "./statistics.ts";

describe("mean, standardDeviation, quantile", () => {
  const values = [2, 4, 4, 4, 5, 5, 7, 9];

  it("agrees with hand-computed values", () => {
    expect(mean(values)).toBe(5);
    expect(standardDeviation(values, "population")).toBe(2);
    expect(standardDeviation(values, "sample")).toBeCloseTo(Math.sqrt(32 / 7), 14);
    expect(standardDeviation(Float32Array.of(1), "sample")).toBeNaN();
    expect(mean([])).toBeNaN();
  });

  it("interpolates quantiles as NumPy does", () => {
    expect(quantile([3, 1, 2, 10], 0.5)).toBe(2.5);
    expect(quantile([3, 1, 2, 10], 0.9)).toBeCloseTo(7.9, 12);
    expect(quantile([5], 1)).toBe(5);
    expect(quantile([1, Infinity, Infinity], 0)).toBe(1);
    expect(quantile([1, Infinity, Infinity], 0.75)).toBe(Infinity);
    expect(quantile([1, Infinity, Infinity], 1)).toBe(Infinity);
    expect(() => quantile([1], 1.1)).toThrow("expected a fraction in [0, 1], got 1.1");
  });
});

describe("wilsonInterval", () => {
  // Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
  it.each([
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
  ])("%i of %i", (successes, count, low, high) => {
    const interval = wilsonInterval(successes, count);
    expect(interval.low).toBeCloseTo(low, 4);
    expect(interval.high).toBeCloseTo(high, 4);
  });

  it("holds the share, stays in [0, 1] and mirrors", () => {
    const trials = fc.nat(5000).chain((count) => fc.tuple(fc.nat(count), fc.constant(count)));
    fc.assert(
      fc.property(trials, ([successes, count]) => {
        const { low, high } = wilsonInterval(successes, count);
        const mirror = wilsonInterval(count - successes, count);
        expect(low >= 0 && high <= 1 && low <= high).toBe(true);
        if (count > 0) expect(low <= successes / count && high >= successes / count).toBe(true);
        expect(mirror.low).toBeCloseTo(1 - high, 12);
      }),
    );
    expect(() => wilsonInterval(3, 2)).toThrow("got 3 of 2");
  });
});

describe("meanEstimate", () => {
  // Quantiles of Student's t from any printed table.
  it.each([
    [2, 12.7062],
    [3, 4.30265],
    [4, 3.18245],
    [7, 2.44691],
    [11, 2.22814],
    [101, 1.98397],
  ])("%i values use t = %f", (count, t) => {
    const estimate = meanEstimate(Array.from({ length: count }, (_, index) => index));
    expect((estimate.high - estimate.mean) / estimate.standardError).toBeCloseTo(t, 1);
    expect(Math.abs((estimate.mean - estimate.low) / estimate.standardError / t - 1)).toBeLessThan(
      count > 6 ? 1e-4 : 2e-3,
    );
  });

  it("has no interval for one value", () => {
    expect(meanEstimate([3])).toMatchObject({ mean: 3, low: Number.NaN });
  });
});

describe("pairedDifference", () => {
  it("is Wald's interval of the discordant pairs", () => {
    // 100 items: 30 gained, 10 lost, so d = 0.2 and s² = (40 - 100 · 0.04) / 99.
    const before = Array.from({ length: 100 }, (_, index) => index < 10);
    const after = Array.from({ length: 100 }, (_, index) => index >= 10 && index < 40);
    const result = pairedDifference(before, after);
    const standardError = Math.sqrt(36 / 99) / 10;
    expect(result.mean).toBeCloseTo(0.2, 12);
    expect(result.standardError).toBeCloseTo(standardError, 12);
    expect(result.low).toBeCloseTo(0.2 - 1.984217 * standardError, 6);
    expect(result.low).toBeGreaterThan(0);
  });

  it("refuses lists of different lengths", () => {
    expect(() => pairedDifference([1], [1, 0])).toThrow("got 1 and 2");
  });
});
