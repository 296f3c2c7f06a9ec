import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Example } from "../core/engine.ts";
import { DataError } from "../core/errors.ts";
import { histogram } from "../core/histogram.ts";
import { batchesOf, readBuffer, writeBuffer, type TrainingBuffer } from "./training-buffer.ts";

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-buffer-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const total = (list: readonly number[]): number => list.reduce((sum, value) => sum + value, 0);

describe("batchesOf", () => {
  const anyExamples = fc
    .array(
      fc.record({
        length: fc.integer({ min: 0, max: 6 }),
        masked: fc.option(fc.integer({ min: 0, max: 6 })),
      }),
      { maxLength: 23 },
    )
    .map((list) =>
      list.map(({ length, masked }, index): Example => ({
        tokens: Int32Array.from({ length: 1 + length }, () => index),
        promptLength: 1,
        ...(masked !== null && {
          mask: Float32Array.from({ length }, (_, time) => Number(time >= masked)),
        }),
      })),
    );
  const lossTokens = ({ mask, tokens, promptLength }: Example): number =>
    mask === undefined ? tokens.length - promptLength : total(Array.from(mask));

  it("gives every example once a pass, in order, in batches of nearly equal size", () => {
    const parts = fc.integer({ min: 1, max: 5 });
    fc.assert(
      fc.property(anyExamples, parts, parts, (examples, minibatches, accumulation) => {
        const layout = { minibatches, accumulation, maxTokens: 7 };
        const steps = Array.from({ length: minibatches }, (_, step) =>
          batchesOf(examples, layout, step),
        );
        expect(steps.flatMap(({ batches }) => batches.flat())).toEqual(examples);
        const sizes = steps.flatMap(({ batches }) => batches.map((batch) => batch.length));
        const even = examples.length / (minibatches * accumulation);
        for (const size of sizes) expect(Math.abs(size - even)).toBeLessThan(1);
        expect(sizes.every((size) => size > 0)).toBe(true);
        for (const { batches, window } of steps) {
          const all = batches.flat();
          expect(window).toEqual({
            batches: batches.length,
            sequences: all.length,
            filled: all.filter((example) => lossTokens(example) > 0).length,
            step: {
              loss: total(all.map(lossTokens)),
              completion: total(all.map(({ tokens }) => tokens.length - 1)),
            },
            generation: {
              loss: total(examples.map(lossTokens)),
              completion: total(examples.map(({ tokens }) => tokens.length - 1)),
            },
            share: 1 / minibatches,
            maxTokens: 7,
          });
        }
      }),
    );
  });
});

describe("a buffer in a checkpoint", () => {
  const anyFloat = fc.float({ noDefaultInfinity: true }).map((value) => (value === 0 ? 0 : value));
  const anyRow = (length: number) =>
    fc
      .array(anyFloat, { minLength: length, maxLength: length })
      .map((row) => Float32Array.from(row));
  const anyExample = fc.integer({ min: 0, max: 5 }).chain((length) =>
    fc.record(
      {
        tokens: fc
          .array(fc.nat(1e6), { minLength: length + 2, maxLength: length + 2 })
          .map((list) => Int32Array.from(list)),
        promptLength: fc.constant(2),
        advantage: fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => x + 0),
        mask: anyRow(length),
        old: anyRow(length),
        reference: anyRow(length),
        sampler: anyRow(length),
      },
      { requiredKeys: ["tokens", "promptLength", "advantage"] },
    ),
  );
  const anyResult = fc.record({
    loss: fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => x + 0),
    logProbs: fc.array(anyRow(3), { maxLength: 3 }),
    entropy: fc.array(anyRow(2), { maxLength: 3 }),
  });
  const anyPending = fc.option(
    fc.record({
      metrics: fc.dictionary(
        fc.stringMatching(/^[a-z/]+$/),
        fc.double({ noDefaultInfinity: true }).map((x) => x + 0),
      ),
      histograms: fc.constant({ "completion/length": histogram([1, 2, 2], [0, 2, 4])! }),
    }),
    { nil: undefined },
  );

  it("comes back bit by bit, NaN included", () => {
    fc.assert(
      fc.property(
        fc.array(anyExample, { maxLength: 4 }),
        fc.array(anyResult, { maxLength: 2 }),
        anyPending,
        (examples, results, pending) => {
          const buffer = { examples, results, pending } as TrainingBuffer;
          writeBuffer(root, buffer);
          expect(readBuffer(root)).toEqual(buffer);
        },
      ),
      { numRuns: 60 },
    );
  });

  it.each([
    ["no JSON", "{"],
    ["no examples", "{}"],
    ["tokens that are no numbers", '{"examples": [{"tokens": ["a"]}], "results": []}'],
    ["results of another form", '{"examples": [], "results": [{"loss": "high"}]}'],
  ])("with %s is a DataError that names the file", (_name, text) => {
    writeFileSync(join(root, "buffer.json"), text);
    expect(() => readBuffer(root)).toThrow(DataError);
    expect(() => readBuffer(root)).toThrow(
      `${join(root, "buffer.json")}: expected the samples that the run was training on, got `,
    );
  });

  it("that is not there is one too", () => {
    rmSync(join(root, "buffer.json"));
    expect(() => readBuffer(root)).toThrow(DataError);
  });
});
