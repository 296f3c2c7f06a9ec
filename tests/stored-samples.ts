// A stored sample for tests, and a run directory that holds some.

import type { SampleRecord } from "../src/run/sample-record.ts";

/** A right answer of two tokens to 1 + 2, as a run stores it. */
export function storedSample(changes: Partial<SampleRecord> = {}): SampleRecord {
  return {
    step: 1,
    prompt: 0,
    sample: 0,
    item: { a: 1, b: 2 },
    messages: [{ role: "user", content: "1+2" }],
    images: [],
    promptTokens: [4, 5],
    text: "3",
    tokens: [6, 7],
    origin: [["model", 2]],
    lossMask: [[1, 2]],
    samplerLogProbs: [-0.5, -0.25],
    trainerLogProbs: [-0.5, -0.25],
    scores: { correct: 1, short: 1 },
    rewardParts: { correct: 1 },
    reward: 1,
    advantage: 0.5,
    stopReason: "stop",
    errorClass: null,
    level: "Easy",
    ...changes,
  };
}
