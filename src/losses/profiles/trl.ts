// Hugging Face TRL, GRPOTrainer, by version. Read from the wheels on PyPI: trl/trainer/grpo_trainer.py and grpo_config.py.

import type { Profile } from "./profile.ts";

const wheel = (version: string): string[] => [
  `trl ${version} (PyPI), trl/trainer/grpo_trainer.py`,
  `trl ${version} (PyPI), trl/trainer/grpo_config.py`,
];

const shared = {
  group: "num_generations 8 in every version",
  temperature: "default of the version: 0.9 until 0.17, 1 from 0.18",
  advantages: "mean and deviation (n - 1) of the group, + 1e-4; rewards that are None are left out",
  "loss.ratio": "importance_sampling_level token; sequence (GSPO) exists from 0.20 on",
  "loss.kl.estimator": "k3, as in the GRPO paper, equation 4",
};

const klOff =
  "beta 0 from 0.19 on: no reference model; loss.kl.weight above 0 brings it back in the form that the version has";

export const trlProfiles = {
  "trl-0.14": {
    title: "TRL 0.14 and 0.15 (January to February 2025), the GRPOTrainer of the R1 replications",
    sources: wheel("0.14.0"),
    settings: {
      group: 8,
      iterations: 1,
      temperature: 0.9,
      logits: "plain",
      loss: {
        ratio: "token",
        surrogate: { type: "unclipped" },
        kl: { type: "loss", weight: 0.04, estimator: "k3" },
        aggregation: { type: "sequence-mean", empty: "count" },
      },
      advantages: {
        type: "reward",
        baseline: "group-mean",
        scale: { type: "group", deviation: "sample", epsilon: 1e-4 },
      },
    },
    reasons: {
      ...shared,
      iterations: "one optimiser step a generation; num_iterations came later",
      logits:
        "logits are not divided by the temperature, though it samples at 0.9; corrected in 0.16",
      "loss.surrogate":
        "exp(log p - sg(log p)) A: ratio 1 with the gradient of the log-probability; no clipping",
      "loss.kl": "beta 0.04, added to every token",
      "loss.aggregation": "mean over the tokens of each completion, then over completions",
    },
  },
  "trl-0.18": {
    title: "TRL 0.18 (May 2025)",
    sources: wheel("0.18.0"),
    settings: {
      group: 8,
      iterations: 1,
      temperature: 1,
      logits: "tempered",
      loss: {
        ratio: "token",
        surrogate: { type: "clip", low: 0.2, high: 0.2 },
        kl: { type: "loss", weight: 0.04, estimator: "k3" },
        aggregation: { type: "micro-batch-token-mean" },
      },
      advantages: {
        type: "reward",
        baseline: "group-mean",
        scale: { type: "group", deviation: "sample", epsilon: 1e-4 },
      },
    },
    reasons: {
      ...shared,
      iterations: "num_iterations 1",
      logits: "divided by the temperature from 0.16 on",
      "loss.surrogate":
        "epsilon 0.2 on both sides (epsilon_high unset); active once a generation feeds several steps",
      "loss.kl": "beta 0.04, added to every token",
      "loss.aggregation":
        "loss_type bnpo: mean over the tokens of the micro-batch; changes with its size",
    },
  },
  "trl-0.22": {
    title: "TRL 0.22.2 (0.22: August 2025), the first with the DAPO normaliser as default",
    sources: wheel("0.22.2"),
    settings: {
      group: 8,
      iterations: 1,
      temperature: 1,
      logits: "tempered",
      loss: {
        ratio: "token",
        surrogate: { type: "clip", low: 0.2, high: 0.2 },
        kl: { type: "loss", weight: 0, estimator: "k3" },
        aggregation: { type: "token-mean", tokens: "completion", of: "generation" },
      },
      advantages: {
        type: "reward",
        baseline: "group-mean",
        scale: { type: "group", deviation: "sample", epsilon: 1e-4 },
      },
    },
    reasons: {
      ...shared,
      iterations: "num_iterations 1",
      logits: "divided by the temperature from 0.16 on",
      "loss.surrogate": "epsilon 0.2 on both sides (epsilon_high unset)",
      "loss.kl": klOff,
      advantages:
        "scale_rewards group: mean and deviation (n - 1) of the group, + 1e-4; in 0.22.0 and 0.22.1 this default did not divide at all",
      "loss.aggregation":
        "loss_type dapo: all completion tokens of the generation batch, even when it feeds several steps (the loss then shrinks with them)",
    },
  },
  "trl-1.9": {
    title: "TRL 1.9 (2026)",
    sources: wheel("1.9.0"),
    settings: {
      group: 8,
      iterations: 1,
      temperature: 1,
      logits: "tempered",
      loss: {
        ratio: "token",
        surrogate: { type: "clip", low: 0.2, high: 0.2 },
        sampler: { type: "correction", level: "sequence", outside: "mask", min: null, max: 3 },
        kl: { type: "loss", weight: 0, estimator: "k3", timesRatio: false },
        aggregation: { type: "token-mean", tokens: "loss", of: "generation" },
      },
      advantages: {
        type: "reward",
        baseline: "group-mean",
        scale: { type: "group", deviation: "sample", epsilon: 1e-4 },
      },
    },
    reasons: {
      ...shared,
      iterations: "num_iterations 1",
      logits: "divided by the temperature from 0.16 on",
      "loss.surrogate": "epsilon 0.2 on both sides (epsilon_high unset)",
      "loss.sampler":
        "vllm_importance_sampling_mode sequence_mask, cap 3 (from 0.26 on); acts where a separate sampler reports log-probabilities",
      "loss.kl": klOff,
      "loss.kl.timesRatio": "use_bias_correction_kl False from 0.26 to 1.9",
      "loss.aggregation":
        "loss_type dapo: loss tokens of the generation batch, without the share of the step",
    },
  },
  "trl-1.13": {
    title: "TRL 1.13 (September 2026)",
    sources: wheel("1.13.0"),
    settings: {
      group: 8,
      iterations: 1,
      temperature: 1,
      logits: "tempered",
      loss: {
        ratio: "token",
        surrogate: { type: "clip", low: 0.2, high: 0.2 },
        sampler: { type: "correction", level: "sequence", outside: "mask", min: null, max: 3 },
        kl: { type: "loss", weight: 0, estimator: "k3", timesRatio: true },
        aggregation: { type: "token-mean", tokens: "loss", of: "share" },
      },
      advantages: {
        type: "reward",
        baseline: "group-mean",
        scale: { type: "group", deviation: "sample", epsilon: 1e-4 },
      },
    },
    reasons: {
      ...shared,
      iterations: "num_iterations 1",
      logits: "divided by the temperature from 0.16 on",
      "loss.surrogate": "epsilon 0.2 on both sides (epsilon_high unset)",
      "loss.sampler":
        "vllm_importance_sampling_mode sequence_mask, cap 3; acts where a separate sampler reports log-probabilities",
      "loss.kl": klOff,
      "loss.kl.timesRatio": "use_bias_correction_kl True, new in this version",
      "loss.aggregation":
        "loss_type dapo: loss tokens of the generation batch times GA / steps_per_generation (trl #6024)",
    },
  },
} as const satisfies Readonly<Record<string, Profile>>;
