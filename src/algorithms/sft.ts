// Supervised fine-tuning on gold answers.
//
//   L = −mean over the tokens of the batch's answers of log p(token)
//
// The loss is on the answer only (LLaMA-Factory's default, train_on_prompt false).

import { z } from "zod";
import type { Example } from "../core/engine.ts";
import { supervisedLoss } from "../core/loss-spec.ts";
import { randomStream } from "../core/random.ts";
import type { Environment } from "../rollout/single-turn.ts";
import { now } from "../run/run-directory.ts";
import {
  checkFinite,
  finishStep,
  guardedStep,
  itemsOrCheckpoint,
  optimiserSettings,
  stepOptions,
  type StageContext,
} from "./stage.ts";

export const sftSettings = z.object({
  steps: z.int().min(0).describe("optimiser steps; 0 leaves the stage out"),
  batch: z.int().min(1).default(64).describe("items a step"),
  optimiser: optimiserSettings.prefault({ learningRate: 1e-3 }).describe("AdamW or Muon"),
});
export type SftSettings = z.output<typeof sftSettings>;

export function sftExample<Item, Config>(
  { task, config, tokenizer }: Environment<Item, Config>,
  item: Item,
  seed: number,
  index: number,
): Example {
  const prompt = tokenizer.encodePrompt(task.prompt(item, config));
  const answer = tokenizer.encodeAnswer(task.gold(item, config, randomStream(seed, "gold", index)));
  return { tokens: Int32Array.from([...prompt, ...answer]), promptLength: prompt.length };
}

/** Trains from `context.done` to the last step; what it writes is filed under `stage`. */
export async function sft<Item, Config>(
  context: StageContext<Item, Config>,
  settings: SftSettings,
  stage: "sft" | "sft2" = "sft",
): Promise<void> {
  const { engine, environment, run, progress, seed } = context;
  const { steps, batch: size, optimiser } = settings;
  const makeBatch = async (step: number): Promise<Example[]> => {
    const indices = Array.from({ length: size }, (_, index) => (step - 1) * size + index);
    const items = await Promise.all(indices.map((index) => context.items(index)));
    return items.map((item, index) => sftExample(environment, item, seed, indices[index]!));
  };

  if (context.done >= steps) return;
  const label = stage === "sft" ? "SFT" : "SFT 2";
  progress.begin(label, steps);
  let next = makeBatch(context.done + 1);
  for (let step = context.done + 1; step <= steps; step++) {
    const batch = await itemsOrCheckpoint(context, stage, step, next);
    const startMs = now();
    const accumulating = engine.accumulate(batch, supervisedLoss);
    if (step < steps) next = makeBatch(step + 1); // prepared while the engine works
    next.catch(() => undefined); // a bad row counts when its step comes
    const result = await accumulating;
    checkFinite(result, stage, step, run);
    const options = stepOptions(optimiser, step, steps);
    const { gradientNorm } = await guardedStep(engine, options, stage, step, run);
    const tokens = batch.reduce((total, { tokens: ids }) => total + ids.length, 0);
    progress.advance(step, `loss ${result.loss.toFixed(3)}`);
    const stepMs = now() - startMs;
    await finishStep(
      context,
      {
        step,
        stage,
        loss: result.loss,
        gradientNorm,
        learningRate: options.learningRate,
        tokens,
        "time/stepMs": stepMs,
        "time/tokensPerSecond": (1000 * tokens) / stepMs,
      },
      { label, steps },
    );
  }
  progress.end();
}
