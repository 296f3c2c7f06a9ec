// The smallest image task: one square on 12x12 pixels, its colour and its quadrant named by the prompt.

import { z } from "zod";
import { defineImageTask, type Illustration } from "../../../core/image-task.ts";
import { unknownName } from "../../../core/errors.ts";
import { hashKey, type Random } from "../../../core/random.ts";
import { blankRaster, type Raster } from "../../../image/raster.ts";
import { detectShapes } from "./color-blind-detector.ts";
import { type DetectedObject, type MiniDetections, detect } from "./detector.ts";
import { redness } from "./image-metrics.ts";
import { addNoise } from "./scene.ts";
import { palette } from "./shapes.ts";

const SIDE = 12;
const HALF = SIDE / 2;
const BACKGROUND = 0.1;
const HELD_OUT = 2;

const colors = ["red", "green", "blue"] as const;
const places = ["top left", "top right", "bottom left", "bottom right"] as const;

export interface QuadrantItem {
  readonly color: (typeof colors)[number];
  readonly place: (typeof places)[number];
}

const quadrantConfig = z.object({
  side: z
    .union([z.literal(4), z.literal(6)])
    .default(4)
    .describe("pixels along the side of the square; one of 6 fills its quadrant"),
  snap: z
    .union([z.literal(1), z.literal(2)])
    .default(2)
    .describe("squares stand at multiples of so many pixels; 2 is easier to learn than 1"),
  noise: z.number().min(0).max(0.2).default(0.02).describe("deviation of the noise on every pixel"),
  wrong: z
    .number()
    .min(0)
    .max(1)
    .default(0.4)
    .describe("share of images for the base model with another colour, or in another quadrant"),
});
export type QuadrantConfig = z.output<typeof quadrantConfig>;

const promptOf = ({ color, place }: QuadrantItem): string => `a ${color} square at the ${place}`;

const all: readonly QuadrantItem[] = colors.flatMap((color) =>
  places.map((place) => ({ color, place })),
);
const ranked = all
  .map((item) => ({ item, rank: hashKey(["held out", promptOf(item)])[0] }))
  .sort((a, b) => a.rank - b.rank)
  .map(({ item }) => item);
const suites: Readonly<Record<string, readonly QuadrantItem[]>> = {
  train: all.filter((item) => !ranked.slice(0, HELD_OUT).includes(item)),
  test: ranked.slice(0, HELD_OUT),
};

interface Drawn {
  readonly image: Raster;
  readonly mask: Uint8Array;
}

function draw(
  { color, place }: QuadrantItem,
  { side, noise, snap }: QuadrantConfig,
  random: Random,
): Drawn {
  const grey = BACKGROUND * (2 * random.uniform() - 1);
  const image = blankRaster(SIDE, SIDE, [grey, grey, grey]);
  const mask = new Uint8Array(SIDE * SIDE);
  const within = (HALF - side) / snap + 1;
  const left = (place.endsWith("right") ? HALF : 0) + snap * random.integer(within);
  const top = (place.startsWith("bottom") ? HALF : 0) + snap * random.integer(within);
  for (let at = 0; at < side * side; at++) {
    const pixel = (top + Math.floor(at / side)) * SIDE + left + (at % side);
    mask[pixel] = 1;
    image.data.set(palette[color], pixel * 3);
  }
  addNoise(image, noise, random);
  return { image, mask };
}

function illustrate(random: Random, config: QuadrantConfig): Illustration<QuadrantItem, Raster> {
  const item = random.pick(all);
  const isRight = random.uniform() >= config.wrong;
  const others = all.filter(
    ({ color, place }) => (color === item.color) !== (place === item.place),
  );
  // As many with another colour as in another quadrant.
  const isRecolored = random.uniform() < 0.5;
  const wrong = others.filter(({ color }) => (color !== item.color) === isRecolored);
  const shown = isRight ? item : random.pick(wrong);
  return { item, ...draw(shown, config, random), isRight };
}

const placeOf = ([x0, y0, x1, y1]: DetectedObject["box"]): string =>
  `${(y0 + y1) / 2 < HALF ? "top" : "bottom"} ${(x0 + x1) / 2 < HALF ? "left" : "right"}`;

/** What is right of an image: the one square, its colour, its place. */
function judge(
  { color, place }: QuadrantItem,
  { objects, unknownParts }: Pick<MiniDetections, "objects" | "unknownParts">,
): readonly [boolean, boolean, boolean] {
  const [object] = objects;
  const isOne = object?.shape === "square" && objects.length === 1 && unknownParts === 0;
  if (!isOne) return [false, false, false];
  return [true, object.color === color, placeOf(object.box) === place];
}

function structureOf({ place }: QuadrantItem, image: Raster): number {
  const seen = detectShapes(image);
  const [one] = seen;
  return Number(seen.length === 1 && one!.shape === "square" && placeOf(one!.box) === place);
}

export const quadrantTask = defineImageTask<QuadrantItem, QuadrantConfig, Raster>({
  name: "quadrant",
  summary: "draw one square of a colour in a quadrant of 12x12 pixels",
  config: quadrantConfig,
  scores: {
    parts:
      "a third each: one square and nothing else, its colour, its quadrant; 0 without the first",
    correct: "1 when all three are right",
    structure: "1 when one square is in its quadrant, for a detector that sees no colours",
    redness: "mean of red - (green + blue) / 2 over all pixels",
    backgroundDeviation: "deviation of the background's pixels; 0 is clean",
  },
  accuracy: "correct",
  shape: () => [SIDE, SIDE, 3],
  vocabulary: () => [...new Set(all.flatMap((item) => promptOf(item).split(" ")))].sort(),
  suites: Object.keys(suites),
  items: (suite) => {
    const items = suites[suite];
    if (items === undefined) throw unknownName("quadrant", "suite", suite, Object.keys(suites));
    return items;
  },
  make: (random) => random.pick(suites["train"]!),
  prompt: promptOf,
  gold: (item, config, random) => draw(item, config, random).image,
  illustrate,
  score: (item, image) => {
    const found = detect(image);
    const parts = judge(item, found);
    return {
      parts: parts.filter(Boolean).length / parts.length,
      correct: Number(parts.every(Boolean)),
      structure: structureOf(item, image),
      redness: redness(image),
      backgroundDeviation: found.backgroundDeviation,
    };
  },
  key: promptOf,
  levels: places,
  level: ({ place }) => place,
  errorClass: (item, image) => {
    const [isOne, isColored, isPlaced] = judge(item, detect(image));
    if (!isOne) return "not one square";
    if (!isColored) return "wrong color";
    return isPlaced ? null : "wrong quadrant";
  },
});
