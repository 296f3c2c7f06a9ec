import { describe, expect, it } from "vitest";
import { goldenBatch } from "../../tests/golden-vector.ts";
import type { Example } from "../core/engine.ts";
import { mean } from "../core/statistics.ts";
import { generationHistograms, updateHistograms } from "./grpo-histograms.ts";
import { updateMetrics } from "./grpo-metrics.ts";
import { grpoSettings } from "./grpo-settings.ts";
import type { Update } from "./grpo.ts";

const floats = (key: "logprobs" | "old" | "reference") =>
  goldenBatch[key].map((row) => Float32Array.from(row));

const rollouts = [
  {
    item: {},
    messages: [],
    promptTokens: new Int32Array(1),
    completions: goldenBatch.old.map((old) => ({
      tokens: new Int32Array(old.length),
      logProbs: Float32Array.from(old),
      stopReason: "stop" as const,
      text: "",
      scores: {},
      failures: {},
    })),
  },
];

/** An optimiser step on the golden vector, accumulated in two batches. */
function updated(changes: (example: Example) => Example = (example) => example): Update {
  const [rows, reference] = [floats("logprobs"), floats("reference")];
  const entropy = floats("old").map((row) => row.map(Math.abs));
  const examples = rows.map((row, index) =>
    changes({
      tokens: new Int32Array(row.length + 1),
      promptLength: 1,
      advantage: 1,
      reference: reference[index]!,
    }),
  );
  const results = [0, 2].map((from) => ({
    loss: 0,
    logProbs: rows.slice(from, from + 2),
    entropy: entropy.slice(from, from + 2),
  }));
  return { examples, results, isSkipped: false };
}

const spec = grpoSettings.parse({ steps: 1, maxTokens: 4 }).loss;
const means = (update: Update) =>
  Object.fromEntries(
    Object.entries(updateHistograms(update)).map(([name, { sum, count }]) => [name, sum / count]),
  );

describe("updateHistograms", () => {
  it("have the means of the metrics, of loss tokens alone", () => {
    const masked = (example: Example): Example => ({
      ...example,
      mask: new Float32Array(example.tokens.length - 1).map((_, time) => Number(time < 2)),
    });
    for (const [update, count] of [
      [updated(), 10],
      [updated(masked), 7],
    ] as const) {
      const metrics = updateMetrics(update, spec);
      expect(means(update)["kl"]).toBeCloseTo(metrics["kl"]!, 12);
      expect(means(update)["entropy"]).toBeCloseTo(metrics["entropy"]!, 12);
      const { kl, entropy } = updateHistograms(update);
      expect([kl!.count, entropy!.count]).toEqual([count, count]);
    }
  });

  it("put the KL of the golden vector where it belongs", () => {
    const { kl } = updateHistograms(updated());
    const values = goldenBatch.logprobs.flatMap((row, sequence) =>
      row.map((one, time) => {
        const difference = goldenBatch.reference[sequence]![time]! - one;
        return Math.exp(difference) - difference - 1;
      }),
    );
    expect(kl!.sum / kl!.count).toBeCloseTo(mean(values), 7);
    const bin = kl!.edges.indexOf(0.03);
    expect(kl!.edges[bin + 1]).toBe(0.1);
    expect(kl!.counts[bin]).toBe(values.filter((value) => value >= 0.03 && value < 0.1).length);
  });

  it("have no KL without a reference, and nothing at all of a step that was left out", () => {
    const without = updated(({ reference: _reference, ...rest }) => rest);
    expect(Object.keys(updateHistograms(without))).toEqual(["entropy"]);
    expect(updateHistograms({ ...updated(), results: [] })).toEqual({});
  });
});

describe("generationHistograms", () => {
  const lengths = (maxTokens: number) =>
    generationHistograms({ rollouts }, { maxTokens })["completion/length"]!;

  it("have lengths in whole tokens, in few bins whatever the limit", () => {
    for (const limit of [1, 4, 15, 16, 100, 4096]) {
      const { edges } = lengths(limit);
      expect(edges.length).toBeLessThanOrEqual(17);
      expect(edges.every(Number.isInteger)).toBe(true);
      expect(edges.at(-1)!).toBeGreaterThan(limit);
    }
    expect(lengths(4)).toMatchObject({ counts: [0, 1, 1, 1, 1], count: 4, sum: 10 });
  });
});
