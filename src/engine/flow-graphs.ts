// The graphs of the flow engine: prompts to vectors, velocity, a stochastic step, loss and gradients.

import type { FlowLoss, FlowRule, RowExtent } from "../losses/flow-loss.ts";
import { guidedVelocity } from "../losses/flow-step.ts";
import type { FlowConfig, FlowModel } from "../models/flow-model.ts";
import { promptSize } from "../models/prompt-encoder.ts";
import type { ParameterSpec } from "../nn/parameters.ts";
import {
  add,
  addInto,
  broadcastTo,
  gatherRows,
  gradients,
  input,
  mul,
  reshape,
  slice,
  type Shape,
  type Tensor,
} from "../tensor/index.ts";

type Graph = Record<string, Tensor>;

/** Shape of an array of `rows` rows. */
export function rowShape(rows: number, extent: RowExtent, sample: Shape): Shape {
  if (extent === "number" || extent === "weight") return [rows];
  return [rows, ...(extent === "sample" ? sample : extent)];
}

/** Inputs `tokens` and `mask` of prompts. */
const promptInputs = (prompts: number, { prompt }: FlowConfig) => ({
  tokens: input("tokens", [prompts, prompt.promptTokens], "int32"),
  mask: input("mask", [prompts, prompt.promptTokens]),
});

/** tokens, mask → vectors [prompts + 1, promptSize]. */
export const promptGraph = (model: FlowModel, config: FlowConfig, prompts: number): Graph => ({
  vectors: model.prompts(promptInputs(prompts, config)),
});

/** Velocity under a guidance; 1: the prompt alone. */
function modelVelocity(
  model: FlowModel,
  inputs: { x: Tensor; t: Tensor; prompt: Tensor },
  none: Tensor,
  guidance: number,
): Tensor {
  const conditional = model.velocity(inputs);
  if (guidance === 1) return conditional;
  const prompt = broadcastTo(none, inputs.prompt.shape);
  return guidedVelocity(conditional, model.velocity({ ...inputs, prompt }), guidance);
}

/** x, t, prompt → velocity. */
export function velocityGraph(
  model: FlowModel,
  config: FlowConfig,
  rows: number,
  guidance: number,
): Graph {
  const x = input("x", [rows, ...config.sample]);
  const t = input("t", [rows]);
  const prompt = input("prompt", [rows, promptSize(config.prompt)]);
  const none = input("none", [1, promptSize(config.prompt)]);
  return { velocity: modelVelocity(model, { x, t, prompt }, none, guidance) };
}

/** x, velocity, t, next, noise, values → sample, mean, logProb. */
export function stepGraph(step: FlowRule, sample: Shape, rows: number): Graph {
  const x = input("x", [rows, ...sample]);
  const gaussian = step.gaussian({
    x,
    velocity: input("velocity", x.shape),
    t: input("t", [rows]),
    next: input("next", [rows]),
    values: Object.fromEntries(step.values.map((name) => [name, input(name, [rows])])),
  });
  const { mean, deviation } = gaussian;
  const wide =
    deviation.shape.length === 1 ? reshape(deviation, [rows, ...sample.map(() => 1)]) : deviation;
  const drawn = add(mean, mul(wide, input("noise", x.shape)));
  return { sample: drawn, mean, logProb: step.logProb(drawn, gaussian) };
}

export interface TrainingShape {
  readonly rows: number;
  /** Distinct prompts. */
  readonly prompts: number;
  readonly guidance: number;
}

export interface TrainingGraph {
  readonly outputs: Graph;
  readonly inPlace: Readonly<Record<string, string>>;
  /** Names of what the loss reports. */
  readonly reported: readonly string[];
}

/** tokens, mask, promptRows, x, t, array … → loss, output …, new gradient … */
export function trainingGraph(
  model: FlowModel,
  config: FlowConfig,
  loss: FlowLoss,
  trained: readonly ParameterSpec[],
  { rows, prompts, guidance }: TrainingShape,
): TrainingGraph {
  const { sample } = config;
  const vectors = model.prompts(promptInputs(prompts, config));
  const prompt = gatherRows(vectors, input("promptRows", [rows], "int32")); // [rows, promptSize]
  const [x, t] = [input("x", [rows, ...sample]), input("t", [rows])];
  const none = slice(vectors, 0, prompts, prompts + 1);
  const velocity = modelVelocity(model, { x, t, prompt }, none, guidance);
  const arrays = Object.entries(loss.arrays).map(
    ([name, extent]) => [name, input(`array ${name}`, rowShape(rows, extent, sample))] as const,
  );
  const built = loss.build({ velocity, x, t, arrays: Object.fromEntries(arrays) });
  const total = built.loss;
  const outputs: Graph = { loss: total };
  const reported = Object.entries(built.outputs ?? {});
  for (const [name, tensor] of reported) outputs[`output ${name}`] = tensor;
  const inPlace: Record<string, string> = {};
  const slopes = gradients(
    total,
    trained.map(({ name }) => model.symbols.get(name)!),
  );
  trained.forEach(({ name, shape }, index) => {
    outputs[`new gradient ${name}`] = addInto(input(`gradient ${name}`, shape), slopes[index]!);
    inPlace[`new gradient ${name}`] = `gradient ${name}`;
  });
  return { outputs, inPlace, reported: reported.map(([name]) => name) };
}
