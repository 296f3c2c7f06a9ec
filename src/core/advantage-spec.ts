// Advantage rules as data. Formulas: algorithms/advantages.ts.

import { z } from "zod";

const deviation = z
  .enum(["sample", "population"])
  .default("sample")
  .describe("squared distances are divided by n - 1, or by n");
const epsilon = z.number().min(0).default(1e-4).describe("added to the deviation");
const clip = z
  .number()
  .positive()
  .nullable()
  .default(null)
  .describe("advantages are clipped to ± this; null: not");

export const advantageSettings = z.discriminatedUnion("type", [
  z.object({
    type: z
      .literal("reward")
      .describe("(weighted sum of the scores - baseline) / scale, for each completion"),
    baseline: z
      .enum(["group-mean", "leave-one-out", "batch-mean", "greedy", "none"])
      .default("group-mean")
      .describe(
        "mean of the group (GRPO), of its other members (RLOO), of the batch; reward of the greedy completion (ReMax); 0",
      ),
    scale: z
      .discriminatedUnion("type", [
        z.object({ type: z.literal("none").describe("the reward's own scale (Dr. GRPO)") }),
        z.object({
          type: z.literal("group").describe("deviation within the group (GRPO)"),
          deviation,
          epsilon,
        }),
        z.object({
          type: z.literal("batch").describe("deviation over the whole batch"),
          deviation,
          epsilon,
        }),
        z.object({
          type: z
            .literal("whiten-tokens")
            .describe("mean 0 and deviation 1 over all loss tokens of the batch (REINFORCE++)"),
        }),
      ])
      .prefault({ type: "group" })
      .describe("what the difference is divided by"),
    lone: z
      .enum(["zero", "raw"])
      .default("zero")
      .describe("advantage of a completion without others to compare with: 0, or its reward"),
    clip,
  }),
  z.object({
    type: z
      .literal("gdpo")
      .describe("each score normalised within the group, weighted sum, normalised over the batch"),
    deviation,
    epsilon,
    clip,
  }),
]);
export type AdvantageSpec = z.output<typeof advantageSettings>;
