import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { scheduleFactor, type Schedule } from "./schedule.ts";

const factors = (schedule: Schedule, steps: number): number[] =>
  Array.from({ length: steps }, (_, index) => scheduleFactor(schedule, index + 1, steps));

const close = (values: readonly number[], expected: readonly number[]): void => {
  expect(values.length).toBe(expected.length);
  values.forEach((value, index) =>
    expect(value, `step ${index + 1}`).toBeCloseTo(expected[index]!, 12),
  );
};

describe("scheduleFactor", () => {
  it("climbs linearly and then stays", () => {
    close(
      factors({ type: "constant", warmup: 0.4, floor: 0 }, 10),
      [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1],
    );
    close(factors({ type: "constant", warmup: 0, floor: 0.5 }, 3), [1, 1, 1]);
  });

  it("falls along a line to the floor", () => {
    close(
      factors({ type: "linear", warmup: 0.2, floor: 0.2 }, 10),
      [0.5, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2],
    );
  });

  it("falls along half a cosine wave to the floor", () => {
    const half = Math.SQRT1_2;
    close(factors({ type: "cosine", warmup: 0, floor: 0 }, 4), [
      (1 + half) / 2,
      0.5,
      (1 - half) / 2,
      0,
    ]);
    close(factors({ type: "cosine", warmup: 0, floor: 0.1 }, 2), [0.55, 0.1]);
  });

  it("stays in range, rises then falls, and ends where it should", () => {
    const anySchedule = fc.record({
      type: fc.constantFrom("constant", "linear", "cosine"),
      warmup: fc.double({ min: 0, max: 1, noNaN: true }),
      floor: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    fc.assert(
      fc.property(anySchedule, fc.integer({ min: 1, max: 60 }), (schedule, steps) => {
        const list = factors(schedule, steps);
        const peak = Math.max(Math.round(schedule.warmup * steps), 1);
        list.forEach((factor, index) => {
          expect(factor).toBeGreaterThanOrEqual(0);
          expect(factor).toBeLessThanOrEqual(1);
          const before = list[index - 1] ?? 0;
          if (index < peak && schedule.warmup * steps >= 0.5) {
            expect(factor).toBeGreaterThan(before);
          } else if (index > peak) expect(factor).toBeLessThanOrEqual(before + 1e-12);
        });
        if (peak < steps) {
          const last = schedule.type === "constant" ? 1 : schedule.floor;
          expect(list.at(-1)).toBeCloseTo(last, 12);
        }
      }),
    );
  });
});
