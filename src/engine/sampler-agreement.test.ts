import { describe, expect, it } from "vitest";
import { adam, livelyEngines, small } from "../../tests/lively-engine.ts";
import { livelyValues, smallModels } from "../../tests/plain-decoder.ts";
import type { Completion, SampleOptions } from "../core/engine.ts";
import { randomStream } from "../core/random.ts";
import type { DecoderConfig } from "../models/decoder.ts";
import { LocalEngine } from "./local-engine.ts";

const { kept, lively } = livelyEngines();

const prompts = [[3, 1, 4, 1, 5], [9], [2, 6, 5, 3, 5, 8, 9, 7, 9]].map((ids) =>
  Int32Array.from(ids),
);

type Sampling = Pick<SampleOptions, "temperature" | "topK" | "topP">;

/** Largest |sampler − trainer| log-probability of any token, nats. */
async function largestMismatch(
  engine: LocalEngine,
  sampling: Sampling,
  { maxTokens = 12, group = 3, stop = [0] as readonly number[] } = {},
): Promise<{ mismatch: number; completions: Completion[] }> {
  const random = (prompt: number, sample: number) => randomStream(2, "agree", prompt, sample);
  const groups = await engine.sample(prompts, { ...sampling, group, maxTokens, stop, random });
  const completions = groups.flat();
  const sequences = groups.flatMap((list, index) =>
    list.map(({ tokens }) => ({
      tokens: Int32Array.from([...prompts[index]!, ...tokens]),
      promptLength: prompts[index]!.length,
    })),
  );
  const { temperature } = sampling;
  const trainer = await engine.logProbs(sequences, { policy: "current", temperature });
  const training = await engine.accumulate(
    sequences.map((one) => ({
      ...one,
      slope: new Float32Array(one.tokens.length - one.promptLength),
    })),
    { type: "linear", temperature },
  );
  let mismatch = 0;
  completions.forEach(({ logProbs }, index) => {
    expect(trainer[index]!.length).toBe(logProbs.length);
    logProbs.forEach((value, at) => {
      for (const rows of [trainer, training.logProbs]) {
        const difference = Math.abs(value - rows[index]![at]!);
        mismatch = Number.isNaN(difference) ? Infinity : Math.max(mismatch, difference);
      }
    });
  });
  return { mismatch, completions };
}

const cuts = [{}, { topK: 4 }, { topP: 0.7 }, { topK: 6, topP: 0.8 }];
const every: readonly Sampling[] = [0.3, 1, 1.7].flatMap((temperature) =>
  cuts.map((cut) => ({ temperature, ...cut })),
);

async function expectAgreement(engine: LocalEngine): Promise<void> {
  for (const sampling of every) {
    const { mismatch, completions } = await largestMismatch(engine, sampling);
    expect(mismatch, JSON.stringify(sampling)).toBeLessThan(1e-4);
    expect(completions.length).toBe(9);
  }
}

const lora = { rank: 3, alpha: 6, targets: ["q_proj", "v_proj", "o_proj", "down_proj"] } as const;

/** Base and adapters with values that matter. */
function adapted(): LocalEngine {
  const engine = new LocalEngine({ ...small, lora });
  const base = lively();
  for (const name of base.parameterNames) engine.parameter(name).set(base.parameter(name));
  for (const name of engine.parameterNames) {
    const values = engine.parameter(name);
    values.set(livelyValues(name, values.length));
  }
  return kept(engine);
}

describe("log-probabilities of the sampler are those of the trainer, for every sampling setting", () => {
  it.each(Object.entries(smallModels))("%s", async (_name, config) => {
    await expectAgreement(lively(config));
  });

  it.each([8, 40, 4096])("in micro-batches of about %s tokens", async (microBatchTokens) => {
    await expectAgreement(lively(small, { microBatchTokens }));
  });

  it("in calls of few rows at once", async () => {
    await expectAgreement(lively(small, { maxSampleRows: 2 }));
  });

  it("with adapters", async () => {
    await expectAgreement(adapted());
  });

  it("after optimiser steps", async () => {
    const engine = lively();
    const list = prompts.map((tokens) => ({
      tokens: Int32Array.from([...tokens, 4, 2, 0]),
      promptLength: tokens.length,
    }));
    for (let step = 0; step < 3; step++) {
      await engine.accumulate(list, {
        type: "cross-entropy",
        aggregation: { type: "token-sum" },
      });
      await engine.step(adam);
    }
    await expectAgreement(engine);
  });

  it("in completions of hundreds of tokens", async () => {
    const long: DecoderConfig = { ...small, contextLength: 520 };
    const engine = lively(long, { microBatchTokens: 900 });
    for (const sampling of every.filter((_, index) => index % 3 === 0)) {
      const { mismatch, completions } = await largestMismatch(engine, sampling, {
        maxTokens: 500,
        group: 2,
        stop: [],
      });
      expect(completions.every(({ tokens }) => tokens.length === 500)).toBe(true);
      expect(mismatch, JSON.stringify(sampling)).toBeLessThan(1e-4);
    }
  });
});
