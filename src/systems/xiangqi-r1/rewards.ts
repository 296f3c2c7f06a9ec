// The reward of Xiangqi-R1: R = R_move + R_analysis + R_format, weights over the scores of the task.
//
// Paper: Xiangqi-R1, arXiv:2507.12215, section 3.4, as a re-implementation quotes it: R_move = legal + good + best. INFERRED: unit
// weights. The gate (nothing counts in an output without the format) is that of the re-implementation.

import { z } from "zod";
import type { RewardWeights } from "../../algorithms/generation.ts";

const weight = (help: string) => z.number().default(1).describe(`weight of: ${help}`);

export const rewardSettings = z.object({
  legal: weight("the move is legal"),
  good: weight("the move is good"),
  best: weight("the move is the engine's"),
  analysis: weight("the situation is right in three classes"),
  format: weight("one think block, one answer block, a move"),
  gate: z.boolean().default(true).describe("an output without the format gets nothing at all"),
});
export type RewardConfig = z.output<typeof rewardSettings>;

/** Weights over the scores of the xiangqi task. */
export function rewardWeights({ gate, ...weights }: RewardConfig): RewardWeights {
  const { legal, good, best, analysis, format } = weights;
  return gate
    ? {
        formattedLegal: legal,
        formattedGood: good,
        formattedBest: best,
        formattedAnalysis: analysis,
        format,
      }
    : { legal, good, best, analysis, format };
}
