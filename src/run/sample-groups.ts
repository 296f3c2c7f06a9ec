// The stored samples of a run, group by group, in one pass over the file.

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { eachJsonLine } from "./append-log.ts";
import { samplesFile } from "./records.ts";
import { parseSampleRecord, type SampleRecord } from "./sample-record.ts";

/** The completions of one prompt in one step. */
export interface SampleGroup {
  readonly step: number;
  readonly prompt: number;
  readonly samples: readonly SampleRecord[];
}

const ending = ".jsonl";

/** Stages of a run that have stored samples, by name. */
export function sampleStages(directory: string): string[] {
  const folder = join(directory, "samples");
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => name.endsWith(ending));
  return names.map((name) => name.slice(0, -ending.length)).sort();
}

/** The groups of a stage, in order; only one of them is in memory. Throws a DataError that names file, line and field. */
export function* readSampleGroups(directory: string, stage: string): Generator<SampleGroup, void> {
  const path = join(directory, samplesFile(stage));
  let samples: SampleRecord[] = [];
  for (const { value, line } of eachJsonLine(path)) {
    const record = parseSampleRecord(value, `${path}:${line}`);
    const [first] = samples;
    if (first !== undefined && (first.step !== record.step || first.prompt !== record.prompt)) {
      yield { step: first.step, prompt: first.prompt, samples };
      samples = [];
    }
    samples.push(record);
  }
  const [first] = samples;
  if (first !== undefined) yield { step: first.step, prompt: first.prompt, samples };
}

/**
 * The groups of a generation batch: they stand together and share a step. Only one batch is in memory. Throws like
 * `readSampleGroups`.
 */
export function* readSampleBatches(
  directory: string,
  stage: string,
): Generator<readonly SampleGroup[], void> {
  let batch: SampleGroup[] = [];
  for (const group of readSampleGroups(directory, stage)) {
    if (batch.length > 0 && batch[0]!.step !== group.step) {
      yield batch;
      batch = [];
    }
    batch.push(group);
  }
  if (batch.length > 0) yield batch;
}
