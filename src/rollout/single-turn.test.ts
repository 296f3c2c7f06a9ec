import { describe, expect, it } from "vitest";
import { ScriptedEngine, solve, sumEnvironment, tokenizer } from "../../tests/scripted-engine.ts";
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
      completions.map(({ text, stopReason, scores }) => [text, stopReason, scores]),
    );
    const scores = (correct: number, short: number) => ({ correct, short });
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
});
