import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { storedSample } from "../../tests/stored-samples.ts";
import { eachJsonLine, jsonLine, readJsonLines } from "./append-log.ts";
import { readSampleBatches, readSampleGroups, sampleStages } from "./sample-groups.ts";

let root: string;
let path: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "alidade-samples-"));
  mkdirSync(join(root, "samples"));
  path = join(root, "samples", "grpo.jsonl");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe("the stored samples of a run", () => {
  it("come group by group and batch by batch, without the half line of a process that was killed", () => {
    const places = [
      [1, 0, 0],
      [1, 0, 1],
      [1, 1, 0],
      [2, 1, 0],
      [2, 1, 1],
    ] as const;
    const records = places.map(([step, prompt, sample]) => storedSample({ step, prompt, sample }));
    writeFileSync(path, `${records.map(jsonLine).join("")}{"step":2,`);
    const groups = [...readSampleGroups(root, "grpo")];
    expect(groups.map(({ step, prompt, samples }) => [step, prompt, samples.length])).toEqual([
      [1, 0, 2],
      [1, 1, 1],
      [2, 1, 2],
    ]);
    expect(groups.flatMap(({ samples }) => samples)).toEqual(records);
    expect([...readSampleBatches(root, "grpo")]).toEqual([groups.slice(0, 2), groups.slice(2)]);
    expect(sampleStages(root)).toEqual(["grpo"]);
    expect([...readSampleGroups(root, "sft")]).toEqual([]);
    expect([...readSampleBatches(root, "sft")]).toEqual([]);
  });

  it("name the line that is broken", () => {
    writeFileSync(path, `${jsonLine(storedSample())}{"step":2}\n`);
    expect(() => [...readSampleGroups(root, "grpo")]).toThrow(`${path}:2 at prompt`);
    appendFileSync(path, "{\n");
    expect(() => [...eachJsonLine(path)]).toThrow(`${path}:3: expected a line of JSON`);
  });
});

describe("eachJsonLine", () => {
  it("reads lines that are longer than its buffer, and characters that lie across its border", () => {
    // Lines of 700 kB of three-byte characters: the buffer of 1 MiB ends inside of lines and of characters.
    const records = Array.from({ length: 5 }, (_, index) => ({
      index,
      text: "迷".repeat(index === 3 ? 800_000 : 233_333 + index),
    }));
    writeFileSync(path, records.map(jsonLine).join(""));
    const lines = [...eachJsonLine(path)];
    expect(lines.map(({ line }) => line)).toEqual([1, 2, 3, 4, 5]);
    expect(lines.map(({ value }) => value)).toEqual(readJsonLines(path));
    expect(lines[3]!.value).toEqual(records[3]);
  });
});
