import { describe, expect, it } from "vitest";
import { evaluate, expectSlopes, value } from "../../tests/float64-graph.ts";
import { ShapeError } from "../core/errors.ts";
import { randomStream } from "../core/random.ts";
import { quantile } from "../core/statistics.ts";
import { input, mean, mul, sum, type Tensor } from "../tensor/index.ts";
import {
  bestAndWorst,
  flowPreferenceLoss,
  logitNormalTime,
  matchingWeights,
  noisedSample,
  velocityError,
  velocityTarget,
  type FlowPairs,
} from "./flow-matching.ts";

const stream = randomStream(5, "flow-matching");
const normals = (count: number): number[] => Array.from({ length: count }, () => stream.normal());

describe("velocity matching", () => {
  const shape = [2, 2, 2];
  const values = {
    clean: value(shape, ...normals(8)),
    noise: value(shape, ...normals(8)),
    time: value([2], 0.25, 1),
    v: value(shape, ...normals(8)),
    w: value([2], 0.3, 2),
  };

  it("mixes x_0 and ε and aims at ε − x_0", () => {
    const found = evaluate(values, (t) => ({
      noised: noisedSample(t.clean, t.noise, t.time),
      error: velocityError(t.v, velocityTarget(t.clean, t.noise)),
    }));
    const [x, e, v] = [values.clean.data, values.noise.data, values.v.data];
    expect(found.noised[1]).toBeCloseTo(0.75 * x[1]! + 0.25 * e[1]!, 12);
    expect(found.noised[6]).toBeCloseTo(e[6]!, 12);
    const errors = v.map((_, index) => (v[index]! - e[index]! + x[index]!) ** 2);
    expect(found.error[1]).toBeCloseTo(errors.slice(4).reduce((a, b) => a + b) / 4, 12);
  });

  it("weighted by reward has the gradient of finite differences", () => {
    expectSlopes(
      values,
      (t) => sum(mul(velocityError(t.v, velocityTarget(t.clean, t.noise)), t.w)),
      ["v"],
    );
  });

  it("wants one shape", () => {
    expect(() => velocityError(input("v", [2, 3]), input("w", [2]))).toThrow(ShapeError);
  });

  it("draws times whose logits are normal", () => {
    const times = Array.from({ length: 4000 }, (_, index) =>
      logitNormalTime(stream.fork(index), 0.5, 2),
    );
    const logits = times.map((time) => Math.log(time / (1 - time)));
    expect(quantile(logits, 0.5)).toBeCloseTo(0.5, 0);
    expect((quantile(logits, 0.8413) - quantile(logits, 0.1587)) / 2).toBeCloseTo(2, 0);
    expect(times.every((time) => time > 0 && time < 1)).toBe(true);
  });
});

describe("DPO for flows", () => {
  const pairs = {
    chosen: value([2], 0.5, 2),
    rejected: value([2], 0.6, 1),
    chosenReference: value([2], 0.52, 1),
    rejectedReference: value([2], 0.59, 2),
  };

  it("is −log σ(−β/2 h)", () => {
    const { loss } = evaluate(pairs, (t) => ({ loss: flowPreferenceLoss(100, t) }));
    const wanted = (h: number): number => Math.log(1 + Math.exp(50 * h));
    expect(loss[0]).toBeCloseTo(wanted(0.5 - 0.52 - (0.6 - 0.59)), 12);
    // Far on the wrong side it is linear.
    expect(loss[1]).toBeCloseTo(100, 10);
  });

  it("has the gradient of finite differences, also far on the wrong side", () => {
    const names = ["chosen", "rejected"] as const;
    const found = expectSlopes(pairs, (t: FlowPairs) => mean(flowPreferenceLoss(100, t)), names);
    expect(found.chosen[1]).toBeCloseTo(25, 10);
  });

  it("is log 2 before anything is learned", () => {
    const still = { ...pairs, chosen: pairs.chosenReference, rejected: pairs.rejectedReference };
    const { loss } = evaluate(still, (t: Record<keyof typeof pairs, Tensor>) => ({
      loss: flowPreferenceLoss(100, t),
    }));
    expect(loss).toEqual([Math.LN2, Math.LN2].map((x) => expect.closeTo(x, 12)));
  });
});

describe("the samples that are matched", () => {
  it("are weighted by their rewards (RWR)", () => {
    const softmax = { type: "softmax", temperature: 0.5 } as const;
    const weights = matchingWeights([1, 0, null, 1000], softmax);
    expect(weights).toEqual([0, 0, 0, 1]);
    const [a, b] = matchingWeights([1, 0], softmax);
    expect(a! / b!).toBeCloseTo(Math.exp(2), 12);
    expect(a! + b!).toBeCloseTo(1, 12);
    expect(matchingWeights([0.3, null, -1], { type: "raw" })).toEqual([0.3, 0, -1]);
    expect(matchingWeights([null, null], softmax)).toEqual([0, 0]);
  });

  it("are the best of their group (SFT), or the best against the worst (DPO)", () => {
    expect(matchingWeights([0.5, 1, null, 1], { type: "best" })).toEqual([0, 1, 0, 1]);
    expect(bestAndWorst([0.5, 1, null, 0.2])).toEqual({ best: 1, worst: 3 });
    expect(bestAndWorst([1, null, 1])).toBeNull();
    expect(bestAndWorst([null])).toBeNull();
  });
});
