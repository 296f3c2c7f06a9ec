// A run as a TensorBoard event file. Scalars keep float32, which is what the format has.
//
// Format: tensorflow/core/util/event.proto and summary.proto for the fields, record_writer.h for the frames:
//   uint64 length, uint32 masked CRC-32C of the length, the event, uint32 masked CRC-32C of the event; little-endian.

import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import protobuf from "protobufjs/minimal.js";
import type { Histogram } from "../core/histogram.ts";
import { maskedCrc32c } from "./masked-crc32c.ts";
import type { RunPoint, RunPoints } from "./run-points.ts";

const { Writer } = protobuf;
type Writer = protobuf.Writer;

const [VARINT, DOUBLE, BYTES, FLOAT] = [0, 1, 2, 5];
const tag = (field: number, wire: number): number => (field << 3) | wire;

function frame(event: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(event.length + 16);
  bytes.writeBigUInt64LE(BigInt(event.length), 0);
  bytes.writeUInt32LE(maskedCrc32c(bytes.subarray(0, 8)), 8);
  bytes.set(event, 12);
  bytes.writeUInt32LE(maskedCrc32c(event), 12 + event.length);
  return bytes;
}

function writeDoubles(writer: Writer, field: number, values: readonly number[]): void {
  writer.uint32(tag(field, BYTES)).fork();
  for (const value of values) writer.double(value);
  writer.ldelim();
}

/** HistogramProto; a bucket limit is the upper edge of its bin. */
function writeHistogram(writer: Writer, one: Histogram): void {
  const { min, max, count, sum, sumSquares } = one;
  [min, max, count, sum, sumSquares].forEach((value, index) =>
    writer.uint32(tag(index + 1, DOUBLE)).double(value),
  );
  writeDoubles(writer, 6, one.edges.slice(1));
  writeDoubles(writer, 7, one.counts);
}

/** Summary.Value: tag 1, simple_value 2, histo 5. */
function writeValue(writer: Writer, name: string, value: number | Histogram): void {
  writer.uint32(tag(1, BYTES)).fork(); // Summary.value
  writer.uint32(tag(1, BYTES)).string(name);
  if (typeof value === "number") writer.uint32(tag(2, FLOAT)).float(value);
  else {
    writer.uint32(tag(5, BYTES)).fork();
    writeHistogram(writer, value);
    writer.ldelim();
  }
  writer.ldelim();
}

/** Event: wall_time 1 (seconds), step 2, file_version 3, summary 5. */
function eventOf(
  timeMs: number,
  step: number,
  values: Readonly<Record<string, number | Histogram>>,
): Uint8Array {
  const writer = Writer.create();
  writer.uint32(tag(1, DOUBLE)).double(timeMs / 1000);
  writer.uint32(tag(2, VARINT)).int64(step);
  writer.uint32(tag(5, BYTES)).fork();
  for (const [name, value] of Object.entries(values)) writeValue(writer, name, value);
  return writer.ldelim().finish();
}

function versionEvent(timeMs: number): Uint8Array {
  const writer = Writer.create();
  writer.uint32(tag(1, DOUBLE)).double(timeMs / 1000);
  return writer.uint32(tag(3, BYTES)).string("brain.Event:2").finish();
}

/** What a stage measured stands at the stage's own step, evaluations at the step of the whole run. */
function eventsOf({
  timeMs,
  step,
  globalStep,
  metrics,
  histograms,
  evaluations,
}: RunPoint): Uint8Array[] {
  const measured = { ...metrics, ...histograms };
  return [
    ...(Object.keys(measured).length > 0 ? [eventOf(timeMs, step, measured)] : []),
    ...(Object.keys(evaluations).length > 0 ? [eventOf(timeMs, globalStep, evaluations)] : []),
  ];
}

/** Writes the events of a run into a folder and returns the path; a later export of the same run replaces the file. */
export function writeTensorboard(folder: string, { record, points }: RunPoints): string {
  mkdirSync(folder, { recursive: true });
  const startMs = Date.parse(record.start);
  const seconds = String(Math.floor(startMs / 1000)).padStart(10, "0");
  const path = join(folder, `events.out.tfevents.${seconds}.alidade`);
  const events = [versionEvent(startMs), ...points.flatMap(eventsOf)];
  writeFileSync(`${path}.partial`, Buffer.concat(events.map(frame)));
  renameSync(`${path}.partial`, path);
  return path;
}
