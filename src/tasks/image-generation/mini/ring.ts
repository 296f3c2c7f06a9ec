// The smallest flow task: a point near one of eight places on a circle, named by the prompt. Axes: x to the right, y up.
//
// The base distribution puts a share of the points at another place, so a model fitted to it hits the named one as often as
// images of a published model show what their prompts say.

import { z } from "zod";
import { type Drawing, defineImageTask } from "../../../core/image-task.ts";
import { unknownName } from "../../../core/errors.ts";
import type { Random } from "../../../core/random.ts";

const PLACES = [
  "east",
  "northeast",
  "north",
  "northwest",
  "west",
  "southwest",
  "south",
  "southeast",
];
const RADIUS = 2;
/** Points within so many deviations of a place are at it. */
const REACH = 4;

/** A point [x, y]. */
export interface Point extends Drawing {
  readonly shape: readonly [2];
}

export interface RingItem {
  readonly place: string;
}

const ringConfig = z.object({
  spread: z
    .number()
    .positive()
    .max(0.19)
    .default(0.15)
    .describe("deviation of the points of a place"),
  wrong: z
    .number()
    .min(0)
    .max(1)
    .default(0.4)
    .describe("share of points for the base model at another place"),
});
export type RingConfig = z.output<typeof ringConfig>;

const centerOf = (place: string): readonly [number, number] => {
  const angle = (2 * Math.PI * PLACES.indexOf(place)) / PLACES.length;
  return [RADIUS * Math.cos(angle), RADIUS * Math.sin(angle)];
};

const all: readonly RingItem[] = PLACES.map((place) => ({ place }));

const near = (place: string, spread: number, random: Random): Point => ({
  shape: [2],
  data: Float32Array.from(centerOf(place), (at) => at + spread * random.normal()),
});

const distance = ({ data }: Point, place: string): number => {
  const [x, y] = centerOf(place);
  return Math.hypot(data[0]! - x, data[1]! - y);
};

export const ringTask = defineImageTask<RingItem, RingConfig, Point>({
  name: "ring",
  summary: "put a point at one of eight places on a circle",
  config: ringConfig,
  scores: { hit: "1 within four deviations of the place that was asked for" },
  accuracy: "hit",
  shape: () => [2],
  vocabulary: () => PLACES,
  // Eight prompts: none is held out, what is new in an evaluation are the seeds.
  suites: ["train"],
  items: (suite) => {
    if (suite !== "train") throw unknownName("ring", "suite", suite, ["train"]);
    return all;
  },
  make: (random) => random.pick(all),
  prompt: ({ place }) => place,
  gold: ({ place }, { spread }, random) => near(place, Math.min(spread, 0.1), random),
  illustrate: (random, { spread, wrong }) => {
    const item = random.pick(all);
    const isRight = random.uniform() >= wrong;
    const others = PLACES.filter((place) => place !== item.place);
    const image = near(isRight ? item.place : random.pick(others), spread, random);
    return { item, image, mask: new Uint8Array(0), isRight };
  },
  score: ({ place }, point, { spread }) => ({
    hit: Number(distance(point, place) < REACH * spread),
  }),
  key: ({ place }) => place,
  levels: ["all"],
  level: () => "all",
  errorClass: ({ place }, point, { spread }) => {
    const reach = REACH * spread;
    if (distance(point, place) < reach) return null;
    return PLACES.some((other) => distance(point, other) < reach) ? "another place" : "no place";
  },
});
