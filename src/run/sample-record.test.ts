import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { storedSample } from "../../tests/stored-samples.ts";
import { DataError } from "../core/errors.ts";
import { jsonLine } from "./append-log.ts";
import { expandRuns, parseSampleRecord, runLengths } from "./sample-record.ts";

const parse = (record: object) => parseSampleRecord(JSON.parse(jsonLine(record)), "a.jsonl:7");

describe("a stored sample", () => {
  it("is read as it was written, numbers that JSON lacks included", () => {
    const record = storedSample({ samplerLogProbs: [-Infinity, Number.NaN] });
    expect(parse(record)).toEqual(record);
    expect(parse({ ...record, later: "field" })).toHaveProperty("later", "field");
  });

  it("of a run that knew fewer fields is read too", () => {
    const { images, origin, lossMask, rewardParts, errorClass, level, ...older } = storedSample();
    expect([images, origin, lossMask, rewardParts, errorClass, level]).not.toContain(undefined);
    expect(parse(older)).toEqual(older);
  });

  it.each([
    [{ reward: "1" }, 'a.jsonl:7 at reward: expected a stored sample, got "1"'],
    [{ tokens: ["x"] }, 'a.jsonl:7 at tokens: expected a stored sample, got ["x"]'],
    [{ origin: [["nobody", 2]] }, "a.jsonl:7 at origin.0.0"],
    [{ prompt: undefined }, "a.jsonl:7 at prompt: expected a stored sample, got nothing"],
    [{ trainerLogProbs: [-1] }, "at trainerLogProbs: expected 2 numbers, one a token, got 1"],
  ])("with %j is refused, with line and field", (change, message) => {
    const broken = { ...storedSample(), ...change };
    expect(() => parse(broken)).toThrow(DataError);
    expect(() => parse(broken)).toThrow(message);
  });
});

describe("run lengths", () => {
  it("stand for the list they were made of, and no two neighbours are equal", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 2 })), (values) => {
        const runs = runLengths(values);
        expect(expandRuns(runs)).toEqual(values);
        runs.slice(1).forEach(([value], index) => expect(value).not.toBe(runs[index]![0]));
      }),
    );
    expect(runLengths(["model", "model", "tool"])).toEqual([
      ["model", 2],
      ["tool", 1],
    ]);
  });
});
