// From a record to an image: where objects stand, and their pixels.

import { ConfigError } from "../../../core/errors.ts";
import { type Random, randomStream } from "../../../core/random.ts";
import { blankRaster, type Raster } from "../../../image/raster.ts";
import type { GenevalRecord } from "../record.ts";
import { type Box, relationsOf } from "../relative-position.ts";
import type { Relation } from "../vocabulary.ts";
import type { MiniConfig } from "./config.ts";
import { type MiniColor, palette, type Shape, templateOf } from "./shapes.ts";

/** Pixels along a side of the image. */
export const SIDE = 24;
/** Empty pixels between two objects, at least. */
const GAP = 1;
const BACKGROUND = 0.1;
const MAX_TRIES = 200;

export interface SceneObject {
  readonly shape: Shape;
  readonly color: MiniColor;
  /** Top left corner and side of its box. */
  readonly x: number;
  readonly y: number;
  readonly size: number;
}

export interface Scene {
  readonly objects: readonly SceneObject[];
  /** Grey of the background. */
  readonly background: number;
}

/** An object that has no place yet. */
interface Wanted {
  readonly shape: Shape;
  readonly color: MiniColor;
  readonly size: number;
  /** How it must stand to the objects of an earlier entry: so, and in no other way beside. */
  readonly relation: Relation | null;
  readonly targets: readonly number[];
}

const boxOf = ({ x, y, size }: Pick<SceneObject, "x" | "y" | "size">): Box => [
  x,
  y,
  x + size,
  y + size,
];

/** The objects that a record asks for; where it names no colour one is drawn. */
function wantedObjects(
  { include }: GenevalRecord,
  random: Random,
  colors: readonly MiniColor[],
): Wanted[] {
  const total = include.reduce((sum, { count }) => sum + count, 0);
  const wanted: Wanted[] = [];
  const members: number[][] = [];
  for (const { class: name, count, color, position } of include) {
    const indices: number[] = [];
    for (let one = 0; one < count; one++) {
      indices.push(wanted.length);
      wanted.push({
        shape: name as Shape,
        color: (color as MiniColor | undefined) ?? random.pick(colors),
        size: total <= 2 ? 8 + random.integer(3) : total <= 4 ? 6 + random.integer(2) : 6,
        relation: position?.[0] ?? null,
        targets: position === undefined ? [] : members[position[1]]!,
      });
    }
    members.push(indices);
  }
  return wanted;
}

function fits(box: Box, { relation, targets }: Wanted, placed: readonly SceneObject[]): boolean {
  const [x0, y0, x1, y1] = box;
  for (const one of placed) {
    const [a0, b0, a1, b1] = boxOf(one);
    const isApart = x0 >= a1 + GAP || a0 >= x1 + GAP || y0 >= b1 + GAP || b0 >= y1 + GAP;
    if (!isApart) return false;
  }
  return targets.every((target) => {
    const held = relationsOf(box, boxOf(placed[target]!));
    return held.length === 1 && held[0] === relation;
  });
}

/** Every object at a random place among those that are left; null when one finds none. */
function placeAll(wanted: readonly Wanted[], snap: number, random: Random): SceneObject[] | null {
  const placed: SceneObject[] = [];
  for (const want of wanted) {
    const free: (readonly [number, number])[] = [];
    for (let y = 0; y + want.size <= SIDE; y += snap) {
      for (let x = 0; x + want.size <= SIDE; x += snap) {
        if (fits(boxOf({ x, y, size: want.size }), want, placed)) free.push([x, y]);
      }
    }
    if (free.length === 0) return null;
    const [x, y] = random.pick(free);
    placed.push({ shape: want.shape, color: want.color, size: want.size, x, y });
  }
  return placed;
}

/** A scene that shows what the record asks for, and nothing else. Throws a ConfigError when there is no room. */
export function drawScene(
  record: GenevalRecord,
  random: Random,
  { colors, snap }: Pick<MiniConfig, "colors" | "snap">,
): Scene {
  for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
    const objects = placeAll(wantedObjects(record, random, colors), snap, random);
    if (objects !== null) return { objects, background: BACKGROUND * (2 * random.uniform() - 1) };
  }
  const expected = `room for ${JSON.stringify(record.prompt)}`;
  throw new ConfigError({ where: "GenEval-mini", expected, got: `none in ${MAX_TRIES} tries` });
}

export interface Rendered {
  readonly image: Raster;
  /** 1 where an object is, row by row: the oracle of what is foreground. */
  readonly mask: Uint8Array;
}

/** The image of a scene. @param noise Deviation of the noise on every value. */
export function renderScene(
  { objects, background }: Scene,
  noise: number,
  random: Random,
): Rendered {
  const image = blankRaster(SIDE, SIDE, [background, background, background]);
  const mask = new Uint8Array(SIDE * SIDE);
  for (const { shape, color, x, y, size } of objects) {
    const template = templateOf(shape, size, size);
    for (let at = 0; at < size * size; at++) {
      if (template.mask[at] === 0) continue;
      const pixel = (y + Math.floor(at / size)) * SIDE + x + (at % size);
      mask[pixel] = 1;
      image.data.set(palette[color], pixel * 3);
    }
  }
  addNoise(image, noise, random);
  return { image, mask };
}

/** Many more than an image has values. */
const POOL = 1 << 16;
let pool: Float32Array | undefined;

/** Standard normal numbers, the same in every process. */
function noisePool(): Float32Array {
  if (pool === undefined) {
    const random = randomStream("GenEval-mini", "noise");
    pool = Float32Array.from({ length: POOL }, () => random.normal());
  }
  return pool;
}

/**
 * Adds normal noise to every value, in place. The noise of an image is a window, at a random place, of numbers that are drawn once:
 * drawing 1,728 new ones took longer than everything else about an image. Two windows may overlap, shifted.
 */
export function addNoise({ data }: Raster, deviation: number, random: Random): void {
  if (deviation === 0) return;
  const numbers = noisePool();
  const start = random.integer(POOL);
  for (let at = 0; at < data.length; at++) {
    data[at] = data[at]! + deviation * numbers[(start + at) % POOL]!;
  }
}
