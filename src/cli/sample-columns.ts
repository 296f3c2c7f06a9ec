// The columns of stored samples in a Parquet file: numbers and lists as such, nested data as JSON text.

import { jsonLine } from "../run/append-log.ts";
import { expandRuns, type SampleRecord } from "../run/sample-record.ts";
import { classOf, mismatchOf, surpriseOf } from "../run/sample-query.ts";
import type { ParquetColumn } from "../data/write-parquet.ts";

type Column = ParquetColumn<SampleRecord>;

const column = (
  name: string,
  type: Column["type"],
  value: (record: SampleRecord) => unknown,
): Column => ({ name, type, value: (record) => value(record) ?? null });

const list = (
  name: string,
  type: Column["type"],
  value: (record: SampleRecord) => readonly unknown[] | undefined,
): Column => ({ ...column(name, type, value), isList: true });

/** JSON text, as the samples file has it. */
const json = (name: string, value: (record: SampleRecord) => object | undefined): Column =>
  column(name, "STRING", (record) => {
    const part = value(record);
    return part === undefined ? null : jsonLine(part).trimEnd();
  });

/** Run lengths are written out, so that every list of a completion has one value a token. */
export const sampleColumns: readonly Column[] = [
  column("step", "INT32", ({ step }) => step),
  column("prompt", "INT32", ({ prompt }) => prompt),
  column("sample", "INT32", ({ sample }) => sample),
  json("item", ({ item }) => item as object),
  json("messages", ({ messages }) => messages),
  list("images", "STRING", ({ images }) => images),
  list("promptTokens", "INT32", ({ promptTokens }) => promptTokens),
  column("text", "STRING", ({ text }) => text),
  list("tokens", "INT32", ({ tokens }) => tokens),
  list("origin", "STRING", ({ origin }) => origin && expandRuns(origin)),
  list("lossMask", "DOUBLE", ({ lossMask }) => lossMask && expandRuns(lossMask)),
  list("samplerLogProbs", "DOUBLE", ({ samplerLogProbs }) => samplerLogProbs),
  list("trainerLogProbs", "DOUBLE", ({ trainerLogProbs }) => trainerLogProbs),
  list("referenceLogProbs", "DOUBLE", ({ referenceLogProbs }) => referenceLogProbs),
  json("scores", ({ scores }) => scores),
  json("failures", ({ failures }) => failures),
  column("error", "STRING", ({ error }) => error),
  column("dropped", "INT32", ({ dropped }) => Number(dropped === true)),
  json("rewardParts", ({ rewardParts }) => rewardParts),
  json("penalties", ({ penalties }) => penalties),
  column("reward", "DOUBLE", ({ reward }) => reward),
  column("advantage", "DOUBLE", ({ advantage }) => advantage),
  column("stopReason", "STRING", ({ stopReason }) => stopReason),
  column("class", "STRING", classOf),
  column("level", "STRING", ({ level }) => level),
  column("surprise", "DOUBLE", (record) => surpriseOf(record)?.mean),
  column("mismatch", "DOUBLE", mismatchOf),
];
