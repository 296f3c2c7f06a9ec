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
