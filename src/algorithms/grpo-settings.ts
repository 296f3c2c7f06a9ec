// Settings of the GRPO stage, and the loss that they stand for. What is not set has the value of the profile.

import { z } from "zod";
import { advantageSettings, type AdvantageSpec } from "../core/advantage-spec.ts";
import { policySettings, type PolicyLoss } from "../core/loss-spec.ts";
import { readsReference } from "../losses/policy-loss.ts";
import { profileNames } from "../losses/profiles/index.ts";
import { rewardSettings } from "./reward-monitor.ts";
import { optimiserSettings } from "./stage.ts";

const flatGroups = z
  .discriminatedUnion("type", [
    z.object({ type: z.literal("keep").describe("they count in every mean (TRL)") }),
    z.object({ type: z.literal("drop").describe("they leave the batch") }),
    z.object({
      type: z.literal("refill").describe("other prompts take their place (DAPO)"),
      rounds: z.int().min(1).default(3).describe("times that more prompts are sampled"),
    }),
  ])
  .prefault({ type: "keep" })
  .describe("groups whose rewards do not differ");

const overlong = z.object({
  mask: z
    .boolean()
    .default(false)
    .describe("completions cut off at maxTokens leave the loss (DAPO, mask_truncated_completions)"),
  penalty: z
    .object({
      buffer: z.int().min(1).describe("last tokens before maxTokens in which it grows"),
      weight: z.number().positive().default(1).describe("taken off the reward at its end"),
    })
    .nullable()
    .default(null)
    .describe("soft overlong penalty (DAPO, equation 13); null: none"),
});

export const grpoSettings = z
  .object({
    profile: z
      .enum(profileNames)
      .default("trl-1.13")
      .describe("choices of a trainer or paper that are in force where nothing else is set"),
    steps: z.int().min(0).describe("optimiser steps; 0 leaves the stage out"),
    prompts: z.int().min(1).default(16).describe("prompts of a generation batch"),
    group: z.int().min(2).default(8).describe("completions a prompt (G)"),
    iterations: z.int().min(1).default(1).describe("passes over a generation batch (μ)"),
    minibatches: z
      .int()
      .min(1)
      .default(1)
      .describe("optimiser steps a pass; the completions are shuffled and dealt out"),
    accumulation: z
      .int()
      .min(1)
      .default(1)
      .describe("batches whose gradients are added up for one optimiser step"),
    temperature: z.number().positive().default(1).describe("sampling temperature"),
    topK: z
      .int()
      .min(1)
      .nullable()
      .default(null)
      .describe("sample among the k most likely tokens; null: all"),
    topP: z
      .number()
      .positive()
      .max(1)
      .nullable()
      .default(null)
      .describe("sample among the tokens that reach this probability; null: all"),
    logits: z
      .enum(["tempered", "plain"])
      .default("tempered")
      .describe("whether the loss divides the logits by the sampling temperature"),
    maxTokens: z.int().min(1).describe("most tokens of a completion"),
    loss: policySettings.prefault({}).describe("the loss of a token, and how tokens add up"),
    advantages: advantageSettings
      .prefault({ type: "reward" })
      .describe("what a reward is compared with"),
    withoutSpread: flatGroups,
    overlong: overlong.prefault({}).describe("completions that do not end"),
    rewards: rewardSettings
      .prefault({})
      .describe("what happens when a reward fails or says nothing; never is a failure a zero"),
    samplesEvery: z
      .int()
      .min(1)
      .default(1)
      .describe("store the samples of every n-th generation batch"),
    optimiser: optimiserSettings
      .prefault({ learningRate: 1e-4, schedule: "constant" })
      .describe("AdamW or Muon"),
  })
  .check(({ value, issues }) => {
    const refuse = (path: readonly string[], message: string, input: unknown): void =>
      void issues.push({ code: "custom", path: [...path], message, input });
    const { loss, topK, topP, temperature, logits, prompts, group, minibatches } = value;
    const usesSampler = loss.sampler.type !== "ignored";
    const cut = topK !== null ? "topK" : topP !== null && topP < 1 ? "topP" : undefined;
    if (usesSampler && cut !== undefined) {
      const why =
        "the sampler's log-probabilities are those of the whole distribution, so p / p_sampler is wrong for tokens of a truncated one";
      refuse([cut], `null with loss.sampler.type=${loss.sampler.type} (${why})`, value[cut]);
    }
    const compares = usesSampler
      ? `loss.sampler.type=${loss.sampler.type}`
      : loss.offPolicyMask && "loss.offPolicyMask";
    if (compares !== null && logits === "plain" && temperature !== 1) {
      const message = `tempered with ${compares}: sampler and loss must speak of one distribution`;
      refuse(["logits"], message, logits);
    }
    const batches = minibatches * value.accumulation;
    if (batches > prompts * group) {
      const message = `at most ${prompts * group} batches (minibatches x accumulation) of ${prompts} x ${group} completions`;
      refuse(["minibatches"], message, minibatches);
    }
    const unused =
      "with advantages.type=gdpo: it is taken off the sum of the scores, which that rule does not use";
    if (value.advantages.type === "gdpo" && value.overlong.penalty !== null) {
      refuse(["overlong", "penalty"], `null ${unused}`, value.overlong.penalty);
    }
    if (value.advantages.type === "gdpo" && loss.kl.type === "reward" && loss.kl.weight !== 0) {
      refuse(["loss", "kl", "weight"], `0 ${unused}`, loss.kl.weight);
    }
    const { advantages } = value;
    if (dividesForeign(advantages)) {
      const { baseline, scale } = advantages;
      const why =
        "among equal rewards the deviation is 0, and the distance from this baseline is not";
      const message = `other than ${scale.type} with advantages.baseline=${baseline} (${why})`;
      refuse(["advantages", "scale", "type"], message, scale.type);
    }
    const buffer = value.overlong.penalty?.buffer ?? 0;
    if (buffer > value.maxTokens) {
      refuse(["overlong", "penalty", "buffer"], `at most maxTokens ${value.maxTokens}`, buffer);
    }
  });
export type GrpoSettings = z.output<typeof grpoSettings>;

/** Whether a deviation divides distances from a baseline of elsewhere: equal rewards would become advantages of 1 / ε. */
function dividesForeign(
  advantages: AdvantageSpec,
): advantages is Extract<AdvantageSpec, { type: "reward" }> {
  if (advantages.type !== "reward") return false;
  const { baseline, scale } = advantages;
  const isElsewhere = baseline === "none" || baseline === "greedy";
  if (scale.type === "batch") return isElsewhere;
  return scale.type === "group" && (isElsewhere || baseline === "batch-mean");
}

/** The loss that the engine is given. */
export function lossOf({ loss, logits, temperature }: GrpoSettings): PolicyLoss {
  return {
    type: "policy-gradient",
    temperature: logits === "tempered" ? temperature : 1,
    ...loss,
  };
}

/** Whether a frozen copy of the first policy is needed. */
export const needsReference = ({ loss }: GrpoSettings): boolean =>
  readsReference(loss) || (loss.kl.type === "reward" && loss.kl.weight !== 0);

/** Optimiser steps that one generation batch feeds. */
export const stepsPerGeneration = ({ iterations, minibatches }: GrpoSettings): number =>
  iterations * minibatches;
