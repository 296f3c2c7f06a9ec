// Equal prompts of a batch are encoded once: which they are, and which row belongs to which.

import { EngineError } from "../core/errors.ts";
import type { FlowPrompt } from "../core/flow-engine.ts";
import type { TokenIds } from "../core/engine.ts";
import type { PromptEncoderConfig } from "../models/prompt-encoder.ts";

export interface PromptRows {
  readonly distinct: readonly TokenIds[];
  /** Index into `distinct` of each row; -1: no prompt. */
  readonly rows: readonly number[];
}

export function promptRows(prompts: readonly FlowPrompt[]): PromptRows {
  const places = new Map<string, number>();
  const distinct: TokenIds[] = [];
  const rows = prompts.map((prompt) => {
    if (prompt === null) return -1;
    const key = prompt.join();
    const known = places.get(key);
    if (known !== undefined) return known;
    places.set(key, distinct.length);
    return distinct.push(prompt) - 1;
  });
  return { distinct, rows };
}

/** Fills tokens and mask [prompts, promptTokens]; prompts beyond the given ones are one token of id 0. */
export function fillPrompts(
  tokens: Int32Array,
  mask: Float32Array,
  prompts: readonly TokenIds[],
  { promptTokens }: PromptEncoderConfig,
): void {
  tokens.fill(0);
  mask.fill(0);
  for (let row = 0; row < tokens.length / promptTokens; row++) {
    const prompt = prompts[row];
    const start = row * promptTokens;
    if (prompt !== undefined) tokens.set(prompt, start);
    mask.fill(1, start, start + (prompt?.length ?? 1));
  }
}

/** @throws EngineError when a prompt is empty, too long, or has an unknown token. */
export function checkPrompts(
  prompts: readonly FlowPrompt[],
  { promptTokens, vocabularySize }: PromptEncoderConfig,
  where: string,
): void {
  prompts.forEach((prompt, index) => {
    if (prompt === null) return;
    if (prompt.length === 0 || prompt.length > promptTokens) {
      throw new EngineError({
        where: `${where}: prompt ${index}`,
        expected: `1 to ${promptTokens} tokens`,
        got: String(prompt.length),
        hint: "no prompt is null; raise prompt.promptTokens for longer ones",
      });
    }
    const stranger = prompt.find((token) => token < 0 || token >= vocabularySize);
    if (stranger !== undefined) {
      throw new EngineError({
        where: `${where}: prompt ${index}`,
        expected: `token ids in [0, ${vocabularySize})`,
        got: String(stranger),
      });
    }
  });
}
