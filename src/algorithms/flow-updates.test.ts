import { expect, it } from "vitest";
import type { FlowBatch } from "../core/flow-engine.ts";
import { randomStream } from "../core/random.ts";
import { LocalFlowEngine } from "../engine/flow-engine.ts";
import type { FlowLoss } from "../losses/flow-loss.ts";
import { flowPreferenceLoss, velocityError } from "../losses/flow-matching.ts";
import type { FlowConfig } from "../models/flow-model.ts";
import { mul, reshape, slice, sum, type Tensor } from "../tensor/index.ts";
import { flowGrpoSettings } from "./flow-grpo-settings.ts";
import { accumulateUpdate } from "./flow-updates.ts";

const model: FlowConfig = {
  type: "mlp",
  sample: [2],
  width: 16,
  layers: 2,
  prompt: { vocabularySize: 3, promptTokens: 1, width: 4, layers: 0, heads: 1, hiddenWidth: 4 },
};
const BETA = 1;

/** An engine that has moved away from its reference. */
async function movedEngine(): Promise<LocalFlowEngine> {
  const engine = new LocalFlowEngine(model, { microBatch: 4 });
  engine.initialise(randomStream(1, "weights"));
  for (const part of ["reference", "present"]) {
    if (part === "present") await engine.copyWeights("reference");
    for (const name of engine.parameterNames) {
      const noise = new Float32Array(engine.parameter(name).length);
      randomStream(1, part, name).fillNormal(noise);
      engine.parameter(name).forEach((value, index, all) => {
        all[index] = value + 0.3 * noise[index]!;
      });
    }
  }
  return engine;
}

/** The loss of pairs as the formula has it: rows are the better one and the worse one by turns. */
const pairLoss: FlowLoss = {
  key: "pairs",
  arrays: { target: "sample", reference: "sample", weights: "weight" },
  together: 2,
  build: ({ velocity, arrays }) => {
    const columns = (errors: Tensor): readonly Tensor[] =>
      [0, 1].map((at) => reshape(slice(reshape(errors, [-1, 2]), 1, at, at + 1), [-1]));
    const [chosen, rejected] = columns(velocityError(velocity, arrays["target"]!));
    const [chosenReference, rejectedReference] = columns(
      velocityError(arrays["reference"]!, arrays["target"]!),
    );
    const each = flowPreferenceLoss(BETA, {
      chosen: chosen!,
      rejected: rejected!,
      chosenReference: chosenReference!,
      rejectedReference: rejectedReference!,
    });
    return { loss: sum(mul(each, columns(arrays["weights"]!)[0]!)) };
  },
};

it("online DPO, computed in two passes, is the loss of its formula and has its gradient", async () => {
  const engine = await movedEngine();
  const samples = new Float32Array(12);
  randomStream(2, "samples").fillNormal(samples);
  const rewards = [0.5, 1, 0, 2, 3, 2.5];
  const prompts = rewards.map((_, sample) => Int32Array.of(1 + Math.floor(sample / 3)));
  const settings = flowGrpoSettings.parse({
    epochs: 1,
    noisings: 3,
    objective: { type: "online-dpo", beta: BETA },
  });
  const generation = { prompts, samples, rewards, advantages: rewards, steps: [] };
  const given: { batch: FlowBatch; target: Float32Array }[] = [];
  const accumulate = engine.accumulate.bind(engine);
  engine.accumulate = (batch, loss, options) => {
    given.push({ batch, target: options.arrays["target"]! });
    return accumulate(batch, loss, options);
  };
  const random = randomStream(3, "update");
  const context = { engine, generation, settings, shape: [2] };
  const result = await accumulateUpdate(context, [0, 1, 2, 3, 4, 5], random);
  const [{ batch, target }] = given as [(typeof given)[number]];
  const slopes = engine.parameterNames.map((name) => engine.gradient(name).slice());
  await engine.resetOptimiser();
  const reference = await engine.velocity(batch, { weights: "reference", guidance: 1 });
  const pairs = batch.t.length / 2;
  expect(pairs).toBe(6);
  const weights = new Float32Array(2 * pairs).fill(1 / pairs);
  const arrays = { target, reference, weights };
  const { loss } = await accumulate(batch, pairLoss, { arrays, guidance: 1 });
  expect(result!.loss).toBeCloseTo(loss, 6);
  expect(loss).not.toBeCloseTo(Math.log(2), 2);
  engine.parameterNames.forEach((name, index) => {
    const [ours, formula] = [slopes[index]!, engine.gradient(name)];
    const size = Math.hypot(...formula);
    const distance = Math.hypot(...ours.map((value, at) => value - formula[at]!));
    expect(distance, name).toBeLessThan(1e-5 * size + 1e-9);
    if (name === "head.weight") expect(size).toBeGreaterThan(1e-3);
  });
  // The better and the worse sample of each group, at one time and with one noise.
  for (let pair = 0; pair < pairs; pair++) expect(batch.t[2 * pair]).toBe(batch.t[2 * pair + 1]);
  engine.dispose();
});
