import { describe, expect, test } from "vitest";
import type { RewardWeights } from "../../algorithms/generation.ts";
import { randomStream } from "../../core/random.ts";
import { mazeTask } from "../../tasks/maze/task.ts";
import { traceKinds } from "../../tasks/maze/trace.ts";
import { rewardPresetNames, rewardPresets } from "./rewards.ts";

/** Reward, moves of the maze, of the gold message with `after` behind it. */
function oracle(weights: RewardWeights, seed: number, trace: string, after = "") {
  const config = mazeTask.config.parse({ trace });
  const item = mazeTask.make(randomStream("oracle", seed), config);
  const text = mazeTask.gold(item, config, randomStream("gold", seed)) + after;
  const scores = mazeTask.score(item, { text, stopReason: "stop" }, config);
  const reward = Object.entries(weights).reduce((sum, [name, w]) => sum + w * scores[name]!, 0);
  return { reward, moves: item.moves.length };
}

describe("reward presets", () => {
  test("weigh scores that the task has", () => {
    for (const name of rewardPresetNames) {
      for (const score of Object.keys(rewardPresets[name])) {
        expect(Object.keys(mazeTask.scores)).toContain(score);
      }
    }
  });

  test("the oracle gets 1.25 + 0.2 a move under head, 0.75 + 0.2 a move under paper", () => {
    for (const trace of traceKinds) {
      for (let seed = 0; seed < 50; seed++) {
        const head = oracle(rewardPresets.head, seed, trace);
        expect(head.reward).toBeCloseTo(1.25 + 0.2 * head.moves, 12);
        const paper = oracle(rewardPresets.paper, seed, trace);
        expect(paper.reward).toBeCloseTo(0.75 + 0.2 * paper.moves, 12);
      }
    }
  });

  test("older: 3.25, and 3.75 only with a newline behind the answer", () => {
    expect(oracle(rewardPresets.older, 1, "full").reward).toBeCloseTo(3.25, 12);
    expect(oracle(rewardPresets.older, 1, "full", "\n").reward).toBeCloseTo(3.75, 12);
  });
});
