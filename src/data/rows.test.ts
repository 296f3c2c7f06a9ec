import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import * as fc from "fast-check";
import { parquetWriteFile } from "hyparquet-writer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DataError } from "../core/errors.ts";
import { findFiles } from "./find-files.ts";
import { openRows, readRows, type Row, type Rows } from "./rows.ts";

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-rows-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const columns = { required: ["Prompt"], optional: ["Level"] };

function write(name: string, content: string | Uint8Array = ""): string {
  const path = join(root, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

const jsonLines = (rows: readonly object[]): string =>
  rows.map((row) => `${JSON.stringify(row)}\n`).join("");

function writeParquet(name: string, rows: readonly Row[], rowGroupSize = 3): string {
  const path = write(name);
  const columnData = Object.keys(rows[0]!).map((column) => ({
    name: column,
    data: rows.map((row) => row[column]) as string[],
    type: "STRING" as const,
  }));
  parquetWriteFile({ filename: path, columnData, rowGroupSize });
  return path;
}

const table = (count: number): Row[] =>
  Array.from({ length: count }, (_, index) => ({
    Prompt: `prompt ${index} é 迷\n${"x".repeat(index * 50)}`,
    Level: index % 2 === 0 ? "Easy" : "Hard",
  }));

async function all(rows: Rows): Promise<Row[]> {
  const found: Row[] = [];
  for (let index = 0; index < rows.length; index++) found.push(await rows.read(index));
  return found;
}

const opening = (path: string, split = "train"): Promise<Rows> => openRows(path, split, columns);

describe("rows", () => {
  it("of a JSONL file come by index, whatever line ends it has", async () => {
    const [rows, text] = [table(9), jsonLines(table(9))];
    const spaced = `\n${text}\n\n`;
    const forms = [text, text.trimEnd(), spaced].flatMap((form) => [
      form,
      form.replaceAll("\n", "\r\n"),
    ]);
    for (const content of [...forms, ...forms.map((form) => `\uFEFF${form}`)]) {
      const opened = await opening(write("a.jsonl", content));
      expect(opened.length).toBe(9);
      expect(await all(opened)).toEqual(rows);
      expect(await opened.read(4)).toEqual(rows[4]);
    }
  });

  it("of a Parquet file come by index, across its row groups", async () => {
    const opened = await opening(writeParquet("a.parquet", table(10)));
    expect(opened.length).toBe(10);
    expect(await all(opened)).toEqual(table(10));
    const jumps = [7, 0, 1, 2, 9, 5, 6, 3];
    for (const index of jumps) expect(await opened.read(index)).toEqual(table(10)[index]);
  });

  it("hold only the fields that are asked for, in Parquet", async () => {
    const path = writeParquet(
      "b.parquet",
      table(2).map((row) => ({ ...row, Maze_image: "png" })),
    );
    expect(await (await opening(path)).read(1)).toEqual(table(2)[1]);
  });

  it("of several files follow each other", async () => {
    write("many/train-1.jsonl", jsonLines(table(5).slice(0, 2)));
    write("many/train-2.jsonl", jsonLines(table(5).slice(2)));
    const opened = await opening(join(root, "many"));
    expect(await all(opened)).toEqual(table(5));
    expect(opened.place(3)).toBe(`${join(root, "many/train-2.jsonl")}, line 2`);
  });

  it("of a JSONL file come in any order, longer than what is read at once", async () => {
    const long = { Prompt: "迷é".repeat(900_000), Level: "x" };
    const list: Row[] = [...table(40), long, ...table(40), long];
    const path = write("long.jsonl", `\uFEFF${jsonLines(list)}`);
    const opened = await opening(path);
    expect(await all(opened)).toEqual(list);
    const indices = fc.array(fc.nat(list.length - 1), { minLength: 1, maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(indices, async (order) => {
        for (const index of order) expect(await opened.read(index)).toEqual(list[index]);
        // Also asked for at the same time.
        const found = await Promise.all(order.map(async (index) => opened.read(index)));
        expect(found).toEqual(order.map((index) => list[index]));
      }),
      { numRuns: 10 },
    );
  });

  it("of a JSONL file can be read at once, each told its place", async () => {
    const path = write("places.jsonl", `\n${jsonLines(table(3))}\n${jsonLines(table(1))}`);
    const read = await readRows(path, "train", async (row, where) => [row["Prompt"], where]);
    expect(read).toEqual(
      [0, 1, 2, 0].map((row, index) => [
        table(3)[row]!["Prompt"],
        `${path}, line ${[2, 3, 4, 6][index]}`,
      ]),
    );
    const columnar = writeParquet("places.parquet", table(2));
    await expect(readRows(columnar, "train", () => 0)).rejects.toThrow(
      /places\.parquet: expected a file \.jsonl, got another format/,
    );
  });

  it("survive any text in a field", async () => {
    const texts = fc.array(fc.string({ unit: "binary" }), { minLength: 1, maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(texts, async (list) => {
        const rows = list.map((Prompt) => ({ Prompt: Buffer.from(Prompt).toString() }));
        expect(await all(await opening(write("any.jsonl", jsonLines(rows))))).toEqual(rows);
        expect(await all(await opening(writeParquet("any.parquet", rows)))).toEqual(rows);
      }),
      { numRuns: 30 },
    );
  });
});

describe("a broken file", () => {
  const failure = async (work: Promise<unknown>): Promise<string> => {
    const error = await work.then(
      () => new Error("no error"),
      (one: unknown) => one,
    );
    expect(error).toBeInstanceOf(DataError);
    return (error as Error).message.replaceAll(root, "");
  };

  it("that is not there", async () => {
    const message = "expected a file, a pattern or a folder with rows, got nothing of that name";
    expect(await failure(opening(join(root, "none")))).toBe(`/none: ${message}`);
    expect(await failure(opening(join(root, "none-*.jsonl")))).toBe(
      "/none-*.jsonl: expected files that match, got none",
    );
  });

  it("with another name", async () => {
    expect(await failure(opening(write("a.csv")))).toBe(
      "/a.csv: expected a file .parquet or .jsonl, got another name",
    );
  });

  it.each(["\n\n", "\r\n\r\n", "\uFEFF"])("that is empty: %j", async (content) => {
    expect(await failure(opening(write("empty.jsonl", content)))).toBe(
      "/empty.jsonl: expected at least one line, got an empty file",
    );
  });

  it.each([
    ['{"Prompt": "a', /^\/c\.jsonl, line 3: expected a JSON object, got "\{\\"Prompt\\": \\"a"/],
    ["[1]", /^\/c\.jsonl, line 3: expected a JSON object, got \[1\]$/],
    ["null", /^\/c\.jsonl, line 3: expected a JSON object, got null$/],
  ])("with the line %s", async (line, message) => {
    const opened = await opening(write("c.jsonl", `{"Prompt":"b"}\n\n${line}\n{}\n`));
    expect(await opened.read(0)).toEqual({ Prompt: "b" });
    expect(await failure(opened.read(1))).toMatch(message);
  });

  it("whose text is no UTF-8 names the line", async () => {
    const lines = [Buffer.from('{"Prompt":"b"}\n{"Prompt":"caf'), Buffer.from([0xe9])];
    const opened = await opening(write("l1.jsonl", Buffer.concat([...lines, Buffer.from('"}\n')])));
    expect(await opened.read(0)).toEqual({ Prompt: "b" });
    expect(await failure(opened.read(1))).toMatch(
      /^\/l1\.jsonl, line 2: expected UTF-8 text, got /,
    );
  });

  it("that has become shorter since it was opened", async () => {
    const path = write("short.jsonl", jsonLines(table(9)));
    const opened = await opening(path);
    write("short.jsonl", '{"Prompt":"b"}\n');
    expect(await failure(opened.read(8))).toMatch(
      /^\/short\.jsonl: expected \d+ bytes, as when it was opened, got \d+$/,
    );
  });

  it("without a column", async () => {
    const path = writeParquet("d.parquet", [{ Maze: "a", Level: "b" }]);
    expect(await failure(opening(path))).toBe(
      "/d.parquet: expected a column Prompt, got Maze, Level",
    );
  });

  it("that is cut off at any place", async () => {
    const whole = readFileSync(writeParquet("whole.parquet", table(10)));
    for (const size of [0, 5, 40, 200, whole.length - 9, whole.length - 1]) {
      const message = await failure(opening(write("cut.parquet", whole.subarray(0, size))));
      expect(message).toMatch(/^\/cut\.parquet: expected a Parquet file, got .*\(\d+ bytes/);
    }
  });

  it("whose pages are broken names the row", async () => {
    const bytes = Buffer.from(readFileSync(writeParquet("e.parquet", table(10))));
    bytes.fill(255, 4, 60);
    const opened = await opening(write("e.parquet", bytes));
    expect(await failure(opened.read(1))).toMatch(/^\/e\.parquet, row 1: expected a readable row/);
    expect(await failure(opened.read(2))).toMatch(/^\/e\.parquet, row 2: expected a readable row/);
    expect(await opened.read(3)).toEqual(table(10)[3]);
  });
});

describe("the files of a folder", () => {
  const found = (folder: string, split: string): string[] =>
    findFiles(join(root, folder), split).map((file) => file.slice(join(root, folder).length + 1));

  it("are those of the split, as the Hub lays them out", () => {
    for (const name of ["train-00001-of-00002", "train-00000-of-00002", "test-00000-of-00001"]) {
      write(`hub/data/${name}.parquet`);
    }
    write("hub/README.md");
    write("hub/.cache/huggingface/train-x.parquet");
    expect(found("hub", "train")).toEqual([
      join("data", "train-00000-of-00002.parquet"),
      join("data", "train-00001-of-00002.parquet"),
    ]);
    expect(found("hub", "test")).toEqual([join("data", "test-00000-of-00001.parquet")]);
  });

  it("are those of one config, or of all", () => {
    write("reset/order-1/train-00000-of-00001.parquet");
    write("reset/order-2/train-00000-of-00001.parquet");
    expect(found("reset", "train").length).toBe(2);
    expect(found("reset/order-2", "train")).toEqual(["train-00000-of-00001.parquet"]);
  });

  it("may be one file, or lie in a folder named like the split", () => {
    write("plain/train.jsonl");
    write("plain/contest.jsonl");
    write("converted/default/test/0000.parquet");
    expect(found("plain", "train")).toEqual(["train.jsonl"]);
    expect(found("converted", "test")).toEqual([join("default", "test", "0000.parquet")]);
    expect(() => found("plain", "test")).toThrow(/got contest.jsonl, train.jsonl/);
  });

  it("have one format", () => {
    write("both/train.jsonl");
    write("both/train.parquet");
    expect(() => found("both", "train")).toThrow(/expected files of one format, got both/);
    expect(findFiles(join(root, "both", "tr*.parquet"), "train").length).toBe(1);
  });
});
