import { describe, expect, it } from "vitest";
import {
  ScriptedEngine,
  solve,
  sumEnvironment,
  sumTask,
  tokenizer,
  type Sum,
} from "../../tests/scripted-engine.ts";
import { RunError } from "../core/errors.ts";
import { silentProgress } from "../core/progress.ts";
import { randomStream } from "../core/random.ts";
import { wilsonInterval } from "../core/statistics.ts";
import type { Scores } from "../core/task.ts";
import { scoringSettings } from "../rollout/score-outputs.ts";
import { evaluateTask, type EvaluateOptions } from "./evaluate-task.ts";

const options: EvaluateOptions = {
  maxTokens: 8,
  temperature: 0,
  seed: 3,
  progress: silentProgress,
  label: "evaluating",
};

const items = [
  { a: 1, b: 2 }, // Easy
  { a: 4, b: 4 }, // Easy
  { a: 20, b: 5 }, // Hard
  { a: 9, b: 9 }, // Hard
  { a: 3, b: 3 }, // Easy
];

describe("evaluateTask", () => {
  it("counts what is right, by level, and what is wrong, by class", async () => {
    const wrong: Record<string, string> = { "4+4": "9", "9+9": "", "3+3": "66666" };
    const engine = new ScriptedEngine({ answer: (question) => wrong[question] ?? solve(question) });
    const { evaluation, outputs } = await evaluateTask(engine, sumEnvironment, items, options);
    const interval = wilsonInterval(2, 5);
    expect(evaluation).toMatchObject({
      count: 5,
      correct: 2,
      accuracy: 0.4,
      ci95: [interval.low, interval.high],
      errors: { "wrong sum": 2, nothing: 1 },
      // "short" abstains where nothing was written.
      scores: { correct: 0.4, short: 0.75 },
      outcomes: "10100",
    });
    expect(evaluation.levels).toMatchObject({
      Easy: { count: 3, correct: 1 },
      Hard: { count: 2, correct: 1 },
    });
    const lengths = ["3", "9", "25", "", "66666"].map(
      (text) => tokenizer.encodeAnswer(text).length,
    );
    expect(evaluation.meanTokens).toBeCloseTo(lengths.reduce((a, b) => a + b, 0) / 5, 12);
    expect(outputs[3]).toMatchObject({
      item: items[3],
      output: { text: "", stopReason: "stop" },
      right: false,
    });
  });

  it("gives every item a stream of its own, however many are sampled at once", async () => {
    const many = Array.from({ length: 600 }, (_, index) => ({ a: index, b: 1 }));
    const seen = new Map<string, number>();
    const engine = new ScriptedEngine({
      answer: (question, _sample, uniform) => {
        seen.set(question, uniform);
        return solve(question);
      },
    });
    const { evaluation } = await evaluateTask(engine, sumEnvironment, many, options);
    expect(evaluation).toMatchObject({ count: 600, correct: 600 });
    expect(engine.of("sample").length).toBeGreaterThan(1);
    for (const index of [0, 255, 256, 599]) {
      expect(seen.get(`${index}+1`)).toBe(randomStream(3, "evaluation", index).at(0));
    }
  });

  it("stops at a scorer that fails, and names the item: it is not a wrong answer", async () => {
    const failing = {
      ...sumEnvironment,
      task: {
        ...sumTask,
        score: (...[item, output, config]: Parameters<typeof sumTask.score>) => {
          if (item.a === 20) throw new Error("the scorer fell over");
          return sumTask.score(item, output, config);
        },
      },
    };
    const evaluating = evaluateTask(new ScriptedEngine(), failing, items, options);
    await expect(evaluating).rejects.toThrow(RunError);
    await expect(evaluating).rejects.toThrow(
      "evaluation: item 2 of task sum: expected scores, got an error of the scorer: the scorer fell over",
    );
  });

  it("counts what other scorers fail at, and keeps it out of their mean", async () => {
    const judge = async (item: Sum): Promise<Scores> => {
      if (item.a === 20) throw new Error("busy");
      return { judge: item.a === 9 ? Number.NaN : 0.5 };
    };
    const environment = {
      ...sumEnvironment,
      scoring: scoringSettings.parse({ retries: 0 }),
      task: { ...sumTask, scorers: [{ scores: { judge: "" }, score: judge }] },
    };
    const engine = new ScriptedEngine({ answer: solve });
    const { evaluation } = await evaluateTask(engine, environment, items, options);
    expect(evaluation).toMatchObject({
      accuracy: 1,
      scores: { judge: 0.5 },
      scorerFailures: { judge: { error: 1, notFinite: 1 } },
    });
    const plain = await evaluateTask(engine, sumEnvironment, items, options);
    expect("scorerFailures" in plain.evaluation).toBe(false);
  });

  it("stops at a model whose numbers broke: that is no accuracy of 0", async () => {
    const engine = new ScriptedEngine({
      answer: (question) => ({ text: "1", logProb: question === "9+9" ? Number.NaN : -1 }),
    });
    const evaluating = evaluateTask(engine, sumEnvironment, items, options);
    await expect(evaluating).rejects.toThrow(RunError);
    await expect(evaluating).rejects.toThrow(
      "evaluation: item 3 of task sum: expected finite log-probabilities, got NaN",
    );
  });

  it("takes only a score of 1 for right", async () => {
    for (const [score, right] of [
      [1, 5],
      [0.99, 0],
      [2, 0],
    ] as const) {
      const environment = {
        ...sumEnvironment,
        task: { ...sumTask, score: () => ({ correct: score, short: null }) },
      };
      const judged = await evaluateTask(new ScriptedEngine(), environment, items, options);
      expect(judged.evaluation.correct).toBe(right);
    }
  });

  it("stops when the accuracy abstains: that is neither right nor wrong", async () => {
    const environment = {
      ...sumEnvironment,
      task: { ...sumTask, score: () => ({ correct: null, short: null }) },
    };
    await expect(evaluateTask(new ScriptedEngine(), environment, items, options)).rejects.toThrow(
      "evaluation: item 0 of task sum: expected a number for correct, which is the accuracy",
    );
  });
});
