// Rewards whose number comes from a model that we do not run: their scales, and files of them.
//
// Several rewards are mixed as in flow_grpo: reward = Σ weight · score of the raw scores, which is what the weights of a recipe do
// (rollout/items.ts, weighScores); the group normalisation comes after the sum.

import { z } from "zod";
import { openRows } from "../../data/rows.ts";
import { DataError, shownJson } from "../../core/errors.ts";
import { parseFields } from "./record.ts";

/** PickScore as Flow-GRPO scales it. @param logit logit scale · cosine of text and image. */
export const pickScoreReward = (logit: number): number => logit / 26;

/** CLIPScore as Flow-GRPO scales it. */
export const clipScoreReward = (score: number): number => score / 30;

/** JPEG compressibility (DDPO, arXiv:2305.13301): minus kilobytes (1000 bytes) at quality 95, by 500. */
export const compressibilityReward = (jpegSizeBytes: number): number => -jpegSizeBytes / 1000 / 500;

/**
 * UnifiedReward: the number behind "Final Score:", 1 to 5, by 5. Throws a DataError when there is none; the released code counts
 * that as 0, which is less than the worst image gets.
 */
export function unifiedReward(answer: string): number {
  const match = /Final Score:\s*(\d+(?:\.\d+)?)/.exec(answer);
  const score = match === null ? Number.NaN : Number(match[1]);
  if (score >= 1 && score <= 5) return score / 5;
  const expected = '"Final Score: x" with x from 1 to 5';
  throw new DataError({ where: "UnifiedReward answer", expected, got: shownJson(answer) });
}

const rowSchema = z.looseObject({
  prompt: z.string().min(1),
  sample_id: z.union([z.string().min(1), z.int()]),
  reward: z.number(),
});

/** Rewards of samples, made elsewhere: `{"prompt": …, "sample_id": …, "reward": …}` a line. */
export interface SuppliedRewards {
  readonly size: number;
  /** Throws a DataError when the file has none: a missing reward is not a 0. */
  rewardOf(prompt: string, sampleId: string | number): number;
}

/** Throws a DataError that names file, line and field; also for a sample that has two rewards. */
export async function readSuppliedRewards(path: string): Promise<SuppliedRewards> {
  const rows = await openRows(path, "train", { required: [], optional: [] });
  const rewards = new Map<string, number>();
  const keyOf = (prompt: string, id: string | number): string =>
    JSON.stringify([prompt, String(id)]);
  for (let index = 0; index < rows.length; index++) {
    const row = parseFields(rowSchema, await rows.read(index), rows.place(index));
    const key = keyOf(row.prompt, row.sample_id);
    if (rewards.has(key)) {
      const got = `a second one of sample ${row.sample_id}`;
      throw new DataError({ where: rows.place(index), expected: "one reward a sample", got });
    }
    rewards.set(key, row.reward);
  }
  return {
    size: rewards.size,
    rewardOf: (prompt, sampleId) => {
      const reward = rewards.get(keyOf(prompt, sampleId));
      if (reward !== undefined) return reward;
      const expected = `a reward of sample ${sampleId} of ${shownJson(prompt)}`;
      throw new DataError({ where: path, expected, got: "none" });
    },
  };
}
