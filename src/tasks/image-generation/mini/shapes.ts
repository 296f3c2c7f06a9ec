// The objects of GenEval-mini: shapes of a few pixels, and the colours they come in.

import type { Rgb } from "../../../image/raster.ts";

export const shapes = ["circle", "square", "triangle", "cross"] as const;
export type Shape = (typeof shapes)[number];

export const miniColors = ["red", "green", "blue", "yellow"] as const;
export type MiniColor = (typeof miniColors)[number];

/** At least 1.2 from grey and from each other, so that noise of 0.1 never makes one another. */
export const palette: Readonly<Record<MiniColor, Rgb>> = {
  red: [0.9, -0.7, -0.7],
  green: [-0.7, 0.7, -0.7],
  blue: [-0.7, -0.5, 0.9],
  yellow: [0.9, 0.8, -0.7],
};

const EPSILON = 1e-6;

/** Whether a point is in a shape that fills a box of width and height; (x, y) is its distance from the centre, y down. */
type IsInside = (x: number, y: number, width: number, height: number) => boolean;

const isInside: Readonly<Record<Shape, IsInside>> = {
  square: () => true,
  // A little smaller than the box: with 0.5 a circle of 6 pixels differs from a square in its 4 corners alone.
  circle: (x, y, width, height) => Math.hypot(x / width, y / height) <= 0.47,
  triangle: (x, y, width, height) => {
    const row = y + height / 2 + 0.5; // 1 for the top row
    return Math.abs(x) <= ((row / height) * width) / 2 + EPSILON;
  },
  // Two diagonals, three pixels wide.
  cross: (x, y, width, height) => {
    const distance = Math.abs(Math.abs(x / width) - Math.abs(y / height));
    return distance * Math.min(width, height) <= 1 + EPSILON;
  },
};

/** The pixels of a shape that fills a box. */
export interface Template {
  /** 1 inside, row by row. */
  readonly mask: Uint8Array;
  readonly area: number;
}

const templates = new Map<number, Template>();

/** The shape in a box of that many pixels; made once. */
export function templateOf(shape: Shape, width: number, height: number): Template {
  const key = (shapes.indexOf(shape) * 4096 + width) * 4096 + height;
  const known = templates.get(key);
  if (known !== undefined) return known;
  const mask = new Uint8Array(width * height);
  let area = 0;
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const [x, y] = [column + 0.5 - width / 2, row + 0.5 - height / 2];
      if (!isInside[shape](x, y, width, height)) continue;
      mask[row * width + column] = 1;
      area++;
    }
  }
  const template = { mask, area };
  templates.set(key, template);
  return template;
}
