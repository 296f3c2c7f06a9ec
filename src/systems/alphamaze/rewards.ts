// Reward presets of AlphaMaze: weights over the scores of the maze task; a reward is their weighted sum.
//
// Paper: AlphaMaze, arXiv 2502.14669; code: menloresearch/visual-thinker, training/grpo_stage.py.

import type { RewardWeights } from "../../algorithms/generation.ts";

/**
 * - `head`: the last released script. At most 1.25 + 0.2 m for a maze of m moves.
 * - `older`: an earlier revision: flat correctness and two tag patterns. Its strict pattern asks for a
 *   newline after the answer, which no gold message has; its regular expressions and its integrity
 *   check were later corrected, and the corrected forms are used here.
 * - `paper`: the weights of the text. INFERRED from secondary sources: integrity 0.5, 0.2 a move.
 */
export const rewardPresets = {
  head: { thinkOpen: 0.125, thinkClose: 0.125, integrity: 1, exactMoves: 0.2 },
  older: {
    thinkOpen: 0.125,
    thinkClose: 0.125,
    integrity: 0.5,
    exact: 2,
    strictThink: 0.5,
    softThink: 0.5,
  },
  paper: { thinkOpen: 0.125, thinkClose: 0.125, integrity: 0.5, exactMoves: 0.2 },
} as const satisfies Readonly<Record<string, RewardWeights>>;

export type RewardPreset = keyof typeof rewardPresets;
export const rewardPresetNames = Object.keys(rewardPresets) as RewardPreset[];
