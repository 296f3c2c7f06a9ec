// Draws the pictures of src/tasks/image-generation/README.md:
//
//   npx tsx docs/draw-geneval.ts

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { randomStream } from "../src/core/random.ts";
import { drawGrid, type GridCell } from "../src/image/grid.ts";
import { encodePng } from "../src/image/png.ts";
import type { Raster } from "../src/image/raster.ts";
import {
  genevalMini,
  miniConfig,
  type MiniItem,
  quadrantTask,
  tags,
} from "../src/tasks/image-generation/index.ts";

const folder = fileURLToPath(new URL("../src/tasks/image-generation/pictures", import.meta.url));
mkdirSync(folder, { recursive: true });

function save(name: string, cells: readonly GridCell[], columns: number, scale: number): void {
  const path = join(folder, `${name}.png`);
  writeFileSync(path, encodePng(drawGrid(cells, { columns, scale })));
  process.stdout.write(`${path}\n`);
}

const config = miniConfig.parse({});
const stream = (...key: readonly (string | number)[]) => randomStream("pictures", ...key);

const cellOf = (item: MiniItem, image: Raster): GridCell => {
  const error = genevalMini.errorClass(item, image, config);
  const caption = genevalMini.prompt(item);
  return {
    image,
    caption: error === null ? caption : `${caption} (${error})`,
    verdict: error === null,
  };
};

const suite = (name: string): readonly MiniItem[] => genevalMini.items(name, config);
const chosen = [
  ...tags.flatMap((tag) => {
    const items = suite("train").filter(({ record }) => record.tag === tag);
    return [stream(tag).pick(items)];
  }),
  stream("unseen").pick(suite("unseenClass").filter(({ record }) => record.tag === "color_attr")),
  stream("five").pick(suite("unseenCount")),
];
save(
  "gold",
  chosen.map((item, index) => cellOf(item, genevalMini.gold(item, config, stream("gold", index)))),
  4,
  6,
);

const drawn = Array.from({ length: 400 }, (_, index) =>
  genevalMini.illustrate(stream("base", index), config),
);
const wrong = tags.flatMap((tag) => {
  const of = drawn.filter(({ item, isRight }) => item.record.tag === tag && !isRight);
  return of.slice(0, tag === "position" || tag === "color_attr" || tag === "counting" ? 2 : 1);
});
save(
  "base",
  wrong.map(({ item, image }) => cellOf(item, image)),
  4,
  6,
);

const quadrant = quadrantTask.config.parse({});
save(
  "quadrant",
  quadrantTask.items("train", quadrant).map((item, index) => ({
    image: quadrantTask.gold(item, quadrant, stream("quadrant", index)),
    caption: quadrantTask.prompt(item),
    verdict: true,
  })),
  5,
  8,
);
