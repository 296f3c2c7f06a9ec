import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { genevalRecords } from "../../../tests/geneval-arbitraries.ts";
import { DataError } from "../../core/errors.ts";
import { blankRaster, rasterBytes } from "../../image/raster.ts";
import type { Detection } from "./detections.ts";
import { type ImageFolder, readImage, readImageFolders, writeImageFolder } from "./image-folder.ts";
import { judgeDetections, judgeImages } from "./judge-images.ts";
import { type GenevalRecord, parseRecord } from "./record.ts";
import { type ImageResult, readResults, writeResults } from "./results.ts";

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-judge-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const cups = parseRecord(
  {
    tag: "counting",
    include: [{ class: "cup", count: 2 }],
    exclude: [{ class: "cup", count: 3 }],
    prompt: "a photo of two cups",
  },
  "x",
);
const red = parseRecord(
  {
    tag: "colors",
    include: [{ class: "cup", count: 1, color: "red" }],
    prompt: "a photo of a red cup",
  },
  "x",
);

const cup = (confidence: number, color?: string): Detection => ({
  box: [0, 0, 8, 8],
  confidence,
  ...(color !== undefined && { color }),
});
const found = (...list: Detection[]) => new Map([["cup", list]]);

const folders: readonly ImageFolder[] = [
  { record: cups, files: ["/x/00000/samples/0000.png", "/x/00000/samples/0001.png"] },
  { record: red, files: ["/x/00001/samples/0000.png"] },
];
const result = (filename: string, record: GenevalRecord, ...list: Detection[]): ImageResult => ({
  filename,
  record,
  detections: found(...list),
});
const results = [
  result(String.raw`out\00001\samples\0000.png`, red, cup(0.5, "red")),
  result("out/00000/samples/0001.png", cups, cup(0.95), cup(0.96), cup(0.97), cup(0.8)),
  result("out/00000/samples/0000.png", cups, cup(0.95), cup(0.96), cup(0.5)),
];

describe("images judged by detections made elsewhere", () => {
  it("get reward, strictness and verdict, with the thresholds of their tag", () => {
    expect(judgeDetections(cups, found(cup(0.95), cup(0.96), cup(0.5)))).toEqual({
      geneval: 1,
      isStrictlyCorrect: true,
      isCorrect: true,
      reasons: [],
    });
    const lenient = { others: 0.3, counting: 0.3 };
    expect(
      judgeDetections(cups, found(cup(0.95), cup(0.96), cup(0.5)), { thresholds: lenient }),
    ).toMatchObject({ geneval: 0.5, isStrictlyCorrect: false, isCorrect: false });
    const many = Array.from({ length: 9 }, () => cup(0.99));
    expect(judgeDetections(cups, found(...many)).geneval).toBe(-2.5);
    expect(judgeDetections(cups, found(...many), { floor: 0 }).geneval).toBe(0);
  });

  it("are found by folder and number, in the order of the folders, and summed up", () => {
    const { images, failures, summary } = judgeImages(folders, results);
    expect(images.map(({ file, geneval, isCorrect }) => [file, geneval, isCorrect])).toEqual([
      ["/x/00000/samples/0000.png", 1, true],
      ["/x/00000/samples/0001.png", 0.5, false],
      ["/x/00001/samples/0000.png", 1, true],
    ]);
    expect(failures).toEqual([]);
    expect(summary).toMatchObject({ images: 3, prompts: 2, correctPrompts: 1, overall: 0.75 });
  });

  const blind = result("out/00001/samples/0000.png", red, cup(0.5));
  const broken: readonly (readonly [string, readonly ImageResult[], RegExp])[] = [
    [
      "no result",
      results.slice(0, 2),
      /^\/x\/00000\/samples\/0000\.png: expected a result of this/,
    ],
    [
      "no colour",
      [blind, ...results.slice(1)],
      /^\/x\/00001\/samples\/0000\.png: detected cup: exp/,
    ],
  ];
  it.each(broken)(
    "that have %s stop, or are left out; they are never wrong ones",
    (_n, list, message) => {
      expect(() => judgeImages(folders, list)).toThrow(DataError);
      expect(() => judgeImages(folders, list)).toThrow(message);
      const { images, failures, summary } = judgeImages(folders, list, { onFailure: "drop" });
      expect(failures).toHaveLength(1);
      expect(failures[0]!.error.message).toMatch(message);
      expect(images).toHaveLength(2);
      expect(summary.images).toBe(2);
      expect(images.map(({ file }) => file)).not.toContain(failures[0]!.file);
    },
  );

  it.each([
    ["two of one image", [...results, result("b/00001/samples/0000.png", red)], "a second one"],
    ["one of no image", [...results, result("b/00002/samples/0000.png", red)], "in the folders"],
    [
      "one of another prompt",
      [...results.slice(1), result("00001/samples/0000.png", cups)],
      "differ",
    ],
  ])("with %s are an error whatever the policy", (_name, list, message) => {
    expect(() => judgeImages(folders, list, { onFailure: "drop" })).toThrow(message);
    expect(() => judgeImages(folders, list)).toThrow(DataError);
  });

  it("come from files: folders of images, and a result file beside them", async () => {
    const images = join(root, "images");
    const image = blankRaster(2, 2, [0, 0, 0]);
    await writeImageFolder(images, 0, cups, [image, image]);
    await writeImageFolder(images, 1, red, [image]);
    const path = join(root, "results.jsonl");
    await writeResults(path, results);
    const { summary } = judgeImages(await readImageFolders(images), await readResults(path));
    expect(summary).toMatchObject({ images: 3, overall: 0.75 });
  });
});

describe("a folder of images", () => {
  it("comes back, whatever its records, numbers and images", async () => {
    let count = 0;
    const byte = fc.integer({ min: 0, max: 255 }).map((value) => value / 127.5 - 1);
    const image = fc.tuple(byte, byte, byte).map((color) => blankRaster(2, 3, color));
    const prompts = fc.uniqueArray(
      fc.record({
        index: fc.nat(100_500),
        record: genevalRecords,
        images: fc.array(image, { minLength: 1, maxLength: 3 }),
      }),
      { minLength: 1, maxLength: 4, selector: ({ index }) => index },
    );
    await fc.assert(
      fc.asyncProperty(prompts, async (list) => {
        const folder = join(root, `any-${count++}`);
        for (const { index, record, images } of list) {
          await writeImageFolder(folder, index, record, images);
        }
        const read = await readImageFolders(folder);
        const ordered = list.toSorted((a, b) => a.index - b.index);
        expect(read.map(({ record }) => record)).toEqual(ordered.map(({ record }) => record));
        for (const [at, { files }] of read.entries()) {
          const pixels = await Promise.all(
            files.map(async (file) => rasterBytes(await readImage(file))),
          );
          expect(pixels).toEqual(ordered[at]!.images.map((one) => rasterBytes(one)));
        }
      }),
      { numRuns: 15 },
    );
  });
});
