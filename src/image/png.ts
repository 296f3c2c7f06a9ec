// PNG in and out.

import { decode, encode } from "fast-png";
import { DataError } from "../core/errors.ts";
import { type Raster, rasterBytes, rasterOfBytes } from "./raster.ts";

/** A PNG of 8 bits a channel, values clamped to [-1, 1] first. */
export function encodePng(raster: Raster): Uint8Array {
  const [height, width] = raster.shape;
  return encode({ width, height, channels: 3, depth: 8, data: rasterBytes(raster) });
}

/** Three bytes a pixel of a picture with 1 (grey), 2 (grey, alpha), 3 or 4 channels; alpha is left out, as its colours stand. */
function rgbBytes(data: ArrayLike<number>, channels: number, divisor: number): Uint8Array {
  const pixels = data.length / channels;
  const bytes = new Uint8Array(pixels * 3);
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      const from = pixel * channels + (channels < 3 ? 0 : channel);
      bytes[pixel * 3 + channel] = Math.round(data[from]! / divisor);
    }
  }
  return bytes;
}

/** The bytes of a palette's colours in place of its indices. */
function withPalette(data: ArrayLike<number>, palette: readonly ArrayLike<number>[]): Uint8Array {
  const bytes = new Uint8Array(data.length * 3);
  for (let pixel = 0; pixel < data.length; pixel++) {
    const color = palette[data[pixel]!];
    if (color === undefined) throw new RangeError(`the palette has no colour ${data[pixel]}`);
    for (let channel = 0; channel < 3; channel++) bytes[pixel * 3 + channel] = color[channel]!;
  }
  return bytes;
}

/** One sample a byte, of rows whose samples have fewer than 8 bits; every row begins with a new byte. */
function unpack(data: ArrayLike<number>, width: number, height: number, depth: number): Uint8Array {
  const rowBytes = Math.ceil((width * depth) / 8);
  const samples = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const bit = x * depth;
      const byte = data[y * rowBytes + (bit >> 3)]!;
      samples[y * width + x] = (byte >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
    }
  }
  return samples;
}

/** Reads a PNG of any depth, grey or in colour. Throws a DataError that begins with `where` when it is none. */
export function decodePng(bytes: Uint8Array, where: string): Raster {
  try {
    const { width, height, data, channels, depth, palette } = decode(bytes);
    const samples = depth < 8 ? unpack(data, width, height, depth) : data;
    const rgb = palette
      ? withPalette(samples, palette)
      : rgbBytes(samples, channels, (2 ** depth - 1) / 255);
    return rasterOfBytes(height, width, rgb);
  } catch (cause) {
    const got = (cause as Error).message;
    throw new DataError({ where, expected: "a PNG image", got, cause });
  }
}
