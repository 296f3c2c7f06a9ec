// What the losses and the stochastic steps of flow models are written in: symbolic functions of a velocity and named arrays.
// An engine compiles them behind its model and knows nothing else of them.

import { equal, mean, mul, sub, sum, where, type Shape, type Tensor } from "../tensor/index.ts";

/**
 * Extent of an array after its rows: one number [batch], as many as a sample [batch, …sample], or of this shape
 * [batch, …shape]. "weight" is a number too, and 0 in the rows that only fill up a micro-batch; in other arrays those repeat
 * the first row.
 */
export type RowExtent = "weight" | "number" | "sample" | Shape;

export interface FlowLossInputs {
  /** Predicted velocity [batch, …sample]; the gradient flows through it. */
  readonly velocity: Tensor;
  /** Where it was predicted [batch, …sample], at which time [batch]. */
  readonly x: Tensor;
  readonly t: Tensor;
  /** The arrays of the loss by name. */
  readonly arrays: Readonly<Record<string, Tensor>>;
}

export interface FlowLoss {
  /** Names the graph: equal keys, equal graphs. Numbers that the graph holds as constants belong into it. */
  readonly key: string;
  /** What it reads beside velocity, x and t; at least one weight. */
  readonly arrays: Readonly<Record<string, RowExtent>>;
  /** Neighbouring rows that belong together, 2 for pairs; they stay in one micro-batch. Default 1. */
  readonly together?: number;
  /**
   * The loss of a micro-batch, a scalar in which rows of weight 0 do not count: losses of micro-batches are added. Beside it
   * what is to be reported of each row [batch, …].
   */
  readonly build: (inputs: FlowLossInputs) => {
    readonly loss: Tensor;
    readonly outputs?: Readonly<Record<string, Tensor>>;
  };
}

export interface FlowRuleInputs {
  /** [batch, …sample]. */
  readonly x: Tensor;
  readonly velocity: Tensor;
  /** From this time to the next, which is smaller [batch]. */
  readonly t: Tensor;
  readonly next: Tensor;
  /** The values of the rule by name, each [batch]. */
  readonly values: Readonly<Record<string, Tensor>>;
}

/** An isotropic Gaussian: mean [batch, …sample], deviation [batch] or of a shape that broadcasts to the mean's. */
export interface FlowGaussian {
  readonly mean: Tensor;
  readonly deviation: Tensor;
}

/** The rule of a denoising step that draws: x' = mean + deviation · z. */
export interface FlowRule {
  /** Names the graph: equal keys, equal graphs. */
  readonly key: string;
  /** Names of the numbers that it reads beside the times. */
  readonly values: readonly string[];
  readonly gaussian: (inputs: FlowRuleInputs) => FlowGaussian;
  /** Log-probability of x' [batch, …sample]: [batch], or [batch, …] where it is kept by position. */
  readonly logProb: (next: Tensor, gaussian: FlowGaussian) => Tensor;
}

/**
 * Sum over the rows of weight · mean (v - target)², with target = eps - x0 (Lipman et al., arXiv:2210.02747; Liu et al.,
 * arXiv:2209.03003).
 */
export const flowMatchingLoss: FlowLoss = {
  key: "flow matching",
  arrays: { target: "sample", weights: "weight" },
  build: ({ velocity, arrays }) => {
    const error = sub(velocity, arrays["target"]!);
    const axes = error.shape.map((_, axis) => axis).slice(1);
    const each = mean(mul(error, error), { axes }); // [batch]
    return { loss: weightedSum(each, arrays["weights"]!) };
  },
};

/** Sum of weight · loss over rows [batch], exactly 0 where the weight is 0, whatever the loss is there. */
export const weightedSum = (losses: Tensor, weights: Tensor): Tensor =>
  sum(where(equal(weights, 0), 0, mul(weights, losses)));
