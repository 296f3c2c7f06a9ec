// What trackers are given, read back without their libraries and without ours.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { partsOf, valuesOf } from "../../tests/proto-fields.ts";
import { histogram } from "../core/histogram.ts";
import { RunDirectory } from "../run/run-directory.ts";
import { pointsCsv } from "./csv.ts";
import { maskedCrc32c } from "./masked-crc32c.ts";
import { readRunPoints, type RunPoints } from "./run-points.ts";
import { writeTensorboard } from "./tensorboard.ts";
import { writeWandb } from "./wandb.ts";

let root: string;
let path: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "alidade-trackers-"));
  path = join(root, "run");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const entropy = histogram([0.5, 2, 2.5], [0, 1, 3])!;

/** A run of two stages with one odd number, a histogram and two evaluations. */
function makeRun(): RunPoints {
  const config = { sft: { steps: 2 } };
  const start = { system: "sum", scale: "tiny", config, seed: 3, overrides: [] };
  const run = RunDirectory.create(path, start);
  const judged = { task: "sum", split: "test", count: 9, ci95: [0.1, 0.9] };
  run.logEvaluation({ step: 0, stage: "untrained", correct: 0.25, ...judged });
  run.logMetrics({ step: 1, stage: "sft", loss: 0.1, "time/stepMs": 500 });
  run.logMetrics({ step: 2, stage: "sft", loss: Number.NaN, "time/stepMs": 1500 });
  run.logHistograms({ step: 1, stage: "grpo", entropy });
  run.logMetrics({ step: 1, stage: "grpo", "reward/mean": 0.75, "time/stepMs": 1000 });
  const levels = { Easy: { accuracy: 1 } };
  run.logEvaluation({ step: 1, stage: "grpo", correct: 0.5, levels, ...judged });
  run.finish("done");
  return readRunPoints(path);
}

describe("the points of a run", () => {
  it("lay stages end to end, with the time their steps took", () => {
    const { points, record } = makeRun();
    const startMs = Date.parse(record.start);
    expect(
      points.map(({ stage, step, globalStep, timeMs }) => [
        stage,
        step,
        globalStep,
        timeMs - startMs,
      ]),
    ).toEqual([
      ["untrained", 0, 0, 0],
      ["sft", 1, 1, 500],
      ["sft", 2, 2, 2000],
      ["grpo", 1, 3, 3000],
    ]);
    expect(points[2]!.metrics).toEqual({ "sft/loss": Number.NaN, "sft/time/stepMs": 1500 });
    expect(points[3]!.histograms).toEqual({ "grpo/histogram/entropy": entropy });
    expect(points[3]!.evaluations).toEqual({
      "evaluation/sum/test/accuracy": 0.5,
      "evaluation/sum/test/accuracy/low": 0.1,
      "evaluation/sum/test/accuracy/high": 0.9,
      "evaluation/sum/test/accuracy/Easy": 1,
    });
  });
});

/** CRC-32C bit by bit (RFC 3720, appendix B.4), unmasked. */
function plainCrc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

const unmasked = (masked: number): number => {
  const rotated = (masked - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
};

describe("maskedCrc32c", () => {
  it("is the checksum of RFC 3720, masked", () => {
    expect(unmasked(maskedCrc32c(Buffer.from("123456789")))).toBe(0xe3069283);
    expect(unmasked(maskedCrc32c(new Uint8Array(32)))).toBe(0x8a9136aa);
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(unmasked(maskedCrc32c(bytes))).toBe(plainCrc32c(bytes));
      }),
    );
  });
});

/** The events of a file, every checksum verified. */
function eventsOf(file: string): Buffer[] {
  const bytes = readFileSync(file);
  const events: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(bytes.readBigUInt64LE(at));
    const event = bytes.subarray(at + 12, at + 12 + length);
    expect(unmasked(bytes.readUInt32LE(at + 8))).toBe(plainCrc32c(bytes.subarray(at, at + 8)));
    expect(unmasked(bytes.readUInt32LE(at + 12 + length))).toBe(plainCrc32c(event));
    events.push(event);
    at += 16 + length;
  }
  return events;
}

describe("a TensorBoard event file", () => {
  it("holds every number at its step", () => {
    const run = makeRun();
    const file = writeTensorboard(join(root, "logs"), run);
    const [version, ...events] = eventsOf(file);
    expect(partsOf(version!, 3).map(String)).toEqual(["brain.Event:2"]);
    const found = events.flatMap((event) => {
      const [step = 0] = valuesOf(event, 2);
      const [summary] = partsOf(event, 5);
      return partsOf(summary!, 1).flatMap((value) => {
        const [number] = partsOf(value, 2);
        return number === undefined
          ? []
          : [[String(partsOf(value, 1)[0]), step, number.readFloatLE()]];
      });
    });
    expect(found).toContainEqual(["sft/loss", 1, Math.fround(0.1)]);
    expect(found).toContainEqual(["sft/loss", 2, Number.NaN]);
    expect(found).toContainEqual(["grpo/reward/mean", 1, 0.75]);
    expect(found).toContainEqual(["evaluation/sum/test/accuracy", 3, 0.5]);
    expect(found.length).toBe(3 + 2 + 2 + 2 + 4); // untrained, two of sft, grpo, its evaluation
    const startSeconds = partsOf(version!, 1)[0]!.readDoubleLE();
    expect(startSeconds * 1000).toBeCloseTo(Date.parse(run.record.start), 3);
    expect(partsOf(events.at(-1)!, 1)[0]!.readDoubleLE() - startSeconds).toBeCloseTo(3, 3);
  });

  it("holds histograms, and is replaced by a later export of the same run", () => {
    const run = makeRun();
    const file = writeTensorboard(root, run);
    expect(writeTensorboard(root, run)).toBe(file);
    expect(readdirSync(root).length).toBe(2); // the run and one file
    const values = eventsOf(file).flatMap((event) =>
      partsOf(event, 5).flatMap((summary) => partsOf(summary, 1)),
    );
    const value = values.find((one) => String(partsOf(one, 1)[0]) === "grpo/histogram/entropy")!;
    const [read] = partsOf(value, 5);
    const doubles = (bytes: Buffer): number[] =>
      Array.from({ length: bytes.length / 8 }, (_, index) => bytes.readDoubleLE(8 * index));
    const facts = [1, 2, 3, 4, 5].map((field) => partsOf(read!, field)[0]!.readDoubleLE());
    expect(facts).toEqual([0.5, 2.5, 3, 5, 10.5]);
    expect(doubles(partsOf(read!, 6)[0]!)).toEqual([1, 3]);
    expect(doubles(partsOf(read!, 7)[0]!)).toEqual([1, 2]);
  });
});

/** The records of a .wandb file, put together from their pieces; every checksum verified. */
function recordsOf(file: string): Buffer[] {
  const bytes = readFileSync(file);
  expect(bytes.subarray(0, 7)).toEqual(Buffer.from(":W&B\xE1\xBE\0", "latin1"));
  const records: Buffer[] = [];
  let pieces: Buffer[] = [];
  for (let at = 7; at < bytes.length;) {
    const left = 32768 - (at % 32768);
    if (left < 7) {
      expect(bytes.subarray(at, at + left).every((byte) => byte === 0)).toBe(true);
      at += left;
      continue;
    }
    const [length, type] = [bytes.readUInt16LE(at + 4), bytes[at + 6]!];
    expect(length).toBeLessThanOrEqual(left - 7);
    expect(bytes.readUInt32LE(at)).toBe(crc32(bytes.subarray(at + 6, at + 7 + length)));
    const isFirst = type === 1 || type === 2;
    expect(pieces.length > 0).toBe(!isFirst);
    pieces.push(bytes.subarray(at + 7, at + 7 + length));
    if (type === 1 || type === 4) {
      records.push(Buffer.concat(pieces));
      pieces = [];
    }
    at += 7 + length;
  }
  expect(pieces).toEqual([]);
  return records;
}

/** Key and value of items in a message: key 1, value_json 16. */
const itemsOf = (bytes: Buffer): Record<string, unknown> =>
  Object.fromEntries(
    partsOf(bytes, 1).map((item) => [
      String(partsOf(item, 1)[0]),
      JSON.parse(String(partsOf(item, 16)[0])) as unknown,
    ]),
  );

describe("an offline run of W&B", () => {
  it("is header, run, history, summary and exit, numbered", () => {
    const run = makeRun();
    const { id, directory } = writeWandb(root, run, "my run");
    expect(id).toMatch(/^[a-z0-9]{8}$/);
    expect(directory).toMatch(new RegExp(`wandb/offline-run-\\d{8}_\\d{6}-${id}$`));
    expect(readdirSync(directory).sort()).toEqual(["files", `run-${id}.wandb`]);
    const records = recordsOf(join(directory, `run-${id}.wandb`));
    expect(records.map((record) => valuesOf(record, 1)[0])).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    const [header, started, ...rest] = records;
    expect(partsOf(header!, 21).length).toBe(1);
    const [about] = partsOf(started!, 17);
    expect([1, 3, 8].map((field) => String(partsOf(about!, field)[0]))).toEqual([
      id,
      "sum",
      "my run",
    ]);
    expect(itemsOf(partsOf(about!, 4)[0]!)).toMatchObject({
      scale: "tiny",
      seed: 3,
      sft: { steps: 2 },
    });
    const history = rest.flatMap((record) => partsOf(record, 2));
    expect(history.map((one) => valuesOf(partsOf(one, 2)[0]!, 1)[0])).toEqual([0, 1, 2, 3]);
    const rows = history.map(itemsOf);
    expect(rows[1]).toMatchObject({ "sft/loss": 0.1, "sft/step": 1, _step: 1, _runtime: 0.5 });
    expect(rows[2]).toMatchObject({ "sft/loss": "NaN" });
    expect(rows[3]).toMatchObject({
      "grpo/reward/mean": 0.75,
      "evaluation/sum/test/accuracy": 0.5,
      "grpo/histogram/entropy": { _type: "histogram", values: [1, 2], bins: [0, 1, 3] },
    });
    const [summary] = rest.flatMap((record) => partsOf(record, 3));
    expect(itemsOf(summary!)).toMatchObject({
      "sft/loss": "NaN",
      "grpo/reward/mean": 0.75,
      _step: 3,
    });
    expect(rest.flatMap((record) => partsOf(record, 18)).length).toBe(1);
  });

  it("is cut into blocks wherever a record ends", () => {
    const run = makeRun();
    const write = (note: string): Buffer => {
      const record = { ...run.record, start: "2026-01-02T03:04:05.600Z", config: { note } };
      const { id, directory } = writeWandb(root, { ...run, record }, "a");
      const file = join(directory, `run-${id}.wandb`);
      const [, started] = recordsOf(file);
      expect(itemsOf(partsOf(partsOf(started!, 17)[0]!, 4)[0]!)).toMatchObject({ note });
      const bytes = readFileSync(file);
      return bytes;
    };
    // The first two records fill the file up to here; a longer note moves it byte by byte over the end of the block.
    const length = 32_000;
    const bytes = write("x".repeat(length));
    const first = bytes.readUInt16LE(7 + 4);
    const end = 7 + 7 + first + 7 + bytes.readUInt16LE(7 + 7 + first + 4);
    expect(end).toBeLessThan(32_768);
    for (let left = 0; left <= 9; left++) {
      const cut = write("x".repeat(length + 32_768 - end - left));
      const padding = left < 7 ? left : 0;
      expect(cut.subarray(32_768 - left, 32_768 - left + padding).every((byte) => byte === 0)).toBe(
        true,
      );
      expect(cut[32_768 - left + padding + 6]).toBe(left < 7 ? 1 : 2); // whole in the next block, or begun in this one
    }
    write("y".repeat(100_000));
  });
});

describe("a table of metrics", () => {
  it("has a row a point, with empty cells for what a point lacks", () => {
    const lines = pointsCsv(makeRun()).trimEnd().split("\n");
    const cells = lines.map((line) => line.split(","));
    const column = (name: string): string[] => cells.map((row) => row[cells[0]!.indexOf(name)]!);
    expect(column("globalStep")).toEqual(["globalStep", "0", "1", "2", "3"]);
    expect(column("sft/loss").slice(1)).toEqual(["", "0.1", "NaN", ""]);
    expect(column("evaluation/sum/test/accuracy").slice(1)).toEqual(["0.25", "", "", "0.5"]);
  });
});
