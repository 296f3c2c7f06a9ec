// Settings of Flow-GRPO: one epoch samples, scores and compares a batch of images, then takes a few optimiser steps on it.

import { z } from "zod";
import {
  flowAdvantageSettings,
  flowObjectiveSettings,
  flowSamplingSettings,
  type FlowObjective,
} from "../core/flow-spec.ts";
import { rewardSettings } from "./reward-monitor.ts";
import { optimiserSettings } from "./stage.ts";

/** Those of the paper's repository. */
const published = {
  learningRate: 3e-4,
  schedule: "constant",
  warmup: 0,
  beta2: 0.999,
  weightDecay: 1e-4,
} as const;

export const flowGrpoSettings = z.object({
  epochs: z
    .int()
    .min(0)
    .describe("sampling, then `updates` optimiser steps; 0 leaves the stage out"),
  prompts: z
    .int()
    .min(1)
    .default(48)
    .describe("prompts of an epoch, different ones while there are so many"),
  group: z.int().min(2).default(24).describe("samples of a prompt (G)"),
  updates: z
    .int()
    .min(1)
    .default(2)
    .describe(
      "optimiser steps of an epoch, each on its share of the samples; from the second on ρ is not 1",
    ),
  sampling: flowSamplingSettings.prefault({}).describe("how training samples are drawn"),
  guidance: z
    .number()
    .min(0)
    .default(1)
    .describe("classifier-free guidance when sampling and training; 1: none"),
  objective: flowObjectiveSettings.prefault({ type: "policy" }).describe("what is minimised"),
  advantages: flowAdvantageSettings.prefault({}).describe("rewards compared within a prompt"),
  noisings: z
    .int()
    .min(1)
    .default(4)
    .describe("noised copies of every sample (objectives other than policy)"),
  timeMean: z.number().default(0).describe("mean of logit(t) of these copies"),
  timeDeviation: z.number().positive().default(1).describe("its standard deviation"),
  rewards: rewardSettings.prefault({}).describe("failed rewards, and rewards that say nothing"),
  average: z
    .object({
      decay: z
        .number()
        .min(0)
        .lt(1)
        .default(0.9)
        .describe("d at most, min(d, (1 + k) / (10 + k)) at step k"),
      every: z.int().min(1).default(8).describe("optimiser steps between two"),
    })
    .prefault({})
    .describe("moving average of the weights, which is evaluated and saved"),
  optimiser: optimiserSettings.prefault(published).describe("AdamW or Muon"),
});
export type FlowGrpoSettings = z.output<typeof flowGrpoSettings>;

/** Whether the objective compares with the policy of the stage's beginning. */
export function needsFlowReference(objective: FlowObjective): boolean {
  if (objective.type === "policy") return objective.kl.type !== "none" && objective.kl.weight !== 0;
  return (
    objective.type === "online-dpo" || (objective.type === "diffusion-nft" && objective.kl !== 0)
  );
}

/** Weights that sample: the present ones, or those of a while ago. */
export const samplerWeights = ({ type }: FlowObjective): "current" | "old" =>
  type === "policy" ? "current" : "old";
