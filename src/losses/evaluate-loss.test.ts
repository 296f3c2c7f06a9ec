import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { goldenBatch } from "../../tests/golden-vector.ts";
import { ConfigError, EngineError } from "../core/errors.ts";
import { randomStream } from "../core/random.ts";
import { evaluateLoss, profileNames, type LossBatch, type LossChoice } from "./index.ts";

const { sampler: _sampler, ...withoutSampler } = goldenBatch;
const sizeOf = (gradient: readonly (readonly number[])[]): number =>
  gradient.flat().reduce((total, value) => total + Math.abs(value), 0);

const grpo = { profile: "trl-1.13", aggregation: { type: "sequence-mean" } } as const;
const bnpo = { profile: "trl-0.18", kl: { weight: 0 } } as const;
const drGrpo = { profile: "trl-1.13", aggregation: { type: "fixed-length" } } as const;
const first = [0, -0.074082, -0.1];

type Row = readonly [
  name: string,
  choice: LossChoice,
  loss: number,
  slopes: number,
  first?: readonly number[] | undefined,
  more?: Partial<LossBatch>,
];

const rows: readonly Row[] = [
  ["TRL grpo", grpo, 0.104441564, 0.645203455, [0, -0.061735, -0.083333]],
  ["TRL bnpo", bnpo, -0.197160295, 0.592004183, first],
  ["TRL dapo", "trl-1.13", -0.197160295, 0.592004183, first],
  ["TRL dapo of 0.22", "trl-0.22", -0.197160295, 0.592004183, first],
  ["verl token-mean", "verl", -0.197160295, 0.592004183, first],
  ["TRL dr_grpo", drGrpo, -0.123225184, 0.370002614, [0, -0.046301, -0.0625]],
  [
    "verl seq-mean-token-sum-norm",
    { profile: "verl", aggregation: { type: "fixed-length", length: 4, empty: "skip" } },
    -0.123225184,
    0.370002614,
    [0, -0.046301, -0.0625],
  ],
  [
    "dapo, eps_high 0.28",
    { profile: "trl-1.13", surrogate: { type: "clip", high: 0.28 } },
    -0.205160295,
    0.592004183,
    first,
  ],
  [
    "grpo, GA 2",
    grpo,
    0.052220782,
    0.322601728,
    [0, -0.030867, -0.041667],
    { window: { accumulation: 2 } },
  ],
  [
    "cispo, eps_high unset (0.2)",
    { profile: "trl-1.13", surrogate: { type: "cispo", high: 0.2 } },
    0.017,
    0.15,
    [-0.02, -0.02, -0.02],
  ],
  [
    "grpo, beta 0.04, plain KL",
    { profile: "trl-1.9", aggregation: { type: "sequence-mean" }, kl: { weight: 0.04 } },
    0.106669924,
    0.653938408,
    [0.001099, -0.062901, -0.083016],
  ],
  [
    "dapo + token_truncate 3.0",
    { profile: "trl-1.13", sampler: { level: "token", outside: "truncate" } },
    -0.260766568,
    0.707886268,
    undefined,
    goldenBatch,
  ],
  [
    "dapo + sequence_truncate 3.0",
    { profile: "trl-1.13", sampler: { outside: "truncate" } },
    -0.557299294,
    1.025453178,
    undefined,
    goldenBatch,
  ],
  [
    "verl seq-mean-token-sum",
    { profile: "verl", aggregation: { type: "sequence-sum", empty: "skip" } },
    -0.492900736,
    1.480010458,
  ],
  [
    "verl token-sum",
    { profile: "verl", aggregation: { type: "token-sum" } },
    -1.971602946,
    5.920041832,
  ],
];

describe("the golden vector", () => {
  it.each(rows.map((one) => ({ name: one[0], one })))("$name", ({ one }) => {
    const [, choice, loss, slopes, start, more = {}] = one;
    const result = evaluateLoss({ ...withoutSampler, ...more }, choice);
    // The published digits: nine of the loss, six of a slope.
    expect(Math.abs(result.loss - loss)).toBeLessThan(1e-9);
    expect(Math.abs(sizeOf(result.gradient) - slopes)).toBeLessThan(1e-8);
    start?.forEach((slope, index) =>
      expect(Math.abs(result.gradient[0]![index]! - slope)).toBeLessThan(1e-6),
    );
  });

  it("has the clip shares, the KL and the sampler ratios of TRL", () => {
    const { metrics } = evaluateLoss(withoutSampler, grpo);
    expect(metrics["clip/low"]).toBeCloseTo(0.1, 12);
    expect(metrics["clip/high"]).toBeCloseTo(0.1, 12);
    expect(metrics["kl"]).toBeCloseTo(0.034854081, 9);
    expect(metrics["ratio/min"]).toBeCloseTo(Math.exp(-0.3), 12);
    expect(metrics["ratio/max"]).toBeCloseTo(Math.exp(0.5), 12);
    const surrogate = { type: "clip", cap: 1.1 } as const;
    const capped = evaluateLoss(withoutSampler, { ...grpo, surrogate }).metrics;
    expect(capped["clip/high"]).toBe(0); // TRL counts after the cap
    expect(capped["ratio/max"]).toBeCloseTo(Math.exp(0.5), 12); // before anything limits it
    const corrected = evaluateLoss(goldenBatch, "trl-1.13").metrics;
    expect(corrected["sampler/ratio/max"]).toBeCloseTo(3.669297, 6);
    expect(corrected["sampler/outside"]).toBe(0.25);
  });

  it("does not mind padding", () => {
    const padded = (list: readonly (readonly number[])[]): number[][] =>
      list.map((row) => [...row, ...new Array<number>(4 - row.length).fill(0)]);
    const mask = padded(withoutSampler.logprobs.map((row) => row.map(() => 1)));
    const { logprobs, old, reference, advantages } = withoutSampler;
    const result = evaluateLoss(
      {
        logprobs: padded(logprobs),
        old: padded(old),
        reference: padded(reference),
        advantages,
        mask,
      },
      grpo,
    );
    expect(result.loss).toBeCloseTo(0.104441564, 9);
    expect(result.gradient[3]!.slice(1)).toEqual([0, 0, 0]);
  });
});

const random = randomStream(1, "evaluate loss");
const row = (length: number, scale: number, center: number): number[] =>
  Array.from({ length }, () => center + scale * random.normal());

/** A batch whose ratios are spread around 1 and away from the corners of every clip below. */
function anyBatch(): Required<Omit<LossBatch, "window">> {
  const lengths = [5, 3, 7, 1, 4];
  const logprobs = lengths.map((length) => row(length, 0.5, -1.5));
  const near = (scale: number): number[][] =>
    logprobs.map((values) => values.map((value) => value + scale * random.normal()));
  return {
    logprobs,
    old: near(0.3),
    reference: near(0.4),
    sampler: near(0.2),
    advantages: [1.2, -0.7, 0.3, -1.5, 0],
    mask: lengths.map((length) =>
      Array.from({ length }, (_, at) => Number(at !== 1 || length < 4)),
    ),
    entropy: lengths.map((length) => row(length, 0.1, 1)),
  };
}

/** Losses without a part that is held fixed: their gradient is their slope. */
const smooth: readonly LossChoice[] = [
  { surrogate: { type: "unclipped" }, aggregation: { type: "sequence-mean" } },
  { surrogate: { type: "clip", cap: 1.4, dual: 1.7 }, logRatio: { min: -20, max: 20 } },
  { ratio: "sequence", surrogate: { type: "clip", low: 0.02, high: 0.03 } },
  { surrogate: { type: "sapo" }, aggregation: { type: "sequence-sum" } },
  { ratio: "sequence", surrogate: { type: "sapo", positive: 2 } },
  ...(["k1", "k2", "k3"] as const).flatMap((estimator) =>
    [false, true].map(
      (timesRatio) =>
        ({
          surrogate: { type: "unclipped" },
          kl: {
            type: "loss",
            weight: 0.3,
            estimator,
            timesRatio,
            clampDifference: 2,
            clampValue: 9,
          },
        }) as const,
    ),
  ),
  { sampler: { type: "denominator" }, aggregation: { type: "fixed-length", length: 9 } },
  {
    entropy: { weight: 0.2, mean: "as-loss" },
    aggregation: { type: "micro-batch-token-mean", sequences: 2 },
  },
  { type: "cross-entropy" },
  { type: "cross-entropy", aggregation: { type: "sequence-mean" } },
];

describe("the gradient", () => {
  it.each(smooth.map((choice) => [JSON.stringify(choice), choice] as const))(
    "is the slope of the loss: %s",
    (_title, choice) => {
      const batch = anyBatch();
      const { gradient, entropyGradient } = evaluateLoss(batch, choice);
      const slopeAt = (name: "logprobs" | "entropy", sequence: number, time: number): number => {
        const at = (distance: number): number => {
          const moved = batch[name].map((values) => Array.from(values));
          moved[sequence]![time]! += distance;
          return evaluateLoss({ ...batch, [name]: moved }, choice).loss;
        };
        return (at(1e-5) - at(-1e-5)) / 2e-5;
      };
      for (const [sequence, time] of [
        [0, 0],
        [0, 1],
        [1, 2],
        [2, 6],
        [3, 0],
        [4, 2],
      ] as const) {
        const numeric = slopeAt("logprobs", sequence, time);
        expect(Math.abs(gradient[sequence]![time]! - numeric)).toBeLessThan(1e-8);
        if (entropyGradient === undefined) continue;
        const ofEntropy = slopeAt("entropy", sequence, time);
        expect(Math.abs(entropyGradient[sequence]![time]! - ofEntropy)).toBeLessThan(1e-8);
      }
    },
  );

  it.each(profileNames)(
    "of %s is exactly 0 where the mask is 0, whatever stands there",
    (profile) => {
      const batch = anyBatch();
      const { gradient, loss } = evaluateLoss(batch, profile);
      const poison = (list: readonly ArrayLike<number>[], value: number): number[][] =>
        list.map((values, sequence) =>
          Array.from(values, (one, time) => (batch.mask[sequence]![time] === 0 ? value : one)),
        );
      const poisoned = {
        ...batch,
        logprobs: poison(batch.logprobs, Number.NEGATIVE_INFINITY),
        old: poison(batch.old, Number.NaN),
        reference: poison(batch.reference, Number.NEGATIVE_INFINITY),
        sampler: poison(batch.sampler, 1e30),
      };
      const other = evaluateLoss(poisoned, profile);
      expect(other.loss).toBe(loss);
      expect(other.gradient).toEqual(gradient);
      gradient.forEach((values, sequence) =>
        values.forEach((value, time) => {
          if (batch.mask[sequence]![time] === 0) expect(value).toBe(0);
        }),
      );
    },
  );

  it.each(profileNames)("of %s does not depend on the order of the sequences", (profile) => {
    const batch = anyBatch();
    const order = [3, 1, 4, 0, 2];
    const turned = Object.fromEntries(
      Object.entries(batch).map(([name, list]) => [name, order.map((index) => list[index])]),
    ) as unknown as LossBatch;
    const [a, b] = [evaluateLoss(batch, profile), evaluateLoss(turned, profile)];
    expect(b.loss).toBeCloseTo(a.loss, 12);
    order.forEach((index, at) =>
      a.gradient[index]!.forEach((value, time) =>
        expect(b.gradient[at]![time]).toBeCloseTo(value, 12),
      ),
    );
  });

  it.each(profileNames)("of %s is 0 without advantages, KL and entropy", (profile) => {
    const choice = { profile, kl: { type: "none" }, entropy: null } as const;
    const { gradient, loss } = evaluateLoss({ ...anyBatch(), advantages: [0, 0, 0, 0, 0] }, choice);
    expect(Math.abs(loss)).toBe(0);
    expect(gradient.flat().every((value) => value === 0)).toBe(true);
  });
});

describe("RLOO", () => {
  it("compares whole completions, as TRL's RLOOTrainer: -min(c A, clip(c) A), c = exp(sum of log-ratios)", () => {
    const logprobs = [[-1.1, -0.9, -2], [-0.4], [-1, -1.5]];
    const old = [[-1, -1, -2.05], [-0.5], [-1.6, -1.5]];
    const advantages = [1, -0.5, 2];
    const { loss, gradient, metrics } = evaluateLoss({ logprobs, old, advantages }, "rloo");
    const ratios = logprobs.map((now, sequence) =>
      Math.exp(now.reduce((total, value, time) => total + value - old[sequence]![time]!, 0)),
    );
    const terms = ratios.map((ratio, sequence) => {
      const advantage = advantages[sequence]!;
      return -Math.min(ratio * advantage, Math.min(Math.max(ratio, 0.8), 1.2) * advantage);
    });
    expect(loss).toBeCloseTo(terms.reduce((total, term) => total + term, 0) / 3, 12);
    // Every token of a long completion has the slope of the whole one; the third is clipped.
    expect(gradient[0]).toEqual([0, 1, 2].map(() => expect.closeTo(-ratios[0]! / 3, 12)));
    expect(gradient[1]).toEqual([expect.closeTo((0.5 * ratios[1]!) / 3, 12)]);
    expect(gradient[2]).toEqual([0, 0]);
    expect(metrics["ratio/max"]).toBeCloseTo(ratios[2]!, 12);
    expect(metrics["clip/high"]).toBeCloseTo(1 / 3, 12);
  });
});

describe("a window", () => {
  const batch = anyBatch();
  const part = (from: number, to: number): LossBatch =>
    Object.fromEntries(
      Object.entries(batch).map(([name, list]) => [name, list.slice(from, to)]),
    ) as unknown as LossBatch;

  it("makes two halves add up to the whole with TRL's DAPO normaliser", () => {
    const whole = evaluateLoss(batch, "trl-1.13");
    const tokens = batch.mask
      .flatMap((values) => Array.from(values))
      .filter((one) => one > 0).length;
    const window = { accumulation: 2, stepsPerGeneration: 2, generationTokens: tokens };
    const [a, b] = [part(0, 2), part(2, 5)].map((one) =>
      evaluateLoss({ ...one, window }, "trl-1.13"),
    );
    expect(a!.loss + b!.loss).toBeCloseTo(whole.loss, 12);
    // A generation that feeds two steps: 1.13 takes the share of a step, older versions halve the loss.
    const twice = { accumulation: 1, stepsPerGeneration: 2, generationTokens: 2 * tokens };
    expect(evaluateLoss({ ...batch, window: twice }, "trl-1.13").loss).toBeCloseTo(whole.loss, 12);
    expect(evaluateLoss({ ...batch, window: twice }, "trl-1.9").loss).toBeCloseTo(
      whole.loss / 2,
      12,
    );
  });

  it("divides by the processes that share a generation", () => {
    const [one, two] = [1, 2].map((processes) =>
      evaluateLoss({ ...batch, window: { processes, generationTokens: 100 } }, "trl-1.13"),
    );
    expect(two!.loss).toBeCloseTo(2 * one!.loss, 12);
  });
});

describe("a preference loss", () => {
  const logprobs = [[-1, -2], [-3], [-0.5], [-1, -1, -1]];
  const reference = [[-1.5, -2], [-2], [-0.5], [-1, -1, -1]];

  it("is that of DPO and IPO, pair by pair", () => {
    // h = (−3 + 3.5) − (−3 + 2) = 1.5 of the first pair, 0 of the second.
    const beta = 0.4;
    const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
    const dpo = evaluateLoss({ logprobs, reference }, { type: "preference", beta });
    expect(dpo.loss).toBeCloseTo((-Math.log(sigmoid(0.6)) + Math.log(2)) / 2, 12);
    const slope = (beta * sigmoid(-0.6)) / 2;
    expect(dpo.gradient.flat()).toEqual([
      ...[-slope, -slope, slope].map((value) => expect.closeTo(value, 12)),
      ...[-0.1, 0.1, 0.1, 0.1].map((value) => expect.closeTo(value, 12)),
    ]);
    const ipo = evaluateLoss({ logprobs, reference }, { type: "preference", loss: "ipo", beta });
    expect(ipo.loss).toBeCloseTo(((1.5 - 1.25) ** 2 + 1.25 ** 2) / 2, 12);
    const mean = { type: "preference", loss: "ipo", beta, logProbs: "mean" } as const;
    expect(evaluateLoss({ logprobs, reference }, mean).loss).toBeCloseTo(
      ((1.25 - 1.25) ** 2 + 1.25 ** 2) / 2,
      12,
    );
  });

  it("stays finite however wrong the policy is", () => {
    const lost = { logprobs: [[-5000], [-1]], reference: [[-1], [-5000]] };
    const { loss, gradient } = evaluateLoss(lost, { type: "preference", beta: 1 });
    expect(loss).toBeCloseTo(9998, 6);
    expect(gradient).toEqual([[-1], [1]]);
    const won = { logprobs: [[-1], [-5000]], reference: [[-5000], [-1]] };
    const good = evaluateLoss(won, { type: "preference", beta: 1 });
    expect(Math.abs(good.loss)).toBe(0);
    expect(good.gradient.flat().every((value) => Math.abs(value) === 0)).toBe(true);
  });
});

describe("bad input", () => {
  const batch = { logprobs: [[-1, -2], [-3]], advantages: [1, -1] };
  it.each([
    ["no pairs", { logprobs: [[-1]], reference: [[-1]] }, { type: "preference" }, "pairs"],
    ["a missing array", { logprobs: [[-1]] }, "trl-1.13", "evaluateLoss: advantages: expected"],
    ["a missing reference", batch, { kl: { type: "loss" } }, "evaluateLoss: reference: expected"],
    [
      "a missing sampler",
      batch,
      "tinker-cookbook",
      "evaluateLoss: sampler: expected this array for the loss, got nothing",
    ],
    [
      "another number of sequences",
      { ...batch, old: [[-1, -2]] },
      "verl",
      "old: expected 2 sequences, got 1",
    ],
    [
      "another length",
      {
        ...batch,
        mask: [
          [1, 1],
          [1, 1],
        ],
      },
      "verl",
      "mask[1]: expected 1 numbers, as in logprobs, got 2",
    ],
    ["nothing", { logprobs: [], advantages: [] }, "verl", "expected at least one token"],
    ["no logprobs", { advantages: [1] }, "verl", "logprobs: expected this array"],
    ["an unknown array", { ...batch, masks: [[1, 1], [1]] }, "verl", 'did you mean "mask"'],
    ["an unknown count", { ...batch, window: { acumulation: 2 } }, "verl", '"accumulation"'],
    ["an empty window", { ...batch, window: { accumulation: 0 } }, "verl", "number > 0, got 0"],
    ["no count", { ...batch, window: { processes: -1 } }, "verl", "window.processes: expected"],
    ["a weight", { ...batch, mask: [[1, 0.5], [1]] }, "verl", "mask[0][1]: expected 0 or 1"],
    ["no mask", { ...batch, mask: [[1, Number.NaN], [1]] }, "verl", "expected 0 or 1, got NaN"],
    [
      "no advantage",
      { ...batch, advantages: [1, null] },
      "verl",
      "advantages[1]: expected a number",
    ],
  ] as const)("%s is an error that says where", (_title, given, choice, message) => {
    const use = (): unknown => evaluateLoss(given as unknown as LossBatch, choice);
    expect(use).toThrow(EngineError);
    expect(use).toThrow(message);
  });

  it("names the nearest profile and setting", () => {
    expect(() => evaluateLoss(batch, "trl-1.113" as "trl-1.13")).toThrow(ConfigError);
    expect(() => evaluateLoss(batch, "trl-1.113" as "trl-1.13")).toThrow('"trl-1.13"');
    const typo = { surogate: { type: "clip" } } as unknown as LossChoice;
    expect(() => evaluateLoss(batch, typo)).toThrow('did you mean "surrogate');
    const wrong = { surrogate: { type: "clip", low: -1 } } as const;
    expect(() => evaluateLoss(batch, wrong)).toThrow(
      "settings.surrogate.low: expected number >= 0",
    );
  });

  it("is the only way a loss of numbers throws", () => {
    const value = fc.double({ min: -50, max: 0, noNaN: true });
    const anyRows = fc.array(fc.array(value, { minLength: 1, maxLength: 4 }), {
      minLength: 1,
      maxLength: 4,
    });
    fc.assert(
      fc.property(anyRows, fc.constantFrom(...profileNames), (logprobs, profile) => {
        const advantages = logprobs.map((_, index) => index - 1);
        const given = {
          logprobs,
          old: logprobs,
          sampler: logprobs,
          reference: logprobs,
          advantages,
        };
        const { loss, gradient } = evaluateLoss(given, profile);
        expect(Number.isFinite(loss)).toBe(true);
        expect(gradient.flat().every(Number.isFinite)).toBe(true);
      }),
      { numRuns: 30 },
    );
  });
});
