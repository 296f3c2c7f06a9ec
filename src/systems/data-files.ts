// Which data files a run began with: `data.json` of its directory. A run that goes on with other rows than it began with would
// neither repeat nor continue anything, so a resume compares names, sizes and counts of rows.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { ConfigError, DataError } from "../core/errors.ts";
import type { RowFileFacts } from "../data/rows.ts";
import type { RunDirectory } from "../run/run-directory.ts";

const uses = ["sft", "sft2", "grpo", "test"] as const;

const factsSchema = z.array(
  z.object({ file: z.string(), sizeBytes: z.number(), rows: z.number() }),
);
const recordSchema = z.partialRecord(z.enum(uses), factsSchema);

export type DataFiles = Readonly<Partial<Record<(typeof uses)[number], readonly RowFileFacts[]>>>;

const NAME = "data";

async function readRecord(path: string): Promise<z.output<typeof recordSchema>> {
  try {
    return recordSchema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (cause) {
    const got = (cause as Error).message;
    throw new DataError({ where: path, expected: "the data files of a run", got, cause });
  }
}

const describe = (facts: RowFileFacts | undefined): string =>
  facts === undefined
    ? "no such file"
    : `${basename(facts.file)} of ${facts.rows} rows, ${facts.sizeBytes} bytes`;

/** Records the files of a run that begins; throws a ConfigError when those of one that goes on have changed. */
export async function checkDataFiles(run: RunDirectory, found: DataFiles): Promise<void> {
  const path = join(run.path, `${NAME}.json`);
  if (!existsSync(path)) {
    if (Object.keys(found).length === 0) return;
    run.resume(); // makes it writable
    run.writeResult(NAME, () => found);
    return;
  }
  const recorded = await readRecord(path);
  for (const use of uses) {
    const [before, now] = [recorded[use] ?? [], found[use] ?? []];
    for (let index = 0; index < Math.max(before.length, now.length); index++) {
      const [expected, got] = [describe(before[index]), describe(now[index])];
      if (expected === got) continue;
      throw new ConfigError({
        where: `data.${use}: ${(now[index] ?? before[index])!.file}`,
        expected: `${expected}, as when the run began`,
        got,
        hint: `put it back, or delete ${path} to go on with other rows`,
      });
    }
  }
}
