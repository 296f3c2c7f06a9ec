import { describe, expect, it } from "vitest";
import { goldenSequences } from "../../tests/golden-vector.ts";
import type { AccumulateResult } from "../core/engine.ts";
import { grpoMetrics } from "./grpo-metrics.ts";
import { grpoSettings, type MeasuredStep } from "./grpo.ts";

const pass = (rows: readonly (readonly number[])[], loss = 0): AccumulateResult => ({
  loss,
  logProbs: rows.map((row) => Float32Array.from(row)),
  entropy: rows.map((row) => Float32Array.from(row, (_, index) => 1 + index)),
});

const pick = (key: "logProbs" | "old" | "reference") => goldenSequences.map((one) => one[key]);

/** The golden vector as one rollout of two prompts with two completions each. */
function measured(changes: Partial<MeasuredStep> = {}): MeasuredStep {
  const completions = goldenSequences.map(({ old }, index) => ({
    tokens: new Int32Array(old.length),
    logProbs: Float32Array.from(old, (value) => value + 0.01 * (index + 1)),
    stopReason: index === 2 ? ("length" as const) : ("stop" as const),
    text: "",
    scores: { correct: index % 2, style: index === 0 ? null : 0.5, other: 3 },
    failures: {},
  }));
  const group = (from: number) => ({
    item: {},
    messages: [],
    promptTokens: new Int32Array(1),
    completions: completions.slice(from, from + 2),
  });
  return {
    rollouts: [group(0), group(2)],
    dropped: [
      [false, false],
      [false, false],
    ],
    rewards: [
      [1, 0],
      [0.5, null],
    ],
    groups: [
      { advantages: [1, -1], withoutSpread: false },
      { advantages: [0.5, -0.5], withoutSpread: true },
    ],
    reference: pick("reference").map((row) => Float32Array.from(row)),
    passes: [pass(pick("old"), 0.7), pass(pick("logProbs"), 0.3)],
    weights: { correct: 2, style: 10 },
    settings: grpoSettings.parse({ steps: 1, maxTokens: 4, iterations: 2 }),
    ...changes,
  };
}

describe("grpoMetrics", () => {
  it("gives the clip shares of TRL for the golden vector", () => {
    const metrics = grpoMetrics(measured());
    expect(metrics["clip/low"]).toBeCloseTo(0.1, 12);
    expect(metrics["clip/high"]).toBeCloseTo(0.1, 12);
    const wide = grpoSettings.parse({ steps: 1, maxTokens: 4, clip: { low: 0.9, high: 0.9 } });
    expect(grpoMetrics(measured({ settings: wide }))).toMatchObject({
      "clip/low": 0,
      "clip/high": 0,
    });
    const none = grpoSettings.parse({ steps: 1, maxTokens: 4, clip: null });
    expect(grpoMetrics(measured({ settings: none }))).toMatchObject({
      "clip/low": 0,
      "clip/high": 0,
    });
    const once = measured({ passes: [pass(pick("old"))] });
    expect(grpoMetrics(once)).toMatchObject({ "clip/low": 0, "clip/high": 0 });
  });

  it("gives the KL of the golden vector, of the policy that sampled", () => {
    const metrics = grpoMetrics(measured({ passes: [pass(pick("logProbs"))] }));
    expect(metrics["kl"]).toBeCloseTo(0.034854081, 7);
    expect("kl" in grpoMetrics(measured({ reference: undefined }))).toBe(false);
  });

  it("tells rewards from scores, and leaves out what abstains", () => {
    const metrics = grpoMetrics(measured());
    expect(metrics).toMatchObject({
      loss: 0.7,
      "reward/mean": 0.5,
      "score/correct": 0.5,
      "score/style": 0.5,
      "score/other": 3,
      "reward/correct": 1,
      "reward/style": 5,
    });
    expect(metrics["reward/std"]).toBeCloseTo(0.5, 12);
    expect("reward/other" in metrics).toBe(false);
  });

  it("counts what became of each score, and keeps dropped samples out of rewards", () => {
    const plain = measured();
    const [first, second] = plain.rollouts;
    const [failed, kept] = second!.completions;
    const failure = { kind: "timeout", error: new Error("too late") } as const;
    const { style: _style, ...rest } = failed!.scores;
    const late = { ...failed!, scores: rest, failures: { style: failure } };
    const metrics = grpoMetrics({
      ...plain,
      rollouts: [first!, { ...second!, completions: [late, kept!] }],
      dropped: [
        [false, false],
        [true, false],
      ],
    });
    const counters = Object.entries(metrics).filter(([name]) => name.startsWith("scorer/"));
    // `correct` and `other` were stated everywhere: nothing to count.
    expect(Object.fromEntries(counters)).toEqual({
      "scorer/style/ok": 2,
      "scorer/style/null": 1,
      "scorer/style/timeout": 1,
    });
    expect(metrics).toMatchObject({ "samples/dropped": 1, "score/correct": 0.5 });
    expect(metrics["reward/correct"]).toBeCloseTo((2 * 2) / 3, 12); // 0, 1 and 1 remain
    expect(metrics["reward/style"]).toBe(5);
  });

  it("describes the completions", () => {
    const metrics = grpoMetrics(measured());
    expect(metrics).toMatchObject({
      "completion/length": 2.5,
      "completion/maxLength": 4,
      "completion/truncated": 0.25,
      "groups/withoutSpread": 0.5,
      "samples/dropped": 0,
    });
    // Tokens 1, 2, 3 of a sequence have entropy 1, 2, 3, …
    expect(metrics["entropy"]).toBeCloseTo((1 + 2 + 3 + 1 + 2 + 1 + 2 + 3 + 4 + 1) / 10, 12);
    expect(metrics["mismatch/max"]).toBeCloseTo(0.04, 6);
    expect(metrics["mismatch/mean"]).toBeCloseTo((3 * 0.01 + 2 * 0.02 + 4 * 0.03 + 0.04) / 10, 6);
  });
});
