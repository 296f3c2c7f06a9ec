import { describe, expect, it } from "vitest";
import { randomStream } from "../../core/random.ts";
import { weighScores } from "../../rollout/items.ts";
import type { XiangqiItem } from "../../tasks/xiangqi/item.ts";
import { variantNames, xiangqi } from "../../tasks/xiangqi/rules/variant.ts";
import { xiangqiTask } from "../../tasks/xiangqi/task.ts";
import { rewardSettings, rewardWeights } from "./rewards.ts";

const configOf = (settings: Readonly<Record<string, unknown>> = {}) =>
  xiangqiTask.config.parse({
    depth: 2,
    target: "best",
    selfPlay: { minPieces: 6, maxPieces: 10, depths: [1], maxPlies: 30 },
    ...settings,
  });

function rewardOf(
  item: XiangqiItem,
  text: string,
  reward: Readonly<Record<string, unknown>> = {},
  config = configOf(),
): number | null {
  const scores = xiangqiTask.score(item, { text, stopReason: "stop" }, config);
  return weighScores(scores, rewardWeights(rewardSettings.parse(reward)));
}

const item: XiangqiItem = {
  fen: xiangqi.start,
  ply: 0,
  phase: "opening",
  winner: "unknown",
  best: "h2e2",
  values: { h2e2: 50, b0c2: 0, a0a1: -200 },
  situation3: "Balanced",
  situation5: "Balanced",
};
const parts = (situation: string, move: string): string => `Situation: ${situation}\nMove: ${move}`;
const formed = (situation: string, move: string): string =>
  `<think>x</think><answer>${parts(situation, move)}</answer>`;

describe("the reward", () => {
  it("of the engine's move and the right situation is 5, on every made position", () => {
    const sides = new Set<string>();
    for (const variant of variantNames) {
      for (const view of ["mover", "board"] as const) {
        const config = configOf({ variant, view });
        for (let seed = 0; seed < 10; seed++) {
          const made = xiangqiTask.make(randomStream("reward test", seed), config);
          const gold = xiangqiTask.gold(made, config, randomStream("gold"));
          for (const gate of [true, false]) expect(rewardOf(made, gold, { gate }, config)).toBe(5);
          sides.add(made.fen.split(" ")[1]!);
        }
      }
    }
    expect(sides.size).toBe(2);
  });

  it.each([
    // legal, good, best, analysis, format
    ["all of it", formed("Balanced", "h2e2"), 5, 5],
    ["another good move", formed("Balanced", "b0c2"), 4, 4],
    ["a bad move", formed("Balanced", "a0a1"), 3, 3],
    ["an illegal move", formed("Balanced", "h2h8"), 2, 2],
    ["the wrong situation", formed("Slight_Adv_Red", "h2e2"), 4, 4],
    ["no situation", formed("", "a0a1"), 2, 2],
    ["a form without a move", formed("Balanced", "none"), 0, 1],
    ["an empty form", "<think></think><answer></answer>", 0, 0],
    ["no form", parts("Balanced", "h2e2"), 0, 4],
    ["no thinking", `<answer>${parts("Balanced", "b0c2")}</answer>`, 0, 3],
    ["words behind the form", `${formed("Balanced", "h2e2")} Good luck!`, 0, 4],
    ["nothing", "", 0, 0],
  ])("of %s", (_name, text, gated, open) => {
    expect(rewardOf(item, text)).toBe(gated);
    expect(rewardOf(item, text, { gate: false })).toBe(open);
  });

  it("weighs each part alone", () => {
    const none = { legal: 0, good: 0, best: 0, analysis: 0, format: 0 };
    const values = { legal: 1, good: 2, best: 4, analysis: 8, format: 16 };
    for (const gate of [true, false]) {
      const texts = {
        [formed("Balanced", "h2e2")]: 31,
        [formed("Clear_Adv_Red", "b0c2")]: 1 + 2 + 16,
        [formed("Balanced", "h2h8")]: 8 + 16,
      };
      for (const [text, total] of Object.entries(texts)) {
        expect(rewardOf(item, text, { ...values, gate })).toBe(total);
        for (const [name, one] of Object.entries(values)) {
          const alone = rewardOf(item, text, { ...none, [name]: one, gate });
          expect(alone, name).toBe(total & one);
        }
      }
    }
  });

  it("leaves out what the labels do not say, and is not 0 for it", () => {
    const { fen, ply, phase, winner } = item;
    const bare: XiangqiItem = { fen, ply, phase, winner };
    expect(rewardOf(bare, formed("Balanced", "h2e2"))).toBe(2);
    expect(rewardOf(bare, formed("Balanced", "h2e2"), { legal: 0, format: 0 })).toBe(0);
    expect(rewardOf({ ...bare, best: "h2e2" }, formed("Balanced", "h2e2"))).toBe(4);
    expect(rewardOf({ ...bare, best: "h2e2" }, formed("Balanced", "b0c2"))).toBe(2);
    const graded = rewardWeights(rewardSettings.parse({}));
    const good = { formattedGood: graded["formattedGood"]! };
    const scores = xiangqiTask.score(
      bare,
      { text: formed("Balanced", "h2e2"), stopReason: "stop" },
      configOf(),
    );
    expect(weighScores(scores, good)).toBeNull();
  });
});
