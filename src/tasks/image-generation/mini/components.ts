// Connected parts of an image, and the shape that each looks most like.

import type { Box } from "../relative-position.ts";
import { type Shape, shapes, templateOf } from "./shapes.ts";

/** Smaller parts are specks, not objects. */
const LEAST_PIXELS = 6;
const LEAST_SIDE = 4;
const LONGEST_TO_SHORTEST = 1.5;
const LARGEST_SHARE = 0.5;

/** Pixels of one kind that are connected along edges. */
export interface Component {
  readonly kind: number;
  readonly box: Box;
  /** Indices y · width + x. */
  readonly pixels: readonly number[];
}

/**
 * All 4-connected parts of at least 6 pixels.
 * @param kinds [height · width]; pixels of kind 0 belong to no part.
 */
export function componentsOf(kinds: Uint8Array, width: number): Component[] {
  const found: Component[] = [];
  const left = Uint8Array.from(kinds);
  for (let start = 0; start < left.length; start++) {
    if (left[start] === 0) continue;
    const component = fillFrom(start, left, width);
    if (component.pixels.length >= LEAST_PIXELS) found.push(component);
  }
  return found;
}

/** Takes the part around a pixel out of `left`. */
function fillFrom(start: number, left: Uint8Array, width: number): Component {
  const kind = left[start]!;
  const pixels = [start];
  left[start] = 0;
  let [x0, y0, x1, y1] = [width, left.length, 0, 0];
  const visit = (pixel: number): void => {
    if (left[pixel] !== kind) return;
    left[pixel] = 0;
    pixels.push(pixel);
  };
  for (let at = 0; at < pixels.length; at++) {
    const pixel = pixels[at]!;
    const x = pixel % width;
    const y = (pixel - x) / width;
    if (x < x0) x0 = x;
    if (x > x1) x1 = x;
    if (y < y0) y0 = y;
    if (y > y1) y1 = y;
    if (x > 0) visit(pixel - 1);
    if (x + 1 < width) visit(pixel + 1);
    if (y > 0) visit(pixel - width);
    if (pixel + width < left.length) visit(pixel + width);
  }
  return { kind, box: [x0, y0, x1 + 1, y1 + 1], pixels };
}

/**
 * Whether a part has the size of an object: at least 4 pixels to both sides, neither side longer than 1.5 times the other, at most
 * half of the image. Without this, two by three pixels were a perfect square, and an image of nothing but noise a large one.
 */
export function hasObjectSize({ box: [x0, y0, x1, y1], pixels }: Component, area: number): boolean {
  const [shortest, longest] = [Math.min(x1 - x0, y1 - y0), Math.max(x1 - x0, y1 - y0)];
  return (
    shortest >= LEAST_SIDE &&
    longest <= LONGEST_TO_SHORTEST * shortest &&
    pixels.length <= LARGEST_SHARE * area
  );
}

export interface ShapeMatch {
  readonly shape: Shape;
  /** Intersection over union of the part and the shape that fills its box. */
  readonly iou: number;
}

/** The shape that fits best. */
export function matchShape({ box, pixels }: Component, imageWidth: number): ShapeMatch {
  const [x0, y0, x1, y1] = box;
  const width = x1 - x0;
  let best: ShapeMatch = { shape: "square", iou: -1 };
  for (const shape of shapes) {
    const { mask, area } = templateOf(shape, width, y1 - y0);
    let both = 0;
    for (const pixel of pixels) {
      const x = pixel % imageWidth;
      both += mask[((pixel - x) / imageWidth - y0) * width + x - x0]!;
    }
    const iou = both / (pixels.length + area - both);
    if (iou > best.iou) best = { shape, iou };
  }
  return best;
}
