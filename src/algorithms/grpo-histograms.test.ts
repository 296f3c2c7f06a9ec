import { describe, expect, it } from "vitest";
import { goldenSequences } from "../../tests/golden-vector.ts";
import { mean } from "../core/statistics.ts";
import { grpoHistograms } from "./grpo-histograms.ts";
import { grpoMetrics } from "./grpo-metrics.ts";
import { grpoSettings, type MeasuredStep } from "./grpo.ts";

const floats = (key: "logProbs" | "old" | "reference") =>
  goldenSequences.map((one) => Float32Array.from(one[key]));

function measured(maxTokens = 4, reference: MeasuredStep["reference"] = floats("reference")) {
  const completions = goldenSequences.map(({ old }) => ({
    tokens: new Int32Array(old.length),
    logProbs: Float32Array.from(old),
    stopReason: "stop" as const,
    text: "",
    scored: { scores: {} },
  }));
  return {
    rollouts: [{ item: {}, messages: [], promptTokens: new Int32Array(1), completions }],
    rewards: [[1, 0, 0, 0]],
    groups: [{ advantages: [1, 0, 0, 0], withoutSpread: false }],
    reference,
    passes: [
      {
        loss: 0,
        logProbs: floats("logProbs"),
        entropy: floats("old").map((row) => row.map(Math.abs)),
      },
    ],
    weights: {},
    settings: grpoSettings.parse({ steps: 1, maxTokens }),
  } satisfies MeasuredStep;
}

describe("grpoHistograms", () => {
  it("have the means of the metrics", () => {
    const metrics = grpoMetrics(measured());
    const { kl, entropy, "completion/length": length } = grpoHistograms(measured());
    expect(kl!.sum / kl!.count).toBeCloseTo(metrics["kl"]!, 12);
    expect(entropy!.sum / entropy!.count).toBeCloseTo(metrics["entropy"]!, 12);
    expect(length!.sum / length!.count).toBe(metrics["completion/length"]);
    expect([kl!.count, entropy!.count, length!.count]).toEqual([10, 10, 4]);
  });

  it("put the KL of the golden vector where it belongs", () => {
    const { kl } = grpoHistograms(measured());
    const values = goldenSequences.flatMap(({ logProbs, reference }) =>
      logProbs.map((one, time) => Math.exp(reference[time]! - one) - (reference[time]! - one) - 1),
    );
    expect(kl!.sum / kl!.count).toBeCloseTo(mean(values), 7);
    const bin = kl!.edges.indexOf(0.03);
    expect(kl!.edges[bin + 1]).toBe(0.1);
    expect(kl!.counts[bin]).toBe(values.filter((value) => value >= 0.03 && value < 0.1).length);
  });

  it("have lengths in whole tokens, in few bins whatever the limit", () => {
    for (const limit of [1, 4, 15, 16, 100, 4096]) {
      const { edges } = grpoHistograms(measured(limit))["completion/length"]!;
      expect(edges.length).toBeLessThanOrEqual(17);
      expect(edges.every(Number.isInteger)).toBe(true);
      expect(edges.at(-1)!).toBeGreaterThan(limit);
    }
    expect(grpoHistograms(measured(4))["completion/length"]!.counts).toEqual([0, 1, 1, 1, 1]);
  });

  it("have no KL without a reference", () => {
    const { reference: _reference, ...rest } = measured();
    expect(Object.keys(grpoHistograms({ ...rest, reference: undefined }))).toEqual([
      "entropy",
      "completion/length",
    ]);
  });
});
