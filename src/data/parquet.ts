// Rows of a Parquet file as the Hugging Face Hub holds them (Snappy or uncompressed). Opening reads the footer; a row
// is read from the pages that hold it.

import {
  asyncBufferFromFile,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from "hyparquet";
import type { AsyncBuffer, FileMetaData } from "hyparquet";
import { DataError } from "../core/errors.ts";
import type { Row, RowColumns, RowFile } from "./rows.ts";

/** Rows that are read at once when they are asked for in order. */
const BLOCK = 256;

const readable: ReadonlySet<string> = new Set(["UNCOMPRESSED", "SNAPPY"]);

async function readFooter(path: string, file: AsyncBuffer): Promise<FileMetaData> {
  try {
    return await parquetMetadataAsync(file);
  } catch (cause) {
    throw new DataError({
      where: path,
      expected: "a Parquet file",
      got: (cause as Error).message,
      hint: `${file.byteLength} bytes; is the file cut off?`,
      cause,
    });
  }
}

function checkCompression(
  path: string,
  { row_groups: groups }: FileMetaData,
  wanted: string[],
): void {
  for (const { columns } of groups) {
    for (const { meta_data: column } of columns) {
      if (column === undefined || !wanted.includes(column.path_in_schema[0]!)) continue;
      if (readable.has(column.codec)) continue;
      const where = `${path}, column ${column.path_in_schema[0]}`;
      throw new DataError({ where, expected: "compression SNAPPY or none", got: column.codec });
    }
  }
}

/** Opens a Parquet file; throws a DataError when it is cut off, empty, or lacks a required column. */
export async function openParquet(path: string, columns: RowColumns): Promise<RowFile> {
  const file = await asyncBufferFromFile(path);
  const metadata = await readFooter(path, file);
  const there = parquetSchema(metadata).children.map(({ element }) => element.name);
  const missing = columns.required.find((name) => !there.includes(name));
  if (missing !== undefined) {
    const got = there.join(", ");
    throw new DataError({ where: path, expected: `a column ${missing}`, got });
  }
  const wanted = there.filter((name) => [...columns.required, ...columns.optional].includes(name));
  checkCompression(path, metadata, wanted);
  const length = Number(metadata.num_rows);
  if (length === 0) throw new DataError({ where: path, expected: "at least one row", got: "none" });
  const place = (index: number): string => `${path}, row ${index}`;
  const readRange = async (start: number, end: number): Promise<readonly Row[]> => {
    try {
      return await parquetReadObjects({
        file,
        metadata,
        columns: wanted,
        rowStart: start,
        rowEnd: Math.min(end, length),
        useOffsetIndex: true,
      });
    } catch (cause) {
      const got = (cause as Error).message;
      throw new DataError({ where: place(start), expected: "a readable row", got, cause });
    }
  };
  // Pages are unpacked whole, so rows that are read in order come in blocks, and rows in any other order alone.
  let block = { start: 0, rows: [] as readonly Row[] };
  let last = -1;
  return {
    path,
    length,
    place,
    read: async (index) => {
      const isNext = index === last + 1;
      last = index;
      const known = block.rows[index - block.start];
      if (known !== undefined) return known;
      // A block that cannot be read may hold a bad row further on; the row itself decides.
      const rows = isNext ? await readRange(index, index + BLOCK).catch(() => []) : [];
      if (rows.length > 0) block = { start: index, rows };
      return rows[0] ?? (await readRange(index, index + 1))[0]!;
    },
  };
}
