// What the losses and the stochastic steps of flow models are written in: symbolic functions of a velocity and named arrays.
// An engine compiles them behind its model and knows nothing else of them.

import { mean, mul, sub, type Shape, type Tensor } from "../tensor/index.ts";

/** One number a row [batch], as many as a sample [batch, …sample], or of this shape [batch, …shape]. */
export type RowExtent = "number" | "sample" | Shape;

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
  /** What it reads beside velocity, x and t. */
  readonly arrays: Readonly<Record<string, RowExtent>>;
  /** Loss of each row [batch], and what is to be reported, each [batch, …]. */
  readonly build: (inputs: FlowLossInputs) => {
    readonly loss: Tensor;
    readonly outputs?: Readonly<Record<string, Tensor>>;
  };
}

export interface FlowStepInputs {
  /** [batch, …sample]. */
  readonly x: Tensor;
  readonly velocity: Tensor;
  /** From this time to the next, which is smaller [batch]. */
  readonly t: Tensor;
  readonly next: Tensor;
  /** The values of the step by name, each [batch]. */
  readonly values: Readonly<Record<string, Tensor>>;
}

/** An isotropic Gaussian: mean [batch, …sample], deviation [batch] or of a shape that broadcasts to the mean's. */
export interface FlowGaussian {
  readonly mean: Tensor;
  readonly deviation: Tensor;
}

/** A denoising step that draws: x' = mean + deviation · z. */
export interface FlowStep {
  /** Names the graph: equal keys, equal graphs. */
  readonly key: string;
  /** Names of the numbers that it reads beside the times. */
  readonly values: readonly string[];
  readonly gaussian: (inputs: FlowStepInputs) => FlowGaussian;
  /** Log-probability of x' [batch, …sample]: [batch], or [batch, …] where it is kept by position. */
  readonly logProb: (next: Tensor, gaussian: FlowGaussian) => Tensor;
}

/** Mean over the sample of (v - target)², with target = eps - x0 (Lipman et al., arXiv:2210.02747; Liu et al., arXiv:2209.03003). */
export const flowMatchingLoss: FlowLoss = {
  key: "flow matching",
  arrays: { target: "sample" },
  build: ({ velocity, arrays }) => {
    const error = sub(velocity, arrays["target"]!);
    const axes = error.shape.map((_, axis) => axis).slice(1);
    return { loss: mean(mul(error, error), { axes }) };
  },
};
