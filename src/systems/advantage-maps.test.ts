import { describe, expect, it } from "vitest";
import { denseAdvantages } from "../algorithms/flow-advantages.ts";
import { ConfigError } from "../core/errors.ts";
import {
  flowAdvantageSettings,
  pixelAdvantageSettings,
  type PixelAdvantage,
} from "../core/flow-spec.ts";
import { randomStream } from "../core/random.ts";
import { allocationMap } from "../image/allocation-map.ts";
import { lowLevelBackbone, lowLevelFeatures } from "../image/low-level-features.ts";
import { blankRaster, type Raster } from "../image/raster.ts";
import { foregroundOf, genevalMini, miniConfig } from "../tasks/image-generation/index.ts";
import { advantageMaps, type MapSources } from "./advantage-maps.ts";

const config = miniConfig.parse({});
const drawn = Array.from({ length: 6 }, (_, key) =>
  genevalMini.illustrate(randomStream("advantage maps", key), config),
);
const images = drawn.map(({ image }) => image);
const items = drawn.map(({ item }) => item);
const empty = blankRaster(24, 24, [0.2, 0.1, 0]);

type Item = (typeof items)[number];
const sources: MapSources<Item> = { backbone: lowLevelBackbone, foreground: foregroundOf };

const mapsOf = (
  given: Partial<{ [Key in keyof PixelAdvantage]: unknown }>,
  list: readonly Raster[] = images,
  from = sources,
) => {
  const settings = pixelAdvantageSettings.parse(given);
  return Promise.resolve(advantageMaps(settings, from).make(list, items.slice(0, list.length)));
};
const rounded = (map: ArrayLike<number>): number[] =>
  Array.from(map, (weight) => Math.round(1e9 * weight) / 1e9);

describe("advantage maps", () => {
  it("psm: structure the features of each image, as large as the image", async () => {
    const map = { type: "psm", backbone: "low", smoothing: 0.5, sign: "area", components: 2 };
    const maps = await mapsOf({ map });
    const settings = pixelAdvantageSettings.parse({ map });
    const spec = settings.map as Extract<PixelAdvantage["map"], { type: "psm" }>;
    maps.forEach((weights, index) => {
      const size = { height: 24, width: 24 };
      const expected = allocationMap(lowLevelFeatures(images[index]!), spec, size);
      expect(weights).toEqual(expected.values);
    });
    const order = [3, 0, 5, 1, 4, 2];
    const turned = await mapsOf(
      { map },
      order.map((index) => images[index]!),
    );
    expect(turned).toEqual(order.map((index) => maps[index]));
  });

  it("oracle: are the true masks of images that have them", async () => {
    const maps = await mapsOf({ map: { type: "oracle" } });
    expect(maps.map((map) => [...(map as Float64Array)])).toEqual(
      drawn.map(({ mask }) => [...mask]),
    );
  });

  it("flip: are turned round, and mean1: have mean 1", async () => {
    for (const type of ["psm", "oracle"]) {
      const map = { type, backbone: "low" };
      const plain = await mapsOf({ map });
      const flipped = await mapsOf({ map, flip: true });
      const scaled = await mapsOf({ map, flip: true, mapNorm: "mean1" });
      plain.forEach((weights, index) => {
        const turned = Array.from(weights, (weight) => 1 - weight);
        expect(rounded(flipped[index]!)).toEqual(rounded(turned));
        const mean = turned.reduce((sum, weight) => sum + weight, 0) / turned.length;
        const expected = turned.map((weight) => weight / mean);
        expect(rounded(scaled[index]!)).toEqual(rounded(expected));
      });
    }
  });

  it("are ones where all of an image is alike, also turned round", async () => {
    for (const type of ["psm", "oracle", "ones"]) {
      for (const flip of [false, true]) {
        const [map] = await mapsOf({ map: { type, backbone: "low" }, flip }, [empty]);
        expect(Array.from(map!)).toEqual(Array.from({ length: 576 }, () => 1));
      }
    }
  });

  it("ones: leave every position its advantage", async () => {
    const maps = await mapsOf({ map: { type: "ones" } });
    const samples = [1, 0, 0, 1, 1, 0].map((reward) => ({ prompt: "one", reward }));
    const spec = flowAdvantageSettings.parse({ epsilon: 0 });
    const dense = denseAdvantages(samples, maps, spec, "advantage");
    dense.forEach((list, sample) => {
      expect(new Set(list)).toEqual(new Set([samples[sample]!.reward === 1 ? 1 : -1]));
    });
  });

  it("files: go through the same turns", async () => {
    const files = async () =>
      images.map((_, index) => Float32Array.from({ length: 576 }, (_unused, at) => at + index));
    const given = { map: { type: "files", path: "maps.jsonl" }, flip: true };
    const maps = await mapsOf(given, images, { files });
    expect(maps[2]![0]).toBe(1);
    expect(maps[2]![575]).toBe(0);
  });

  it("need what they are made of", () => {
    for (const map of [{ type: "psm" }, { type: "oracle" }, { type: "files", path: "x" }]) {
      const settings = pixelAdvantageSettings.parse({ map });
      expect(() => advantageMaps(settings, {})).toThrow(ConfigError);
    }
  });

  it("say what they multiply", () => {
    const settings = pixelAdvantageSettings.parse({ target: "reward" });
    expect(advantageMaps(settings, sources).target).toBe("reward");
    expect(settings.map).toMatchObject({ type: "psm", backbone: "ssl", aggregation: "weighted" });
  });
});
