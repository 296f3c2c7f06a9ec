// What a GRPO step leaves behind of every completion, as samples/grpo.jsonl holds it.

import type { Scores } from "../core/task.ts";
import type { Environment, ScoredCompletion } from "../rollout/single-turn.ts";
import {
  runLengths,
  type SampleRecord,
  type StoredFailure,
  type TokenOrigin,
} from "../run/sample-record.ts";
import type { RewardWeights } from "./generation.ts";
import type { MeasuredGeneration } from "./grpo-metrics.ts";

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
export function errorClassOf<Item, Config>(
  { task, config }: Pick<Environment<Item, Config>, "task" | "config">,
  item: Item,
  completion: ScoredCompletion,
): { errorClass?: string | null } {
  if (task.errorClass === undefined) return {};
  const { text, stopReason } = completion;
  try {
    return { errorClass: task.errorClass(item, { text, stopReason }, config) };
  } catch {
    return {};
  }
}

/** Failures as a file holds them: kind and message, by score name. */
export const failureTexts = (
  failures: ScoredCompletion["failures"],
): Record<string, StoredFailure> =>
  Object.fromEntries(
    Object.entries(failures).map(([name, { kind, error }]) => [
      name,
      { kind, message: error.message },
    ]),
  );

/** One record a completion, ordered by prompt, then by sample. */
export function sampleRecords<Item, Config>(
  step: number,
  {
    rollouts,
    dropped,
    rewards,
    penalties,
    groups,
    examples,
    trainer,
    reference,
    weights,
  }: MeasuredGeneration,
  environment: Pick<Environment<Item, Config>, "task" | "config">,
): SampleRecord[] {
  const { task, config } = environment;
  let sequence = 0;
  return rollouts.flatMap(({ item, messages, promptTokens, completions }, prompt) => {
    const level = task.level?.(item as Item, config);
    return completions.map((completion, sample): SampleRecord => {
      const { tokens, logProbs, text, stopReason, scores, failures } = completion;
      const index = sequence++;
      const [own, example] = [trainer[index], examples[index]];
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
        lossMask: runLengths(
          Array.from(tokens, (_, time) => (example === null ? 0 : (example?.mask?.[time] ?? 1))),
        ),
        samplerLogProbs: rounded(logProbs),
        ...(own && { trainerLogProbs: rounded(own) }),
        ...(reference && { referenceLogProbs: rounded(reference[index]!) }),
        scores,
        ...(Object.keys(failures).length > 0 && { failures: failureTexts(failures) }),
        rewardParts: rewardPartsOf(scores, weights),
        ...(Object.keys(penalties[index]!).length > 0 && {
          penalties: { ...penalties[index] },
        }),
        ...(dropped[prompt]![sample]! && { dropped: true }),
        reward: rewards[prompt]![sample]!,
        advantage: groups[prompt]!.advantages[sample]!,
        stopReason,
        ...errorClassOf(environment, item as Item, completion),
        ...(level !== undefined && { level }),
      };
    });
  });
}
