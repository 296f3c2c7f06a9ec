// Algorithms as their papers describe them.

import type { Profile } from "./profile.ts";

const groupNormalised = {
  type: "reward",
  baseline: "group-mean",
  scale: { type: "group", deviation: "sample", epsilon: 1e-4 },
} as const;

const sampling = {
  temperature: "samples at 1",
  logits: "log-probabilities of the distribution that was sampled",
} as const;

export const paperProfiles = {
  "dr-grpo": {
    title: "Dr. GRPO: GRPO without the biases of length and difficulty",
    sources: ["Understanding R1-Zero-Like Training, arXiv:2503.20783, section 3"],
    settings: {
      temperature: 1,
      logits: "tempered",
      loss: {
        ratio: "token",
        surrogate: { type: "clip", low: 0.2, high: 0.2 },
        kl: { type: "none" },
        aggregation: { type: "fixed-length" },
      },
      advantages: { type: "reward", baseline: "group-mean", scale: { type: "none" } },
    },
    reasons: {
      ...sampling,
      "loss.ratio": "PPO ratio of each token",
      "loss.surrogate": "PPO clip, 0.2",
      "loss.kl": "beta 0 in its experiments",
      "loss.aggregation":
        "sum over tokens by a constant, the generation limit: long answers are not favoured",
      advantages: "no division by the deviation: easy and hard questions weigh the same",
    },
  },
  dapo: {
    title:
      "DAPO: clip higher, dynamic sampling, token-level loss (its soft overlong penalty is in tokens: grpo.overlong.penalty)",
    sources: ["DAPO, arXiv:2503.14476, sections 3.1 to 3.4 and 4.1"],
    settings: {
      group: 16,
      minibatches: 16,
      temperature: 1,
      logits: "tempered",
      loss: {
        ratio: "token",
        surrogate: { type: "clip", low: 0.2, high: 0.28 },
        kl: { type: "none" },
        aggregation: { type: "token-mean", tokens: "loss", of: "step" },
      },
      advantages: groupNormalised,
      withoutSpread: { type: "refill" },
    },
    reasons: {
      ...sampling,
      group: "16 answers a question (section 4.1)",
      minibatches: "512 questions, mini-batches of 512 answers: 16 steps a rollout (section 4.1)",
      "loss.ratio": "PPO ratio of each token",
      "loss.surrogate": "clip-higher: 0.2 below, 0.28 above (section 3.1)",
      "loss.kl": "removed (section 2.3)",
      "loss.aggregation": "mean over all tokens (section 3.3)",
      advantages: "as in GRPO",
      withoutSpread: "dynamic sampling: groups all right or all wrong are replaced (section 3.2)",
    },
  },
  gspo: {
    title: "GSPO: the ratio of the whole sequence",
    sources: ["Group Sequence Policy Optimization, arXiv:2507.18071, sections 4.1 and 5.1"],
    settings: {
      minibatches: 4,
      temperature: 1,
      logits: "tempered",
      loss: {
        ratio: "sequence",
        surrogate: { type: "clip", low: 3e-4, high: 4e-4 },
        kl: { type: "none" },
        aggregation: { type: "sequence-mean", empty: "count" },
      },
      advantages: groupNormalised,
    },
    reasons: {
      ...sampling,
      minibatches: "each rollout batch in four mini-batches (section 5.1)",
      "loss.ratio": "geometric mean of the token ratios (equation 7)",
      "loss.surrogate": "0.0003 and 0.0004 (section 5.1)",
      "loss.kl": "none in its experiments",
      "loss.aggregation": "one term a sequence (equation 5)",
      advantages: "as in GRPO (equation 6)",
    },
  },
  cispo: {
    title: "CISPO: the weight is clipped, not the update",
    sources: ["MiniMax-M1, arXiv:2506.13585, section 3.1"],
    settings: {
      minibatches: 16,
      temperature: 1,
      logits: "tempered",
      loss: {
        ratio: "token",
        surrogate: { type: "cispo", low: null, high: 5 },
        kl: { type: "none" },
        aggregation: { type: "token-mean", tokens: "loss", of: "step" },
      },
      advantages: groupNormalised,
    },
    reasons: {
      ...sampling,
      minibatches: "16 rounds of off-policy updates a generation batch (section 3.1)",
      "loss.ratio": "PPO ratio of each token",
      "loss.surrogate":
        "no lower limit in effect; the upper one is not stated, 5 is TRL's recommendation (grpo_config.py)",
      "loss.kl": "none",
      "loss.aggregation": "token-level loss",
      advantages: "as in GRPO",
    },
  },
  rloo: {
    title: "RLOO: REINFORCE with the mean of the others as baseline",
    sources: ["Back to Basics, arXiv:2402.14740", "trl 1.13.0 (PyPI), RLOOTrainer"],
    settings: {
      group: 2,
      temperature: 1,
      logits: "tempered",
      loss: {
        ratio: "sequence-product",
        surrogate: { type: "clip", low: 0.2, high: 0.2 },
        kl: { type: "reward", weight: 0.05, estimator: "k1" },
        aggregation: { type: "sequence-mean", empty: "count" },
      },
      advantages: { type: "reward", baseline: "leave-one-out", scale: { type: "none" } },
    },
    reasons: {
      ...sampling,
      group: "TRL: num_generations 2",
      "loss.ratio":
        "one action is a whole completion: the product of its token ratios, not their mean (TRL: exp of the summed log-ratios)",
      "loss.surrogate": "TRL: epsilon 0.2 on the ratio of the completion",
      "loss.kl": "TRL: beta 0.05, k1 summed over the tokens, taken off the reward",
      "loss.aggregation": "one term a sequence",
      advantages: "reward less the mean of the other completions",
    },
  },
  remax: {
    title: "ReMax: the greedy completion as baseline",
    sources: ["ReMax, arXiv:2310.10505, algorithm 1"],
    settings: {
      temperature: 1,
      logits: "tempered",
      loss: {
        ratio: "token",
        surrogate: { type: "unclipped" },
        kl: { type: "none" },
        aggregation: { type: "sequence-sum" },
      },
      advantages: { type: "reward", baseline: "greedy", scale: { type: "none" } },
    },
    reasons: {
      ...sampling,
      "loss.ratio": "REINFORCE: ratio 1 with the gradient of the log-probability",
      "loss.surrogate": "no clipping",
      "loss.kl": "none",
      "loss.aggregation": "log-probability of the whole completion, mean over completions",
      advantages: "reward less that of the greedy completion of the same prompt",
    },
  },
  "reinforce++": {
    title: "REINFORCE++: no group, advantages whitened over the batch",
    sources: ["REINFORCE++, arXiv:2501.03262", "verl 0.9.1 (PyPI), core_algos.py"],
    settings: {
      temperature: 1,
      logits: "tempered",
      loss: {
        ratio: "token",
        surrogate: { type: "clip", low: 0.2, high: 0.2 },
        kl: { type: "reward", weight: 0.01, estimator: "k1" },
        aggregation: { type: "token-mean", tokens: "loss", of: "step" },
      },
      advantages: { type: "reward", baseline: "none", scale: { type: "whiten-tokens" } },
    },
    reasons: {
      ...sampling,
      "loss.ratio": "PPO ratio of each token",
      "loss.surrogate": "PPO clip, 0.2",
      "loss.kl": "k1 in the reward of each token; here summed over the completion",
      "loss.aggregation": "mean over all tokens",
      advantages: "no baseline; mean 0 and deviation 1 over all tokens of the batch",
    },
  },
} as const satisfies Readonly<Record<string, Profile>>;
