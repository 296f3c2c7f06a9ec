import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ChatTokenizer } from "./chat-tokenizer.ts";

let directory: string;
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), "alidade-tokenizer-"))));
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** A byte-pair tokenizer in the form of Qwen2: bytes as letters, merges, its own added tokens. */
const json = {
  version: "1.0",
  added_tokens: [
    {
      id: 6,
      content: "<end>",
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    },
    {
      id: 7,
      content: "<user>",
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    },
  ],
  normalizer: { type: "NFC" },
  pre_tokenizer: {
    type: "ByteLevel",
    add_prefix_space: false,
    trim_offsets: false,
    use_regex: false,
  },
  post_processor: null,
  decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
  model: {
    type: "BPE",
    vocab: { a: 0, b: 1, "<": 2, "|": 3, ab: 4, ">": 5 },
    merges: [["a", "b"]],
  },
};
const config = {
  bos_token: { content: "<user>" },
  eos_token: { content: "<end>", lstrip: false },
  chat_template: String.raw`{{bos_token}}{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}{{'<think>\n'}}{% endif %}`,
  added_tokens_decoder: { "6": { content: "<end>" }, "7": { content: "<user>" } },
};
const published = (): ChatTokenizer => new ChatTokenizer(json, config);

describe("withTokens", () => {
  const tokens = ["<|a|>", "<|b|>"];

  it("gives new tokens the next ids, in their order, and leaves the others alone", () => {
    const tokenizer = published().withTokens(tokens);
    expect(tokenizer.vocabularySize).toBe(10);
    expect([...tokenizer.encode("ab<|b|><|a|>a<end>")]).toEqual([4, 9, 8, 0, 6]);
    expect(tokenizer.decode([4, 9, 8, 0, 6])).toBe("ab<|b|><|a|>a<end>");
    expect([...published().encode("<|a|>")]).toEqual([2, 3, 0, 3, 5]);
    expect(tokenizer.endToken).toBe(6);
  });

  it("adds a token once", () => {
    const tokenizer = published().withTokens(tokens);
    expect(tokenizer.withTokens(tokens)).toBe(tokenizer);
    expect(tokenizer.withTokens(["<end>", "a", "<|c|>"]).encode("<|c|>")).toEqual(
      Int32Array.of(10),
    );
  });

  it("is written and read back, in both files", async () => {
    await published().withTokens(tokens).write(directory);
    const read = await ChatTokenizer.read(directory);
    expect([...read.encode("<|b|>a")]).toEqual([9, 0]);
    const { default: written } = (await import(join(directory, "tokenizer_config.json"), {
      with: { type: "json" },
    })) as { default: typeof config };
    expect(Object.keys(written.added_tokens_decoder)).toEqual(["6", "7", "8", "9"]);
  });
});

describe("a published template", () => {
  const text = (tokenizer: ChatTokenizer): string =>
    tokenizer.decode(tokenizer.encodePrompt([{ role: "user", content: "ab" }]));

  it("knows the special tokens by name", () => {
    expect(text(published().withoutOpenThinking())).toBe("<user>ab");
  });

  it("is left alone where it does not open the thinking at the end", () => {
    const template = "{{ messages[0]['content'].replace('<think>\\n', '') }}";
    const tokenizer = new ChatTokenizer(json, { ...config, chat_template: template });
    expect(text(tokenizer.withoutOpenThinking())).toBe("ab");
  });

  it("may be a file of its own", async () => {
    const { chat_template: template, ...rest } = config;
    await published().write(directory);
    writeFileSync(join(directory, "tokenizer_config.json"), JSON.stringify(rest));
    writeFileSync(join(directory, "chat_template.jinja"), template);
    expect(text((await ChatTokenizer.read(directory)).withoutOpenThinking())).toBe("<user>ab");
  });
});

it("ids beyond the tokenizer have no text", () => {
  expect(published().decode([4, 99, 0])).toBe("aba");
  expect(published().decode([99])).toBe("");
});
