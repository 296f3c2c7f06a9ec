// A run as an offline run of Weights & Biases, which `wandb sync` uploads.
//
// Format: wandb/proto/wandb_internal.proto for the records; a LevelDB log for the frames (log_format.md of LevelDB), with a
// header of its own and plain CRC-32 in place of the masked CRC-32C: blocks of 32 KiB, each record in pieces of
//   uint32 CRC-32 of type and data, uint16 length, uint8 type (1 whole, 2 first, 3 middle, 4 last), data; little-endian.

import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import protobuf from "protobufjs/minimal.js";
import { hashKey } from "../core/random.ts";
import type { Histogram } from "../core/histogram.ts";
import type { RunPoint, RunPoints } from "./run-points.ts";

const { Writer } = protobuf;
type Writer = protobuf.Writer;

const BLOCK = 32768;
const HEADER = 7;
/** ":W&B", the number 0xBEE1, version 0. */
const fileHeader = Buffer.from([0x3a, 0x57, 0x26, 0x42, 0xe1, 0xbe, 0]);
const [VARINT, BYTES] = [0, 2];
const tag = (field: number, wire: number): number => (field << 3) | wire;

/** Fields of `Record`. */
const recordFields = { history: 2, summary: 3, run: 17, exit: 18, header: 21 } as const;

/** Records as a log: header, then pieces that never cross the end of a block. */
function frameLog(records: readonly Uint8Array[]): Buffer {
  const parts: Uint8Array[] = [fileHeader];
  let position = fileHeader.length;
  const push = (bytes: Uint8Array): void => {
    parts.push(bytes);
    position += bytes.length;
  };
  for (const record of records) {
    for (let [start, isFirst, isLast] = [0, true, false]; !isLast;) {
      const left = BLOCK - (position % BLOCK);
      if (left < HEADER) {
        push(new Uint8Array(left)); // no room for the head of a piece
        continue;
      }
      const data = record.subarray(start, start + left - HEADER);
      start += data.length;
      isLast = start === record.length;
      const head = Buffer.alloc(HEADER);
      const type = isFirst ? (isLast ? 1 : 2) : isLast ? 4 : 3;
      head.writeUInt32LE(crc32(data, crc32(Uint8Array.of(type))), 0);
      head.writeUInt16LE(data.length, 4);
      head.writeUInt8(type, 6);
      push(head);
      push(data);
      isFirst = false;
    }
  }
  return Buffer.concat(parts);
}

function message(writer: Writer, field: number, write: (inner: Writer) => void): void {
  writer.uint32(tag(field, BYTES)).fork();
  write(writer);
  writer.ldelim();
}

const text = (writer: Writer, field: number, value: string): Writer =>
  writer.uint32(tag(field, BYTES)).string(value);

/** A value as W&B reads it: JSON, where a number that JSON lacks is a string. */
const valueJson = (value: unknown): string =>
  JSON.stringify(value, (_key, one: unknown) =>
    typeof one === "number" && !Number.isFinite(one) ? String(one) : one,
  ) ?? "null";

/** HistoryItem, SummaryItem and ConfigItem: key 1, value_json 16. */
function writeItems(
  writer: Writer,
  field: number,
  values: Readonly<Record<string, unknown>>,
): void {
  for (const [key, value] of Object.entries(values)) {
    message(writer, field, (item) => {
      text(item, 1, key);
      text(item, 16, valueJson(value));
    });
  }
}

const wandbHistogram = ({ counts, edges }: Histogram): object => ({
  _type: "histogram",
  values: counts,
  bins: edges,
});

/** A row of the history; `_step` must rise, so it is the step of the whole run. */
function historyOf(point: RunPoint, startMs: number): Record<string, unknown> {
  const histograms = Object.entries(point.histograms);
  return {
    ...point.metrics,
    ...point.evaluations,
    ...Object.fromEntries(histograms.map(([name, one]) => [name, wandbHistogram(one)])),
    [`${point.stage}/step`]: point.step,
    _step: point.globalStep,
    _timestamp: point.timeMs / 1000,
    _runtime: (point.timeMs - startMs) / 1000,
  };
}

export interface WandbRun {
  readonly id: string;
  /** Folder of the offline run: what `wandb sync` is given. */
  readonly directory: string;
}

/** Names that follow from the run, so that a second export replaces the first. */
function nameRun(folder: string, { record }: RunPoints): WandbRun {
  const { system, scale, seed, start } = record;
  const [high, low] = hashKey(["wandb", system, scale, seed, start]);
  const id = (BigInt(high) * 2n ** 32n + BigInt(low)).toString(36).padStart(8, "0").slice(-8);
  const [day = "", clock = ""] = new Date(start).toISOString().split(/[T.]/);
  const time = `${day.replaceAll("-", "")}_${clock.replaceAll(":", "")}`;
  return { id, directory: join(folder, "wandb", `offline-run-${time}-${id}`) };
}

/** RunRecord: run_id 1, project 3, config 4, display_name 8, start_time 17. */
function writeRun(writer: Writer, { record }: RunPoints, name: string, id: string): void {
  const { system, scale, seed, config } = record;
  const startMs = Date.parse(record.start);
  text(writer, 1, id);
  text(writer, 3, system);
  const settings = typeof config === "object" ? config : { config };
  message(writer, 4, (inner) => writeItems(inner, 1, { system, scale, seed, ...settings }));
  text(writer, 8, name);
  message(writer, 17, (time) => {
    time.uint32(tag(1, VARINT)).int64(Math.floor(startMs / 1000));
    time.uint32(tag(2, VARINT)).int32((startMs % 1000) * 1e6);
  });
}

/** Writes `wandb/offline-run-…/run-<id>.wandb` below a folder. */
export function writeWandb(folder: string, run: RunPoints, name: string): WandbRun {
  const { record, points } = run;
  const startMs = Date.parse(record.start);
  const named = nameRun(folder, run);
  const rows = points.map((point) => historyOf(point, startMs));
  const records: Uint8Array[] = [];
  const add = (field: number, write: (inner: Writer) => void): void => {
    const writer = Writer.create();
    writer.uint32(tag(1, VARINT)).int64(records.length + 1); // Record.num
    message(writer, field, write);
    records.push(writer.finish());
  };
  add(recordFields.header, (header) =>
    message(header, 1, (version) => {
      text(version, 1, `alidade ${record.versions["alidade"] ?? ""}`);
      text(version, 2, "0.12.0"); // the oldest reader that these records ask for
    }),
  );
  add(recordFields.run, (inner) => writeRun(inner, run, name, named.id));
  rows.forEach((row, index) =>
    add(recordFields.history, (history) => {
      writeItems(history, 1, row);
      message(history, 2, (step) => step.uint32(tag(1, VARINT)).int64(points[index]!.globalStep));
    }),
  );
  const last: Record<string, unknown> = Object.assign({}, ...rows);
  add(recordFields.summary, (summary) => writeItems(summary, 1, last));
  add(recordFields.exit, (exit) => {
    exit.uint32(tag(1, VARINT)).int32(record.status === "done" ? 0 : 1);
    exit.uint32(tag(2, VARINT)).int32(Math.round(Number(last["_runtime"] ?? 0)));
  });
  mkdirSync(join(named.directory, "files"), { recursive: true });
  const path = join(named.directory, `run-${named.id}.wandb`);
  writeFileSync(`${path}.partial`, frameLog(records));
  renameSync(`${path}.partial`, path);
  return named;
}
