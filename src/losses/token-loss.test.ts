import { describe, expect, it } from "vitest";
import { goldenExamples, goldenSequences } from "../../tests/golden-vector.ts";
import type { LossSpec } from "../core/engine.ts";
import { randomStream } from "../core/random.ts";
import {
  allocate,
  compile,
  constant,
  gradients,
  input,
  mul,
  sum,
  type Tensor,
} from "../tensor/index.ts";
import { tokenDistribution, tokenLoss, type TokenLossInputs } from "./token-loss.ts";
import { tokenWeights } from "./weights.ts";

const grpo: LossSpec = {
  type: "policy-gradient",
  aggregation: "sequence-mean",
  clip: { low: 0.2, high: 0.2 },
  klBeta: 0,
  temperature: 1,
};

const vector = (values: ArrayLike<number>): Tensor => constant(Float32Array.from(values));

/** The value of a scalar and its slopes along x. */
function valueAndSlope(build: (x: Tensor) => Tensor, values: readonly number[]) {
  const x = input("x", [values.length]);
  const y = build(x);
  const program = compile({ y, slope: gradients(y, [x])[0]! });
  const memory = allocate("float32", [values.length]);
  memory.set(values);
  const binding = program.bind({ x: memory });
  binding.runNow();
  const result = { value: binding.floats("y")[0]!, slope: Array.from(binding.floats("slope")) };
  program.dispose();
  return result;
}

function golden(spec: LossSpec) {
  const flat = (pick: (one: (typeof goldenSequences)[number]) => readonly number[]) =>
    goldenSequences.flatMap((one) => Array.from(pick(one)));
  const weights = tokenWeights(goldenExamples, spec.aggregation).flatMap((row) => Array.from(row));
  return valueAndSlope(
    (logProbs) => {
      const inputs: TokenLossInputs = {
        logProbs,
        advantage: vector(flat(({ advantage, old }) => old.map(() => advantage))),
        old: vector(flat(({ old }) => old)),
        reference: vector(flat(({ reference }) => reference)),
      };
      return sum(mul(tokenLoss(spec, inputs), vector(weights)));
    },
    flat(({ logProbs }) => logProbs),
  );
}

describe("tokenLoss", () => {
  it.each([
    ["TRL grpo", grpo, 0.104441564, 0.645203455, [0, -0.061735, -0.083333]],
    [
      "TRL bnpo = dapo = verl token-mean",
      { ...grpo, aggregation: "token-mean" },
      -0.197160295,
      0.592004183,
      [0, -0.074082, -0.1],
    ],
    [
      "dapo, eps_high 0.28",
      { ...grpo, aggregation: "token-mean", clip: { low: 0.2, high: 0.28 } },
      -0.205160295,
      0.592004183,
      [0, -0.074082, -0.1],
    ],
    [
      "grpo, beta 0.04, plain KL",
      { ...grpo, klBeta: 0.04 },
      0.106669924,
      0.653938408,
      [0.001099, -0.062901, -0.083016],
    ],
  ] as const satisfies readonly (readonly [string, LossSpec, number, number, readonly number[]])[])(
    "gives the number of %s",
    (_name, spec, loss, slopes, first) => {
      const { value, slope } = golden(spec);
      expect(value).toBeCloseTo(loss, 6);
      expect(slope.reduce((total, one) => total + Math.abs(one), 0)).toBeCloseTo(slopes, 6);
      first.forEach((one, index) => expect(slope[index]).toBeCloseTo(one, 6));
    },
  );

  it("is REINFORCE on the first pass: ratio 1 with the gradient of the log-probability", () => {
    for (const clip of [null, { low: 0.2, high: 0.2 }]) {
      const { value, slope } = valueAndSlope(
        (logProbs) => sum(tokenLoss({ ...grpo, clip }, { logProbs, advantage: vector([2, -3]) })),
        [-0.5, -4],
      );
      expect(value).toBeCloseTo(-2 + 3, 5);
      expect(slope).toEqual([-2, 3]);
    }
  });

  it("clips a ratio only where that stops the gradient from going further", () => {
    // Rows: ratio above, inside and below the range; columns: A > 0, A < 0.
    const ratios = [1.5, 1.1, 0.5].flatMap((ratio) => [ratio, ratio]);
    const advantages = ratios.map((_, index) => (index % 2 === 0 ? 1 : -1));
    const old = [-1, -1, -1, -1, -1, -1];
    const { value, slope } = valueAndSlope(
      (logProbs) =>
        sum(tokenLoss(grpo, { logProbs, advantage: vector(advantages), old: vector(old) })),
      ratios.map((ratio) => Math.log(ratio) - 1),
    );
    expect(value).toBeCloseTo(-1.2 + 1.5 - 1.1 + 1.1 - 0.5 + 0.8, 5);
    [0, 1.5, -1.1, 1.1, -0.5, 0].forEach((one, index) => expect(slope[index]).toBeCloseTo(one, 5));
  });

  it("is -log p for cross-entropy", () => {
    const spec = { type: "cross-entropy", aggregation: "token-mean" } as const;
    const { value, slope } = valueAndSlope(
      (logProbs) => sum(tokenLoss(spec, { logProbs, advantage: vector([5, 5]) })),
      [-0.5, -4],
    );
    expect(value).toBe(4.5);
    expect(slope).toEqual([-1, -1]);
  });
});

describe("tokenDistribution", () => {
  it("gives log-probabilities and entropy of the tempered logits", () => {
    const random = randomStream(1, "logits");
    const [rows, size, temperature] = [5, 7, 0.6];
    const logits = allocate("float32", [rows, size]).map(() => 3 * random.normal());
    const targets = Int32Array.from({ length: rows }, () => random.integer(size));
    const x = input("x", [rows, size]);
    const { logProbs, entropy } = tokenDistribution(
      x,
      constant(targets, [rows], "int32"),
      temperature,
    );
    const program = compile({ logProbs, entropy });
    const memory = allocate("float32", [rows, size]);
    memory.set(logits);
    const binding = program.bind({ x: memory });
    binding.runNow();
    for (let row = 0; row < rows; row++) {
      const powers = Array.from(logits.subarray(row * size, (row + 1) * size), (value) =>
        Math.exp(value / temperature),
      );
      const shares = powers.map((value) => value / powers.reduce((a, b) => a + b, 0));
      expect(binding.floats("logProbs")[row]).toBeCloseTo(Math.log(shares[targets[row]!]!), 5);
      const plain = -shares.reduce((total, share) => total + share * Math.log(share), 0);
      expect(binding.floats("entropy")[row]).toBeCloseTo(plain, 5);
    }
    program.dispose();
    expect(() => gradients(sum(entropy), [x])).toThrow("got none on x");
  });
});
