// The examples of a generation batch while they are trained on: dealt out to optimiser steps and to the batches that each of
// them accumulates. A checkpoint in the middle of it takes the buffer along.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { AccumulateResult, Example, LossWindow } from "../core/engine.ts";
import { DataError } from "../core/errors.ts";
import type { Histogram } from "../core/histogram.ts";
import { masksOf } from "../losses/weights.ts";
import type { GrpoSettings } from "./grpo-settings.ts";

type Layout = Pick<GrpoSettings, "minibatches" | "accumulation" | "maxTokens">;

/** Lists of nearly equal length, in order. */
function dealt<T>(list: readonly T[], parts: number): T[][] {
  const cut = (part: number): number => Math.round((part * list.length) / parts);
  return Array.from({ length: parts }, (_, part) => list.slice(cut(part), cut(part + 1)));
}

/** The batches that are accumulated for an optimiser step, counted from 0 within a pass, and their window. */
export function batchesOf(
  examples: readonly Example[],
  { minibatches, accumulation, maxTokens }: Layout,
  step: number,
): { readonly batches: readonly Example[][]; readonly window: LossWindow } {
  const all = dealt(examples, minibatches * accumulation);
  const batches = all
    .slice(step * accumulation, (step + 1) * accumulation)
    .filter((batch) => batch.length > 0);
  const masks = masksOf(batches.flat());
  const tokens = (list: readonly Float32Array[]) => ({
    loss: list.reduce((sum, mask) => sum + mask.reduce((total, value) => total + value, 0), 0),
    completion: list.reduce((sum, mask) => sum + mask.length, 0),
  });
  const window = {
    batches: batches.length,
    sequences: masks.length,
    filled: masks.filter((mask) => mask.some((value) => value > 0)).length,
    step: tokens(masks),
    generation: tokens(masksOf(examples)),
    share: 1 / minibatches,
    maxTokens,
  };
  return { batches, window };
}

const file = "buffer.json";
const perToken = ["mask", "old", "reference", "sampler"] as const;

/** What the record of the first step will say about the generation batch. */
export interface Pending {
  readonly metrics: Readonly<Record<string, number>>;
  readonly histograms: Readonly<Record<string, Histogram>>;
}

/** What is in hand between two steps, or between two batches of one. */
export interface TrainingBuffer {
  readonly examples: readonly Example[];
  /** Of the batches of the present step that are accumulated already. */
  readonly results: readonly AccumulateResult[];
  readonly pending: Pending | undefined;
}

const numbers = z.array(z.number().nullable());
const storedBuffer = z.object({
  examples: z.array(
    z.object({
      tokens: z.array(z.int()),
      promptLength: z.int(),
      advantage: z.number(),
      mask: numbers.optional(),
      old: numbers.optional(),
      reference: numbers.optional(),
      sampler: numbers.optional(),
    }),
  ),
  results: z.array(
    z.object({ loss: z.number(), logProbs: z.array(numbers), entropy: z.array(numbers) }),
  ),
  pending: z
    .object({
      metrics: z.record(z.string(), z.number().nullable()),
      histograms: z.record(
        z.string(),
        z.custom<Histogram>((value) => typeof value === "object"),
      ),
    })
    .optional(),
});

// JSON has no NaN: it is written as null and read back.
const floats = (values: readonly (number | null)[]): Float32Array =>
  Float32Array.from(values, (value) => value ?? Number.NaN);

/** Writes the buffer into the folder of a checkpoint; every number comes back as it was, but for the sign of a zero. */
export function writeBuffer(directory: string, { examples, results, pending }: TrainingBuffer) {
  const plain = {
    examples: examples.map(({ tokens, promptLength, advantage, ...rest }) => ({
      tokens: Array.from(tokens),
      promptLength,
      advantage,
      ...Object.fromEntries(
        perToken.flatMap((name) => {
          const values = rest[name];
          return values === undefined ? [] : [[name, Array.from(values)]];
        }),
      ),
    })),
    results: results.map(({ loss, logProbs, entropy }) => ({
      loss,
      logProbs: logProbs.map((row) => Array.from(row)),
      entropy: entropy.map((row) => Array.from(row)),
    })),
    pending,
  };
  writeFileSync(join(directory, file), JSON.stringify(plain));
}

/** Throws a DataError when the file is missing or is not what `writeBuffer` wrote. */
export function readBuffer(directory: string): TrainingBuffer & { results: AccumulateResult[] } {
  const path = join(directory, file);
  try {
    const stored = storedBuffer.parse(JSON.parse(readFileSync(path, "utf8")));
    const examples = stored.examples.map(({ tokens, promptLength, advantage, ...rest }) => ({
      tokens: Int32Array.from(tokens),
      promptLength,
      advantage,
      ...Object.fromEntries(
        perToken.flatMap((name) => {
          const values = rest[name];
          return values === undefined ? [] : [[name, floats(values)]];
        }),
      ),
    }));
    const results = stored.results.map(({ loss, logProbs, entropy }) => ({
      loss,
      logProbs: logProbs.map(floats),
      entropy: entropy.map(floats),
    }));
    const { pending } = stored;
    if (pending === undefined) return { examples, results, pending };
    const metrics = Object.entries(pending.metrics).map(
      ([name, value]) => [name, value ?? Number.NaN] as const,
    );
    return {
      examples,
      results,
      pending: { ...pending, metrics: Object.fromEntries(metrics) },
    };
  } catch (cause) {
    throw new DataError({
      where: path,
      expected: "the samples that the run was training on",
      got: (cause as Error).message,
      cause,
    });
  }
}
