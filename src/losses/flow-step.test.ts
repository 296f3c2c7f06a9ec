import { describe, expect, it } from "vitest";
import { evaluate, expectSlopes, slopes, value } from "../../tests/float64-graph.ts";
import { ShapeError } from "../core/errors.ts";
import type { FlowNoise } from "../core/flow-spec.ts";
import { stepCoefficients } from "../core/flow-transition.ts";
import { randomStream } from "../core/random.ts";
import { add, div, exp, input, mean, mul, sub, sum, type Tensor } from "../tensor/index.ts";
import {
  drawStep,
  guidedVelocity,
  normalisedLogRatio,
  perRow,
  requireSameShape,
  rowCoefficients,
  rowMean,
  stepDistribution,
  stepKl,
  stepLogProb,
  velocityKl,
} from "./flow-step.ts";

const sde: FlowNoise = { type: "flow-sde", level: 0.7 };
const cps: FlowNoise = { type: "cps", level: 0.8 };
const dance: FlowNoise = { type: "dance", level: 0.3 };
const rules = [sde, cps, dance];

const stream = randomStream(7, "flow-step");
const normals = (count: number, scale = 1): number[] =>
  Array.from({ length: count }, () => scale * stream.normal());

/** Three rows at different steps, the first at t = 1. [batch 3, channel 2, height 2, width 3] */
const shape = [3, 2, 2, 3];
const schedule = {
  time: value([3], 1, 0.6, 0.3),
  next: value([3], 0.8, 0.55, 0.1),
  noiseTime: value([3], 0.8, 0.6, 0.3),
};
const batch = {
  ...schedule,
  x: value(shape, ...normals(36)),
  v: value(shape, ...normals(36, 0.5)),
  z: value(shape, ...normals(36)),
};
const scalar = {
  time: value([1], 0.5),
  next: value([1], 0.4),
  x: value([1, 1], 0.3),
  v: value([1, 1], -0.2),
  z: value([1, 1], 1),
};

type Named = Readonly<Record<"time" | "next" | "x" | "v", Tensor>> & {
  readonly noiseTime?: Tensor;
};
const distribution = (noise: FlowNoise, t: Named) =>
  stepDistribution(t.x, t.v, rowCoefficients(noise, t));

describe("a step in the graph", () => {
  it.each([
    [sde, [0.3102, 0.22136, 0.53156]],
    [cps, [0.26472, 0.38042, 0.64514]],
    [dance, [0.3182, 0.09487, 0.41307]],
  ] as const)("%o has its worked mean, deviation and sample", (noise, wanted) => {
    const found = evaluate(scalar, (t) => {
      const step = distribution(noise, t);
      return { mean: step.mean, deviation: step.deviation, next: drawStep(step, t.z) };
    });
    expect([...found.mean, ...found.deviation, ...found.next]).toEqual(
      wanted.map((number) => expect.closeTo(number, 5)),
    );
  });

  it.each(rules)("has the coefficients of the plain one, row by row: %o", (noise) => {
    const found = evaluate(batch, (t) => ({ ...rowCoefficients(noise, t) }));
    schedule.time.data.forEach((time, row) => {
      const plain = stepCoefficients(noise, {
        time,
        next: schedule.next.data[row]!,
        noiseTime: schedule.noiseTime.data[row]!,
      });
      for (const name of ["ofSample", "ofVelocity", "deviation"] as const) {
        expect(found[name][row]).toBeCloseTo(plain[name], 12);
      }
    });
  });
});

describe("log-probability of a step", () => {
  it("is the worked example", () => {
    const found = evaluate({ ...scalar, after: value([1, 1], 0.53156) }, (t) => ({
      log: stepLogProb(sde, "sample", distribution(sde, t), t.after),
    }));
    expect(found.log[0]).toBeCloseTo(0.08903, 4);
  });

  it.each(rules)("of a sample is a mean, of a position a sum over channels: %o", (noise) => {
    const found = evaluate(batch, (t) => {
      const step = distribution(noise, t);
      const next = drawStep(step, t.z);
      const position = stepLogProb(noise, "position", step, next);
      expect(position.shape).toEqual([3, 2, 3]);
      const last = stepLogProb(noise, "position", step, next, -1);
      expect(last.shape).toEqual([3, 2, 2]);
      const sample = stepLogProb(noise, "sample", step, next);
      return { sample, position, deviation: step.deviation };
    });
    // Of x' = μ + s z: −z²/2 − log s − log(2π)/2, and −(s z)² for cps.
    const each = batch.z.data.map((z, index) => {
      const s = found.deviation[Math.floor(index / 12)]!;
      return noise.type === "cps"
        ? -((s * z) ** 2)
        : -(z ** 2) / 2 - Math.log(s) - Math.log(2 * Math.PI) / 2;
    });
    for (let row = 0; row < 3; row++) {
      const own = each.slice(12 * row, 12 * (row + 1));
      expect(found.sample[row]).toBeCloseTo(own.reduce((a, b) => a + b) / 12, 10);
      for (let at = 0; at < 6; at++) {
        expect(found.position[6 * row + at]).toBeCloseTo(own[at]! + own[at + 6]!, 10);
      }
    }
  });

  it.each(rules)("has the gradient of finite differences: %o", (noise) => {
    const values = {
      ...batch,
      after: value(shape, ...normals(36)),
      w: value([3, 2, 3], ...normals(18)),
    };
    const build = (t: Named & { readonly after: Tensor; readonly w: Tensor }): Tensor => {
      const step = distribution(noise, t);
      const sample = sum(stepLogProb(noise, "sample", step, t.after));
      return add(sample, sum(mul(stepLogProb(noise, "position", step, t.after), t.w)));
    };
    expectSlopes(values, build, ["v", "x"]);
    // x' is what was drawn: a constant.
    expect(() => slopes(values, build, ["after"])).toThrow("got none on given after");
  });

  it("of a batch is that of its rows alone", () => {
    const log = (t: Named & { readonly z: Tensor }) => ({
      log: stepLogProb(sde, "sample", distribution(sde, t), t.z),
    });
    const whole = evaluate(batch, log).log;
    const cut = (row: number) =>
      Object.fromEntries(
        Object.entries(batch).map(([name, { shape: of, data }]) => {
          const size = data.length / 3;
          return [
            name,
            { shape: [1, ...of.slice(1)], data: data.slice(size * row, size * (row + 1)) },
          ];
        }),
      ) as unknown as typeof batch;
    expect([0, 1, 2].map((row) => evaluate(cut(row), log).log[0])).toEqual(whole);
  });
});

describe("KL of a step", () => {
  it("is the worked example in both forms", () => {
    const found = evaluate({ ...scalar, ref: value([1, 1], -0.1) }, (t) => {
      const step = { ...distribution(sde, t), duration: sub(t.time, t.next) };
      const reference = distribution(sde, { ...t, v: t.ref }).mean;
      return {
        paper: stepKl("paper", sde, { ...step, reference }),
        repository: stepKl("repository", sde, { ...step, reference }),
      };
    });
    expect(found.paper[0]).toBeCloseTo(0.0015817, 7);
    expect(found.repository[0]).toBeCloseTo(0.00015817, 8);
  });

  it.each(rules)("in the paper's form is that of the velocities: %o", (noise) => {
    const values = { ...batch, ref: value(shape, ...normals(36)) };
    const found = evaluate(values, (t) => {
      const c = rowCoefficients(noise, t);
      const step = { ...stepDistribution(t.x, t.v, c), duration: sub(t.time, t.next) };
      const reference = stepDistribution(t.x, t.ref, c).mean;
      const repository = stepKl("repository", noise, { ...step, reference });
      return {
        means: stepKl("paper", noise, { ...step, reference }),
        velocities: velocityKl(t.v, t.ref, c),
        // Of 12 dimensions; the repository's σ of cps is s itself.
        repository: mul(noise.type === "cps" ? repository : div(repository, step.duration), 12),
      };
    });
    found.means.forEach((kl, row) => {
      expect(found.velocities[row]).toBeCloseTo(kl, 10);
      expect(found.repository[row]).toBeCloseTo(kl, 10);
    });
    if (noise.type === "flow-sde") {
      // h/2 (σ (1 − t) / 2t + 1/σ)² |Δv|² of the second row.
      const [t, h] = [0.6, 0.05];
      const sigma = 0.7 * Math.sqrt(t / (1 - t));
      const gap = values.v.data
        .slice(12, 24)
        .reduce((total, v, index) => total + (v - values.ref.data[12 + index]!) ** 2, 0);
      const factor = (h / 2) * ((sigma * (1 - t)) / (2 * t) + 1 / sigma) ** 2;
      expect(found.velocities[1]).toBeCloseTo(factor * gap, 10);
    }
  });

  it.each(["paper", "repository"] as const)("%s: gradient", (form) => {
    const values = { ...batch, ref: value(shape, ...normals(36)) };
    expectSlopes(
      values,
      (t) => {
        const step = { ...distribution(sde, t), duration: sub(t.time, t.next) };
        const reference = distribution(sde, { ...t, v: t.ref }).mean;
        return sum(stepKl(form, sde, { ...step, reference }));
      },
      ["v"],
    );
  });
});

describe("RatioNorm", () => {
  /** The policy has moved by `change` since x' was drawn. */
  const moved = { ...batch, change: value(shape, ...normals(36, 0.2)) };
  type Moved = Named & { readonly z: Tensor; readonly change: Tensor };
  const pieces = (noise: FlowNoise, t: Moved, of: "sample" | "position") => {
    const old = distribution(noise, t);
    const step = distribution(noise, { ...t, v: add(t.v, t.change) });
    const next = drawStep(old, t.z);
    const logRatio = sub(stepLogProb(noise, of, step, next), stepLogProb(noise, of, old, next));
    return { old, step, logRatio, normal: normalisedLogRatio(noise, logRatio, step, old.mean) };
  };

  it.each(rules)("is mean(z (μ − μ_old)): %o", (noise) => {
    const found = evaluate(moved, (t) => {
      const { old, step, normal } = pieces(noise, t, "sample");
      return { normal, wanted: rowMean(mul(t.z, sub(step.mean, old.mean))) };
    });
    found.normal.forEach((x, row) => expect(x).toBeCloseTo(found.wanted[row]!, 10));
  });

  it("takes the bias from the mean ratio", () => {
    // E log ρ is −d²/2s² per dimension; with the bias taken out it is 0. Many draws of z, one dimension.
    const count = 4000;
    const z = normals(count);
    const row = (number: number) => value([count], ...z.map(() => number));
    const values = {
      time: row(0.5),
      next: row(0.4),
      x: value([count, 1], ...z.map(() => 0.3)),
      v: value([count, 1], ...z.map(() => -0.2)),
      change: value([count, 1], ...z.map(() => 1)),
      z: value([count, 1], ...z),
    };
    const found = evaluate(values, (t) => {
      const { logRatio, normal } = pieces(sde, t, "sample");
      return { plain: mean(logRatio), normal: mean(normal), ratio: mean(exp(normal)) };
    });
    expect(found.plain[0]).toBeLessThan(-0.1);
    expect(Math.abs(found.normal[0]!)).toBeLessThan(0.01);
    expect(found.ratio[0]).toBeCloseTo(1, 1);
  });

  it("of positions has the bias of the sample", () => {
    const found = evaluate(moved, (t) => {
      const { old, step, logRatio, normal } = pieces(sde, t, "position");
      const error = sub(step.mean, old.mean);
      const bias = div(rowMean(mul(error, error)), mul(mul(step.deviation, step.deviation), 2));
      const wanted = mul(add(logRatio, perRow(bias, logRatio)), perRow(step.deviation, logRatio));
      return { normal, wanted };
    });
    found.normal.forEach((x, index) => expect(x).toBeCloseTo(found.wanted[index]!, 10));
  });

  it("is exactly 0 on the first update, and has a gradient", () => {
    const still = { ...moved, change: value(shape, ...normals(36, 0)) };
    const build = (t: Moved) => sum(pieces(sde, t, "sample").normal);
    const { normal } = evaluate(still, (t) => ({ normal: pieces(sde, t, "sample").normal }));
    expect(normal).toEqual([0, 0, 0]);
    expectSlopes(moved, build, ["change"]);
    expectSlopes(still, build, ["change"]);
  });
});

describe("guidance", () => {
  it("moves away from the unconditional velocity, which has no gradient", () => {
    const values = { c: value([1, 2], 1, 2), u: value([1, 2], 0.5, -1) };
    const guided = evaluate(values, (t) => ({ v: guidedVelocity(t.c, t.u, 4.5) }));
    expect(guided.v).toEqual([0.5 + 4.5 * 0.5, -1 + 4.5 * 3]);
    const total = (t: { readonly c: Tensor; readonly u: Tensor }): Tensor =>
      sum(guidedVelocity(t.c, t.u, 4.5));
    expect(slopes(values, total, ["c"])).toEqual({ c: [4.5, 4.5] });
    expect(() => slopes(values, total, ["u"])).toThrow("got none on given u");
  });
});

describe("requireSameShape", () => {
  it("names both shapes", () => {
    const [a, b] = [input("a", [2, 3]), input("b", [2])];
    expect(() => requireSameShape("here", a, b)).toThrow(ShapeError);
    expect(() => requireSameShape("here", a, b)).toThrow("here: expected [2, 3], got [2]");
  });
});
