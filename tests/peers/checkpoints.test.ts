// Checkpoints of transformers and peft give the numbers here that they give there.

import { describe, expect, it } from "vitest";
import { LocalEngine } from "../../src/engine/local-engine.ts";
import { checkVocabulary, readModelConfig } from "../../src/models/hugging-face.ts";
import { ChatTokenizer } from "../../src/text/chat-tokenizer.ts";
import { largestDifference, promptLogits } from "./model-logits.ts";
import { engineGreedy, expectedCases, fixture, loadPeer } from "./peer-fixtures.ts";

const TOLERANCE = 1e-4;

describe.each([
  ["qwen2", undefined],
  ["qwen3", undefined],
  ["llama", undefined],
  ["qwen2", "qwen2-lora"],
  ["qwen3", "qwen3-rslora"],
])("%s with adapter %s", (name, adapter) => {
  const cases = expectedCases(adapter ?? name);

  it("has the logits of transformers", async () => {
    const { config, weights } = await loadPeer(name, adapter);
    for (const { tokens, logits } of cases) {
      const found = await promptLogits(config, weights, tokens);
      expect(largestDifference(logits, found)).toBeLessThan(TOLERANCE);
    }
  });

  it("continues with its greedy tokens", async () => {
    const { config, weights } = await loadPeer(name, adapter);
    const prompts = cases.map(({ tokens }) => tokens);
    const greedy = await engineGreedy(config, weights, prompts, cases[0]!.greedy.length);
    expect(greedy).toEqual(cases.map((one) => one.greedy));
  });
});

describe.each(["qwen2", "qwen3", "llama"])("%s", (name) => {
  it("loads into an engine", async () => {
    const engine = new LocalEngine(await readModelConfig(fixture(name)));
    await engine.loadWeights(fixture(name));
    const { weights } = await loadPeer(name);
    for (const parameter of engine.parameterNames)
      expect(engine.parameter(parameter)).toEqual(weights[parameter]!.data);
    engine.dispose();
  });

  it("has a tokenizer that reads and writes as there, with its template in a file of its own", async () => {
    const tokenizer = await ChatTokenizer.read(fixture(name));
    checkVocabulary(fixture(name), await readModelConfig(fixture(name)), tokenizer);
    for (const { messages, tokens, greedy, text } of expectedCases(name)) {
      expect([...tokenizer.encodePrompt(messages)]).toEqual(tokens);
      expect(tokenizer.decode(greedy)).toBe(text);
    }
    expect(tokenizer.stopTokens).toEqual(name === "llama" ? [1, 2] : [1]);
  });
});
