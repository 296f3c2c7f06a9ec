// What a GRPO step leaves behind of every completion, as samples/grpo.jsonl holds it.

import type { Scores } from "../core/task.ts";
import type { Environment, ScoredCompletion } from "../rollout/single-turn.ts";
import { runLengths, type SampleRecord, type TokenOrigin } from "../run/sample-record.ts";
import type { MeasuredStep, RewardWeights } from "./grpo.ts";

/**
 * Six decimals, a third of the bytes: a millionth of a nat is a millionth of a probability, as fine as float32 has it. (Six
 * significant digits would leave a ten-thousandth of a nat at −12, and seem a mismatch of sampler and trainer.)
 */
const rounded = (values: Float32Array): number[] =>
  Array.from(values, (value) => Number(value.toFixed(6)));

/** weight · score by name; null where the score abstains. */
export function rewardPartsOf(
  scores: Scores,
  weights: RewardWeights,
): Record<string, number | null> {
  return Object.fromEntries(
    Object.entries(weights).map(([name, weight]) => {
      const score = scores[name] ?? null;
      return [name, score === null ? null : weight * score];
    }),
  );
}

/**
 * Class of a wrong output. The optimiser has stepped already and a class is only a label, so a task that cannot tell is no
 * reason to stop: its output then has none.
 */
function errorClassOf<Item, Config>(
  { task, config }: Pick<Environment<Item, Config>, "task" | "config">,
  item: Item,
  completion: ScoredCompletion,
): { errorClass?: string | null } {
  if (task.errorClass === undefined || "error" in completion.scored) return {};
  const { text, stopReason } = completion;
  try {
    return { errorClass: task.errorClass(item, { text, stopReason }, config) };
  } catch {
    return {};
  }
}

/** One record a completion, ordered by prompt, then by sample. */
export function sampleRecords<Item, Config>(
  step: number,
  { rollouts, rewards, groups, passes, reference, weights }: MeasuredStep,
  environment: Pick<Environment<Item, Config>, "task" | "config">,
): SampleRecord[] {
  const { task, config } = environment;
  const trainer = passes[0]!.logProbs;
  let sequence = 0;
  return rollouts.flatMap(({ item, messages, promptTokens, completions }, prompt) => {
    const level = task.level?.(item as Item, config);
    return completions.map((completion, sample): SampleRecord => {
      const { tokens, logProbs, text, stopReason, scored } = completion;
      const index = sequence++;
      return {
        step,
        prompt,
        sample,
        item,
        messages,
        images: [],
        promptTokens: Array.from(promptTokens),
        text,
        tokens: Array.from(tokens),
        origin: runLengths(Array.from(tokens, (): TokenOrigin => "model")),
        lossMask: runLengths(Array.from(tokens, () => 1)),
        samplerLogProbs: rounded(logProbs),
        trainerLogProbs: rounded(trainer[index]!),
        ...(reference && { referenceLogProbs: rounded(reference[index]!) }),
        ...("error" in scored
          ? { error: scored.error.message }
          : { scores: scored.scores, rewardParts: rewardPartsOf(scored.scores, weights) }),
        reward: rewards[prompt]![sample]!,
        advantage: groups[prompt]!.advantages[sample]!,
        stopReason,
        ...errorClassOf(environment, item as Item, completion),
        ...(level !== undefined && { level }),
      };
    });
  });
}
