// Maps of where an advantage goes (ViPO), made elsewhere: what a structuring module says of the features of DINOv2, a segmentation,
// the attention of a judge. One line a sample:
//
//   {"prompt": "a photo of a cup", "sample_id": 0, "map": [[0, 0.5], [1, 0.25]]}         [height][width] or [frame][height][width]
//   {"prompt": "a photo of a cup", "sample_id": 1, "map": "maps/1.npy"}                  a path relative to this file
//
// Positions are those of the latent grid, origin top left, x last; weights lie in [0, 1]. What is missing, out of range, no number or
// zero everywhere is an error: a map is never filled in, and a sample never silently left out.

import { mkdir, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { z } from "zod";
import { DataError, shownJson } from "../../core/errors.ts";
import type { PixelAdvantage } from "../../core/flow-spec.ts";
import { type NdArray, readNpy, writeNpy } from "../../data/npy.ts";
import { readRows } from "../../data/rows.ts";
import { finishedMap } from "../../image/allocation-map.ts";
import { parseFields } from "./record.ts";
import { sampleFields, type SampleName, SampleTable } from "./sample-table.ts";

/** [height, width] or [frame, height, width]. */
export type MapShape =
  | readonly [height: number, width: number]
  | readonly [frames: number, height: number, width: number];

export interface SuppliedMap extends SampleName {
  readonly shape: MapShape;
  /** Row by row, frame after frame; in [0, 1]. */
  readonly values: Float64Array;
}

export interface SuppliedMaps {
  readonly size: number;
  /** Of every map. */
  readonly shape: MapShape;
  /** In the order of the file. */
  readonly samples: readonly SuppliedMap[];
  /** Throws a DataError when the file has none. */
  mapOf(prompt: string, sampleId: string | number): Float64Array;
}

const rowSchema = z.looseObject({
  ...sampleFields,
  map: z.union([z.string().min(1), z.array(z.unknown())], {
    error: "lists of numbers, or the path of a .npy file",
  }),
});

const pathText = (path: readonly number[]): string => path.map((index) => `[${index}]`).join("");

/** Lists within lists as one array. Throws a DataError that names the element. */
function flatten(list: readonly unknown[], where: string): NdArray {
  const shape: number[] = [];
  for (let at: unknown = list; Array.isArray(at); at = at[0]) shape.push(at.length);
  const values: number[] = [];
  const walk = (value: unknown, path: readonly number[]): void => {
    const place = `${where}${pathText(path)}`;
    const extent = shape[path.length];
    if (extent === undefined) {
      if (typeof value === "number") return void values.push(value);
      throw new DataError({ where: place, expected: "a number", got: shownJson(value) });
    }
    if (!Array.isArray(value) || value.length !== extent) {
      const got = Array.isArray(value) ? `a list of ${value.length}` : shownJson(value);
      throw new DataError({ where: place, expected: `a list of ${extent}, as the first`, got });
    }
    value.forEach((one, index) => walk(one, [...path, index]));
  };
  walk(list, []);
  return { shape, values: Float64Array.from(values) };
}

/** Throws a DataError unless the array is a map. */
function checkMap({ shape, values }: NdArray, where: string): MapShape {
  const refuse = (expected: string, got: string, place = where): DataError =>
    new DataError({ where: place, expected, got });
  if ((shape.length !== 2 && shape.length !== 3) || values.length === 0) {
    throw refuse("shape [height, width] or [frame, height, width]", shownJson(shape));
  }
  const bad = values.findIndex((value) => !(value >= 0 && value <= 1));
  if (bad >= 0) {
    const place = `${where}${pathText(indicesOf(bad, shape))}`;
    throw refuse("a weight from 0 to 1", String(values[bad]), place);
  }
  if (values.every((value) => value === 0)) {
    throw refuse("a weight above 0 somewhere", "zeros: the sample would train nothing");
  }
  return shape as MapShape;
}

/** Index on each axis of an element. */
function indicesOf(element: number, shape: readonly number[]): number[] {
  let rest = element;
  return shape
    .toReversed()
    .map((extent) => {
      const index = rest % extent;
      rest = Math.floor(rest / extent);
      return index;
    })
    .toReversed();
}

/**
 * Maps of a JSONL file. All have one shape; `shape` says which it must be (the latent grid of the model). Throws a DataError that names
 * file, line, field and element.
 */
export async function readSuppliedMaps(
  path: string,
  options: { readonly shape?: MapShape } = {},
): Promise<SuppliedMaps> {
  const table = new SampleTable<Float64Array>(path, "map");
  let wanted = options.shape;
  const samples = await readRows(path, "train", async (row, where): Promise<SuppliedMap> => {
    const { prompt, sample_id: sampleId, map } = parseFields(rowSchema, row, where);
    const isFile = typeof map === "string";
    const place = `${where}, field map${isFile ? `, ${map}` : ""}`;
    const array = isFile ? await readNpy(resolve(dirname(path), map), place) : flatten(map, place);
    const shape = checkMap(array, place);
    wanted ??= shape;
    if (wanted.join() !== shape.join()) {
      const [expected, got] = [`shape ${shownJson(wanted)}`, shownJson(shape)];
      throw new DataError({ where: place, expected, got });
    }
    table.add({ prompt, sampleId }, array.values, where);
    return { prompt, sampleId, shape, values: array.values };
  });
  const { shape } = samples[0]!;
  return { size: table.size, shape, samples, mapOf: (prompt, id) => table.get(prompt, id) };
}

/** Values as lists within lists. */
function nestedLists({ shape, values }: NdArray): unknown {
  const [extent, ...inner] = shape;
  if (extent === undefined) return values[0];
  const size = values.length / extent;
  return Array.from({ length: extent }, (_, index) =>
    nestedLists({ shape: inner, values: values.subarray(index * size, (index + 1) * size) }),
  );
}

/**
 * Writes maps, one line a sample: as lists, or as .npy files in a folder beside it (`maps.jsonl` and `maps/00000.npy`). Throws a
 * DataError for one that would not come back.
 */
export async function writeSuppliedMaps(
  path: string,
  samples: readonly SuppliedMap[],
  format: "lists" | "npy" = "lists",
): Promise<void> {
  const folder = basename(path).replace(/\.jsonl$/, "");
  if (format === "npy") await mkdir(join(dirname(path), folder), { recursive: true });
  const lines: string[] = [];
  for (const [index, { prompt, sampleId, ...array }] of samples.entries()) {
    const where = `${path}, line ${index + 1}`;
    checkMap(array, `${where}, field map`);
    const file = `${folder}/${String(index).padStart(5, "0")}.npy`;
    const map = format === "npy" ? file : nestedLists(array);
    const row = parseFields(rowSchema, { prompt, sample_id: sampleId, map }, where);
    if (format === "npy") await writeNpy(join(dirname(path), file), array);
    lines.push(`${JSON.stringify(row)}\n`);
  }
  await writeFile(path, lines.join(""));
}

/** One sample of an epoch, as a source of maps sees it. */
export interface MapRequest<Item, Image> extends SampleName {
  readonly item: Item;
  readonly image: Image;
}

export interface SuppliedAdvantageMapsOptions<Item, Image> extends Pick<
  PixelAdvantage,
  "target" | "cut" | "mapNorm" | "flip"
> {
  readonly promptOf: (item: Item) => string;
  /** Maps of a file; or a function that has them made for the images of an epoch, exactly one a sample. */
  readonly maps:
    | SuppliedMaps
    | ((samples: readonly MapRequest<Item, Image>[]) => Promise<SuppliedMaps>);
}

/** Samples by the number that each has among those of its prompt, from 0: the sample ids of an epoch. */
function requestsOf<Item, Image>(
  images: readonly Image[],
  items: readonly Item[],
  promptOf: (item: Item) => string,
): MapRequest<Item, Image>[] {
  const counts = new Map<string, number>();
  return items.map((item, index) => {
    const prompt = promptOf(item);
    const sampleId = counts.get(prompt) ?? 0;
    counts.set(prompt, sampleId + 1);
    return { prompt, sampleId, item, image: images[index]! };
  });
}

/**
 * Maps for the `maps` of Flow-GRPO (AdvantageMaps), by prompt and sample id. Its `make` throws a DataError for a sample without a map
 * and when a function gives maps of other samples: the run then stops, no map is made up.
 */
export function suppliedAdvantageMaps<Item, Image>({
  promptOf,
  maps,
  target,
  cut,
  mapNorm,
  flip,
}: SuppliedAdvantageMapsOptions<Item, Image>): {
  readonly target: PixelAdvantage["target"];
  readonly make: (images: readonly Image[], items: readonly Item[]) => Promise<Float64Array[]>;
} {
  return {
    target,
    make: async (images, items) => {
      const requests = requestsOf(images, items, promptOf);
      const made = typeof maps === "function" ? await maps(requests) : maps;
      if (typeof maps === "function" && made.size !== requests.length) {
        const expected = `${requests.length} maps, one a sample`;
        throw new DataError({ where: "supplied maps", expected, got: String(made.size) });
      }
      return requests.map(({ prompt, sampleId }) =>
        finishedMap(made.mapOf(prompt, sampleId), { cut, mapNorm, flip }),
      );
    },
  };
}
