// The velocity models behind one interface: parameters, prompts to vectors, velocity. Shapes are [batch, …sample], whatever a
// sample is: a point, an image, a video.

import { ConfigError } from "../core/errors.ts";
import { leaves, mapTree, type ParameterSpec } from "../nn/parameters.ts";
import { input, type Shape, type Tensor } from "../tensor/index.ts";
import { flowMlpParameters, flowMlpVelocity, type FlowMlpConfig } from "./flow-mlp.ts";
import {
  flowTransformerParameters,
  flowTransformerVelocity,
  type FlowTransformerConfig,
} from "./flow-transformer.ts";
import { encodePrompts, promptEncoderParameters, type PromptInputs } from "./prompt-encoder.ts";

export type FlowConfig = FlowTransformerConfig | FlowMlpConfig;

export interface FlowInputs {
  /** Noisy samples [batch, …sample]. */
  readonly x: Tensor;
  /** Time of each, 1 noise, 0 data [batch]. */
  readonly t: Tensor;
  /** Vector of each row's prompt [batch, promptSize]. */
  readonly prompt: Tensor;
}

/** A velocity model as graphs over one set of parameter symbols. */
export interface FlowModel {
  readonly specs: readonly ParameterSpec[];
  /** The graph input of each parameter by name. */
  readonly symbols: ReadonlyMap<string, Tensor>;
  /** Prompt vectors and, last, the one for no prompt [prompts + 1, promptSize]. */
  readonly prompts: (inputs: PromptInputs) => Tensor;
  /** Velocity [batch, …sample]. */
  readonly velocity: (inputs: FlowInputs) => Tensor;
}

/** Every parameter with its shape and initial values. */
export function flowParameters(config: FlowConfig): readonly ParameterSpec[] {
  return flowModel(config).specs;
}

/** @throws ConfigError where the sizes do not fit each other. */
export function flowModel(config: FlowConfig): FlowModel {
  check(config);
  const symbols = new Map<string, Tensor>();
  const symbol = (spec: ParameterSpec): Tensor => {
    const tensor = input(spec.name, spec.shape);
    symbols.set(spec.name, tensor);
    return tensor;
  };
  const encoderSpecs = promptEncoderParameters(config.prompt);
  const encoder = mapTree(encoderSpecs, symbol);
  const prompts = (inputs: PromptInputs): Tensor => encodePrompts(encoder, inputs, config.prompt);
  if (config.type === "mlp") {
    const specs = flowMlpParameters(config);
    const parameters = mapTree(specs, symbol);
    const velocity = (inputs: FlowInputs): Tensor => flowMlpVelocity(parameters, inputs);
    return { specs: leaves([encoderSpecs, specs]), symbols, prompts, velocity };
  }
  const specs = flowTransformerParameters(config);
  const parameters = mapTree(specs, symbol);
  const velocity = (inputs: FlowInputs): Tensor =>
    flowTransformerVelocity(parameters, inputs, config);
  return { specs: leaves([encoderSpecs, specs]), symbols, prompts, velocity };
}

function check(config: FlowConfig): void {
  const { prompt, sample } = config;
  const divides = (what: string, part: number, whole: number): void => {
    if (whole % part === 0) return;
    throw new ConfigError({
      where: `flow model: ${what}`,
      expected: `a divisor of ${whole}`,
      got: String(part),
    });
  };
  divides("prompt.heads", prompt.heads, prompt.width);
  if (config.type === "mlp") {
    if (prompt.words !== true) return;
    throw new ConfigError({
      where: "flow model: prompt.words",
      expected: "false for an MLP",
      got: "true",
    });
  }
  if (sample.length !== 3 && sample.length !== 4) {
    throw new ConfigError({
      where: "flow model: sample",
      expected: "[height, width, channels] or [frames, height, width, channels]",
      got: showShape(sample),
    });
  }
  divides("heads", config.heads, config.width);
  for (const extent of sample.slice(-3, -1)) divides("patch", config.patch, extent);
}

const showShape = (shape: Shape): string => `[${shape.join(", ")}]`;
