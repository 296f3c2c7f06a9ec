// A picture of maps: images above, where their advantages go below.

import { existsSync } from "node:fs";
import type { AdvantageMaps } from "../../algorithms/flow-generation.ts";
import { drawGrid } from "../../image/grid.ts";
import type { Raster } from "../../image/raster.ts";
import type { RunDirectory } from "../../run/run-directory.ts";
import { picturePath, writePicture } from "../flow-pictures.ts";

/** The maps; those of a run's first epoch are drawn. A resume does not draw others over them. */
export function pictured(
  { target, make }: AdvantageMaps<unknown, Raster>,
  run: RunDirectory,
  name: string,
): AdvantageMaps<unknown, Raster> {
  return {
    target,
    make: async (images, items) => {
      const maps = await make(images, items);
      const isDrawn = existsSync(picturePath(run, name));
      if (!isDrawn) writePicture(run, name, mapPicture(images, maps));
      return maps;
    },
  };
}

const SHOWN = 12;

function mapPicture(images: readonly Raster[], maps: readonly ArrayLike<number>[]): Raster {
  const count = Math.min(SHOWN, images.length);
  const shown = Array.from({ length: count }, (_, index) =>
    Math.floor((index * images.length) / count),
  );
  const grey = (index: number): Raster => {
    const { shape, data } = images[index]!;
    const map = maps[index]!;
    return { shape, data: data.map((_, at) => 2 * map[Math.floor(at / 3)]! - 1) };
  };
  const cell = (image: Raster) => ({ image, caption: "", verdict: null });
  const cells = [...shown.map((index) => images[index]!), ...shown.map(grey)].map(cell);
  const scale = Math.max(1, Math.round(72 / images[0]!.shape[0]));
  const title = "images of the first epoch, and where their advantages go (white: all of it)";
  return drawGrid(cells, { columns: count, scale, title });
}
