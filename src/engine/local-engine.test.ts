import { describe, expect, it } from "vitest";
import {
  adam,
  firstPass,
  isSame,
  livelyEngines,
  policyGradient,
  randomSequences,
  small,
} from "../../tests/lively-engine.ts";
import { plainDistributions, plainWeights } from "../../tests/plain-loss.ts";
import type { Example } from "../core/engine.ts";
import { EngineError } from "../core/errors.ts";
import { supervisedLoss } from "../core/loss-spec.ts";
import { randomStream } from "../core/random.ts";
import { completionLength } from "../losses/weights.ts";

const { lively } = livelyEngines();
const { ragged } = randomSequences("engine test");

describe("logProbs", () => {
  it("divides the logits by the temperature", async () => {
    const engine = lively();
    const list = ragged();
    for (const temperature of [0.5, 1, 2]) {
      const rows = await engine.logProbs(list, { policy: "current", temperature });
      const plain = plainDistributions(small, plainWeights(engine), list, temperature);
      rows.forEach((row, index) =>
        row.forEach((value, at) => {
          const { tokens, promptLength } = list[index]!;
          const expected = plain[index]![at]![tokens[promptLength + at]!]!;
          expect(Math.abs(value - expected)).toBeLessThan(1e-5);
        }),
      );
    }
  });

  it("of the reference stays while the policy learns, until it is frozen again", async () => {
    const engine = lively();
    const list = ragged();
    const of = (policy: "current" | "reference") =>
      engine.logProbs(list, { policy, temperature: 1 });
    const start = await of("current");
    await engine.freezeReference();
    for (let step = 0; step < 2; step++) {
      await engine.accumulate(list, supervisedLoss);
      await engine.step(adam);
    }
    const [current, reference] = [await of("current"), await of("reference")];
    reference.forEach((row, index) => expect(isSame(row, start[index]!)).toBe(true));
    current.forEach((row, index) => expect(isSame(row, start[index]!)).toBe(false));
    await engine.freezeReference();
    (await of("reference")).forEach((row, index) =>
      expect(isSame(row, current[index]!)).toBe(true),
    );
  });
});

describe("calls at the same time", () => {
  it("wait for each other", async () => {
    const engine = lively();
    const [one, two] = [ragged(), ragged()];
    const options = { policy: "current", temperature: 1 } as const;
    const together = await Promise.all([
      engine.logProbs(one, options),
      engine.logProbs(two, options),
    ]);
    expect(together).toEqual([
      await engine.logProbs(one, options),
      await engine.logProbs(two, options),
    ]);
    const failing = engine.logProbs([], options);
    const next = engine.logProbs(one, options);
    await expect(failing).rejects.toThrow("at least one sequence");
    expect(await next).toEqual(together[0]);
  });
});

describe("wrong use", () => {
  const engine = lively();
  const row = (...tokens: number[]) => ({ tokens: Int32Array.from(tokens), promptLength: 1 });
  const current = { policy: "current", temperature: 1 } as const;
  const sampling = {
    group: 1,
    maxTokens: 4,
    temperature: 1,
    stop: [],
    random: () => randomStream(1),
  };
  const long = new Int32Array(65);
  const policy = (part: Partial<Example>) =>
    engine.accumulate(
      [
        { ...row(1, 2, 3), advantage: 1, ...part },
        { ...row(1, 2), advantage: 1, old: Float32Array.of(-1), reference: Float32Array.of(-1) },
      ],
      policyGradient,
    );

  it.each([
    [
      "no sequence",
      () => engine.logProbs([], current),
      "logProbs: expected at least one sequence, got none",
    ],
    [
      "an empty batch",
      () => engine.accumulate([], supervisedLoss),
      "accumulate: expected at least one sequence",
    ],
    [
      "a token beyond the vocabulary",
      () => engine.logProbs([row(1, 2), row(1, 23)], current),
      "logProbs: sequence 1: expected token ids in [0, 23), got 23",
    ],
    [
      "a negative token",
      () => engine.accumulate([row(1, -1)], supervisedLoss),
      "accumulate: sequence 0: expected token ids in [0, 23), got -1",
    ],
    [
      "a sequence longer than the context",
      () => engine.logProbs([{ tokens: long, promptLength: 1 }], current),
      "expected 1 to 64 tokens, got 65 (raise model.contextLength)",
    ],
    [
      "a prompt that leaves no room",
      () => engine.sample([long.subarray(0, 61)], sampling),
      "sample: prompt 0: expected 1 to 60 tokens (context 64 less 4 new ones), got 61",
    ],
    [
      "an empty prompt",
      () => engine.sample([new Int32Array()], sampling),
      "sample: prompt 0: expected 1 to 60 tokens",
    ],
    [
      "a prompt of no tokens",
      () => engine.logProbs([{ ...row(1, 2), promptLength: 0 }], current),
      "logProbs: sequence 0: expected a prompt of 1 to 2 tokens, got 0",
    ],
    [
      "a prompt longer than its sequence",
      () => engine.logProbs([{ ...row(1, 2), promptLength: 3 }], current),
      "expected a prompt of 1 to 2 tokens, got 3",
    ],
    [
      "a reference that was never frozen",
      () => engine.logProbs([row(1, 2)], { ...current, policy: "reference" }),
      "logProbs: expected a frozen reference policy, got none (call freezeReference first)",
    ],
    [
      "no old log-probabilities",
      () => policy({ reference: Float32Array.of(-1, -1) }),
      'accumulate: sequence 0: expected "old" for this loss, got none',
    ],
    [
      "no reference log-probabilities",
      () => policy({ old: Float32Array.of(-1, -1) }),
      'accumulate: sequence 0: expected "reference" for this loss, got none',
    ],
    [
      "log-probabilities of another length",
      () => policy({ old: Float32Array.of(-1), reference: Float32Array.of(-1, -1) }),
      'accumulate: sequence 0: expected 2 numbers of "old", got 1',
    ],
    [
      "a mask of another length",
      () => engine.accumulate([{ ...row(1, 2), mask: Float32Array.of(1, 1) }], supervisedLoss),
      'accumulate: sequence 0: expected 1 numbers of "mask", got 2',
    ],
    [
      "no advantage",
      () => engine.accumulate([row(1, 2)], firstPass),
      'expected "advantage" for this loss, got none',
    ],
  ])("%s is an error that says where", async (_title, use, message) => {
    const using = use();
    await expect(using).rejects.toThrow(EngineError);
    await expect(using).rejects.toThrow(message);
  });

  it("samples nothing for no prompts", async () => {
    expect(await engine.sample([], sampling)).toEqual([]);
  });

  it("leaves the engine usable", async () => {
    const [rows] = await engine.logProbs([row(1, 2, 3)], current);
    expect(rows!.every(Number.isFinite)).toBe(true);
    expect(completionLength(row(1, 2, 3))).toBe(2);
  });
});
