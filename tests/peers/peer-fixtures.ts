// The checkpoints that transformers and peft wrote (make-fixtures.py), with what those computed.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import type { Message } from "../../src/core/messages.ts";
import { readModelConfig, readWeights } from "../../src/models/hugging-face.ts";
import { mergeAdapter, readAdapter } from "../../src/models/peft.ts";
import { LocalEngine } from "../../src/engine/local-engine.ts";
import { randomStream } from "../../src/core/random.ts";
import type { DecoderConfig } from "../../src/models/decoder.ts";
import type { NamedArray } from "../../src/nn/safetensors.ts";
import { dataOf, emptyWeights } from "./model-logits.ts";

export const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));

export interface PeerCase {
  readonly messages: readonly Message[];
  readonly tokens: readonly number[];
  /** `[time][vocabulary]` */
  readonly logits: readonly (readonly number[])[];
  /** Arg-max continuation, end tokens not heeded. */
  readonly greedy: readonly number[];
  readonly text: string;
}

export function expectedCases(name: string): readonly PeerCase[] {
  const text = readFileSync(join(fixture(name), "expected.json"), "utf8");
  return (JSON.parse(text) as { cases: readonly PeerCase[] }).cases;
}

/** A model folder, and on it an adapter folder if given, merged. */
export async function loadPeer(
  name: string,
  adapter?: string,
): Promise<{ config: DecoderConfig; weights: Record<string, NamedArray> }> {
  const config = await readModelConfig(fixture(name));
  const weights = emptyWeights(config);
  await readWeights(fixture(name), config, dataOf(weights));
  if (adapter !== undefined) mergeAdapter(await readAdapter(fixture(adapter)), weights);
  return { config, weights };
}

/** Greedy continuations `[prompt][time]` of our engine. */
export async function engineGreedy(
  config: DecoderConfig,
  weights: Readonly<Record<string, NamedArray>>,
  prompts: readonly (readonly number[])[],
  maxTokens: number,
): Promise<number[][]> {
  const engine = new LocalEngine(config);
  try {
    for (const [name, { data }] of Object.entries(weights)) engine.parameter(name).set(data);
    const completions = await engine.sample(
      prompts.map((tokens) => Int32Array.from(tokens)),
      { group: 1, maxTokens, temperature: 0, stop: [], random: () => randomStream(1, "greedy") },
    );
    return completions.map(([one]) => [...one!.tokens]);
  } finally {
    engine.dispose();
  }
}
