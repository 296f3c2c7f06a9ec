import { describe, expect, test } from "vitest";
import { randomStream } from "../../core/random.ts";
import { mazeFromEdges } from "../../tasks/maze/maze.ts";
import { itemOf, mazeTask } from "../../tasks/maze/task.ts";
import { mazeBenchResult, type MazeBenchRow } from "./maze-bench.ts";

const config = mazeTask.config.parse({ size: 2, trace: "none" });
const edges = [
  [0, 1],
  [1, 3],
  [3, 2],
] as const;
const item = itemOf(mazeFromEdges(2, edges, 0, 2));
const row = (answer: string, level: string, stopReason: "stop" | "length" = "stop") =>
  ({ item, level, output: { text: `<think>\n\n</think>\n\n${answer}`, stopReason } }) as const;

describe("MazeBench result", () => {
  const rows: MazeBenchRow[] = [
    row("<|right|><|down|><|left|>", "Easy"),
    row("<|right|><|blank|><|down|><|left|>", "Easy"),
    row("<|down|>", "Hard"),
    row("<|right|>", "Hard"),
    row("<|up|>", "Hard"),
    row("", "__proto__", "length"),
    row("", "Hard"),
    row("<|right|><|down|><|left|>", "Hard"),
  ];
  const result = mazeBenchResult("some/model", "2025-02-20T00:00:00Z", rows, config);

  test("has the published fields", () => {
    expect(result).toMatchObject({
      model_name: "some/model",
      timestamp: "2025-02-20T00:00:00Z",
      overall_accuracy: 37.5,
      level_accuracies: {
        Easy: { accuracy: 100, correct: 2, total: 2 },
        Hard: { accuracy: 20, correct: 1, total: 5 },
      },
    });
    expect(Object.hasOwn(result.level_accuracies, "__proto__")).toBe(true);
    expect(result.detailed_results.map((detail) => detail.is_correct)).toEqual([
      true,
      true,
      false,
      false,
      false,
      false,
      false,
      true,
    ]);
    expect(result.detailed_results[2]).toEqual({
      level: "Hard",
      maze:
        "<|0-0|><|up_down_left_wall|><|origin|><|0-1|><|up_right_wall|><|blank|>\n" +
        "<|1-0|><|up_down_left_wall|><|target|><|1-1|><|down_right_wall|><|blank|>",
      solution: "<|down|>",
      is_correct: false,
      error: "move 1 meets a wall at 0-0",
      error_class: "hit wall",
    });
  });

  test("adds error classes, a strict accuracy and Wilson intervals", () => {
    expect(result.error_classes).toEqual({
      "hit wall": 1,
      "missed target": 1,
      "left the grid": 1,
      "too long": 1,
      "no answer": 1,
    });
    expect(result.strict_accuracy).toBe(25);
    // Wilson, 3 of 8: (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n).
    expect(result.overall_interval.low).toBeCloseTo(13.684, 2);
    expect(result.overall_interval.high).toBeCloseTo(69.426, 2);
    expect(result.level_accuracies["Easy"]!.interval.high).toBeCloseTo(100, 9);
  });

  test("the oracle gets 100 %, an empty list is refused", () => {
    const five = mazeTask.config.parse({});
    const oracle = Array.from({ length: 50 }, (_, seed) => {
      const one = mazeTask.make(randomStream("bench", seed), five);
      const text = mazeTask.gold(one, five, randomStream("gold", seed));
      const level = mazeTask.level!(one, five);
      return { item: one, level, output: { text, stopReason: "stop" } } as const;
    });
    expect(mazeBenchResult("oracle", "", oracle, five).overall_accuracy).toBe(100);
    expect(() => mazeBenchResult("none", "", [], five)).toThrow("at least one row");
  });
});
