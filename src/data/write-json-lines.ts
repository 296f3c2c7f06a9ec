// Rows to a JSONL file that has its name only once it is whole: a process that is stopped leaves nothing that looks like data.

import { once } from "node:events";
import { createWriteStream, renameSync, rmSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import { ConfigError } from "../core/errors.ts";

/**
 * Writes one JSON object a line and returns how many.
 * @throws ConfigError when the path cannot be written; what the rows throw, as it is. Then no file is left.
 */
export async function writeJsonLines(path: string, rows: AsyncIterable<unknown>): Promise<number> {
  const partial = `${path}.partial`;
  let count = 0;
  const file = createWriteStream(partial);
  const closed = once(file, "close");
  closed.catch(() => undefined); // an error of the file is that of the pipeline
  try {
    await pipeline(async function* () {
      for await (const row of rows) {
        yield `${JSON.stringify(row)}\n`;
        count++;
      }
    }, file);
    renameSync(partial, path);
    return count;
  } catch (cause) {
    // It may still be about to be opened, and would be there again.
    await closed.catch(() => undefined);
    rmSync(partial, { force: true });
    const { code, syscall, path: failed, message } = cause as NodeJS.ErrnoException;
    const isWriting = code !== undefined && (failed === partial || syscall === "write");
    if (!isWriting) throw cause;
    throw new ConfigError({
      where: path,
      expected: "a path that can be written",
      got: message,
      cause,
    });
  }
}
