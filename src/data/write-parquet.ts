// Writes rows as a Parquet file, block by block, so that a large file needs the memory of one block.

import { existsSync, renameSync, rmSync } from "node:fs";
import { fileWriter, ParquetWriter, schemaFromColumnData } from "hyparquet-writer";
import { ConfigError } from "../core/errors.ts";

/** A column: of plain values, of lists of them, or of JSON text. */
export interface ParquetColumn<Row> {
  readonly name: string;
  readonly type: "STRING" | "INT32" | "DOUBLE";
  /** A list of that type in every row. */
  readonly isList?: boolean;
  /** Value of a row; null: it has none. */
  readonly value: (row: Row) => unknown;
}

type SchemaElement = ConstructorParameters<typeof ParquetWriter>[0]["schema"][number];

/** Rows that are kept in memory before they are written. */
const BLOCK = 2000;

function elementsOf<Row>({ name, type, isList = false }: ParquetColumn<Row>): SchemaElement[] {
  const [, element] = schemaFromColumnData({
    columnData: [{ name: isList ? "element" : name, data: [], type }],
  }) as [SchemaElement, SchemaElement];
  if (!isList) return [element];
  return [
    { name, repetition_type: "OPTIONAL", converted_type: "LIST", num_children: 1 },
    { name: "list", repetition_type: "REPEATED", num_children: 1 },
    element,
  ];
}

export interface ParquetFile<Row> {
  readonly add: (row: Row) => void;
  /** Writes the rest and gives the file its name; returns the rows written. */
  finish(): number;
  /** Deletes what was written. */
  discard(): void;
}

/** Begins a new file; it has its name only once it is whole. Throws a ConfigError when there is one. */
export function createParquet<Row>(
  path: string,
  columns: readonly ParquetColumn<Row>[],
): ParquetFile<Row> {
  if (existsSync(path)) {
    const expected = "a path that does not exist yet";
    throw new ConfigError({ where: path, expected, got: "one that does" });
  }
  const partial = `${path}.partial`;
  const root: SchemaElement = { name: "root", num_children: columns.length };
  let writer: ReturnType<typeof fileWriter>;
  try {
    writer = fileWriter(partial);
  } catch (cause) {
    const got = (cause as Error).message;
    throw new ConfigError({ where: path, expected: "a path that can be written", got, cause });
  }
  const parquet = new ParquetWriter({
    writer,
    schema: [root, ...columns.flatMap((column) => elementsOf(column))],
  });
  let rows: Row[] = [];
  let count = 0;
  const flush = (): void => {
    if (rows.length === 0) return;
    const columnData = columns.map(({ name, value }) => ({ name, data: rows.map(value) }));
    void parquet.write({ columnData, rowGroupSize: BLOCK }); // a file writer is synchronous
    count += rows.length;
    rows = [];
  };
  return {
    add: (row) => {
      if (rows.push(row) === BLOCK) flush();
    },
    finish: () => {
      flush();
      void parquet.finish();
      renameSync(partial, path);
      return count;
    },
    discard: () => rmSync(partial, { force: true }),
  };
}
