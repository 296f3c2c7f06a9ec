import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DataError } from "../../core/errors.ts";
import { encodeNpy } from "../../data/npy.ts";
import {
  type MapShape,
  readSuppliedMaps,
  suppliedAdvantageMaps,
  type SuppliedMap,
  writeSuppliedMaps,
} from "./supplied-maps.ts";

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-maps-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function write(name: string, content: string | Uint8Array): string {
  const path = join(root, name);
  writeFileSync(path, content);
  return path;
}

async function failure(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => new Error("no error"),
    (one: unknown) => one,
  );
  expect(error).toBeInstanceOf(DataError);
  return (error as Error).message.replaceAll(root, "");
}

const row = (sampleId: number, map: unknown, prompt = "a cup"): string =>
  `${JSON.stringify({ prompt, sample_id: sampleId, map })}\n`;
const npy = (shape: readonly number[], ...values: number[]): Uint8Array =>
  encodeNpy({ shape, values: Float64Array.from(values) });

describe("maps made elsewhere", () => {
  it("stand in the lines or in .npy files beside them, of images and of videos", async () => {
    write("one.npy", npy([2, 2], 0, 0.25, 0.5, 1));
    const path = write(
      "mixed.jsonl",
      row(0, "one.npy") +
        row(1, [
          [1, 1],
          [0, 0],
        ]),
    );
    const maps = await readSuppliedMaps(path, { shape: [2, 2] });
    expect([...maps.mapOf("a cup", 0)]).toEqual([0, 0.25, 0.5, 1]);
    expect([...maps.mapOf("a cup", "1")]).toEqual([1, 1, 0, 0]);
    expect([maps.size, maps.shape]).toEqual([2, [2, 2]]);
    const clip = [[[0, 1]], [[0.5, 0.5]]];
    const video = await readSuppliedMaps(write("video.jsonl", row(0, clip)));
    expect([video.shape, [...video.mapOf("a cup", 0)]]).toEqual([
      [2, 1, 2],
      [0, 1, 0.5, 0.5],
    ]);
  });

  it("that are missing are errors", async () => {
    const maps = await readSuppliedMaps(write("m.jsonl", row(0, [[1]])));
    expect(() => maps.mapOf("a cup", 1)).toThrow(
      /m\.jsonl: expected a map of sample 1 of "a cup", got none$/,
    );
  });

  const cases: readonly (readonly [string, string, MapShape | undefined])[] = [
    [row(0, [[0, 0]]), "field map: expected a weight above 0 somewhere, got zeros", undefined],
    [row(0, [[1]]), "field map: expected shape [2,1], got [1,1]", [2, 1]],
    [
      row(0, [1, 1]),
      "field map: expected shape [height, width] or [frame, height, width]",
      undefined,
    ],
    [row(0, [[0.5, 2]]), "field map[0][1]: expected a weight from 0 to 1, got 2", undefined],
    [
      row(0, "nan.npy"),
      "field map, nan.npy[1][0]: expected a weight from 0 to 1, got NaN",
      undefined,
    ],
    [row(0, "cut.npy"), "field map, cut.npy: expected 16 bytes of numbers", undefined],
    [
      row(0, "gone.npy"),
      "field map, gone.npy: expected a file that can be read, got ENOENT",
      undefined,
    ],
    ['{"prompt": "p", "sample_id": 0, "map": [[NaN]]}', "expected a JSON object, got", undefined],
  ];
  it.each(cases)("like %s are named: %s", async (line, message, shape) => {
    write("nan.npy", npy([2, 1], 0.5, Number.NaN));
    write("cut.npy", npy([2, 1], 0.5, 1).subarray(0, -1));
    const path = write("wrong.jsonl", `\n${line}`);
    const options = shape === undefined ? {} : { shape };
    const said = await failure(readSuppliedMaps(path, options));
    expect(said).toMatch(/^\/wrong\.jsonl, line 2[,:] /);
    expect(said).toContain(message);
  });

  it("have one shape, and one map a sample", async () => {
    const other = write("shapes.jsonl", row(0, [[1]]) + row(1, [[1, 0]]));
    expect(await failure(readSuppliedMaps(other))).toBe(
      "/shapes.jsonl, line 2, field map: expected shape [1,1], got [1,2]",
    );
    const twice = write("twice.jsonl", row(0, [[1]]) + row(0, [[1]]));
    expect(await failure(readSuppliedMaps(twice))).toBe(
      "/twice.jsonl, line 2, field sample_id: expected one map a sample, got a second one of sample 0",
    );
  });

  it("are not written when they would not come back", async () => {
    const bad: SuppliedMap = {
      prompt: "p",
      sampleId: 0,
      shape: [1, 1],
      values: Float64Array.of(Number.NaN),
    };
    const path = join(root, "out.jsonl");
    expect(await failure(writeSuppliedMaps(path, [bad]))).toMatch(/line 1, field map\[0\]\[0\]: /);
    expect(() => readFileSync(path)).toThrow(/ENOENT/);
  });
});

describe("maps for advantages", () => {
  const settings = { target: "advantage", cut: 0, mapNorm: "minmax", flip: false } as const;
  const items = ["a", "b", "a", "a"];
  const images = items.map((_, index) => index);
  const promptOf = (item: string): string => `a photo of ${item}`;
  const names = ["a", "b", "a", "a"].map((item, index) => [promptOf(item), [0, 0, 1, 2][index]!]);
  const fileOf = (name: string, skip = -1): string => {
    const lines = names.map(([prompt, id], index) =>
      index === skip ? "" : row(Number(id), [[1, index / 4]], String(prompt)),
    );
    return write(name, lines.join(""));
  };

  it("are found by prompt and the number of the sample within it", async () => {
    const maps = await readSuppliedMaps(fileOf("ids.jsonl"));
    const { target, make } = suppliedAdvantageMaps({ ...settings, promptOf, maps });
    expect(target).toBe("advantage");
    expect((await make(images, items)).map((map) => map[1])).toEqual([0, 0.25, 0.5, 0.75]);
    const mean = suppliedAdvantageMaps({ ...settings, mapNorm: "mean1", promptOf, maps });
    expect([...(await mean.make(images, items))[2]!]).toEqual([4 / 3, 2 / 3]);
    const flipped = suppliedAdvantageMaps({ ...settings, flip: true, promptOf, maps });
    expect([...(await flipped.make(images, items))[1]!]).toEqual([0, 0.75]);
  });

  it("may be made for every epoch, of its images", async () => {
    const seen: unknown[] = [];
    const { make } = suppliedAdvantageMaps<string, number>({
      ...settings,
      promptOf,
      maps: async (samples) => {
        seen.push(...samples);
        return readSuppliedMaps(fileOf("made.jsonl"));
      },
    });
    expect(await make(images, items)).toHaveLength(4);
    expect(seen[2]).toEqual({ prompt: "a photo of a", sampleId: 1, item: "a", image: 2 });
  });

  it("stop where one is missing, or where there are others than were asked for", async () => {
    const maps = await readSuppliedMaps(fileOf("missing.jsonl", 2));
    const fixed = suppliedAdvantageMaps({ ...settings, promptOf, maps });
    expect(await failure(fixed.make(images, items))).toContain(
      'missing.jsonl: expected a map of sample 1 of "a photo of a", got none',
    );
    const made = suppliedAdvantageMaps({ ...settings, promptOf, maps: async () => maps });
    expect(await failure(made.make(images, items))).toBe(
      "supplied maps: expected 4 maps, one a sample, got 3",
    );
  });
});
