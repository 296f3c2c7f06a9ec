import { describe, expect, it } from "vitest";
import {
  ScriptedEngine,
  solve,
  sumEnvironment,
  sumTask,
  tokenizer,
} from "../../tests/scripted-engine.ts";
import { randomStream } from "../core/random.ts";
import { rollOut, type RolloutOptions } from "./single-turn.ts";

const items = [
  { a: 1, b: 2 },
  { a: 20, b: 5 },
];
const options: RolloutOptions = {
  group: 2,
  maxTokens: 9,
  temperature: 0.7,
  random: (prompt, sample) => randomStream(prompt, sample),
};

describe("rollOut", () => {
  it("asks for a group of every item and scores what comes back", async () => {
    const engine = new ScriptedEngine({
      answer: (question, sample) => (sample === 0 ? solve(question) : { text: "25", isCut: true }),
    });
    const rollouts = await rollOut(engine, sumEnvironment, items, { ...options, topK: 4 });
    expect(rollouts.map(({ item }) => item)).toEqual(items);
    const found = rollouts.map(({ completions }) =>
      completions.map(({ text, stopReason, scored }) => [text, stopReason, scored]),
    );
    const scores = (correct: number, short: number) => ({ scores: { correct, short } });
    expect(found).toEqual([
      [
        ["3", "stop", scores(1, 1)],
        ["25", "length", scores(0, 1)],
      ],
      [
        ["25", "stop", scores(1, 1)],
        ["25", "length", scores(1, 1)],
      ],
    ]);
    expect(Array.from(rollouts[0]!.completions[0]!.tokens)).toEqual([
      ...tokenizer.encode("3"),
      tokenizer.endToken,
    ]);
    const [call] = engine.of("sample");
    expect(call!.options).toMatchObject({
      group: 2,
      maxTokens: 9,
      temperature: 0.7,
      topK: 4,
      stop: [tokenizer.endToken],
    });
    expect("topP" in call!.options).toBe(false);
    expect(tokenizer.decode(call!.prompts[1]!)).toBe("<|user|>20+5<|assistant|>");
    expect(rollouts[1]!.promptTokens).toEqual(call!.prompts[1]);
    expect(rollouts[1]!.messages).toEqual([{ role: "user", content: "20+5" }]);
  });

  it("keeps the error of a scorer beside the scores of the others", async () => {
    const failing = {
      ...sumEnvironment,
      task: {
        ...sumTask,
        score: (...[item, output, config]: Parameters<typeof sumTask.score>) => {
          if (output.text === "bad") throw new TypeError("no such thing");
          if (output.text === "worse") throw "a text";
          return sumTask.score(item, output, config);
        },
      },
    };
    const answers = ["bad", "3", "worse"];
    const engine = new ScriptedEngine({ answer: (_question, sample) => answers[sample]! });
    const [rollout] = await rollOut(engine, failing, [items[0]!], { ...options, group: 3 });
    const [bad, good, worse] = rollout!.completions.map(({ scored }) => scored);
    expect(bad).toEqual({ error: new TypeError("no such thing") });
    expect(good).toEqual({ scores: { correct: 1, short: 1 } });
    expect(worse).toEqual({ error: new Error("a text") });
  });
});

describe("a score that is no number", () => {
  it.each([
    ["NaN", Number.NaN, "NaN"],
    ["a boolean", true, "boolean"],
    ["missing", undefined, "undefined"],
  ])("%s is an error of the scorer, not a reward", async (_name, value, got) => {
    const broken = {
      ...sumEnvironment,
      task: { ...sumTask, score: () => ({ correct: value as number, short: 1 }) },
    };
    const [rollout] = await rollOut(new ScriptedEngine({ answer: solve }), broken, items, options);
    const { scored } = rollout!.completions[0]!;
    expect("error" in scored && scored.error.message).toBe(
      `score correct: expected a finite number or null, got ${got}`,
    );
  });
});
