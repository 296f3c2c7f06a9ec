import { describe, expect, it } from "vitest";
import { ConfigError, DataError } from "../../core/errors.ts";
import { randomStream } from "../../core/random.ts";
import { taskScores } from "../../core/task.ts";
import { promptTask, type PromptTaskOptions } from "./prompt-task.ts";

const options: PromptTaskOptions<string> = {
  name: "files",
  suites: { train: ["a red cup", "two cups", "two cups"], test: ["a cup"] },
  prompt: (item) => item,
  shape: [4, 4, 3],
  scorers: [{ scores: { right: "1 when right" }, score: () => ({ right: 1 }) }],
  accuracy: "right",
};

describe("a task of prompts from files", () => {
  it("draws training lines evenly, and knows the words of all suites", () => {
    const task = promptTask(options);
    const drawn = Array.from({ length: 300 }, (_, index) =>
      task.make(randomStream("p", index), {}),
    );
    expect(new Set(drawn)).toEqual(new Set(["a red cup", "two cups"]));
    expect(drawn.filter((one) => one === "two cups").length / 300).toBeCloseTo(2 / 3, 1);
    expect(task.vocabulary({})).toEqual(["a", "cup", "cups", "red", "two"]);
    expect(task.items("test", {})).toEqual(["a cup"]);
    expect(Object.keys(taskScores(task))).toEqual(["right"]);
    expect([task.levels, task.level("two cups")]).toEqual([["all"], "all"]);
  });

  it("holds out what it says, and cannot draw", () => {
    const suites = { train: ["a", "b"], test: ["c"], unseen: ["d", "b"] };
    expect(() => promptTask({ ...options, suites })).toThrow(DataError);
    expect(() => promptTask({ ...options, suites })).toThrow(
      'task files, suite unseen: expected prompts that train does not have, got "b"',
    );
    const task = promptTask(options);
    expect(() => task.gold("two cups", {}, randomStream("g"))).toThrow(ConfigError);
    expect(() => task.illustrate(randomStream("g"), {})).toThrow(/begin at a base model/);
    expect(() => task.items("tset", {})).toThrow(/did you mean "test"/);
  });
});
