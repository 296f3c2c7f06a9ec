// Flow policies as data: how a rectified-flow model samples, what is trained on it, and how advantages reach pixels. Choices
// are independent of each other; where an option makes sense only with another one, both stand in one tagged object.
//
// Convention: t = 1 is pure noise, t = 0 is data, x_t = (1 − t) x_0 + t ε, the model predicts the velocity v = ε − x_0, and
// sampling goes from t to t' < t. Formulas: core/flow-transition.ts (steps), rollout/flow-schedule.ts (times, windows),
// losses/flow-*.ts and losses/diffusion-nft.ts (losses), algorithms/flow-advantages.ts, image/allocation-map.ts.

import { z } from "zod";

const noiseLevel = (value: number, help: string) => z.number().min(0).default(value).describe(help);

/** How a stochastic step draws x'. A level of 0 is the Euler step of the ODE. */
export const flowNoiseSettings = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("flow-sde").describe("Flow-GRPO: σ = a √(t / (1 - t)), marginals kept"),
    level: noiseLevel(0.7, "a"),
  }),
  z.object({
    type: z
      .literal("cps")
      .describe("Flow-CPS: the noise of x' is exactly t', its new part t' sin(η π / 2)"),
    level: z.number().min(0).max(1).default(0.8).describe("η"),
  }),
  z.object({
    type: z.literal("dance").describe("DanceGRPO: σ = η, the same at every step"),
    level: noiseLevel(0.3, "η"),
  }),
]);
export type FlowNoise = z.output<typeof flowNoiseSettings>;

const shift = z.number().positive().default(3).describe("k of k s / (1 + (k - 1) s)");

/** Times of a trajectory, from 1 to 0. */
export const flowScheduleSettings = z.discriminatedUnion("type", [
  z.object({ type: z.literal("uniform").describe("equal steps") }),
  z.object({
    type: z.literal("shifted").describe("equal steps, shifted towards noise (DanceGRPO, FLUX)"),
    shift,
  }),
  z.object({
    type: z
      .literal("diffusers")
      .describe("as diffusers: down to its smallest time, which is shifted twice, then 0 (SD3.5)"),
    shift,
    trainSteps: z.int().min(2).default(1000).describe("the smallest time is 1 / this, before it"),
  }),
]);
export type FlowSchedule = z.output<typeof flowScheduleSettings>;

const windowSize = (value: number) =>
  z.int().min(1).default(value).describe("stochastic steps; the others follow the ODE");
const stepIndex = (help: string) => z.int().min(0).describe(help);

/** When a sliding window moves on. */
export const windowPaceSettings = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("constant").describe("after as many iterations at every place"),
    iterations: z.int().min(1).default(25).describe("iterations at a place"),
  }),
  z.object({
    type: z.literal("linear").describe("fewer iterations the nearer to the data"),
    first: z.int().min(1).default(25).describe("iterations at step 0"),
    last: z.int().min(1).default(6).describe("iterations at the end"),
  }),
  z.object({
    type: z
      .literal("exponential")
      .describe("ceil(iterations exp(-rate max(0, l - after))) iterations at step l"),
    iterations: z.int().min(1).default(25).describe("iterations at the first places"),
    rate: z.number().min(0).default(0.1).describe("of the decay"),
    after: stepIndex("last step before the decay begins").default(13),
  }),
]);
export type WindowPace = z.output<typeof windowPaceSettings>;

/** Which steps of a trajectory are stochastic, and so can be trained. */
export const flowWindowSettings = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("all-but-last").describe("the last step has next to no noise (Flow-GRPO)"),
  }),
  z.object({
    type: z.literal("fixed").describe("the same steps always"),
    start: stepIndex("first stochastic step").default(0),
    size: windowSize(3),
  }),
  z.object({
    type: z
      .literal("random")
      .describe("drawn for each sampling batch (Flow-GRPO-Fast; MixGRPO's random)"),
    size: windowSize(3),
    low: stepIndex("earliest first step").default(0),
    high: z
      .int()
      .min(1)
      .nullable()
      .default(null)
      .describe("the window ends at or before this step; null: at T / 2"),
  }),
  z.object({
    type: z.literal("sliding").describe("moves from noise to data as training goes on (MixGRPO)"),
    size: windowSize(4),
    stride: z.int().min(1).default(1).describe("steps it moves by"),
    pace: windowPaceSettings.prefault({ type: "constant" }).describe("when it moves"),
    end: z
      .enum(["return", "stay"])
      .default("return")
      .describe("at the last step: back to the first one, or stay"),
  }),
]);
export type FlowWindow = z.output<typeof flowWindowSettings>;

/** How trajectories are sampled for training. Denoising reduction is nothing but fewer `steps` than in an evaluation. */
export const flowSamplingSettings = z.object({
  steps: z.int().min(1).default(10).describe("steps of a trajectory (T)"),
  schedule: flowScheduleSettings.prefault({ type: "uniform" }).describe("times of the steps"),
  noise: flowNoiseSettings
    .prefault({ type: "flow-sde" })
    .describe("rule of a stochastic step; the policy objective alone has some"),
  window: flowWindowSettings
    .prefault({ type: "all-but-last" })
    .describe("which steps are stochastic"),
  trainedShare: z
    .number()
    .gt(0)
    .max(1)
    .default(1)
    .describe("share of the stochastic steps that is trained, drawn at random (DanceGRPO: 0.6)"),
  solver: z
    .enum(["euler", "dpm-solver++2"])
    .default("euler")
    .describe("of the deterministic steps: first order, or multistep second order"),
  initialNoise: z
    .enum(["different", "same"])
    .default("different")
    .describe("whether the samples of a prompt begin at the same noise"),
});
export type FlowSampling = z.output<typeof flowSamplingSettings>;

const clipSides = (value: number) => ({
  low: z.number().min(0).default(value).describe("ρ is clipped below 1 - low"),
  high: z.number().min(0).default(value).describe("ρ is clipped above 1 + high"),
});

/** Of what there is one probability ratio ρ. */
export const flowRatioSettings = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("sample").describe("of each sample: log p is the mean over all dimensions"),
    ...clipSides(1e-4),
  }),
  z.object({
    type: z.literal("position").describe("of each position: log p is the sum over its channels"),
    ...clipSides(0.1),
  }),
]);
export type FlowRatio = z.output<typeof flowRatioSettings>;

const klWeight = z.number().min(0).default(0.04).describe("β");

/** KL divergence of a step from the reference policy. */
export const flowKlSettings = z.discriminatedUnion("type", [
  z.object({ type: z.literal("none").describe("no reference policy") }),
  z.object({
    type: z.literal("paper").describe("β |μ - μ_ref|² / (2 s²), s the deviation of the step"),
    weight: klWeight,
  }),
  z.object({
    type: z
      .literal("repository")
      .describe("β mean((μ - μ_ref)²) / (2 σ²), without the length of the step in σ"),
    weight: klWeight,
  }),
]);
export type FlowKl = z.output<typeof flowKlSettings>;

export const flowPolicySettings = z.object({
  ratio: flowRatioSettings.prefault({ type: "sample" }).describe("what ρ belongs to, its limits"),
  normalised: z
    .boolean()
    .default(false)
    .describe("RatioNorm of GRPO-Guard: log ρ without its bias, in units of every step alike"),
  stepWeight: z
    .enum(["equal", "guard", "noise"])
    .default("equal")
    .describe(
      "weight of a step in the loss: 1; δ of GRPO-Guard, about 1 / (t - t'); its s by the mean of s (TempFlow)",
    ),
  kl: flowKlSettings.prefault({ type: "none" }).describe("KL divergence from the reference policy"),
});
export type FlowPolicy = z.output<typeof flowPolicySettings>;

const growth = z.object({
  start: z.int().min(0).default(0).describe("step at which m begins to grow from 0"),
  slope: z.number().min(0).default(0.001).describe("growth of m a step"),
  max: z.number().min(0).max(1).default(0.5).describe("largest m"),
});

/** What is minimised. */
export const flowObjectiveSettings = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("policy").describe("the clipped policy gradient of every step"),
    ...flowPolicySettings.shape,
  }),
  z.object({
    type: z.literal("diffusion-nft").describe("DiffusionNFT: no noise, no ratios"),
    mix: z.number().gt(0).max(1).default(1).describe("b of v± = v_old ± b (v - v_old)"),
    advantageClip: z.number().positive().default(5).describe("A of the largest probability, 1"),
    kl: z.number().min(0).default(1e-4).describe("weight of |v - v_ref|²"),
    floor: z.number().positive().default(1e-5).describe("smallest weight |x̂_0 - x_0|"),
    old: growth.prefault({}).describe("v_old ← m v_old + (1 - m) v, m growing with the steps"),
  }),
  z.object({
    type: z.literal("online-dpo").describe("best against worst of a group, -log σ(-β / 2 h)"),
    beta: z.number().positive().default(100).describe("β"),
    refresh: z.int().min(1).default(40).describe("steps until the sampler gets the new weights"),
  }),
  z.object({
    type: z.literal("rwr").describe("velocity matching on own samples, weighted by reward"),
    weights: z
      .discriminatedUnion("type", [
        z.object({
          type: z.literal("softmax").describe("softmax of the rewards in the group (the paper)"),
          temperature: z.number().positive().default(1).describe("divides the rewards"),
        }),
        z.object({ type: z.literal("raw").describe("the rewards themselves (the repository)") }),
      ])
      .prefault({ type: "softmax" })
      .describe("weight of a sample"),
    refresh: z.int().min(1).default(40).describe("steps until the sampler gets the new weights"),
  }),
  z.object({
    type: z.literal("best-of-group").describe("velocity matching on the best samples of a group"),
    refresh: z.int().min(1).default(40).describe("steps until the sampler gets the new weights"),
  }),
]);
export type FlowObjective = z.output<typeof flowObjectiveSettings>;
export type DiffusionNft = Extract<FlowObjective, { type: "diffusion-nft" }>;
export type RewardWeights = Extract<FlowObjective, { type: "rwr" }>["weights"];

/** (r − mean of the prompt) / (deviation + ε). */
export const flowAdvantageSettings = z.object({
  scale: z
    .enum(["epoch", "group"])
    .default("epoch")
    .describe("deviation of all rewards of the epoch (global), or of those of the prompt"),
  mix: z
    .enum(["rewards", "advantages"])
    .default("rewards")
    .describe(
      "several rewards: their weighted sum is compared (Flow-GRPO), or each by itself and the advantages are summed (MixGRPO, DanceGRPO)",
    ),
  deviation: z
    .enum(["sample", "population"])
    .default("population")
    .describe("squared distances are divided by n - 1, or by n"),
  epsilon: z.number().min(0).default(1e-4).describe("added to the deviation"),
  minGroupDeviation: z
    .number()
    .min(0)
    .default(0)
    .describe("prompts whose rewards deviate less teach nothing; 0: only those of equal rewards"),
  clip: z
    .number()
    .positive()
    .nullable()
    .default(5)
    .describe("advantages are clipped to ± this, after any map; null: not"),
});
export type FlowAdvantageSpec = z.output<typeof flowAdvantageSettings>;

/** ViPO: how a map of an image is made of the features of its patches. */
export const structuringSettings = z.object({
  aggregation: z
    .enum(["weighted", "average", "first-pc"])
    .default("weighted")
    .describe("of the components: by explained variance, their mean, the first one alone"),
  components: z.int().min(1).default(3).describe("principal components (K)"),
  smoothing: z.number().min(0).default(1).describe("σ of the Gaussian, patches; 0: none"),
  sign: z
    .enum(["border", "area", "decomposition"])
    .default("border")
    .describe(
      "which end of a component weighs more: the inside of the image; the smaller area; as the decomposition happens to give it (TeleBoost)",
    ),
});
export type Structuring = z.output<typeof structuringSettings>;

/** Where features of patches come from; systems/frozen-backbone.ts makes them. */
export const backboneNames = ["ssl", "sup", "low"] as const;
export type BackboneName = (typeof backboneNames)[number];

/** ViPO: advantages of positions instead of samples. */
export const pixelAdvantageSettings = z.object({
  target: z
    .enum(["advantage", "reward"])
    .default("advantage")
    .describe("A M(p), or the rewards r M(p) normalised at each position over the group"),
  map: z
    .discriminatedUnion("type", [
      z.object({
        type: z.literal("psm").describe("perceptual structuring of the sample itself"),
        backbone: z
          .enum(backboneNames)
          .default("ssl")
          .describe(
            "features of patches: a network trained without labels (plays DINOv2), the same network trained to tell shapes and colours apart (ResNet), colours and edges as they are (SAM)",
          ),
        ...structuringSettings.shape,
      }),
      z.object({ type: z.literal("ones").describe("every position alike") }),
      z.object({
        type: z
          .literal("oracle")
          .describe("1 where a detector that sees no colours finds foreground, else 0"),
      }),
      z.object({
        type: z.literal("files").describe("made elsewhere"),
        path: z.string().describe("the file with the maps"),
      }),
    ])
    .prefault({ type: "psm" })
    .describe("M"),
  cut: z
    .number()
    .min(0)
    .lt(0.5)
    .default(0)
    .describe(
      "M below this becomes 0, above 1 - this 1, between them a straight line; published: 0, which leaves the background a little",
    ),
  mapNorm: z
    .enum(["minmax", "mean1"])
    .default("minmax")
    .describe("M from 0 to 1, or then divided by its mean"),
  flip: z
    .boolean()
    .default(false)
    .describe("1 - M takes the place of M; a control. A map that is the same everywhere stays"),
});
export type PixelAdvantage = z.output<typeof pixelAdvantageSettings>;
