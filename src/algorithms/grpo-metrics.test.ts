import { describe, expect, it } from "vitest";
import { goldenBatch } from "../../tests/golden-vector.ts";
import type { AccumulateResult, Example } from "../core/engine.ts";
import { generationMetrics, updateMetrics, type MeasuredGeneration } from "./grpo-metrics.ts";
import { grpoSettings } from "./grpo-settings.ts";
import type { Update } from "./grpo.ts";

const floats = (key: "logprobs" | "old" | "reference" | "sampler"): Float32Array[] =>
  goldenBatch[key].map((row) => Float32Array.from(row));

const pass = (rows: readonly Float32Array[], loss = 0): AccumulateResult => ({
  loss,
  logProbs: rows,
  entropy: rows.map((row) => row.map((_, index) => 1 + index)),
});

const settingsWith = (changes: object = {}) =>
  grpoSettings.parse({ steps: 1, maxTokens: 4, ...changes });

/** The golden vector as one generation batch of two prompts with two completions each. */
function measured(changes: Partial<MeasuredGeneration> = {}): MeasuredGeneration {
  const completions = goldenBatch.old.map((old, index) => ({
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
    penalties: [{}, {}, {}, {}],
    groups: [
      { advantages: [1, -1], withoutSpread: false },
      { advantages: [0.5, -0.5], withoutSpread: true },
    ],
    examples: completions.map(() => null),
    reference: floats("reference"),
    trainer: floats("old"),
    refilled: 0,
    weights: { correct: 2, style: 10 },
    settings: settingsWith(),
    ...changes,
  };
}

/** An optimiser step on the golden vector, accumulated in two batches. */
function updated(changes: Partial<Example> = {}): Update {
  const [old, reference, rows] = [floats("old"), floats("reference"), floats("logprobs")];
  const examples = rows.map((row, index): Example => ({
    tokens: new Int32Array(row.length + 1),
    promptLength: 1,
    advantage: goldenBatch.advantages[index]!,
    old: old[index]!,
    reference: reference[index]!,
    ...changes,
  }));
  const results = [pass(rows.slice(0, 3), 0.5), pass(rows.slice(3), 0.2)];
  return { examples, results, isSkipped: false };
}

const metricsOf = (update: Update, loss: object = {}) =>
  updateMetrics(update, settingsWith({ loss }).loss);

describe("updateMetrics", () => {
  it("gives the clip shares of TRL for the golden vector", () => {
    const metrics = metricsOf(updated());
    expect(metrics["clip/low"]).toBeCloseTo(0.1, 12);
    expect(metrics["clip/high"]).toBeCloseTo(0.1, 12);
    const wide = metricsOf(updated(), { surrogate: { type: "clip", low: 0.9, high: 0.9 } });
    expect(wide).toMatchObject({ "clip/low": 0, "clip/high": 0 });
    // TRL's delta hides the high ones.
    const capped = metricsOf(updated(), { surrogate: { type: "clip", cap: 1.1 } });
    expect(capped["clip/low"]).toBeCloseTo(0.1, 12);
    expect(capped["clip/high"]).toBe(0);
    const none = metricsOf(updated(), { surrogate: { type: "unclipped" } });
    expect(Object.keys(none).filter((name) => name.startsWith("clip/"))).toEqual([]);
    const { examples, results } = updated();
    const first = examples.map(({ old: _old, ...rest }) => rest);
    expect(metricsOf({ examples: first, results, isSkipped: false })).toMatchObject({
      "clip/low": 0,
      "clip/high": 0,
      "ratio/min": 1,
      "ratio/max": 1,
    });
  });

  it("gives the KL of the golden vector, of the policy that is trained", () => {
    expect(metricsOf(updated())["kl"]).toBeCloseTo(0.034854081, 7);
    const { examples, results } = updated();
    const without = examples.map(({ reference: _reference, ...rest }) => rest);
    const metrics = metricsOf({ examples: without, results, isSkipped: false });
    expect("kl" in metrics).toBe(false);
  });

  it("sums the loss over batches and counts loss tokens alone", () => {
    const metrics = metricsOf(updated());
    expect(metrics["loss"]).toBeCloseTo(0.7, 12);
    // Tokens 1, 2, 3 of a sequence have entropy 1, 2, 3, …
    expect(metrics["entropy"]).toBeCloseTo((1 + 2 + 3 + 1 + 2 + 1 + 2 + 3 + 4 + 1) / 10, 12);
    const { examples, results } = updated();
    const masked = examples.map((example, index) =>
      index === 2 ? { ...example, mask: Float32Array.of(1, 0, 0, 0) } : example,
    );
    const rest = metricsOf({ examples: masked, results, isSkipped: false });
    expect(rest["entropy"]).toBeCloseTo((1 + 2 + 3 + 1 + 2 + 1 + 1) / 7, 12);
    expect(rest["clip/low"]).toBeCloseTo(1 / 7, 12);
  });

  it("says when a step was left out", () => {
    expect(metricsOf({ ...updated(), results: [], isSkipped: true })).toEqual({
      loss: 0,
      "update/skipped": 1,
    });
  });
});

describe("generationMetrics", () => {
  it("tells rewards from scores, and leaves out what abstains", () => {
    const metrics = generationMetrics(measured());
    expect(metrics).toMatchObject({
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
    const metrics = generationMetrics({
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
    const metrics = generationMetrics(measured());
    expect(metrics).toMatchObject({
      "completion/length": 2.5,
      "completion/maxLength": 4,
      "completion/truncated": 0.25,
      "groups/withoutSpread": 0.5,
      "samples/dropped": 0,
    });
    expect(metrics["mismatch/max"]).toBeCloseTo(0.04, 6);
    expect(metrics["mismatch/mean"]).toBeCloseTo((3 * 0.01 + 2 * 0.02 + 4 * 0.03 + 0.04) / 10, 6);
  });

  it("compares sampler and trainer where both speak of the same distribution and are known", () => {
    const [, ...known] = floats("old");
    const some = generationMetrics(measured({ trainer: [undefined, ...known] }));
    expect(some["mismatch/mean"]).toBeCloseTo((2 * 0.02 + 4 * 0.03 + 0.04) / 7, 6);
    const none = [
      measured({ trainer: known.map(() => undefined) }),
      measured({ settings: settingsWith({ logits: "plain", temperature: 0.9 }) }),
    ];
    for (const one of none) {
      const names = Object.keys(generationMetrics(one));
      expect(names.filter((name) => name.startsWith("mismatch/"))).toEqual([]);
    }
  });

  it("means penalties over completions, and tells refilled groups", () => {
    const penalties = [
      { kl: 0.1, overlong: 0 },
      { kl: 0.3, overlong: 0 },
      { kl: 0, overlong: 1 },
      { kl: 0, overlong: 0 },
    ];
    const settings = settingsWith({ withoutSpread: { type: "refill" } });
    const metrics = generationMetrics(measured({ penalties, settings, refilled: 3 }));
    expect(metrics["penalty/kl"]).toBeCloseTo(0.1, 12);
    expect(metrics["penalty/overlong"]).toBe(0.25);
    expect(metrics["groups/refilled"]).toBe(3);
    const plain = Object.keys(generationMetrics(measured()));
    expect(plain.filter((name) => /penalty|refilled/.test(name))).toEqual([]);
  });
});
