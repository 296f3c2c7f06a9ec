// Text, boxes and lines on an image.

import { GLYPH_HEIGHT, GLYPH_WIDTH, glyphRows } from "./glyphs.ts";
import type { Raster, Rgb } from "./raster.ts";

/** Pixels from one letter to the next, and from one line of text to the next. */
export const ADVANCE = GLYPH_WIDTH + 1;
export const LINE = GLYPH_HEIGHT + 2;

/** Draws text with its top left corner at (x, y); one letter takes 6 pixels. What lies outside is cut off. */
export function drawText(
  { shape, data }: Raster,
  text: string,
  x: number,
  y: number,
  color: Rgb,
): void {
  const [height, width] = shape;
  Array.from(text).forEach((character, index) => {
    const left = x + index * ADVANCE;
    glyphRows(character).forEach((bits, row) => {
      for (let column = 0; column < GLYPH_WIDTH; column++) {
        const [px, py] = [left + column, y + row];
        const isSet = (bits >> (GLYPH_WIDTH - 1 - column)) & 1;
        if (isSet && px >= 0 && px < width && py >= 0 && py < height) {
          data.set(color, (py * width + px) * 3);
        }
      }
    });
  });
}

/** Fills a box [x0, y0, x1, y1), its far edges left out; what lies outside is cut off. */
export function fillBox(
  raster: Raster,
  box: readonly [number, number, number, number],
  color: Rgb,
): void {
  const [x0, y0, x1, y1] = box;
  const [height, width] = raster.shape;
  for (let y = Math.max(0, y0); y < Math.min(height, y1); y++) {
    for (let x = Math.max(0, x0); x < Math.min(width, x1); x++)
      raster.data.set(color, (y * raster.shape[1] + x) * 3);
  }
}

/** A straight line, two pixels thick. */
export function drawLine(
  raster: Raster,
  [x0, y0]: readonly [number, number],
  [x1, y1]: readonly [number, number],
  color: Rgb,
): void {
  const steps = Math.max(1, Math.ceil(Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0))));
  for (let step = 0; step <= steps; step++) {
    const x = Math.round(x0 + ((x1 - x0) * step) / steps);
    const y = Math.round(y0 + ((y1 - y0) * step) / steps);
    fillBox(raster, [x, y, x + 2, y + 2], color);
  }
}
