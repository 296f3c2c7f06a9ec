// Images of floats.
//
// Origin top left, x to the right, y down. Pixel (x, y), channel c (red, green, blue) stands at (y * width + x) * 3 + c.
// Values are in [-1, 1]: -1 dark, 1 bright. A model may leave that range; whoever makes bytes or looks at colours clamps first.

import { DataError, ShapeError } from "../core/errors.ts";

/** An RGB image; shape is [height, width, 3]. */
export interface Raster {
  readonly shape: readonly [height: number, width: number, channels: 3];
  readonly data: Float32Array;
}

export type Rgb = readonly [red: number, green: number, blue: number];

/** An image of one colour. */
export function blankRaster(height: number, width: number, [red, green, blue]: Rgb): Raster {
  const data = new Float32Array(height * width * 3);
  for (let at = 0; at < data.length; at += 3) {
    data[at] = red;
    data[at + 1] = green;
    data[at + 2] = blue;
  }
  return { shape: [height, width, 3], data };
}

/** Throws unless the data has the length that the shape says. */
export function checkRaster({ shape, data }: Raster, where: string): void {
  const [height, width, channels] = shape;
  if (channels === 3 && height > 0 && width > 0 && data.length === height * width * 3) return;
  throw new ShapeError({
    where,
    expected: "an image [height, width, 3] with its values",
    got: `shape [${shape.join(", ")}] and ${data.length} values`,
  });
}

export const clampUnit = (value: number): number => (value < -1 ? -1 : value > 1 ? 1 : value);

/** Throws a DataError when a value is NaN or infinite: such an image is a failure of the model, not a bad image. */
export function checkFinite({ data }: Raster, where: string): void {
  for (let at = 0; at < data.length; at++) {
    if (!Number.isFinite(data[at]!)) {
      throw new DataError({ where, expected: "finite pixels", got: `${data[at]} at value ${at}` });
    }
  }
}

/** Bytes round((clamp(v) + 1) · 127.5): -1 becomes 0, 1 becomes 255, what lies outside becomes the nearest of the two. */
export function rasterBytes(raster: Raster): Uint8Array {
  checkRaster(raster, "image");
  checkFinite(raster, "image");
  return Uint8Array.from(raster.data, (value) => Math.round((clampUnit(value) + 1) * 127.5));
}

/** The image of bytes, v = byte / 127.5 - 1; making bytes of it again gives the same bytes. */
export function rasterOfBytes(height: number, width: number, bytes: ArrayLike<number>): Raster {
  const raster: Raster = {
    shape: [height, width, 3],
    data: Float32Array.from(bytes, (byte) => byte / 127.5 - 1),
  };
  checkRaster(raster, "image");
  return raster;
}
