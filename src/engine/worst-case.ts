// The largest batches of a workload, of made-up tokens.

import type { Example, TokenIds, Workload } from "../core/engine.ts";
import { readsReference } from "../losses/policy-loss.ts";

/** Prompts of the workload, no two alike where that is possible. */
export function worstPrompts(
  { prompts, promptTokens }: Workload,
  vocabularySize: number,
): TokenIds[] {
  return Array.from({ length: prompts }, (_, index) => {
    const tokens = new Int32Array(promptTokens);
    for (let [time, rest] = [0, index]; rest > 0 && time < promptTokens; time++) {
      tokens[time] = rest % vocabularySize;
      rest = Math.floor(rest / vocabularySize);
    }
    return tokens;
  });
}

/**
 * The batch that the completions make. `long`: share of each group that has the full length; the others have `short` of it.
 * Unequal rows leave more padding in the rectangles of attention.
 */
export function worstBatch(
  load: Workload,
  vocabularySize: number,
  { long, short }: { readonly long: number; readonly short: number } = { long: 1, short: 1 },
): Example[] {
  const { group, promptTokens, completionTokens } = load;
  const loss = load.training?.loss;
  const isPolicy = loss?.type === "policy-gradient";
  return worstPrompts(load, vocabularySize).flatMap((prompt) =>
    Array.from({ length: group }, (_, sample): Example => {
      const isLong = sample < Math.max(1, Math.round(long * group));
      const length = isLong ? completionTokens : Math.ceil(short * completionTokens);
      const tokens = new Int32Array(promptTokens + length);
      tokens.set(prompt);
      const likely = (): Float32Array => new Float32Array(length).fill(-1);
      return {
        tokens,
        promptLength: promptTokens,
        ...(isPolicy && { advantage: 1 }),
        ...(isPolicy && load.training!.passes > 1 && { old: likely() }),
        ...(isPolicy && readsReference(loss) && { reference: likely() }),
        ...(isPolicy && loss.sampler.type !== "ignored" && { sampler: likely() }),
      };
    }),
  );
}

/** Kinds of batches whose pieces may need most memory. */
export const WORST_SPREADS = [
  { long: 1, short: 1 },
  { long: 0.5, short: 0.25 },
  { long: 0, short: 0.125 },
] as const;
