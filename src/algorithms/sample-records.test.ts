import { describe, expect, it } from "vitest";
import { goldenBatch } from "../../tests/golden-vector.ts";
import { sumEnvironment, type Sum } from "../../tests/scripted-engine.ts";
import type { Example } from "../core/engine.ts";
import { jsonLine } from "../run/append-log.ts";
import { parseSampleRecord } from "../run/sample-record.ts";
import type { MeasuredGeneration } from "./grpo-metrics.ts";
import { grpoSettings } from "./grpo-settings.ts";
import { rewardPartsOf, sampleRecords } from "./sample-records.ts";

const floats = (key: "logprobs" | "old" | "reference") =>
  goldenBatch[key].map((row) => Float32Array.from(row));
const item: Sum = { a: 7, b: 5 };

/** One prompt with four completions: right, wrong, nothing, and one whose scorer failed. */
function measured(changes: Partial<MeasuredGeneration> = {}): MeasuredGeneration {
  const texts = ["12", "13", "", "12"];
  const broke = { kind: "error", error: new Error("broke") } as const;
  const completions = texts.map((text, index) => ({
    tokens: new Int32Array(goldenBatch.old[index]!.length).fill(index),
    logProbs: floats("old")[index]!,
    stopReason: index === 1 ? ("length" as const) : ("stop" as const),
    text,
    scores: index === 3 ? {} : { correct: Number(text === "12"), short: text === "" ? null : 1 },
    failures: index === 3 ? { correct: broke, short: broke } : {},
  }));
  const examples = completions.map(({ tokens }, index): Example => ({
    tokens: Int32Array.from([1, 2, ...tokens]),
    promptLength: 2,
    ...(index === 3 && { mask: new Float32Array(tokens.length) }),
  }));
  return {
    rollouts: [{ item, messages: [], promptTokens: Int32Array.of(1, 2), completions }],
    dropped: [[false, false, false, true]],
    rewards: [[2.5, 0.5, 0, null]],
    penalties: [{}, {}, {}, {}],
    groups: [{ advantages: [1, -0.25, -0.75, 0], withoutSpread: false }],
    examples,
    reference: floats("reference"),
    trainer: floats("logprobs"),
    refilled: 0,
    weights: { correct: 2, short: 0.5 },
    settings: grpoSettings.parse({ steps: 1, maxTokens: 4 }),
    ...changes,
  };
}

describe("sampleRecords", () => {
  const records = sampleRecords(3, measured(), sumEnvironment);

  it("say of every completion what it was, what it earned and why", () => {
    expect(records[1]).toEqual({
      step: 3,
      prompt: 0,
      sample: 1,
      item,
      messages: [],
      images: [],
      promptTokens: [1, 2],
      text: "13",
      tokens: [1, 1],
      origin: [["model", 2]],
      lossMask: [[1, 2]],
      samplerLogProbs: [-0.7, -1.2],
      trainerLogProbs: [-1, -0.9],
      referenceLogProbs: [-0.7, -1],
      scores: { correct: 0, short: 1 },
      rewardParts: { correct: 0, short: 0.5 },
      reward: 0.5,
      advantage: -0.25,
      stopReason: "length",
      errorClass: "wrong sum",
      level: "Hard",
    });
    expect(records.map(({ errorClass }) => errorClass)).toEqual([
      null,
      "wrong sum",
      "nothing",
      null,
    ]);
  });

  it("have log-probabilities to a millionth of a nat, however unlikely the token", () => {
    const steep = [-12.3456789, -1.5e-7, -Infinity].map((value) => Float32Array.of(value));
    const trainer = goldenBatch.old.map((row, at) =>
      new Float32Array(row.length).fill(steep[at % 3]![0]!),
    );
    const found = sampleRecords(1, measured({ trainer }), sumEnvironment);
    expect(found.map(({ trainerLogProbs }) => Math.abs(trainerLogProbs![0]!))).toEqual([
      12.345679,
      0,
      Infinity,
      12.345679,
    ]);
  });

  it("keep an abstention apart from a zero, and a failure apart from both", () => {
    expect(records[2]!.rewardParts).toEqual({ correct: 0, short: null });
    const broke = { kind: "error", message: "broke" };
    expect(records[3]).toMatchObject({
      failures: { correct: broke, short: broke },
      dropped: true,
      scores: {},
      rewardParts: { correct: null, short: null },
      reward: null,
      lossMask: [[0, 1]],
    });
    for (const record of records.slice(0, 3)) {
      expect(record).not.toHaveProperty("failures");
      expect(record).not.toHaveProperty("dropped");
    }
    expect(rewardPartsOf({ correct: 0 }, { correct: 2, absent: 1 })).toEqual({
      correct: 0,
      absent: null,
    });
  });

  it("can be read again, and their parts sum to the reward", () => {
    for (const record of records) {
      expect(parseSampleRecord(JSON.parse(jsonLine(record)), "x")).toEqual(record);
      const parts = Object.values(record.rewardParts!).filter((part) => part !== null);
      const sum = parts.reduce((total, part) => total + part, 0);
      expect(parts.length === 0 ? null : sum).toBe(record.reward);
    }
  });

  it("have no class where the task cannot tell, and no reference where there is none", () => {
    const errorClass = (): string => {
      throw new Error("a bug of the label");
    };
    const task = { ...sumEnvironment.task, errorClass };
    const found = sampleRecords(1, measured({ reference: undefined }), { ...sumEnvironment, task });
    for (const record of found) {
      expect(record).not.toHaveProperty("errorClass");
      expect(record).not.toHaveProperty("referenceLogProbs");
    }
  });

  it("say what was taken off the reward, and what took no part in the training", () => {
    const [first, ...others] = measured().examples;
    const found = sampleRecords(
      1,
      measured({
        penalties: [{}, { kl: 0.25, overlong: 0.5 }, { kl: 0 }, {}],
        examples: [null, ...others],
        trainer: [undefined, ...floats("logprobs").slice(1)],
      }),
      sumEnvironment,
    );
    expect(found.map(({ penalties }) => penalties)).toEqual([
      undefined,
      { kl: 0.25, overlong: 0.5 },
      { kl: 0 },
      undefined,
    ]);
    expect(first!.mask).toBeUndefined();
    expect(found[0]).toMatchObject({ lossMask: [[0, 3]], reward: 2.5 });
    expect(found[0]).not.toHaveProperty("trainerLogProbs");
    expect(found[1]).toHaveProperty("trainerLogProbs");
  });
});
