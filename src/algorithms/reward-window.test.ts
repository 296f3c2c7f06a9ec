import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { findings, noStreaks, withStep, type StepFacts } from "./reward-window.ts";

const step = fc.record({
  values: fc.record({ a: fc.array(fc.constantFrom(0, 1), { maxLength: 2 }) }),
  isFlat: fc.boolean(),
  isSolved: fc.constant(false),
});

const numbersOf = ({ values }: StepFacts): readonly number[] => values["a"] ?? [];

/** Whether a thing holds for the last `count` steps, counted anew. */
const held = (history: readonly StepFacts[], count: number, is: (one: StepFacts) => boolean) =>
  history.length >= count && history.slice(-count).every(is);

describe("a window", () => {
  it("is full when a thing was so in every one of its last steps", () => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 14 }),
        fc.integer({ min: 1, max: 4 }),
        (steps, size) => {
          let streaks = noStreaks;
          steps.forEach((one, index) => {
            streaks = withStep(streaks, one);
            const history = steps.slice(0, index + 1);
            const found = new Set(findings(streaks, size).map(({ type }) => type));
            const all = history.slice(-size).flatMap(numbersOf);
            const isConstant = held(history, size, (facts) => {
              const numbers = numbersOf(facts);
              return numbers.length > 0 && numbers.every((value) => value === all[0]);
            });
            const isSilent = held(history, size, (facts) => numbersOf(facts).length === 0);
            expect(found.has("onNull")).toBe(isSilent);
            expect(found.has("onConstant")).toBe(isConstant);
            expect(found.has("onNoSpread")).toBe(held(history, size, ({ isFlat }) => isFlat));
          });
        },
      ),
    );
  });

  it("does not count steps without spread in which all is right, once something was wrong", () => {
    const solved: StepFacts = { values: { a: [1] }, isFlat: true, isSolved: true };
    const stuck: StepFacts = { ...solved, isSolved: false };
    const flatSteps = (history: readonly StepFacts[]): number =>
      history.reduce(withStep, noStreaks).flatSteps;
    expect(flatSteps([solved, solved, solved])).toBe(3); // never seen otherwise: a suspect
    expect(flatSteps([{ ...stuck, isFlat: false }, solved, solved])).toBe(0);
    expect(flatSteps([stuck, solved, stuck, stuck])).toBe(2);
  });
});
