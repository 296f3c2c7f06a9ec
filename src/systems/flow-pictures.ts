// Pictures of a run, in its folder images/: grids of judged images, points in the plane.

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { JudgedImage } from "../evaluate/evaluate-images.ts";
import { drawGrid } from "../image/grid.ts";
import { encodePng } from "../image/png.ts";
import { blankRaster, type Raster, type Rgb } from "../image/raster.ts";
import type { RunDirectory } from "../run/run-directory.ts";
import type { Point } from "../tasks/image-generation/index.ts";

/** Where a run keeps the picture of this name. */
export const picturePath = (run: RunDirectory, name: string): string =>
  join(run.path, "images", `${name}.png`);

export function writePicture(run: RunDirectory, name: string, picture: Raster): void {
  const path = picturePath(run, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, encodePng(picture));
}

const CELLS = 32;

/** Images spread evenly over all of them, with prompt and verdict. */
export function gridOf<Item>(
  judged: readonly JudgedImage<Item, Raster>[],
  promptOf: (item: Item) => string,
  title: string,
): Raster {
  const count = Math.min(CELLS, judged.length);
  const cells = Array.from({ length: count }, (_, cell) => {
    const { item, image, isRight } = judged[Math.floor((cell * judged.length) / count)]!;
    return { image, caption: promptOf(item), verdict: isRight };
  });
  const scale = Math.max(1, Math.round(96 / judged[0]!.image.shape[0]));
  return drawGrid(cells, { columns: 8, scale, title });
}

const SIDE = 160;
const REACH = 3;
const [hit, missed]: readonly [Rgb, Rgb] = [
  [-0.9, 0.2, -0.6],
  [0.7, -0.8, -0.8],
];

/** The points of every prompt in a plane of its own, from -3 to 3; hits are green. */
export function scatterOf<Item>(
  judged: readonly JudgedImage<Item, Point>[],
  promptOf: (item: Item) => string,
  title: string,
): Raster {
  const planes = new Map<string, Raster>();
  const place = (at: number): number => Math.round(((at + REACH) / (2 * REACH)) * (SIDE - 1));
  for (const { item, image, isRight } of judged) {
    const prompt = promptOf(item);
    const plane = planes.get(prompt) ?? blankRaster(SIDE, SIDE, [1, 1, 1]);
    planes.set(prompt, plane);
    const [x, y] = [place(image.data[0]!), place(-image.data[1]!)];
    for (const [px, py] of [
      [x, y],
      [x + 1, y],
      [x, y + 1],
      [x + 1, y + 1],
    ] as const) {
      const isInside = px >= 0 && px < SIDE && py >= 0 && py < SIDE;
      if (isInside) plane.data.set(isRight ? hit : missed, (py * SIDE + px) * 3);
    }
  }
  const cells = [...planes].map(([caption, image]) => ({ image, caption, verdict: null }));
  return drawGrid(cells, { columns: 4, scale: 1, title });
}
