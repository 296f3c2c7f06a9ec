import { describe, expect, it } from "vitest";
import { randomStream } from "../../core/random.ts";
import { phases, type XiangqiItem } from "../../tasks/xiangqi/item.ts";
import { xiangqi } from "../../tasks/xiangqi/rules/variant.ts";
import { xiangqiTask } from "../../tasks/xiangqi/task.ts";
import { type AnsweredItem, describeResult, xiangqiResult } from "./result.ts";

const configOf = (settings: Readonly<Record<string, unknown>> = {}) =>
  xiangqiTask.config.parse({
    depth: 2,
    selfPlay: { minPieces: 6, maxPieces: 10, depths: [1], maxPlies: 30 },
    ...settings,
  });
const resultOf = (answered: readonly AnsweredItem[], config = configOf()) =>
  xiangqiResult("a model", answered, config);

const bare: XiangqiItem = { fen: xiangqi.start, ply: 0, phase: "opening", winner: "unknown" };
/** Three of the 44 moves are enough: a cannon, 50 centipawns better than a horse, 250 better than a chariot. */
const judged = {
  best: "h2e2",
  values: { h2e2: 50, b0c2: 0, a0a1: -200 },
  engine: "by hand, depth 1",
} as const;
const text = (move: string, situation: string): string =>
  `<think>x</think><answer>Situation: ${situation}\nMove: ${move}</answer>`;
const answered = (item: Partial<XiangqiItem>, ...texts: readonly string[]): AnsweredItem => ({
  item: { ...bare, ...item },
  outputs: texts.map((one) => ({ text: one, stopReason: "stop" })),
});

/** Five positions with three answers each. */
const example: readonly AnsweredItem[] = [
  answered(
    { ...judged, situation3: "Balanced", situation5: "Balanced" },
    text("h2e2", "Balanced"), // all of it right
    text("a0a1", "Balanced"),
    "",
  ),
  answered(
    {
      ...judged,
      phase: "middlegame",
      situation3: "Advantage_Red",
      situation5: "Slight_Adv_Red",
    },
    text("b0c2", "Clear_Adv_Red"), // good, not best; right in three classes
    text("h2e2", "Balanced"),
    text("a0a1", "Slight_Adv_Red"),
  ),
  answered(
    { ...judged, phase: "endgame", situation3: "Advantage_Black", situation5: "Slight_Adv_Black" },
    text("a0a1", "Balanced"), // neither
    text("h2h8", "Slight_Adv_Black"), // illegal: its situation does not count
    "Situation: advantage Black\nMove: b0c2", // without the form, and right in three classes
  ),
  answered(
    { ...judged, phase: "endgame", situation3: "Advantage_Black", situation5: "Clear_Adv_Black" },
    "Situation: Clear_Adv_Black",
    text("e0e9", "Clear_Adv_Black"),
    "Move: h2h8",
  ),
  // Nobody judged this one.
  answered({}, text("h2e2", "Balanced"), text("b0c2", "Balanced"), ""),
];

describe("xiangqiResult", () => {
  const result = resultOf(example);
  const counted = (metrics: typeof result.at1) =>
    Object.fromEntries(
      Object.entries(metrics).map(([name, share]) => [
        name,
        share && [share.value * share.count, share.count],
      ]),
    );

  it("counts the positions where one of k answers passes, among those whose labels say so", () => {
    expect(result).toMatchObject({ model: "a model", positions: 5, k: 3 });
    expect(counted(result.at1)).toEqual({
      legal: [4, 5],
      good: [2, 4],
      best: [1, 4],
      class3: [2, 4],
      class5: [1, 4],
    });
    expect(counted(result.atK)).toEqual({
      legal: [4, 5],
      good: [3, 4],
      best: [2, 4],
      class3: [3, 4],
      class5: [2, 4],
    });
    expect(result.parsed).toMatchObject({ value: 4 / 5, count: 5 });
    expect(result.format).toMatchObject({ value: 4 / 5, count: 5 });
    expect(result.engine).toBe("by hand, depth 1; unknown");
  });

  it("has Wilson's intervals", () => {
    // 4 of 5: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n) with z = 1.96.
    expect(result.at1.legal!.ci95[0]).toBeCloseTo(0.3755, 4);
    expect(result.at1.legal!.ci95[1]).toBeCloseTo(0.9638, 4);
  });

  it("tells situations apart: recall of each class, and what was named instead", () => {
    expect(result.confusion3).toEqual({
      Balanced: { Balanced: 1 },
      Advantage_Red: { Advantage_Red: 1 },
      Advantage_Black: { Balanced: 1, none: 1 },
    });
    expect(result.balancedAccuracy3).toBeCloseTo(2 / 3);
    expect(resultOf(example.slice(1)).balancedAccuracy3).toBeNull();
  });

  it("has a mean loss, and tables by phase, situation and piece", () => {
    expect(result.centipawnLoss).toEqual({ mean: (0 + 50 + 250) / 3, count: 3 });
    expect(Object.keys(result.byPhase)).toEqual(phases);
    expect(counted(result.byPhase["opening"]!)).toMatchObject({ legal: [2, 2], best: [1, 1] });
    expect(counted(result.byPhase["endgame"]!)).toMatchObject({ legal: [1, 2], class3: [0, 2] });
    expect(Object.keys(result.bySituation)).toEqual([
      "Balanced",
      "Slight_Adv_Red",
      "Slight_Adv_Black",
      "Clear_Adv_Black",
    ]);
    expect(counted(result.bySituation["Slight_Adv_Red"]!)).toEqual({
      legal: [1, 1],
      good: [1, 1],
      best: [0, 1],
      class3: [1, 1],
      class5: [0, 1],
    });
    expect(result.legalByPiece).toMatchObject({
      cannon: { value: 1, count: 2 },
      horse: { value: 1, count: 1 },
      chariot: { value: 1, count: 1 },
    });
    const pieces = resultOf([
      answered({}, text("h2h8", "")),
      answered({}, text("h9g7", "")),
      answered({}, text("e4e5", "")),
      answered({}, text("h2e2", "")),
    ]).legalByPiece;
    expect(pieces).toMatchObject({
      cannon: { value: 0.5, count: 2 },
      "no own piece": { value: 0, count: 2 },
    });
  });

  it("has the floors of the positions that were judged", () => {
    expect(result.floors.alwaysBalanced3).toMatchObject({ value: 1 / 4, count: 4 });
    expect(result.floors.randomLegal!.good).toBeCloseTo(2 / 3);
    expect(result.floors.randomLegal!.best).toBeCloseTo(1 / 3);
    const wide = resultOf(example, configOf({ goodLoss: 49, bestMargin: 50 })).floors.randomLegal!;
    expect([wide.good, wide.best].map((share) => share.toFixed(3))).toEqual(["0.333", "0.667"]);
  });

  it("has floors that a mover of random legal moves reaches", () => {
    for (const settings of [{}, { goodLoss: 30, bestMargin: 60 }]) {
      const config = configOf({ variant: "minixiangqi", ...settings });
      const items = Array.from({ length: 8 }, (_item, seed) =>
        xiangqiTask.make(randomStream("floor", seed), config),
      );
      // Each position as often as it has moves, each time with another: its mean is that of chance.
      const means = items.map((item) => {
        const rows = Object.keys(item.values!).map((move) => answered(item, text(move, "")));
        const { good, best } = resultOf(rows, config).at1;
        return [good!.value, best!.value] as const;
      });
      const mean = (place: 0 | 1): number =>
        means.reduce((sum, one) => sum + one[place], 0) / means.length;
      const { randomLegal } = resultOf(
        items.map((item) => answered(item, "")),
        config,
      ).floors;
      expect(randomLegal!.best).toBeCloseTo(mean(1), 10);
      // A move that counts as best is good, however little a good one may lose.
      if (config.bestMargin <= config.goodLoss) {
        expect(randomLegal!.good).toBeCloseTo(mean(0), 10);
      }
    }
  });

  it("leaves out of a metric the positions whose labels do not tell of every move", () => {
    const best = { best: "h2e2" };
    const one = (...moves: string[]) =>
      resultOf([answered(best, ...moves.map((move) => text(move, "Balanced")))]);
    expect(one("b0c2").at1).toMatchObject({ good: null, best: { value: 0 }, class3: null });
    expect(one("b0c2", "h2e2").atK).toMatchObject({ good: null, best: { value: 1 } });
    expect(one("b0c2", "h2h8").atK).toMatchObject({ good: null, best: { value: 0 } });
    // No loss is known either, not even that of the best move: a mean of these zeros would say nothing.
    expect(one("h2e2")).toMatchObject({
      centipawnLoss: null,
      balancedAccuracy3: null,
      confusion3: {},
      floors: { alwaysBalanced3: null, randomLegal: null },
    });
  });
});

describe("describeResult", () => {
  it("shows the metrics at one and at k answers with their intervals, then the floors", () => {
    const lines = describeResult(resultOf(example)).split("\n");
    expect(lines).toHaveLength(3);
    expect(lines[0]).toContain("legal@1 80.0 [37.6, 96.4]  good@1 50.0 [");
    expect(lines[0]).toContain("5-class@1 25.0 [");
    expect(lines[0]).toMatch(/n 5$/);
    expect(lines[1]).toContain("good@3 75.0 [");
    expect(lines[2]).toBe(
      '           floors: always "Balanced" 3-class 25.0; random legal moves good 66.7, best 33.3',
    );
  });

  it("says what is unknown, and leaves out k = 1 and floors that are not known", () => {
    const text1 = describeResult(resultOf([answered({}, text("h2e2", ""))]));
    expect(text1.split("\n")).toHaveLength(1);
    expect(text1).toContain("legal@1 100.0 [");
    expect(text1).toContain("good@1 unknown  best@1 unknown  3-class@1 unknown");
  });
});
