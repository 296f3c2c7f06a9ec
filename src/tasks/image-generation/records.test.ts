import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { genevalRecords } from "../../../tests/geneval-arbitraries.ts";
import { DataError } from "../../core/errors.ts";
import { blankRaster, rasterBytes } from "../../image/raster.ts";
import { readImage, readImageFolders, writeImageFolder } from "./image-folder.ts";
import { summarise } from "./official-metric.ts";
import {
  pythonJson,
  readBenchmark,
  readRecords,
  recordLines,
  writeBenchmark,
  writeSplits,
} from "./record-files.ts";
import { type GenevalRecord, orderlessKey, parseRecord, recordSchema } from "./record.ts";
import { judgedImage, parseResult, readResults, resultRow } from "./results.ts";
import { readSuppliedRewards } from "./supplied-rewards.ts";
import type { tags } from "./vocabulary.ts";

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-geneval-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function write(name: string, content: string): string {
  const path = join(root, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

const kite =
  '{"tag": "position", "include": [{"class": "sink", "count": 1}, {"class": "kite", "count": 1, "position": ["above", 0]}], "prompt": "a photo of a kite above a sink"}';
const spoons =
  '{"tag": "counting", "include": [{"class": "spoon", "count": 3}], "exclude": [{"class": "spoon", "count": 4}], "prompt": "a photo of three spoons"}';
const edit =
  '{"tag": "counting", "include": [{"class": "cup", "count": 2}], "prompt": "Change the number of cups in the image to two.", "t2i_prompt": "a photo of four cups", "image": "images/7.png", "seed": 7}';

async function failure(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => new Error("no error"),
    (one: unknown) => one,
  );
  expect(error).toBeInstanceOf(DataError);
  return (error as Error).message.replaceAll(root, "");
}

describe("GenEval records", () => {
  it("of published files come back byte for byte, fields that we do not know included", async () => {
    const content = `${kite}\n${spoons}\n${edit}\n`;
    write("flow/test_metadata.jsonl", `${spoons}\n`);
    write("flow/train_metadata.jsonl", content);
    const read = await readRecords(join(root, "flow"), "train");
    expect(read.map(({ tag }) => tag)).toEqual(["position", "counting", "counting"]);
    expect(read[2]).toMatchObject({ image: "images/7.png", t2i_prompt: "a photo of four cups" });
    expect(recordLines(read)).toBe(content);
    expect(await readRecords(join(root, "flow"), "test")).toHaveLength(1);
    await writeSplits(join(root, "again"), { train: read, test: read.slice(0, 1) });
    expect(readFileSync(join(root, "again/train_metadata.jsonl"), "utf8")).toBe(content);
    expect(readFileSync(join(root, "again/test_metadata.jsonl"), "utf8")).toBe(`${kite}\n`);
  });

  it("survive writing and reading, whatever text they hold", () => {
    fc.assert(
      fc.property(genevalRecords, (record) => {
        const line = pythonJson(record);
        expect(/^[\x20-\x7f]*$/.test(line)).toBe(true);
        expect(parseRecord(JSON.parse(line), "line")).toEqual(record);
      }),
    );
  });

  const wrong: readonly (readonly [string, string, string])[] = [
    ['"tag": "counting"', '"tag": "count"', "field tag: expected"],
    [
      '"class": "spoon", "count": 3',
      '"class": 3, "count": 3',
      "field include[0].class: expected string, got 3",
    ],
    ['"count": 3', '"count": "three"', 'field include[0].count: expected number, got "three"'],
    ['"count": 3', '"count": 0', "field include[0].count: expected"],
    [
      '"count": 3}',
      '"count": 3, "colour": "red"}',
      'field include[0].colour: expected no field of that name, got "red"',
    ],
    [
      '"count": 3}',
      '"count": 3, "position": ["above", 0]}',
      "field include[0].position[1]: expected the index of an earlier entry, got 0",
    ],
    [
      '"count": 3}',
      '"count": 3, "position": ["over", 0]}',
      "field include[0].position[0]: expected",
    ],
    ['[{"class": "spoon", "count": 3}]', "[]", "field include: expected"],
    ['"count": 4', '"count": 1.5', "field exclude[0].count: expected"],
    [', "prompt": "a photo of three spoons"', "", "field prompt: expected string, got nothing"],
  ];
  it.each(wrong)("with %s as %s are named by file, line and field", async (from, to, message) => {
    expect(spoons).toContain(from);
    const path = write("wrong.jsonl", `${kite}\n\n${spoons.replace(from, to)}\n`);
    expect(await failure(readRecords(path))).toContain(`/wrong.jsonl, line 3, ${message}`);
  });

  it("that are anything else never pass, and never fail in another way", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(() => parseRecord(value, "x")).toThrow(DataError);
      }),
    );
    // One field of a right record with any other value.
    const fields = fc.constantFrom("tag", "include", "exclude", "prompt", "image");
    fc.assert(
      fc.property(genevalRecords, fields, fc.jsonValue(), (record, field, value) => {
        const changed = { ...record, [field]: value };
        try {
          expect(recordSchema.safeParse(parseRecord(changed, "x")).success).toBe(true);
        } catch (error) {
          expect((error as Error).message).toMatch(/^x, field /);
        }
      }),
    );
  });

  it("have one key in either order, unless a position tells the two apart", () => {
    const two = (a: object, b: object): GenevalRecord =>
      parseRecord({ tag: "two_object", include: [a, b], prompt: "p" }, "x");
    const [cup, fork] = [
      { class: "cup", count: 1 },
      { class: "fork", count: 1 },
    ];
    expect(orderlessKey(two(cup, fork))).toBe(orderlessKey(two(fork, cup)));
    const red = { ...cup, color: "red" };
    expect(orderlessKey(two(red, fork))).not.toBe(orderlessKey(two(cup, fork)));
    const above = (a: object, b: object) => two(a, { ...b, position: ["above", 0] });
    expect(orderlessKey(above(cup, fork))).not.toBe(orderlessKey(above(fork, cup)));
  });
});

describe("the files of the benchmark", () => {
  const benchmark = {
    records: [kite, spoons].map((line) => parseRecord(JSON.parse(line), "x")),
    objectNames: ["sink", "kite", "spoon"],
  };

  it("come back, and must agree", async () => {
    const folder = join(root, "benchmark");
    await writeBenchmark(folder, benchmark);
    expect(readFileSync(join(folder, "generation_prompts.txt"), "utf8")).toBe(
      "a photo of a kite above a sink\na photo of three spoons\n",
    );
    expect(await readBenchmark(folder)).toEqual(benchmark);
    write("benchmark/object_names.txt", "sink\nkite\n");
    expect(await failure(readBenchmark(folder))).toBe(
      '/benchmark/evaluation_metadata.jsonl, line 2, field include[0].class: expected a class of object_names.txt, got "spoon"',
    );
    write("benchmark/object_names.txt", "sink\nkite\nspoon\n");
    write("benchmark/generation_prompts.txt", "a photo of a kite above a sink\na spoon\n");
    expect(await failure(readBenchmark(folder))).toBe(
      '/benchmark/evaluation_metadata.jsonl, line 2, field prompt: expected "a spoon", got "a photo of three spoons" (line 2 of generation_prompts.txt)',
    );
    write("benchmark/generation_prompts.txt", "a photo of a kite above a sink\n");
    expect(await failure(readBenchmark(folder))).toBe(
      "/benchmark/generation_prompts.txt: expected 2 prompts, got 1",
    );
    rmSync(join(folder, "generation_prompts.txt"));
    expect(await failure(readBenchmark(folder))).toMatch(
      /^\/benchmark\/generation_prompts\.txt: expected a file that can be read, got ENOENT/,
    );
  });

  it("are not written when they would not come back", async () => {
    const record = { ...benchmark.records[0]!, prompt: "two\nlines" };
    const folder = join(root, "lines");
    expect(await failure(writeBenchmark(folder, { ...benchmark, records: [record] }))).toMatch(
      /^\/lines\/generation_prompts\.txt, line 1: expected one line of text/,
    );
    await expect(readBenchmark(folder)).rejects.toThrow(DataError);
  });
});

describe("image folders", () => {
  it("come back with their record and their images by number", async () => {
    const folder = join(root, "images");
    const record = parseRecord(JSON.parse(kite), "x");
    const images = Array.from({ length: 12 }, (_, index) => blankRaster(2, 2, [index / 12, 0, 0]));
    await writeImageFolder(folder, 0, record, images);
    await writeImageFolder(folder, 10, parseRecord(JSON.parse(spoons), "x"), images.slice(0, 1));
    write("images/00000/grid.png", "no image, and not looked at");
    write("images/notes.txt", "");
    const folders = await readImageFolders(folder);
    expect(folders.map(({ record: of, files }) => [of.tag, files.length])).toEqual([
      ["position", 12],
      ["counting", 1],
    ]);
    expect(folders.map(({ grid }) => grid)).toEqual([join(folder, "00000/grid.png"), undefined]);
    const read = await readImage(folders[0]!.files[10]!);
    expect(rasterBytes(read)).toEqual(rasterBytes(images[10]!));
  });

  it("that are broken are named", async () => {
    write("bad/00000/metadata.jsonl", kite.replace('"count": 1', '"count": true'));
    expect(await failure(readImageFolders(join(root, "bad")))).toBe(
      "/bad/00000/metadata.jsonl, line 1, field include[0].count: expected number, got true",
    );
    for (const [content, got] of [
      ["", "expected one record, got an empty file"],
      [`${kite}\n${spoons}`, "expected one record, got"],
      ["[]", "expected object, got []"],
    ] as const) {
      write("bad/00000/metadata.jsonl", content);
      expect(await failure(readImageFolders(join(root, "bad")))).toContain(
        `/bad/00000/metadata.jsonl, line 1: ${got}`,
      );
    }
    write("bad/00000/metadata.jsonl", kite);
    expect(await failure(readImageFolders(join(root, "bad")))).toMatch(
      /^\/bad\/00000\/samples: expected a folder, got ENOENT/,
    );
    write("bad/00000/samples/x.png", "");
    expect(await failure(readImageFolders(join(root, "bad")))).toContain(
      "expected images 0000.png",
    );
    expect(await failure(readImageFolders(join(root, "none")))).toContain("expected a folder");
    const file = write("bad/00000/samples/0000.png", "x");
    expect(await failure(readImage(file))).toContain("0000.png: expected a PNG image, got");
    expect(await failure(readImage(`${file}.gone`))).toContain("expected a file that can be read");
  });
});

describe("results made elsewhere", () => {
  const line = {
    filename: "images/00000/samples/0000.png",
    tag: "position",
    prompt: "a photo of a kite above a sink",
    correct: false,
    reason: "expected kite>=1, found 0",
    metadata: kite,
    details: '{"sink": [[2.5, 8, 10, 16, 0.97], [1, 2, 3, 4, 0.5]]}',
  };

  it("come back as GenEval writes them, JSON within strings", async () => {
    const path = write("results.jsonl", `${JSON.stringify(line)}\n`);
    const [result] = await readResults(path);
    expect(result!.detections.get("sink")![0]).toEqual({ box: [2.5, 8, 10, 16], confidence: 0.97 });
    expect(resultRow(result!)).toEqual(line);
    expect(judgedImage(result!)).toEqual({ tag: "position", promptKey: kite, isCorrect: false });
  });

  it.each([
    ["details", '{"sink": [[1, 2, 3, 4]]}', "field details.sink[0]: expected"],
    ["details", '{"sink": [[1, 2, 3, 4, "x"]]}', "field details.sink[0][4]: expected number"],
    ["details", '{"sink": [[1, 2, 3, 4, 97]]}', "field details.sink[0][4]: expected number to be"],
    [
      "details",
      '{"sink": [[8, 2, 3, 4, 0.9]]}',
      "field details.sink[0][2]: expected x1 >= x0 (a box is [x0, y0, x1, y1]), got 3",
    ],
    ["details", '{"sink": [[1, 2, 3, 1.5, 0.9]]}', "field details.sink[0][3]: expected y1 >= y0"],
    [
      "details",
      '{"sink": [[1, 2, 3, 1e999, 1]]}',
      "field details.sink[0][3]: expected number, got Inf",
    ],
    ["details", '{"sink": [[1, 2, 3, NaN, 1]]}', 'field details: expected JSON, got "{'],
    ["details", '{"__proto__": 5}', "field details.__proto__: expected array, got 5"],
    ["details", "[]", "field details: expected an object, got []"],
    ["details", "{", 'field details: expected JSON, got "{"'],
    ["details", 5, "field details: expected JSON text or an object, got 5"],
    ["metadata", "[]", "field metadata: expected"],
    ["metadata", kite.replace("above", "over"), "field metadata.include[1].position[0]: expected"],
    ["metadata", spoons, "field tag: expected"],
    ["colors", { sink: ["red"] }, "field colors.sink: expected 2 colours, got 1"],
    ["colors", { sink: ["red", 7] }, "field colors.sink[1]: expected string, got 7"],
    ["colors", { cup: ["red"] }, 'field colors: expected classes of details, got "cup"'],
    ["correct", 1, "field correct: expected boolean, got 1"],
    ["filename", undefined, "field filename: expected string, got nothing"],
  ])("with a wrong %s (%j) are named by place and field", async (field, value, message) => {
    const path = write("r.jsonl", `${JSON.stringify({ ...line, [field]: value })}\n`);
    expect(await failure(readResults(path))).toContain(`/r.jsonl, line 1, ${message}`);
  });

  it("that are anything else never pass, and never fail in another way", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(() => parseResult(value, "x")).toThrow(DataError);
      }),
    );
    const fields = fc.constantFrom("details", "metadata", "colors", "tag", "prompt", "score");
    const values = fc.oneof(fc.jsonValue(), fc.json());
    fc.assert(
      fc.property(fields, values, (field, value) => {
        try {
          const { detections: found, record } = parseResult({ ...line, [field]: value }, "x");
          expect(recordSchema.safeParse(record).success).toBe(true);
          for (const { box, confidence } of [...found.values()].flat()) {
            expect([...box, confidence].every(Number.isFinite)).toBe(true);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
          expect((error as Error).message).toMatch(/^x, field /);
        }
      }),
    );
  });

  it("are summed up as GenEval does: a mean over tags, not over images", () => {
    const image = (tag: (typeof tags)[number], promptKey: string, isCorrect: boolean) => ({
      tag,
      promptKey,
      isCorrect,
    });
    const images = [
      image("colors", "a", true),
      image("colors", "a", false),
      image("colors", "b", false),
      image("colors", "b", false),
      image("counting", "c", true),
    ];
    const summary = summarise(images);
    expect(summary).toMatchObject({ images: 5, prompts: 3, correctImages: 0.4, overall: 0.625 });
    expect(summary.correctPrompts).toBeCloseTo(2 / 3);
    expect(summary.byTag.get("colors")).toEqual({ correct: 1, images: 4 });
  });
});

describe("rewards made elsewhere", () => {
  const row = (id: number | string, reward: unknown) =>
    `${JSON.stringify({ prompt: "p", sample_id: id, reward })}\n`;

  it("are found by prompt and sample; a missing one is an error", async () => {
    const rewards = await readSuppliedRewards(write("s.jsonl", row(1, 0) + row("b", -3.5)));
    expect([rewards.size, rewards.rewardOf("p", 1), rewards.rewardOf("p", "b")]).toEqual([
      2, 0, -3.5,
    ]);
    expect(() => rewards.rewardOf("p", 2)).toThrow(
      /expected a reward of sample 2 of "p", got none/,
    );
  });

  it.each([
    [
      row(1, 1) + row(1, 2),
      "/s.jsonl, line 2, field sample_id: expected one reward a sample, got a second one of sample 1",
    ],
    [row(1, null), "/s.jsonl, line 1, field reward: expected number, got null"],
    [row("", 1), "/s.jsonl, line 1, field sample_id: "],
  ])("that are wrong are named: %j", async (content, message) => {
    expect(await failure(readSuppliedRewards(write("s.jsonl", content)))).toContain(message);
  });
});
