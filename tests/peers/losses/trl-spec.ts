// TRL's settings as our loss: the profile of the version, changed by what a configuration names.

import type { AdvantageSpec } from "../../../src/core/advantage-spec.ts";
import type { BatchWindow, PolicyChoice } from "../../../src/losses/index.ts";
import type { RewardGroup } from "../../../src/algorithms/advantages.ts";
import type { RewardTable, TrainerConfig, TrainerWindow } from "./trainer-cases.ts";

interface TrlConfig {
  readonly loss_type?: string;
  readonly beta?: number;
  readonly epsilon?: number;
  readonly epsilon_high?: number;
  readonly delta?: number;
  readonly importance_sampling_level?: "token" | "sequence";
  readonly use_bias_correction_kl?: boolean;
  readonly sapo_temperature_pos?: number;
  readonly sapo_temperature_neg?: number;
  readonly vespo_k_pos?: number;
  readonly vespo_lambda_pos?: number;
  readonly vespo_k_neg?: number;
  readonly vespo_lambda_neg?: number;
  readonly off_policy_mask_threshold?: number;
  readonly use_vllm?: boolean;
  readonly vllm_importance_sampling_mode?: string;
  readonly vllm_importance_sampling_clip_min?: number | null;
  readonly vllm_importance_sampling_clip_max?: number | null;
  readonly entropy_coef?: number;
}

const profileOf = (version: string) =>
  `trl-${version.split(".").slice(0, 2).join(".")}` as "trl-0.14" | "trl-1.13";

/** Loss types that divide by the tokens of the generation batch, the default since 0.22. */
const overGeneration = new Set(["dapo", "cispo", "vespo"]);

export function trlSpec(version: string, given: TrainerConfig): PolicyChoice {
  const config = given as TrlConfig;
  const { beta, use_bias_correction_kl: timesRatio } = config;
  const kl = {
    ...(beta !== undefined && { weight: beta }),
    ...(timesRatio !== undefined && { timesRatio }),
  };
  const surrogate = surrogateOf(config);
  const aggregation = aggregationOf(config.loss_type);
  const { off_policy_mask_threshold: threshold, entropy_coef: weight } = config;
  // 1.9 sums the entropies over what the loss is divided by; 1.13 takes their mean whatever the loss type.
  const summed = version === "1.9.0" && overGeneration.has(config.loss_type ?? "dapo");
  const mean = summed ? "as-loss" : "tokens";
  return {
    profile: profileOf(version),
    ...(config.importance_sampling_level && { ratio: config.importance_sampling_level }),
    ...(Object.keys(kl).length > 0 && { kl: { type: "loss", ...kl } }),
    ...(surrogate && { surrogate }),
    ...(aggregation && { aggregation }),
    ...(config.vllm_importance_sampling_mode && { sampler: samplerOf(config) }),
    ...(threshold !== undefined && { offPolicyMask: { threshold } }),
    ...(weight !== undefined && { entropy: { weight, mean } }),
  };
}

function surrogateOf(config: TrlConfig): PolicyChoice["surrogate"] {
  const { epsilon, epsilon_high: high, delta } = config;
  switch (config.loss_type) {
    case "cispo":
      return { type: "cispo", high: high ?? 0.2 };
    case "sapo":
      return {
        type: "sapo",
        ...(config.sapo_temperature_pos && { positive: config.sapo_temperature_pos }),
        ...(config.sapo_temperature_neg && { negative: config.sapo_temperature_neg }),
      };
    case "vespo": {
      const { vespo_k_pos, vespo_lambda_pos, vespo_k_neg, vespo_lambda_neg } = config;
      return {
        type: "vespo",
        ...(vespo_k_pos && { positive: { k: vespo_k_pos, lambda: vespo_lambda_pos! } }),
        ...(vespo_k_neg && { negative: { k: vespo_k_neg, lambda: vespo_lambda_neg! } }),
      };
    }
    default: {
      const clip = {
        ...(epsilon !== undefined && { low: epsilon, high: epsilon }),
        ...(high !== undefined && { high }),
        ...(delta !== undefined && { cap: delta }),
      };
      return Object.keys(clip).length > 0 ? { type: "clip", ...clip } : undefined;
    }
  }
}

function aggregationOf(lossType: string | undefined): PolicyChoice["aggregation"] {
  switch (lossType) {
    case "grpo":
    case "sapo":
      return { type: "sequence-mean" };
    case "bnpo":
      return { type: "micro-batch-token-mean" };
    case "dr_grpo":
      return { type: "fixed-length" };
    case "luspo":
      return { type: "sequence-sum" };
    default:
      return undefined;
  }
}

function samplerOf(config: TrlConfig): PolicyChoice["sampler"] {
  const [level, outside] = config.vllm_importance_sampling_mode!.split("_");
  return {
    type: "correction",
    level: level as "token" | "sequence",
    outside: outside as "truncate" | "mask",
    min: config.vllm_importance_sampling_clip_min!,
    max: config.vllm_importance_sampling_clip_max!,
  };
}

/** max_completion_length of trl_loss.py. */
const maxTokens = 24;

export function trlWindow(window: TrainerWindow | null): BatchWindow {
  if (window === null) return {};
  return {
    accumulation: window["gradient_accumulation_steps"]!,
    stepsPerGeneration: window["steps_per_generation"]!,
    processes: window["num_processes"]!,
    generationTokens: window["num_items_in_batch"]!,
    maxTokens,
  };
}

/** 0.22.0 and 0.22.1 compare `scale_rewards` with the wrong names: "group", the default, does not scale at all. */
const scalesOf022 = { group: "none", batch: "group", none: "group" } as const;

export function trlAdvantages(version: string, config: TrainerConfig): AdvantageSpec {
  const common = { deviation: "sample", epsilon: 1e-4 } as const;
  if (config["multi_objective_aggregation"] === "normalize_then_sum") {
    return { type: "gdpo", ...common, clip: null };
  }
  const { scale_rewards: asked = "group" } = config;
  const named = typeof asked === "boolean" ? (asked ? "group" : "none") : asked;
  const scale = named as "group" | "batch" | "none";
  const type = version === "0.22.0" ? scalesOf022[scale] : scale;
  return {
    type: "reward",
    baseline: "group-mean",
    scale: type === "none" ? { type } : { type, ...common },
    lone: "zero",
    clip: null,
  };
}

export function trlGroups(version: string, table: RewardTable): RewardGroup[] {
  const gaps = version.startsWith("1.");
  const rows = gaps ? table.rewardsWithGaps : table.rewards;
  const weights = table.weights.map((weight) => (version === "0.14.0" ? 1 : weight));
  const groups = [];
  for (let start = 0; start < rows.length; start += table.group) {
    const group = rows.slice(start, start + table.group);
    const parts = weights.map((weight, column) => ({
      weight,
      values: group.map((row) => row[column]!),
    }));
    const rewards = group.map((row) => {
      if (row.every((value) => value === null)) return null;
      return row.reduce<number>((sum, value, column) => sum + (value ?? 0) * weights[column]!, 0);
    });
    groups.push({ rewards, parts: Object.fromEntries(parts.entries()) });
  }
  return groups;
}
