// What a flow engine is given to sample and train a policy: the stochastic step, and the losses of its velocity.
//
// A step reads its coefficients (core/flow-transition.ts) as numbers, so that one program serves all steps of a schedule and
// sampler and trainer compute with the same bits: on the first update ρ is exactly 1. Samples are [batch, …, channel].

import type { DiffusionNft, FlowNoise, FlowPolicy, FlowRatio } from "../core/flow-spec.ts";
import { add, mul, sub, type Shape, type Tensor } from "../tensor/index.ts";
import { diffusionNftLoss } from "./diffusion-nft.ts";
import { weightedSum, type FlowLoss, type FlowRule, type RowExtent } from "./flow-loss.ts";
import { flowPolicyRows } from "./flow-policy.ts";
import { normalisedLogRatio, stepDistribution, stepKl, stepLogProb } from "./flow-step.ts";

/** c_x, c_v and s of a step. */
export const coefficientNames = ["ofSample", "ofVelocity", "deviation"] as const;

const coefficients = (values: Readonly<Record<string, Tensor>>) => ({
  ofSample: values["ofSample"]!,
  ofVelocity: values["ofVelocity"]!,
  deviation: values["deviation"]!,
});

/** A draw x' = c_x x + c_v v + s z; log p of the sample, or of each of its positions. */
export const policyStep = (noise: FlowNoise, of: FlowRatio["type"]): FlowRule => ({
  key: `${noise.type} of ${of}`,
  values: coefficientNames,
  gaussian: ({ x, velocity, values }) => stepDistribution(x, velocity, coefficients(values)),
  logProb: (next, gaussian) => stepLogProb(noise, of, gaussian, next, next.shape.length - 1),
});

/** What log p of a sample of this shape has: one number, or one a position. */
export const ratioExtent = (of: FlowRatio["type"], sample: Shape): RowExtent =>
  of === "sample" ? "number" : sample.slice(0, -1);

/**
 * The clipped policy loss of rows that are steps of samples, plus β KL. Arrays: `next` x', the coefficients, `old` log p,
 * `advantage`, `stepWeight` of the policy term, `weights` of the rows; `oldMean` for RatioNorm; `reference` (velocity) and `duration` t − t' for a KL.
 * Reports `ratio`, `logProb` and, with a KL, `kl`.
 */
export function policyTrainingLoss(noise: FlowNoise, policy: FlowPolicy, sample: Shape): FlowLoss {
  const { ratio: limits, kl, normalised } = policy;
  const hasKl = kl.type !== "none" && kl.weight !== 0;
  const extent = ratioExtent(limits.type, sample);
  return {
    key: `policy ${JSON.stringify([noise, policy])}`,
    arrays: {
      next: "sample",
      ...Object.fromEntries(coefficientNames.map((name) => [name, "number" as const])),
      old: extent,
      advantage: extent,
      stepWeight: "number",
      weights: "weight",
      ...(normalised && { oldMean: "sample" as const }),
      ...(hasKl && { reference: "sample" as const, duration: "number" as const }),
    },
    build: ({ velocity, x, arrays }) => {
      const given = (name: string): Tensor => arrays[name]!;
      const distribution = stepDistribution(x, velocity, coefficients(arrays));
      const channel = x.shape.length - 1;
      const logProb = stepLogProb(noise, limits.type, distribution, given("next"), channel);
      const plain = sub(logProb, given("old"));
      const { rows, ratio } = flowPolicyRows(limits, {
        logProbs: logProb,
        old: given("old"),
        advantage: given("advantage"),
        ...(normalised && {
          logRatio: normalisedLogRatio(noise, plain, distribution, given("oldMean")),
        }),
      });
      const loss = mul(rows, given("stepWeight"));
      const outputs = { ratio, logProb };
      if (!hasKl) return { loss: weightedSum(loss, given("weights")), outputs };
      const reference = stepDistribution(x, given("reference"), coefficients(arrays)).mean;
      const value = stepKl(kl.type, noise, {
        ...distribution,
        reference,
        duration: given("duration"),
      });
      const all = add(loss, mul(value, kl.weight));
      return { loss: weightedSum(all, given("weights")), outputs: { ...outputs, kl: value } };
    },
  };
}

/**
 * DiffusionNFT. Arrays: `clean` x_0, `old` velocity at x_t, `optimality` q, `weights` of the rows; `reference` velocity for a KL.
 */
export const nftTrainingLoss = (spec: DiffusionNft): FlowLoss => ({
  key: `diffusion-nft ${JSON.stringify(spec)}`,
  arrays: {
    clean: "sample",
    old: "sample",
    optimality: "number",
    weights: "weight",
    ...(spec.kl !== 0 && { reference: "sample" as const }),
  },
  build: ({ velocity, x, t, arrays }) => {
    const rows = diffusionNftLoss(spec, {
      velocity,
      old: arrays["old"]!,
      ...(arrays["reference"] !== undefined && { reference: arrays["reference"] }),
      noised: x,
      clean: arrays["clean"]!,
      time: t,
      optimality: arrays["optimality"]!,
    });
    return { loss: weightedSum(rows, arrays["weights"]!) };
  },
});
