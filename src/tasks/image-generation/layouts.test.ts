// What every loader of a published layout promises: what was written is read back; line ends, byte order marks and empty lines change
// nothing; one wrong field in one line is named by file, line and field; nothing else than a DataError, and no line lost.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  fieldText,
  genevalRecords,
  imageResults,
  jsonNumber,
} from "../../../tests/geneval-arbitraries.ts";
import { DataError } from "../../core/errors.ts";
import { readCaptionIndex, writeCaptionIndex } from "./caption-index.ts";
import { parseLines, readPrompts, writePrompts } from "./prompt-files.ts";
import {
  readBenchmark,
  readEditRecords,
  readRecords,
  recordLines,
  writeBenchmark,
} from "./record-files.ts";
import { readResults, writeResults } from "./results.ts";
import { readSuppliedMaps, type SuppliedMap, writeSuppliedMaps } from "./supplied-maps.ts";
import { readSuppliedRewards, writeSuppliedRewards } from "./supplied-rewards.ts";

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-layouts-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

type Json = Record<string, unknown>;

/** A field of a row set to a value that cannot be, and the name by which the error calls it. */
interface Corruption {
  readonly change: (row: Json) => void;
  readonly field: string;
}

const set = (field: string, value: unknown): Corruption => ({
  field,
  change: (row) => (value === undefined ? delete row[field] : (row[field] = value)),
});
/** Changes the JSON text of a field. */
const within = (field: string, name: string, change: (value: Json) => void): Corruption => ({
  field: `${field}${name}`,
  change: (row) => {
    const value = JSON.parse(row[field] as string) as Json;
    change(value);
    row[field] = JSON.stringify(value);
  },
});
const first = (row: Json, field: string): Json => (row[field] as Json[])[0]!;

const recordCorruptions: readonly Corruption[] = [
  set("tag", "colour"),
  set("tag", undefined),
  set("prompt", ""),
  set("prompt", 7),
  set("include", undefined),
  set("include", []),
  set("exclude", { class: "cup", count: 2 }),
  set("image", 7),
  { field: "include[0].count", change: (row) => (first(row, "include")["count"] = 0) },
  { field: "include[0].count", change: (row) => (first(row, "include")["count"] = "2") },
  { field: "include[0].class", change: (row) => delete first(row, "include")["class"] },
  { field: "include[0].color", change: (row) => (first(row, "include")["color"] = null) },
  { field: "include[0].number", change: (row) => (first(row, "include")["number"] = 2) },
  {
    field: "include[0].position[1]",
    change: (row) => (first(row, "include")["position"] = ["above", 0]),
  },
  {
    field: "include[0].position[0]",
    change: (row) => (first(row, "include")["position"] = ["over", 0]),
  },
];

interface Layout<Value> {
  readonly name: string;
  /** Name of its file. */
  readonly file: string;
  readonly values: fc.Arbitrary<Value[]>;
  readonly write: (path: string, values: Value[]) => Promise<void>;
  readonly read: (path: string) => Promise<readonly Value[]>;
  readonly corruptions: readonly Corruption[];
}

/** A layout in a list of layouts, which forgets what its values are. */
const layout = <Value>(of: Layout<Value>): Layout<unknown> => of as unknown as Layout<unknown>;

const several = <Value>(of: fc.Arbitrary<Value>): fc.Arbitrary<Value[]> =>
  fc.array(of, { minLength: 1, maxLength: 5 });

const names = fc.record({
  prompt: fieldText,
  sampleId: fc.oneof(fieldText, fc.integer()),
});
/** Samples with different names, each with a value. */
const samplesWith = <Value>(of: fc.Arbitrary<Value>) =>
  fc.uniqueArray(fc.tuple(names, of), {
    minLength: 1,
    maxLength: 5,
    selector: ([{ prompt, sampleId }]) => JSON.stringify([prompt, String(sampleId)]),
  });
const sampleCorruptions = [
  set("prompt", undefined),
  set("prompt", ["p"]),
  set("sample_id", undefined),
  set("sample_id", 1.5),
  set("sample_id", ""),
];

const extents = fc.integer({ min: 1, max: 3 });
const maps: fc.Arbitrary<SuppliedMap[]> = fc
  .oneof(fc.tuple(extents, extents), fc.tuple(extents, extents, extents))
  .chain((shape) => {
    const size = shape.reduce((product, extent) => product * extent, 1);
    const values = fc
      .array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: size, maxLength: size })
      .map((list) => Float64Array.from(list, (value) => value + 0))
      .filter((list) => list.some((value) => value > 0));
    return samplesWith(values).map((list) =>
      list.map(([name, map]) => ({ ...name, shape, values: map })),
    );
  });

const layouts: readonly Layout<unknown>[] = [
  layout({
    name: "records of flow_grpo",
    file: "train_metadata.jsonl",
    values: several(genevalRecords),
    write: async (path, records) => writeFileSync(path, recordLines(records)),
    read: async (path) => readRecords(path),
    corruptions: recordCorruptions,
  }),
  layout({
    name: "results of GenEval",
    file: "results.jsonl",
    values: several(imageResults),
    write: writeResults,
    read: readResults,
    corruptions: [
      set("filename", undefined),
      set("tag", "none"),
      set("prompt", 1),
      set("correct", "yes"),
      set("strict_correct", 1),
      set("score", "0.5"),
      set("reason", null),
      set("metadata", undefined),
      set("metadata", "{'tag': 'colors'}"),
      set("details", 5),
      set("details", "[[1, 2, 3, 4, 0.5]"),
      set("details", "[]"),
      within("details", ".cup[0]", (details) => (details["cup"] = [[1, 2, 3, 4]])),
      within("details", ".cup[0][4]", (details) => (details["cup"] = [[1, 2, 3, 4, 90]])),
      within("details", ".cup[0][2]", (details) => (details["cup"] = [[9, 2, 3, 4, 1]])),
      within("details", '["tv set"][0][0]', (all) => (all["tv set"] = [["1", 2, 3, 4, 1]])),
      ...recordCorruptions
        .filter(({ field }) => field.startsWith("include[0]"))
        .map(({ field, change }) => within("metadata", `.${field}`, change)),
    ],
  }),
  layout({
    name: "rewards made elsewhere",
    file: "rewards.jsonl",
    values: samplesWith(jsonNumber).map((list) =>
      list.map(([name, reward]) => ({ ...name, reward })),
    ),
    write: writeSuppliedRewards,
    read: async (path) => (await readSuppliedRewards(path)).samples,
    corruptions: [
      ...sampleCorruptions,
      set("reward", undefined),
      set("reward", null),
      set("reward", "0.5"),
      set("reward", [0.5]),
    ],
  }),
  ...(["lists", "npy"] as const).map((format) =>
    layout({
      name: `maps made elsewhere, as ${format}`,
      file: "maps.jsonl",
      values: maps,
      write: async (path, samples) => writeSuppliedMaps(path, samples, format),
      read: async (path) => (await readSuppliedMaps(path)).samples,
      corruptions: [
        ...sampleCorruptions,
        set("map", undefined),
        set("map", 0.5),
        set("map", "none.npy"),
        set("map", [0.5, 0.5]),
        set("map", []),
        set("map", [[]]),
        set("map", [[0, 0]]),
        { field: "map[1]", change: (row: Json) => (row["map"] = [[0, 1], [0]]) },
        { field: "map[0][1]", change: (row: Json) => (row["map"] = [[0, "1"]]) },
        { field: "map[0][1]", change: (row: Json) => (row["map"] = [[0, 1.01]]) },
        { field: "map[0][0][0]", change: (row: Json) => (row["map"] = [[[-0.1]]]) },
        { field: "map[0][1]", change: (row: Json) => (row["map"] = [[0, [1]]]) },
      ],
    }),
  ),
];

async function failure(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => new Error("no error"),
    (one: unknown) => one,
  );
  expect(error).toBeInstanceOf(DataError);
  return (error as Error).message;
}

let folders = 0;
const newPath = (file: string): string => {
  const folder = join(root, String(folders++));
  mkdirSync(folder);
  return join(folder, file);
};

describe.each(layouts)("$name", ({ file, values, write, read, corruptions }) => {
  it("come back as they were written", async () => {
    await fc.assert(
      fc.asyncProperty(values, async (list) => {
        const path = newPath(file);
        await write(path, list);
        expect(await read(path)).toEqual(list);
      }),
      { numRuns: 40 },
    );
  });

  it("do not change with line ends, byte order mark, empty lines or a missing last line end", async () => {
    const ends = fc.constantFrom("\n", "\r\n");
    const gaps = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 6, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(
        values,
        ends,
        gaps,
        fc.boolean(),
        fc.boolean(),
        async (list, end, gap, mark, last) => {
          const path = newPath(file);
          await write(path, list);
          const lines = readFileSync(path, "utf8").trimEnd().split("\n");
          const text = lines.map((line, index) => line + end.repeat(gap[index]!)).join("");
          const content = (mark ? "\uFEFF" : "") + (last ? text : text.trimEnd());
          writeFileSync(path, content);
          expect(await read(path)).toEqual(list);
        },
      ),
      { numRuns: 40 },
    );
  });

  it("with one wrong field are named by file, line and field", async () => {
    const which = fc.constantFrom(...corruptions);
    await fc.assert(
      fc.asyncProperty(values, which, fc.nat(), fc.nat(3), async (list, corruption, at, gap) => {
        const path = newPath(file);
        await write(path, list);
        const lines = readFileSync(path, "utf8").trimEnd().split("\n");
        const index = at % lines.length;
        const row = JSON.parse(lines[index]!) as Json;
        corruption.change(row);
        lines[index] = JSON.stringify(row);
        writeFileSync(path, `${"\n".repeat(gap)}${lines.join("\n")}`);
        const message = await failure(read(path));
        const start = `${path}, line ${index + 1 + gap}, field ${corruption.field}`;
        expect(message.slice(0, start.length)).toBe(start);
        expect(message.slice(start.length)).toMatch(/^(?::|,|\[| \()/);
      }),
      { numRuns: 100 },
    );
  });

  it("with a line that is cut or no object are named by file and line", async () => {
    await fc.assert(
      fc.asyncProperty(values, fc.nat(), fc.nat(), async (list, at, length) => {
        const path = newPath(file);
        await write(path, list);
        const lines = readFileSync(path, "utf8").trimEnd().split("\n");
        const index = at % lines.length;
        const line = lines[index]!;
        lines[index] = line.slice(0, 1 + (length % (line.length - 1)));
        writeFileSync(path, lines.join("\n"));
        expect(await failure(read(path))).toContain(`${path}, line ${index + 1}: expected a JSON`);
        lines[index] = `[${line}]`;
        writeFileSync(path, lines.join("\n"));
        expect(await failure(read(path))).toContain(`${path}, line ${index + 1}: expected a JSON`);
      }),
      { numRuns: 40 },
    );
  });

  it("of an empty file, of no file, or of a very long line", async () => {
    const path = newPath(file);
    expect(await failure(read(path))).toContain(path);
    for (const content of ["", "\uFEFF", "\n\n", "\r\n"]) {
      writeFileSync(path, content);
      expect(await failure(read(path))).toBe(
        `${path}: expected at least one line, got an empty file`,
      );
    }
    const [list] = fc.sample(values, { numRuns: 1, seed: 1 });
    await write(path, list!);
    const [line, ...rest] = readFileSync(path, "utf8").trimEnd().split("\n");
    const row = { ...(JSON.parse(line!) as Json), comment: "迷".repeat(1_500_000) };
    writeFileSync(path, [JSON.stringify(row), ...rest].join("\n"));
    expect(await read(path)).toHaveLength(list!.length);
  });
});

describe("an index of captions", () => {
  const records = several(
    fc.record(
      {
        caption: fieldText,
        prompt_embed_path: fieldText,
        text_ids: fieldText,
        pooled_prompt_embeds_path: fieldText,
        length: fc.nat(),
      },
      { requiredKeys: ["caption"] },
    ),
  );

  it("comes back, indented or not, fields that we do not know included", async () => {
    await fc.assert(
      fc.asyncProperty(records, fc.boolean(), async (list, isIndented) => {
        const path = newPath("videos2caption.json");
        if (isIndented) await writeCaptionIndex(path, list);
        else writeFileSync(path, `\uFEFF${JSON.stringify(list)}\r\n`);
        expect(await readCaptionIndex(path)).toEqual(list);
      }),
      { numRuns: 40 },
    );
  });

  it("names a wrong record by file, line and field", async () => {
    const corruptions = [
      set("caption", undefined),
      set("caption", ""),
      set("caption", ["a"]),
      set("prompt_embed_path", 7),
      set("text_ids", null),
      set("pooled_prompt_embeds_path", ""),
    ];
    const which = fc.constantFrom(...corruptions);
    await fc.assert(
      fc.asyncProperty(records, which, fc.nat(), async (list, { field, change }, at) => {
        const path = newPath("videos2caption.json");
        const index = at % list.length;
        const rows: Json[] = list.map((row) => ({ ...row }));
        change(rows[index]!);
        writeFileSync(path, JSON.stringify(rows, null, 4));
        const before = JSON.stringify(rows.slice(0, index), null, 4).split("\n").length;
        // The list up to there ends with a line "]", where this record begins; an empty list is one line, "[]".
        const line = index === 0 ? 2 : before;
        const message = await failure(readCaptionIndex(path));
        const place = `${path}, line ${line}, record ${index + 1}, field ${field}: expected`;
        expect(message).toContain(place);
      }),
    );
    const path = newPath("videos2caption.json");
    writeFileSync(path, '[\n  {"caption": "a"},\n  "b"\n]');
    expect(await failure(readCaptionIndex(path))).toBe(
      `${path}, line 3, record 2: expected object, got "b"`,
    );
  });
});

describe("prompts, one a line", () => {
  const line = fc
    .string({ unit: "grapheme", minLength: 1 })
    .map((text) => text.trim())
    .filter((text) => text !== "" && !/[\n\r]/.test(text));
  const lines = fc.array(line, { minLength: 1, maxLength: 8 });

  it("come back as they were written, whatever the line ends", async () => {
    const ends = fc.constantFrom("\n", "\r\n", "\r");
    await fc.assert(
      fc.asyncProperty(lines, ends, fc.boolean(), fc.nat(2), async (list, end, mark, empty) => {
        const path = newPath("train.txt");
        await writePrompts(path, list);
        expect(await readPrompts(path)).toEqual(list);
        const text = readFileSync(path, "utf8").replaceAll("\n", end);
        writeFileSync(path, `${mark ? "\uFEFF" : ""}${text}${end.repeat(empty)}`);
        expect(await readPrompts(path)).toEqual(list);
        expect(await readPrompts(join(path, ".."), { split: "train" })).toEqual(list);
      }),
      { numRuns: 60 },
    );
  });

  it("that an option leaves out are those with CJK characters and those after the first N, no others", async () => {
    const mixed = fc.array(
      fc.oneof(
        line,
        fc.constantFrom("a cat 猫", "\u4e00", "\u9fff", "\u4dff", "\ua000", "カタカナ", "한국어"),
      ),
      { minLength: 1, maxLength: 12 },
    );
    await fc.assert(
      fc.asyncProperty(mixed, fc.integer({ min: 1, max: 14 }), async (list, count) => {
        const path = newPath("prompts.txt");
        await writePrompts(path, list);
        const isCjk = (text: string): boolean =>
          Array.from(text).some((one) => one >= "\u4e00" && one <= "\u9fff");
        const kept = list.filter((text) => !isCjk(text));
        if (kept.length === 0) {
          expect(await failure(readPrompts(path, { cjk: "drop" }))).toContain(path);
          return;
        }
        expect(await readPrompts(path, { cjk: "drop" })).toEqual(kept);
        expect(await readPrompts(path, { cjk: "drop", first: count })).toEqual(
          kept.slice(0, count),
        );
        expect(await readPrompts(path, { first: count })).toEqual(list.slice(0, count));
        expect(await readPrompts(path)).toEqual(list);
      }),
      { numRuns: 60 },
    );
  });

  it("with an empty line between, or none at all, are named by line", async () => {
    expect(() => parseLines("a\n\nb", "p.txt")).toThrow(
      "p.txt, line 2: expected a prompt or a name, got an empty line",
    );
    expect(() => parseLines(" \n", "p.txt")).toThrow(DataError);
    await expect(readPrompts("p.txt", { first: 0 })).rejects.toThrow(
      /expected first: null, or how/,
    );
    const path = newPath("p.txt");
    expect(await failure(readPrompts(path))).toMatch(/p\.txt: expected a file that can be read/);
    await expect(writePrompts(path, ["a", "b\nc"])).rejects.toThrow(/p\.txt, line 2: expected one/);
    await expect(writePrompts(path, [" a"])).rejects.toThrow(DataError);
    await expect(readPrompts(path)).rejects.toThrow(DataError); // nothing was written
  });
});

describe("the three files of the benchmark", () => {
  const benchmarks = several(
    genevalRecords.map((record) => ({ ...record, prompt: JSON.stringify(record.prompt) })),
  ).map((records) => {
    const clean = records.map((record) => ({
      ...record,
      include: record.include.map((one) => ({ ...one, class: JSON.stringify(one.class) })),
      exclude: (record.exclude ?? []).map((one) => ({ ...one, class: JSON.stringify(one.class) })),
    }));
    const classes = clean.flatMap(({ include, exclude }) => [...include, ...exclude]);
    return { records: clean, objectNames: [...new Set(classes.map((one) => one.class))] };
  });

  it("come back, and a class that is not listed is named by line and field", async () => {
    await fc.assert(
      fc.asyncProperty(benchmarks, fc.nat(), async (benchmark, at) => {
        const folder = join(root, String(folders++));
        await writeBenchmark(folder, benchmark);
        expect(await readBenchmark(folder)).toEqual(benchmark);
        const { records, objectNames } = benchmark;
        if (objectNames.length === 1) return;
        const missing = objectNames[at % objectNames.length]!;
        const rest = objectNames.filter((name) => name !== missing);
        await writeBenchmark(folder, { records, objectNames: rest });
        const index = records.findIndex(({ include, exclude }) =>
          [...include, ...exclude].some((one) => one.class === missing),
        );
        const message = await failure(readBenchmark(folder));
        expect(message).toContain(`metadata.jsonl, line ${index + 1}, field `);
        expect(message).toContain("].class: expected a class of object_names.txt, got ");
      }),
      { numRuns: 40 },
    );
  });
});

describe("records for editing", () => {
  const record = {
    tag: "counting",
    include: [{ class: "cup", count: 2 }],
    prompt: "Change the number of cups in the image to two.",
    t2i_prompt: "a photo of four cups",
    image: "images/7.png",
  };
  const folderWith = (rows: readonly object[]): string => {
    const path = newPath("test_metadata.jsonl");
    writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    const folder = join(path, "..");
    mkdirSync(join(folder, "images"));
    writeFileSync(join(folder, "images/7.png"), "");
    return folder;
  };

  it("come with the path of their image", async () => {
    const folder = folderWith([record, { ...record, seed: 3 }]);
    const read = await readEditRecords(folder, "test");
    expect(read[1]).toEqual({
      record: { ...record, seed: 3 },
      imagePath: join(folder, "images/7.png"),
    });
    await expect(readEditRecords(folder, "train")).rejects.toThrow(DataError);
  });

  it.each([
    [{ image: undefined }, "field image: expected the path of an image, got nothing"],
    [{ image: "images/8.png" }, "field image: expected an image in "],
    [{ image: "images" }, "field image: expected an image in "],
    [{ t2i_prompt: undefined }, "field t2i_prompt: expected the prompt of that image, got nothing"],
    [{ include: [] }, "field include: expected"],
  ])("with %j are named by file, line and field", async (change, message) => {
    const folder = folderWith([record, { ...record, ...change }]);
    const path = join(folder, "test_metadata.jsonl");
    expect(await failure(readEditRecords(folder, "test"))).toContain(`${path}, line 2, ${message}`);
  });
});
