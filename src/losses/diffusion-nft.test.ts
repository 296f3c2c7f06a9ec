import { describe, expect, it } from "vitest";
import { evaluate, expectSlopes, slopes, value } from "../../tests/float64-graph.ts";
import { flowObjectiveSettings, type DiffusionNft } from "../core/flow-spec.ts";
import { randomStream } from "../core/random.ts";
import { sum, type Tensor } from "../tensor/index.ts";
import { diffusionNftLoss, oldDecay, optimality } from "./diffusion-nft.ts";

const stream = randomStream(9, "diffusion-nft");
const normals = (count: number): number[] => Array.from({ length: count }, () => stream.normal());
const settings = (given: object): DiffusionNft =>
  flowObjectiveSettings.parse({ type: "diffusion-nft", ...given }) as DiffusionNft;

const shape = [2, 3, 2];
const batch = {
  velocity: value(shape, ...normals(12)),
  old: value(shape, ...normals(12)),
  reference: value(shape, ...normals(12)),
  noised: value(shape, ...normals(12)),
  clean: value(shape, ...normals(12)),
  time: value([2], 0.3, 0.9),
  optimality: value([2], 0.8, 0.1),
};
type Batch = Record<keyof typeof batch, Tensor>;

/** The loss of a row in plain numbers, as the repository writes it. */
function plainLoss(row: number, { mix, advantageClip, kl, floor }: DiffusionNft): number {
  const part = (name: Exclude<keyof Batch, "time" | "optimality">): readonly number[] =>
    batch[name].data.slice(6 * row, 6 * (row + 1));
  const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b) / 6;
  const [v, old, ref] = [part("velocity"), part("old"), part("reference")];
  const [t, q] = [batch.time.data[row]!, batch.optimality.data[row]!];
  const distance = (velocity: readonly number[]): number => {
    const errors = velocity.map((x, i) => part("noised")[i]! - t * x - part("clean")[i]!);
    return mean(errors.map((e) => e * e)) / Math.max(mean(errors.map(Math.abs)), floor);
  };
  const good = distance(v.map((x, i) => mix * x + (1 - mix) * old[i]!));
  const bad = distance(v.map((x, i) => (1 + mix) * old[i]! - mix * x));
  const drift = mean(v.map((x, i) => (x - ref[i]!) ** 2));
  return (advantageClip * (q * good + (1 - q) * bad)) / mix + kl * drift;
}

describe("DiffusionNFT", () => {
  it.each([{}, { mix: 0.1, kl: 0.5, advantageClip: 2 }])("is its formula: %o", (given) => {
    const spec = settings(given);
    const { loss } = evaluate(batch, (t) => ({ loss: diffusionNftLoss(spec, t) }));
    loss.forEach((number, row) => expect(number).toBeCloseTo(plainLoss(row, spec), 10));
  });

  it("pulls towards good samples and pushes away from bad ones", () => {
    // v_old = v: then v+ = v− = v and the gradient is (2q − 1) that of the good part alone.
    const same = { ...batch, old: batch.velocity, optimality: value([2], 1, 1) };
    const bad = { ...same, optimality: value([2], 0, 0) };
    const even = { ...same, optimality: value([2], 0.5, 0.5) };
    const [up, down, none] = [same, bad, even].map(
      (values) =>
        slopes(values, (t: Batch) => sum(diffusionNftLoss(settings({ kl: 0 }), t)), ["velocity"])
          .velocity,
    );
    up!.forEach((slope, index) => {
      expect(down![index]).toBeCloseTo(-slope, 12);
      expect(none![index]).toBeCloseTo(0, 12);
    });
    expect(up!.some((slope) => Math.abs(slope) > 0.01)).toBe(true);
  });

  it("has the gradient of finite differences, its weight held fixed", () => {
    // Below its floor the weight is a constant, so differences see the same function.
    const spec = settings({ mix: 0.7, kl: 0.2, floor: 100 });
    expectSlopes(batch, (t) => sum(diffusionNftLoss(spec, t)), ["velocity"]);
    for (const name of ["old", "reference"] as const) {
      const ask = () => slopes(batch, (t) => sum(diffusionNftLoss(spec, t)), [name]);
      expect(ask).toThrow(`got none on given ${name}`);
    }
  });

  it("has the gradient of its formula with the weight taken out of it", () => {
    const spec = settings({ kl: 0 });
    const scaled = (floor: number): DiffusionNft => ({ ...spec, floor });
    const whole = slopes(batch, (t: Batch) => sum(diffusionNftLoss(spec, t)), [
      "velocity",
    ]).velocity;
    const plain = slopes(batch, (t: Batch) => sum(diffusionNftLoss(scaled(100), t)), ["velocity"]);
    // Where only the good part counts, the two differ by a factor of the row alone.
    const good = { ...batch, optimality: value([2], 1, 1) };
    const [a, b] = [spec, scaled(100)].map(
      (use) => slopes(good, (t: Batch) => sum(diffusionNftLoss(use, t)), ["velocity"]).velocity,
    );
    const factors = a!.map((slope, index) => slope / b![index]!);
    factors.slice(1, 6).forEach((factor) => expect(factor).toBeCloseTo(factors[0]!, 8));
    expect(whole).not.toEqual(plain.velocity);
  });
});

describe("its plain numbers", () => {
  it("turn advantages into probabilities", () => {
    expect([-10, -5, 0, 2.5, 5, 9].map((a) => optimality(a, 5))).toEqual([0, 0, 0.5, 0.75, 1, 1]);
  });

  it("let the old model fall behind by and by", () => {
    const geneval = { start: 0, slope: 0.001, max: 0.5 };
    expect([0, 100, 1000].map((step) => oldDecay(geneval, step))).toEqual([0, 0.1, 0.5]);
    const late = { start: 75, slope: 0.0075, max: 0.999 };
    expect([10, 75, 175].map((step) => oldDecay(late, step))).toEqual([0, 0, 0.75]);
  });
});
