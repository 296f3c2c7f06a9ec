// Text files as people publish them: UTF-8, with or without a byte order mark.

import { readFile } from "node:fs/promises";
import { DataError } from "../core/errors.ts";

/** The bytes of a file. Throws a DataError that begins with `where` when it cannot be read. */
export async function readBytes(path: string, where = path): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    const got = (cause as Error).message;
    throw new DataError({ where, expected: "a file that can be read", got, cause });
  }
}

/**
 * The text of bytes, a byte order mark kept. Throws a DataError for bytes that are no UTF-8: read leniently, a prompt in another
 * encoding would become another prompt.
 */
export function decodeText(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    const hint = "save the file as UTF-8";
    const got = (cause as Error).message;
    throw new DataError({ where, expected: "UTF-8 text", got, hint, cause });
  }
}

const NEWLINE = 10;

/** The text of a file without its byte order mark. Throws a DataError that names file and, for bytes that are no UTF-8, the line. */
export async function readText(path: string): Promise<string> {
  const bytes = await readBytes(path);
  try {
    return decodeText(bytes, path).replace(/^\uFEFF/, "");
  } catch (error) {
    let [start, line] = [0, 1];
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
      decodeText(bytes.subarray(start, end), `${path}, line ${line}`);
      start = end + 1;
      line++;
    }
    decodeText(bytes.subarray(start), `${path}, line ${line}`);
    throw error; // longer than a string may be
  }
}
