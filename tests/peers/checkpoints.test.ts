// Checkpoints of transformers and peft give the numbers here that they give there.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { DataError } from "../../src/core/errors.ts";
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

describe("a byte-level tokenizer with the pre-tokenizer of Qwen", () => {
  interface TextCase {
    readonly text: string;
    readonly tokens: readonly number[];
    readonly decoded: string;
  }
  const path = join(fixture("byte-level"), "expected.json");
  const { cases } = JSON.parse(readFileSync(path, "utf8")) as { cases: readonly TextCase[] };

  it.each(cases)("reads and writes $text as there", async ({ text, tokens, decoded }) => {
    const tokenizer = await ChatTokenizer.read(fixture("byte-level"));
    expect([...tokenizer.encode(text)]).toEqual(tokens);
    expect(tokenizer.decode(tokens)).toBe(decoded);
  });
});

describe("a tokenizer's config", () => {
  const parse = (name: string): Record<string, unknown> =>
    JSON.parse(readFileSync(join(fixture("qwen2"), name), "utf8")) as Record<string, unknown>;
  const make = (change: Record<string, unknown>): ChatTokenizer =>
    new ChatTokenizer(parse("tokenizer.json"), { ...parse("tokenizer_config.json"), ...change });
  const template = "{{ bos_token }}{{ messages[0]['content'] }}{{ eos_token }}";

  it("may hold several templates, and special tokens as records", () => {
    const tokenizer = make({
      chat_template: [
        { name: "tool_use", template: "no" },
        { name: "default", template },
      ],
      bos_token: { content: "<|user|>", lstrip: false },
      eos_token: { content: "<|stop|>", lstrip: false },
      unk_token: null,
    });
    expect([...tokenizer.encodePrompt([{ role: "user", content: "up" }])]).toEqual([3, 104, 2]);
    expect([tokenizer.endToken, tokenizer.stopTokens]).toEqual([2, [2]]);
    expect(tokenizer.decodeAnswer(Int32Array.of(104, 2))).toBe("up");
  });

  it.each([
    [{ chat_template: undefined }, /chat_template/],
    [{ chat_template: [{ name: "tool_use", template }] }, /chat_template/],
    [{ chat_template: "{% if %}" }, /expected a chat template in Jinja/],
    [{ chat_template: template, eos_token: "<|nowhere|>" }, /the end token <\|nowhere\|>/],
  ])("%j is refused", (change, message) => {
    expect(() => make(change)).toThrow(DataError);
    expect(() => make(change)).toThrow(message);
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
