// Rewards whose number comes from a model that we do not run: their scales, and files of them.
//
// Several rewards are mixed as in flow_grpo: reward = Σ weight · score of the raw scores, which is what the weights of a recipe do
// (rollout/items.ts, weighScores); the group normalisation comes after the sum.

import { writeFile } from "node:fs/promises";
import { z } from "zod";
import { readRows } from "../../data/rows.ts";
import { DataError, shownJson } from "../../core/errors.ts";
import { parseFields } from "./record.ts";
import { sampleFields, type SampleName, SampleTable } from "./sample-table.ts";

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

const rowSchema = z.looseObject({ ...sampleFields, reward: z.number() });

export interface SuppliedReward extends SampleName {
  readonly reward: number;
}

/** Rewards of samples, made elsewhere: `{"prompt": …, "sample_id": …, "reward": …}` a line. */
export interface SuppliedRewards {
  readonly size: number;
  /** In the order of the file. */
  readonly samples: readonly SuppliedReward[];
  /** Throws a DataError when the file has none: a missing reward is not a 0. */
  rewardOf(prompt: string, sampleId: string | number): number;
}

/** Throws a DataError that names file, line and field; also for a sample that has two rewards. */
export async function readSuppliedRewards(path: string): Promise<SuppliedRewards> {
  const table = new SampleTable<number>(path, "reward");
  const samples = await readRows(path, "train", (row, where): SuppliedReward => {
    const { prompt, sample_id: sampleId, reward } = parseFields(rowSchema, row, where);
    table.add({ prompt, sampleId }, reward, where);
    return { prompt, sampleId, reward };
  });
  return { size: table.size, samples, rewardOf: (prompt, id) => table.get(prompt, id) };
}

/** Writes rewards, one a line. Throws a DataError for one that would not come back, such as NaN. */
export async function writeSuppliedRewards(
  path: string,
  samples: readonly SuppliedReward[],
): Promise<void> {
  const lines = samples.map(({ prompt, sampleId, reward }, index) => {
    const row = { prompt, sample_id: sampleId, reward };
    return JSON.stringify(parseFields(rowSchema, row, `${path}, line ${index + 1}`));
  });
  await writeFile(path, lines.map((line) => `${line}\n`).join(""));
}
