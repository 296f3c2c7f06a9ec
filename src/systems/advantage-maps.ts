// Where in an image advantages go, by the settings of ViPO (arXiv:2511.18719): made of the features of a frozen backbone, of the
// foreground that a detector sees, the same everywhere, or read from files.

import type { AdvantageMaps } from "../algorithms/flow-generation.ts";
import { ConfigError } from "../core/errors.ts";
import type { PixelAdvantage } from "../core/flow-spec.ts";
import { allocationMap, finishedMap, minMaxMap, type Backbone } from "../image/allocation-map.ts";
import type { Raster } from "../image/raster.ts";

type Maps<Item> = AdvantageMaps<Item, Raster>;

/** What maps are made of; a run needs the one that its settings name. */
export interface MapSources<Item> {
  /** Of `psm`. */
  readonly backbone?: Backbone;
  /** Of `oracle`: 1 where an image shows an object, row by row. */
  readonly foreground?: (image: Raster) => ArrayLike<number>;
  /** Of `files`. */
  readonly files?: Maps<Item>["make"];
}

/** From 0 to 1, then turned round and normalised as the settings say. */
const finish = (map: Float64Array, settings: PixelAdvantage): Float64Array =>
  finishedMap(minMaxMap(map), settings);

/** M of every image from the features of its patches, as large as the image [height · width]. */
export function backboneMaps<Item>(
  backbone: Backbone,
  settings: PixelAdvantage & { readonly map: { readonly type: "psm" } },
): Maps<Item> {
  const { target, map } = settings;
  return {
    target,
    make: async (images) => {
      const features = await backbone(images);
      return images.map(({ shape: [height, width] }, index) =>
        finish(allocationMap(features[index]!, map, { height, width }).values, settings),
      );
    },
  };
}

/**
 * The maps that the settings name.
 * @throws ConfigError when what they are made of is not given.
 */
export function advantageMaps<Item>(
  settings: PixelAdvantage,
  { backbone, foreground, files }: MapSources<Item>,
): Maps<Item> {
  const { target, map } = settings;
  const given = <T>(source: T | undefined, what: string): T => {
    if (source !== undefined) return source;
    throw new ConfigError({ where: `maps of type ${map.type}`, expected: what, got: "none" });
  };
  switch (map.type) {
    case "psm":
      return backboneMaps(given(backbone, "a backbone"), { ...settings, map });
    case "oracle": {
      const see = given(foreground, "a detector of the foreground");
      const make: Maps<Item>["make"] = (images) =>
        images.map((image) => finish(Float64Array.from(see(image)), settings));
      return { target, make };
    }
    case "files": {
      const read = given(files, "a reader of maps");
      const make: Maps<Item>["make"] = async (images, items) => {
        const maps = await read(images, items);
        return maps.map((weights) => finish(Float64Array.from(weights), settings));
      };
      return { target, make };
    }
    default: {
      // ones
      const ones = ({ shape: [height, width] }: Raster) => new Float64Array(height * width).fill(1);
      return { target, make: (images) => images.map(ones) };
    }
  }
}
