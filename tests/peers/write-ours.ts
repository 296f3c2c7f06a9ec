// Writes checkpoints and adapters with our code, and what our engine computes with them, for check-ours.py:
//   npx tsx tests/peers/write-ours.ts DIR

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DecoderConfig } from "../../src/models/decoder.ts";
import { readWeights, writeModel, type WeightDtype } from "../../src/models/hugging-face.ts";
import { mergeAdapter, writeAdapter, type Adapter } from "../../src/models/peft.ts";
import type { NamedArray } from "../../src/nn/safetensors.ts";
import { ChatTokenizer } from "../../src/text/chat-tokenizer.ts";
import { livelyValues } from "../plain-decoder.ts";
import { dataOf, emptyWeights, promptLogits } from "./model-logits.ts";
import { engineGreedy } from "./peer-fixtures.ts";

const tokenizer = ChatTokenizer.ofTokens(["<|up|>", "<|down|>", "<|left|>", "<|right|>"]);
const base: DecoderConfig = {
  vocabularySize: tokenizer.vocabularySize,
  contextLength: 128,
  width: 64,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headSize: 16,
  hiddenWidth: 96,
  ropeTheta: 500, // not the default of any family
  normEpsilon: 1e-3,
  qkvBias: false,
  qkNorm: false,
  tiedEmbeddings: false,
};
const conversations = ["left, up, up", "<|up|><|left|>", "Where is the wall?"].map((content) => [
  { role: "user" as const, content },
]);
const NEW_TOKENS = 24;

async function writeExpected(
  directory: string,
  config: DecoderConfig,
  weights: Readonly<Record<string, NamedArray>>,
): Promise<void> {
  const prompts = conversations.map((messages) => [...tokenizer.encodePrompt(messages)]);
  const greedy = await engineGreedy(config, weights, prompts, NEW_TOKENS);
  const cases = [];
  for (const [index, tokens] of prompts.entries()) {
    const logits = await promptLogits(config, weights, tokens);
    cases.push({ messages: conversations[index], tokens, logits, greedy: greedy[index] });
  }
  writeFileSync(join(directory, "expected.json"), JSON.stringify({ cases }));
}

async function write(
  root: string,
  name: string,
  change: Partial<DecoderConfig>,
  dtype: WeightDtype = "float32",
): Promise<{ config: DecoderConfig; weights: Record<string, NamedArray> }> {
  const directory = join(root, name);
  mkdirSync(directory, { recursive: true });
  const config = { ...base, ...change };
  const weights = emptyWeights(config);
  for (const [parameter, { data }] of Object.entries(weights))
    data.set(livelyValues(parameter, data.length));
  await writeModel(directory, config, dataOf(weights), dtype);
  await tokenizer.write(directory);
  await readWeights(directory, config, dataOf(weights)); // bfloat16 has rounded them
  await writeExpected(directory, config, weights);
  return { config, weights };
}

/** An adapter whose modules have ranks of their own, B not zero. */
function drawAdapter(
  weights: Readonly<Record<string, NamedArray>>,
  parts: Pick<Adapter, "rank" | "alpha" | "targets" | "rankStabilised" | "alphaPattern">,
  rankOf: (module: string) => number,
): Adapter {
  const tensors = new Map<string, NamedArray>();
  for (const [name, { shape }] of Object.entries(weights)) {
    const module = name.replace(/\.weight$/, "");
    if (!parts.targets.some((target) => module.endsWith(target))) continue;
    const [rows, columns] = shape as [number, number];
    const rank = rankOf(module);
    for (const [letter, matrix] of [
      ["A", [rank, columns]],
      ["B", [rows, rank]],
    ] as const) {
      const part = `${module}.lora_${letter}.weight`;
      tensors.set(part, { shape: matrix, data: livelyValues(part, matrix[0] * matrix[1]) });
    }
  }
  return { ...parts, tensors };
}

const root = process.argv[2] ?? "";
if (root === "") throw new Error("write-ours: expected a folder, got nothing");
await write(root, "llama", {});
await write(root, "llama-bfloat16", {}, "bfloat16");
const qwen2 = await write(root, "qwen2", { qkvBias: true, tiedEmbeddings: true });
const qwen3 = await write(root, "qwen3", { qkNorm: true, width: 48 });
const targets = ["q_proj", "v_proj", "down_proj"];
const plain = drawAdapter(qwen2.weights, { rank: 4, alpha: 8, targets }, () => 4);
const varied = drawAdapter(
  qwen3.weights,
  {
    rank: 4,
    alpha: 6,
    targets: ["q_proj", "k_proj", "o_proj", "gate_proj", "up_proj"],
    rankStabilised: true,
    alphaPattern: { "layers.1.self_attn.q_proj": 3 },
  },
  (module) => (module.endsWith("up_proj") ? 2 : 4),
);
const head = livelyValues("another head", base.vocabularySize * 48);
const whole: Adapter = {
  ...varied,
  tensors: new Map([
    ...varied.tensors,
    ["lm_head.weight", { shape: [base.vocabularySize, 48], data: head }],
  ]),
};
for (const [name, of, { config, weights }, adapter] of [
  ["qwen2-lora", "qwen2", qwen2, plain],
  ["qwen3-rslora-head", "qwen3", qwen3, whole],
] as const) {
  const directory = join(root, name);
  mkdirSync(directory, { recursive: true });
  await writeAdapter(directory, { ...adapter, baseModel: join(root, of) });
  mergeAdapter(adapter, weights);
  await writeExpected(directory, config, weights);
}
