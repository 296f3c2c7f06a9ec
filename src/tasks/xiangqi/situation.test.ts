import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  coarse,
  readSituation,
  situationOf,
  situations3,
  situations5,
  turnSituation,
} from "./situation.ts";

describe("situationOf", () => {
  // Paper, Eq. 4: balanced up to 100 centipawns, 100 included; a clear advantage from 800 on, 800 included.
  it.each([
    [0, "Balanced"],
    [100, "Balanced"],
    [-100, "Balanced"],
    [100.5, "Slight_Adv_Red"],
    [101, "Slight_Adv_Red"],
    [-101, "Slight_Adv_Black"],
    [799, "Slight_Adv_Red"],
    [-799.5, "Slight_Adv_Black"],
    [800, "Clear_Adv_Red"],
    [-800, "Clear_Adv_Black"],
    [9_999, "Clear_Adv_Red"],
    [-9_998, "Clear_Adv_Black"],
  ] as const)("%d is %s", (value, situation) => {
    expect(situationOf(value)).toBe(situation);
  });

  it("sees the same from the other end, with the colours exchanged", () => {
    fc.assert(
      fc.property(fc.integer({ min: -10_000, max: 10_000 }), (value) => {
        const [seen, turned] = [situationOf(value), situationOf(-value)];
        expect(turnSituation(seen)).toBe(turned);
        expect(turnSituation(coarse(seen))).toBe(coarse(turned));
        expect(turnSituation(turnSituation(seen))).toBe(seen);
      }),
    );
  });

  it("merges slight and clear", () => {
    expect(situations5.map(coarse)).toEqual([
      "Balanced",
      "Advantage_Red",
      "Advantage_Red",
      "Advantage_Black",
      "Advantage_Black",
    ]);
  });
});

describe("readSituation", () => {
  it("reads the names of all classes", () => {
    for (const five of situations5) {
      expect(readSituation(five)).toEqual({ three: coarse(five), five });
    }
    for (const three of situations3) expect(readSituation(three).three).toBe(three);
    expect(readSituation("Advantage_Red").five).toBeNull();
  });

  it.each([
    ["balanced.", "Balanced", "Balanced"],
    ["roughly EQUAL", "Balanced", "Balanced"],
    ["Slight advantage for Red", "Advantage_Red", "Slight_Adv_Red"],
    ["clear adv. black", "Advantage_Black", "Clear_Adv_Black"],
    ["Black is clearly better", "Advantage_Black", "Clear_Adv_Black"],
    ["red-advantage", "Advantage_Red", null],
    ["Advantage Black", "Advantage_Black", null],
    // Neither slight nor clear, or both: no fifth of the classes.
    ["slight or clear advantage of Red", "Advantage_Red", null],
    // A side alone says nothing, nor does an advantage alone, nor one of both sides.
    ["Red", null, null],
    ["a slight advantage", null, null],
    ["Red or Black has the advantage", null, null],
    // Words that merely contain others.
    ["a considered, clear plan", null, null],
    ["clear advantage of Red, even a piece up", "Advantage_Red", "Clear_Adv_Red"],
    ["", null, null],
    ["…", null, null],
  ] as const)("%j", (text, three, five) => {
    expect(readSituation(text)).toEqual({ three, five });
  });
});
