// verl's settings as our loss: the profile, changed by what a configuration names.

import type { AdvantageSpec } from "../../../src/core/advantage-spec.ts";
import type { BatchWindow, PolicyChoice } from "../../../src/losses/index.ts";
import type { RewardGroup } from "../../../src/algorithms/advantages.ts";
import type { RewardTable, TrainerBatch, TrainerConfig, TrainerWindow } from "./trainer-cases.ts";

interface VerlConfig {
  readonly loss_mode?: "gspo" | "sapo" | "cispo" | "gpg";
  readonly loss_agg_mode?: string;
  readonly clip_ratio_low?: number;
  readonly clip_ratio_high?: number;
  readonly clip_ratio_c?: number;
  readonly tau_pos?: number;
  readonly tau_neg?: number;
  readonly use_kl_loss?: boolean;
  readonly kl_loss_coef?: number;
  readonly kl_loss_type?: string;
  readonly entropy_coeff?: number;
  readonly rollout_is?: "token" | "sequence";
  readonly rollout_is_threshold?: number | string;
}

export function verlSpec(given: TrainerConfig): PolicyChoice {
  const config = given as VerlConfig;
  const surrogate = surrogateOf(config);
  const gspo = config.loss_mode === "gspo";
  return {
    profile: "verl",
    ...(gspo && { ratio: "sequence-token", logRatio: { min: null, max: 10 } }),
    ...(surrogate && { surrogate }),
    ...(config.use_kl_loss && { kl: klOf(config) }),
    ...(config.entropy_coeff && { entropy: { weight: config.entropy_coeff } }),
    ...(config.rollout_is && { sampler: samplerOf(config) }),
    aggregation: aggregationOf(aggregationMode(config)),
  };
}

function surrogateOf(config: VerlConfig): PolicyChoice["surrogate"] {
  const { clip_ratio_low: low = 0.2, clip_ratio_high: high = 0.2 } = config;
  switch (config.loss_mode) {
    case "sapo":
      return {
        type: "sapo",
        ...(config.tau_pos && { positive: config.tau_pos }),
        ...(config.tau_neg && { negative: config.tau_neg }),
      };
    case "cispo":
      return { type: "cispo", low: 1 - low, high: 1 + high };
    case "gpg":
      return { type: "cispo", low: 1, high: 1 };
    case "gspo":
      return { type: "clip", low, high, dual: null };
    default: {
      if (config.clip_ratio_c === undefined) return undefined;
      return { type: "clip", low, high, dual: config.clip_ratio_c };
    }
  }
}

function klOf({ kl_loss_type: name = "low_var_kl", kl_loss_coef: weight }: VerlConfig) {
  const base = name.replace("+", "");
  const estimator = base === "low_var_kl" ? "k3" : (base as "k1" | "k2" | "k3");
  return {
    type: "loss",
    weight: weight!,
    estimator,
    gradient: name.endsWith("+") ? "k2" : "own",
    // Only low_var_kl is clamped, and is so in the profile.
    ...(estimator !== "k3" && { clampDifference: null, clampValue: null }),
  } as const;
}

function samplerOf(config: VerlConfig): PolicyChoice["sampler"] {
  const level = config.rollout_is!;
  const { rollout_is_threshold: threshold = 2 } = config;
  if (typeof threshold === "number") {
    return { type: "correction", level, outside: "truncate", min: null, max: threshold };
  }
  const [min, max] = threshold.split("_").map(Number);
  return { type: "correction", level, outside: "mask", min: min!, max: max! };
}

/** verl's SAPO does not heed the mode. */
const aggregationMode = ({ loss_mode, loss_agg_mode }: VerlConfig): string =>
  loss_mode === "sapo" ? "seq-mean-token-mean" : (loss_agg_mode ?? "token-mean");

function aggregationOf(mode: string): NonNullable<PolicyChoice["aggregation"]> {
  switch (mode) {
    case "token-sum":
      return { type: "token-sum" };
    case "seq-mean-token-sum":
      return { type: "sequence-sum", empty: "skip" };
    case "seq-mean-token-sum-norm":
      return { type: "fixed-length", empty: "skip" };
    case "seq-mean-token-mean":
      return { type: "sequence-mean", empty: "skip" };
    default:
      return { type: "token-mean" };
  }
}

/** The share of this batch in verl's global batch stands for the number of batches that look like it. */
export function verlWindow(
  config: TrainerConfig,
  window: TrainerWindow,
  { mask }: Pick<TrainerBatch, "mask">,
): BatchWindow {
  const counts = mask.map((row) => row.reduce((sum, value) => sum + value, 0));
  const tokens = counts.reduce((sum, count) => sum + count, 0);
  const sequences = counts.filter((count) => count > 0).length;
  const overTokens = aggregationMode(config) === "token-mean";
  const [whole, own] = overTokens
    ? [window["batch_num_tokens"], tokens]
    : [window["global_batch_size"], sequences];
  const length = window["loss_scale_factor"];
  return {
    accumulation: (whole ?? own) / own / window["dp_size"]!,
    ...(length && { maxTokens: length }),
  };
}

/** verl multiplies a sum by its ranks, because they average gradients; ours has no ranks to make up for. */
export const verlScale = (config: TrainerConfig, window: TrainerWindow): number =>
  aggregationMode(config) === "token-sum" ? window["dp_size"]! : 1;

export function verlAdvantages(config: TrainerConfig): AdvantageSpec {
  const none = { type: "none" } as const;
  const group = { type: "group", deviation: "sample", epsilon: 1e-6 } as const;
  const rule = { type: "reward", baseline: "group-mean", lone: "raw", clip: null } as const;
  switch (config["adv_estimator"]) {
    case "rloo":
      return { ...rule, baseline: "leave-one-out", scale: none };
    case "remax":
      return { ...rule, baseline: "greedy", scale: none, lone: "zero" };
    case "reinforce_plus_plus":
      return { ...rule, baseline: "none", scale: { type: "whiten-tokens" } };
    case "reinforce_plus_plus_baseline":
      return { ...rule, scale: { type: "whiten-tokens" } };
    default:
      return { ...rule, scale: config["norm_adv_by_std_in_grpo"] === true ? group : none };
  }
}

/** Groups, and the number of the completion at each of their places. ReMax has a baseline of its own for each completion. */
export function verlGroups(
  config: TrainerConfig,
  table: RewardTable,
): { groups: RewardGroup[]; places: number[][] } {
  const alone = config["adv_estimator"] === "remax";
  const keys = alone ? table.prompts.map((_, index) => index) : table.prompts;
  const places = [...new Set(keys)].map((key) =>
    keys.flatMap((own, index) => (own === key ? [index] : [])),
  );
  const totals = table.rewards.map((row) =>
    row.reduce((sum, value, column) => sum + value * table.weights[column]!, 0),
  );
  const groups = places.map((members) => ({
    rewards: members.map((index) => totals[index]!),
    tokens: members.map((index) => table.lengths[index]!),
    ...(alone && { greedy: table.baselines[members[0]!]! }),
  }));
  return { groups, places };
}
