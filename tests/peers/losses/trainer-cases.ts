// What reference_losses.py writes: random batches, and the losses, gradients and advantages of TRL and verl on them.

import type { LossBatch } from "../../../src/losses/index.ts";

type Rows = readonly (readonly number[])[];

/** A configuration in the trainer's own words: only what differs from its defaults. */
export type TrainerConfig = Readonly<Record<string, string | number | boolean | null>>;

export interface TrainerBatch {
  readonly logprobs: Rows;
  readonly old: Rows;
  readonly reference: Rows;
  /** null where the sampler could not score the token. */
  readonly sampler: readonly (readonly (number | null)[])[];
  readonly advantages: readonly number[];
  readonly mask: Rows;
  readonly entropies: Rows;
}

/** How the batch was cut out of a larger one, in the trainer's own words. */
export type TrainerWindow = Readonly<Record<string, number | null>>;

export interface LossCase {
  readonly batch: number;
  /** Arrays of the batch that the trainer did not see. */
  readonly absent: readonly string[];
  readonly window: TrainerWindow | null;
  /** Where the trainer's loss makes its advantages itself. */
  readonly advantages?: readonly number[];
  readonly loss: number;
  readonly gradient: Rows;
}

export interface RewardTable {
  /** Completions a prompt (TRL). */
  readonly group: number;
  readonly weights: readonly number[];
  /** `[completion][score]` */
  readonly rewards: Rows;
  readonly rewardsWithGaps: readonly (readonly (number | null)[])[];
  /** Prompt of each completion (verl). */
  readonly prompts: readonly number[];
  /** Reward of the greedy completion, for each completion. */
  readonly baselines: readonly number[];
  readonly lengths: readonly number[];
}

export interface AdvantageCase {
  readonly table: number;
  /** One a completion (TRL), or one a token (verl). */
  readonly advantages: readonly (number | readonly number[])[];
}

interface Configuration<Case> {
  readonly name: string;
  readonly trainer: "trl" | "verl";
  readonly version: string;
  readonly config: TrainerConfig;
  readonly cases: readonly Case[];
}

export type LossConfiguration = Configuration<LossCase>;
export type AdvantageConfiguration = Configuration<AdvantageCase>;

export interface TrainerCases {
  readonly torch: string;
  readonly seed: number;
  /** SHA-256 of each wheel by its file name. */
  readonly wheels: Readonly<Record<string, string>>;
  readonly batches: readonly TrainerBatch[];
  readonly rewards: readonly RewardTable[];
  readonly losses: readonly LossConfiguration[];
  readonly advantages: readonly AdvantageConfiguration[];
}

/** The batch as our loss takes it, without what the trainer did not see. */
export function lossBatch(
  { sampler, entropies, ...batch }: TrainerBatch,
  { absent, advantages }: LossCase,
  readsSampler: boolean,
): LossBatch {
  const { old, mask, ...rest } = batch;
  return {
    ...rest,
    ...(advantages && { advantages }),
    ...(!absent.includes("old") && { old }),
    ...(!absent.includes("mask") && { mask }),
    ...(readsSampler && { sampler: sampler.map((row) => row.map((value) => value ?? NaN)) }),
    entropy: entropies,
  };
}
