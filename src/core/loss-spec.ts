// Losses as data: every choice of a policy-gradient loss in one tagged spec. Choices are independent of each other; where an
// option makes sense only with another one, both stand in one tagged object.
//
// Formulas: losses/policy-loss.ts (the terms of a token), losses/weights.ts (aggregation).

import { z } from "zod";

const clipSide = (help: string) => z.number().min(0).default(0.2).describe(help);

/** How ratio ρ and advantage A become the loss of a token. */
export const surrogateSettings = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("clip").describe("PPO: -min(ρ A, clip(ρ, 1 - low, 1 + high) A)"),
    low: clipSide("ρ is clipped below 1 - low"),
    high: clipSide("ρ is clipped above 1 + high"),
    cap: z
      .number()
      .positive()
      .nullable()
      .default(null)
      .describe("upper limit of the unclipped ρ (TRL: delta, two-sided clipping); null: none"),
    dual: z
      .number()
      .gt(1)
      .nullable()
      .default(null)
      .describe("for A < 0 the loss is at most -dual A (dual-clip PPO); null: no limit"),
  }),
  z.object({ type: z.literal("unclipped").describe("-ρ A") }),
  z.object({
    type: z.literal("cispo").describe("-sg(clip(ρ, low, high)) A log p"),
    low: z.number().min(0).nullable().default(null).describe("smallest weight ρ; null: none"),
    high: z.number().positive().default(5).describe("largest weight ρ itself, not 1 + high"),
  }),
  z.object({
    type: z.literal("sapo").describe("-(4 / τ) σ(τ (ρ - 1)) A"),
    positive: z.number().positive().default(1).describe("τ where A > 0"),
    negative: z.number().positive().default(1.05).describe("τ elsewhere"),
  }),
  z.object({
    type: z
      .literal("vespo")
      .describe(
        "-sg(φ(w)) A log p, φ(w) = w^k exp(λ (1 - w)), w the product of a sequence's ratios",
      ),
    positive: z
      .object({ k: z.number().default(2), lambda: z.number().default(3) })
      .prefault({})
      .describe("k and λ where A >= 0"),
    negative: z
      .object({ k: z.number().default(3), lambda: z.number().default(2) })
      .prefault({})
      .describe("k and λ where A < 0"),
  }),
]);
export type Surrogate = z.output<typeof surrogateSettings>;

const emptySequences = z
  .enum(["count", "skip"])
  .default("count")
  .describe("whether sequences without any loss token count in the mean");

/** How the losses of tokens become one number. */
export const aggregationSettings = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("sequence-mean").describe("mean over tokens, then over sequences"),
    empty: emptySequences,
  }),
  z.object({
    type: z.literal("token-mean").describe("sum over tokens / N"),
    tokens: z
      .enum(["loss", "completion"])
      .default("loss")
      .describe("N counts loss tokens, or all tokens of the completions"),
    of: z
      .enum(["step", "share", "generation"])
      .default("step")
      .describe(
        "N counts the tokens of the optimiser step; those of the generation batch times the share of the step in it; or all of the generation batch, even when it feeds several steps",
      ),
  }),
  z.object({
    type: z
      .literal("micro-batch-token-mean")
      .describe("mean over the tokens of each micro-batch, then over micro-batches"),
    sequences: z
      .int()
      .min(1)
      .nullable()
      .default(null)
      .describe("sequences of a micro-batch; null: all that are accumulated at once"),
  }),
  z.object({
    type: z.literal("fixed-length").describe("sum over tokens / length, mean over sequences"),
    length: z
      .int()
      .min(1)
      .nullable()
      .default(null)
      .describe("the fixed length; null: the most tokens a completion may have"),
    empty: emptySequences,
  }),
  z.object({
    type: z.literal("sequence-sum").describe("sum over tokens, mean over sequences"),
    empty: emptySequences,
  }),
  z.object({ type: z.literal("token-sum").describe("sum over all tokens") }),
]);
export type Aggregation = z.output<typeof aggregationSettings>;

const limit = (help: string) => z.number().positive().nullable().default(null).describe(help);

const klEstimator = z
  .enum(["k1", "k2", "k3"])
  .default("k3")
  .describe("with d = log p_ref - log p: -d, d² / 2, exp(d) - d - 1");
const klWeight = z.number().min(0).default(0.04).describe("β");
const klClampDifference = limit("d is clamped to ± this; null: not");
const klClampValue = limit("the estimate is clamped to ± this; null: not");

/** Where the KL divergence from the reference policy enters. */
export const klSettings = z.discriminatedUnion("type", [
  z.object({ type: z.literal("none").describe("no reference policy") }),
  z.object({
    type: z.literal("loss").describe("β KL is added to the loss of each token"),
    weight: klWeight,
    estimator: klEstimator,
    gradient: z
      .enum(["own", "k2"])
      .default("own")
      .describe("gradient of the estimator itself, or of k2 (the value stays)"),
    timesRatio: z.boolean().default(false).describe("the estimate is multiplied by ρ"),
    clampDifference: klClampDifference,
    clampValue: klClampValue,
  }),
  z.object({
    type: z.literal("reward").describe("β KL, summed over the tokens, is taken off the reward"),
    weight: klWeight,
    estimator: klEstimator.default("k1"),
    clampDifference: klClampDifference,
    clampValue: klClampValue,
  }),
]);
export type KlSpec = z.output<typeof klSettings>;

/** What the log-probabilities that the sampler itself reported are good for. */
export const samplerSettings = z.discriminatedUnion("type", [
  z.object({ type: z.literal("ignored").describe("not used in the loss") }),
  z.object({
    type: z
      .literal("correction")
      .describe("the loss is multiplied by p_old / p_sampler, without gradient"),
    level: z.enum(["token", "sequence"]).default("token").describe("per token, or their product"),
    outside: z
      .enum(["truncate", "mask"])
      .default("truncate")
      .describe("outside of [min, max] the factor is moved to the limit, or is 0"),
    min: z.number().min(0).nullable().default(null).describe("smallest factor; null: none"),
    max: z.number().positive().nullable().default(2).describe("largest factor; null: none"),
  }),
  z.object({
    type: z.literal("denominator").describe("p_sampler takes the place of p_old in ρ"),
  }),
]);
export type SamplerUse = z.output<typeof samplerSettings>;

/** Every choice of a policy-gradient loss. */
export const policySettings = z.object({
  ratio: z
    .enum(["token", "sequence", "sequence-token", "sequence-product"])
    .default("token")
    .describe(
      "ρ of each token; of the sequence, exp(mean log ratio) (GSPO); that value with the gradient of the token (GSPO-token); or exp(sum of log ratios), the ratio of whole completions (RLOO)",
    ),
  logRatio: z
    .object({
      min: z.number().nullable().default(null).describe("smallest log ρ; null: none"),
      max: z.number().nullable().default(null).describe("largest log ρ; null: none"),
    })
    .prefault({})
    .describe("limits of log ρ before it is exponentiated"),
  surrogate: surrogateSettings
    .prefault({ type: "clip" })
    .describe("how ρ and the advantage become a loss"),
  sampler: samplerSettings
    .prefault({ type: "ignored" })
    .describe("use of the sampler's own log-probabilities"),
  offPolicyMask: z
    .object({
      threshold: z.number().describe("largest mean of log p_sampler - log p that is kept, nats"),
    })
    .nullable()
    .default(null)
    .describe("drops sequences with A < 0 that the policy has left behind; null: keeps all"),
  kl: klSettings.prefault({ type: "none" }).describe("KL divergence from the reference policy"),
  entropy: z
    .object({
      weight: z.number().describe("of the mean entropy, subtracted from the loss"),
      mean: z
        .enum(["tokens", "as-loss"])
        .default("tokens")
        .describe("over the tokens accumulated at once, or aggregated as the loss is"),
    })
    .nullable()
    .default(null)
    .describe("entropy bonus; null: none"),
  aggregation: aggregationSettings
    .prefault({ type: "token-mean" })
    .describe("how the losses of tokens become one number"),
});
export type PolicySpec = z.output<typeof policySettings>;

/** Preference losses on pairs of completions, chosen and rejected. */
export const preferenceSettings = z.object({
  loss: z
    .enum(["sigmoid", "ipo"])
    .default("sigmoid")
    .describe("-log σ(β h) (DPO), or (h - 1 / (2 β))² (IPO)"),
  beta: z.number().positive().default(0.1).describe("β"),
  logProbs: z
    .enum(["sum", "mean"])
    .default("sum")
    .describe("log-probability of a completion: sum over its tokens, or their mean (TRL's IPO)"),
});
export type PreferenceSpec = z.output<typeof preferenceSettings>;

/** The policy-gradient loss of an engine. */
export interface PolicyLoss extends PolicySpec {
  readonly type: "policy-gradient";
  /** Divides the logits before the log-softmax. */
  readonly temperature: number;
}

/** A loss is data, so that it can be written into a run's config and sent over a wire. */
export type LossSpec =
  | { readonly type: "cross-entropy"; readonly aggregation: Aggregation }
  | PolicyLoss
  /** Σ slope · log p: carries a gradient that was computed elsewhere. */
  | { readonly type: "linear"; readonly temperature: number };

/** Mean of −log p over the tokens that count. */
export const supervisedLoss: LossSpec = {
  type: "cross-entropy",
  aggregation: { type: "token-mean", tokens: "loss", of: "step" },
};
