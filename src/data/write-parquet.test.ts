import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ConfigError } from "../core/errors.ts";
import { createParquet, type ParquetColumn } from "./write-parquet.ts";

let root: string;
let path: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "alidade-parquet-"));
  path = join(root, "rows.parquet");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

interface Row {
  readonly id: number;
  readonly name: string | null;
  readonly values: readonly number[] | null;
}

const columns: readonly ParquetColumn<Row>[] = [
  { name: "id", type: "INT32", value: ({ id }) => id },
  { name: "name", type: "STRING", value: ({ name }) => name },
  { name: "values", type: "DOUBLE", isList: true, value: ({ values }) => values },
];

describe("createParquet", () => {
  it("writes rows that read as they were, over several blocks, with nulls and empty lists", async () => {
    const rows = Array.from({ length: 4500 }, (_, id): Row => ({
      id,
      name: id % 7 === 0 ? null : `row ${id} 迷`,
      values: id % 5 === 0 ? null : Array.from({ length: id % 4 }, (_one, at) => id / (at + 1)),
    }));
    const file = createParquet(path, columns);
    for (const row of rows) file.add(row);
    expect(existsSync(path)).toBe(false); // not before it is whole
    expect(file.finish()).toBe(rows.length);
    expect(readdirSync(root)).toEqual(["rows.parquet"]);
    const buffer = await asyncBufferFromFile(path);
    const found = await parquetReadObjects({ file: buffer });
    expect(found.map((row) => ({ ...row, values: row["values"] ?? null }))).toEqual(rows);
    const { row_groups: groups } = await parquetMetadataAsync(buffer);
    expect(groups.length).toBe(3);
  });

  it("writes a file without rows, and none when it is given up", async () => {
    expect(createParquet(path, columns).finish()).toBe(0);
    const { num_rows: count } = await parquetMetadataAsync(await asyncBufferFromFile(path));
    expect(Number(count)).toBe(0);
    const other = createParquet(join(root, "other.parquet"), columns);
    other.add({ id: 1, name: "a", values: [] });
    other.discard();
    expect(readdirSync(root)).toEqual(["rows.parquet"]);
  });

  it("refuses a path that is taken or cannot be written", () => {
    createParquet(path, columns).finish();
    expect(() => createParquet(path, columns)).toThrow(ConfigError);
    expect(() => createParquet(join(root, "nowhere/a.parquet"), columns)).toThrow(ConfigError);
  });
});
