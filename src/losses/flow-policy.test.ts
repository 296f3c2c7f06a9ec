import { describe, expect, it } from "vitest";
import { evaluate, expectSlopes, slopes, value } from "../../tests/float64-graph.ts";
import { EngineError, ShapeError } from "../core/errors.ts";
import { flowPolicySettings, type FlowNoise } from "../core/flow-spec.ts";
import { randomStream } from "../core/random.ts";
import { input, log, sub, type Tensor } from "../tensor/index.ts";
import { denseClip, flowPolicyLoss } from "./flow-policy.ts";
import {
  normalisedLogRatio,
  rowCoefficients,
  stepDistribution,
  stepKl,
  stepLogProb,
} from "./flow-step.ts";

const stream = randomStream(3, "flow-policy");
const normals = (count: number, scale = 1): number[] =>
  Array.from({ length: count }, () => scale * stream.normal());
const ones = (count: number): number[] => Array.from({ length: count }, () => 1);

const clip = (side: number, type: "sample" | "position" = "sample") =>
  flowPolicySettings.parse({ ratio: { type, low: side, high: side } });
const noise: FlowNoise = { type: "flow-sde", level: 0.7 };

describe("dense advantages", () => {
  it("are the worked example of ViPO: objective 1.325, gradient through position 2 alone", () => {
    // A = 2, M = (1, 1/4), ρ = (1.2, 0.9), one row of two positions.
    const values = {
      ratio: value([1, 1, 2], 1.2, 0.9),
      old: value([1, 1, 2], 0, 0),
      advantage: value([1, 1, 2], 2, 0.5),
      weights: value([1], 1),
    };
    const build = ({ ratio, ...rest }: Record<keyof typeof values, Tensor>) =>
      flowPolicyLoss(clip(0.1, "position"), { logProbs: log(ratio), ...rest });
    const found = evaluate(values, (t) => ({ ...build(t) }));
    expect(found.loss[0]).toBeCloseTo(-1.325, 12);
    expect(found.ratio).toEqual([expect.closeTo(1.2, 12), expect.closeTo(0.9, 12)]);
    const { ratio } = expectSlopes(values, (t) => build(t).loss, ["ratio"]);
    expect(ratio).toEqual([0, expect.closeTo(-0.25, 12)]);
  });

  it("of another shape than the log-probabilities are refused", () => {
    const dense = input("dense", [2, 1, 2]);
    const [flat, other] = [input("flat", [2]), input("other", [2, 2, 1])];
    for (const bad of [
      { logProbs: dense, advantage: flat },
      { logProbs: flat, advantage: dense },
      { logProbs: dense, advantage: other },
      { logProbs: dense, advantage: dense, old: other },
      { logProbs: dense, advantage: dense, logRatio: other },
    ]) {
      expect(() => flowPolicyLoss(clip(0.1), { ...bad, weights: flat })).toThrow(ShapeError);
    }
  });

  it("clip as often as scalar ones at the equivalent range", () => {
    expect(denseClip(1e-4, 16, 65536)).toBeCloseTo(0.1024, 12);
    expect(denseClip(6e-4, 3, 24 * 24 * 3)).toBeCloseTo(0.0432, 4);
  });
});

describe("a clipped loss of samples", () => {
  it("is −min(ρ A, clip(ρ) A), weighted by row", () => {
    const values = {
      logProbs: value([5], ...[1.3, 0.5, 1.3, 0.5, 1.05].map(Math.log)),
      old: value([5], 0, 0, 0, 0, 0),
      advantage: value([5], 1, 1, -1, -1, 2),
      weights: value([5], 0.5, 0.25, 0.125, 1, 2),
    };
    const build = (t: Record<keyof typeof values, Tensor>) => flowPolicyLoss(clip(0.2), t).loss;
    const wanted = -0.5 * 1.2 - 0.25 * 0.5 + 0.125 * 1.3 + 1 * 0.8 - 2 * 2.1;
    expect(evaluate(values, (t) => ({ loss: build(t) })).loss[0]).toBeCloseTo(wanted, 12);
    const { logProbs } = expectSlopes(values, build, ["logProbs"]);
    expect(logProbs.map((slope) => slope === 0)).toEqual([true, false, false, true, false]);
  });

  it("has sides of their own", () => {
    const { ratio, kl } = flowPolicySettings.parse({
      ratio: { type: "sample", low: 0.5, high: 0.1 },
    });
    const values = {
      logProbs: value([2], Math.log(1.3), Math.log(0.6)),
      old: value([2], 0, 0),
      advantage: value([2], 1, -1),
      weights: value([2], 1, 1),
    };
    const found = evaluate(values, (t) => ({ loss: flowPolicyLoss({ ratio, kl }, t).loss }));
    expect(found.loss[0]).toBeCloseTo(-1.1 + 0.6, 12);
  });

  it("leaves rows of weight 0 out, whatever they hold", () => {
    const values = {
      logProbs: value([2], Math.log(1.1), Number.NaN),
      old: value([2], 0, 0),
      advantage: value([2], 1, 1),
      weights: value([2], 1, 0),
    };
    const found = evaluate(values, (t) => ({ loss: flowPolicyLoss(clip(0.2), t).loss }));
    expect(found.loss[0]).toBeCloseTo(-1.1, 12);
  });
});

/** Two samples of [channel 3, height 2, width 2] at different steps. */
const shape = [2, 3, 2, 2];
const batch = {
  time: value([2], 0.7, 0.4),
  next: value([2], 0.6, 0.3),
  x: value(shape, ...normals(24)),
  v: value(shape, ...normals(24)),
  after: value(shape, ...normals(24)),
  weights: value([2], 0.5, 0.5),
  flat: value([2], 1.5, -0.7),
  dense: value([2, 2, 2], ...[1.5, -0.7].flatMap((a) => ones(4).map(() => a))),
};
type Batch = Record<keyof typeof batch, Tensor>;
const step = (t: Batch, v = t.v) => stepDistribution(t.x, v, rowCoefficients(noise, t));

describe("the first update", () => {
  const firstLoss = (t: Batch, of: "sample" | "position") =>
    flowPolicyLoss(clip(1e-4, of), {
      logProbs: stepLogProb(noise, of, step(t), t.after),
      advantage: of === "sample" ? t.flat : t.dense,
      weights: t.weights,
    });

  it("has ratio 1 to the last bit, from the same graph and the same inputs", () => {
    for (const of of ["sample", "position"] as const) {
      const old = evaluate(batch, (t) => ({ old: stepLogProb(noise, of, step(t), t.after) })).old;
      const kept = { ...batch, old: value(of === "sample" ? [2] : [2, 2, 2], ...old) };
      const { ratio } = evaluate(kept, (t) => ({
        ratio: flowPolicyLoss(clip(1e-4, of), {
          logProbs: stepLogProb(noise, of, step(t), t.after),
          old: t.old,
          advantage: of === "sample" ? t.flat : t.dense,
          weights: t.weights,
        }).ratio,
      }));
      expect(ratio.every((number) => number === 1)).toBe(true);
      expect(evaluate(batch, (t) => ({ ratio: firstLoss(t, of).ratio })).ratio).toEqual(ratio);
    }
  });

  it("with a map of ones has C times the gradient of the scalar loss", () => {
    const [scalar, dense] = (["sample", "position"] as const).map(
      (of) => slopes(batch, (t) => firstLoss(t, of).loss, ["v"]).v,
    );
    expect(scalar!.some((slope) => Math.abs(slope) > 1e-3)).toBe(true);
    dense!.forEach((slope, index) => expect(slope).toBeCloseTo(3 * scalar![index]!, 12));
  });

  it("has the gradient −A d log p / dv", () => {
    const found = slopes(batch, (t) => firstLoss(t, "sample").loss, ["v"]).v;
    const [first, second] = [0, 1].map((row) => {
      const chosen = value([2], row === 0 ? 1 : 0, row === 1 ? 1 : 0);
      return slopes(
        { ...batch, weights: chosen },
        (t) =>
          flowPolicyLoss(clip(1e-4), {
            logProbs: stepLogProb(noise, "sample", step(t), t.after),
            advantage: t.flat,
            weights: t.weights,
          }).loss,
        ["v"],
      ).v;
    });
    found.forEach((slope, index) => {
      expect(slope).toBeCloseTo(0.5 * (first![index]! + second![index]!), 12);
    });
  });
});

describe("the whole loss of a step", () => {
  it("with KL and RatioNorm has the gradient of finite differences", () => {
    const spec = flowPolicySettings.parse({
      ratio: { type: "sample", low: 0.5, high: 0.5 },
      kl: { type: "repository", weight: 0.3 },
    });
    const values = {
      ...batch,
      change: value(shape, ...normals(24, 0.05)),
      ref: value(shape, ...normals(24)),
    };
    expectSlopes(
      values,
      (t) => {
        const old = step(t, sub(t.v, t.change));
        const now = step(t);
        const logProbs = stepLogProb(noise, "sample", now, t.after);
        const logRatio = sub(logProbs, stepLogProb(noise, "sample", old, t.after));
        const reference = step(t, t.ref).mean;
        return flowPolicyLoss(spec, {
          logProbs,
          logRatio: normalisedLogRatio(noise, logRatio, now, old.mean),
          advantage: t.flat,
          weights: t.weights,
          kl: {
            value: stepKl("repository", noise, {
              ...now,
              reference,
              duration: sub(t.time, t.next),
            }),
            weights: t.weights,
          },
        }).loss;
      },
      ["v"],
    );
  });

  it("that asks for a KL term does not do without it", () => {
    const spec = flowPolicySettings.parse({ kl: { type: "paper" } });
    const rows = input("rows", [2]);
    const inputs = { logProbs: rows, advantage: rows, weights: rows };
    expect(() => flowPolicyLoss(spec, inputs)).toThrow(EngineError);
  });
});
