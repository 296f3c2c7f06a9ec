import { describe, expect, it } from "vitest";
import { randomStream } from "../core/random.ts";
import { allocate, compile, constant, gradients, input, sum } from "../tensor/index.ts";
import { tokenDistribution } from "./token-loss.ts";

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
