// A velocity model for points: an MLP over the point, sinusoids of its time and the prompt vector.

import type { ParameterSpec } from "../nn/parameters.ts";
import { concat, reshape, silu, sizeOf, type Shape, type Tensor } from "../tensor/index.ts";
import { linear, type Linear } from "./decoder.ts";
import { projection } from "./flow-linear.ts";
import type { FlowInputs } from "./flow-model.ts";
import type { PromptEncoderConfig } from "./prompt-encoder.ts";
import { timeFeatures } from "./time-features.ts";

export interface FlowMlpConfig {
  readonly type: "mlp";
  /** Extents of a sample: [2] for points in the plane. */
  readonly sample: Shape;
  /** Width of the hidden layers. */
  readonly width: number;
  /** Hidden layers. */
  readonly layers: number;
  readonly prompt: PromptEncoderConfig;
}

export interface FlowMlpParameters<Leaf> {
  readonly hidden: readonly Linear<Leaf>[];
  readonly head: Linear<Leaf>;
}

const TIME_SIZE = 32;

export function flowMlpParameters(config: FlowMlpConfig): FlowMlpParameters<ParameterSpec> {
  const { width, layers, sample, prompt } = config;
  const first = sizeOf(sample) + TIME_SIZE + prompt.width;
  return {
    hidden: Array.from({ length: layers }, (_, index) =>
      index === 0
        ? projection("layers.0", width, first)
        : projection(`layers.${index}`, width, width, { hidden: true }),
    ),
    head: projection("head", sizeOf(sample), width, { init: "zeros" }),
  };
}

/** Velocity [batch, …sample] of x [batch, …sample] at t [batch] under prompt vectors [batch, prompt width]. */
export function flowMlpVelocity(
  parameters: FlowMlpParameters<Tensor>,
  { x, t, prompt }: FlowInputs,
): Tensor {
  const flat = reshape(x, [x.shape[0]!, -1]);
  const all = concat([flat, timeFeatures(t, TIME_SIZE), prompt], 1); // [batch, in]
  const last = parameters.hidden.reduce((h, layer) => silu(linear(h, layer, {})), all); // [batch, width]
  return reshape(linear(last, parameters.head, {}), x.shape);
}
