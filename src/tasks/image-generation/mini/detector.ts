// The detector of GenEval-mini; it plays Mask2Former and the colour classifier of GenEval.
//
//   pixel       nearest of the palette and grey, after clamping to [-1, 1]; farther than 0.7 from all: unknown
//   object      4-connected coloured pixels of an object's size; class: the template with the best IoU in its box, confidence: that IoU
//   colour      nearest palette colour of its mean; its pixels must be near that colour
//
// Colours of an object are not kept apart before they are connected: a speck of another colour is part of the object.

import { checkFinite, clampUnit, type Raster, type Rgb } from "../../../image/raster.ts";
import type { Detection, Detections, DetectionThresholds } from "../detections.ts";
import { type Component, componentsOf, hasObjectSize, matchShape } from "./components.ts";
import { type MiniColor, miniColors, palette, type Shape } from "./shapes.ts";

/** These play the 0.3 and 0.9 of GenEval. */
export const miniThresholds: DetectionThresholds = { others: 0.6, counting: 0.75 };

const FAR = 0.7;
/** Objects of mixed colours, as noise makes them, have less; deviations of 0.2 around one colour have more. */
const LEAST_PURITY = 0.5;
const [NOTHING, COLORED, UNKNOWN] = [0, 1, 2];

export interface DetectedObject extends Detection {
  readonly shape: Shape;
  readonly color: MiniColor;
  /** Mean over its pixels of 1 - distance from that colour / 0.7, at least 0. */
  readonly purity: number;
}

export interface MiniDetections {
  /** All objects whose shape is likely enough (0.6). */
  readonly objects: readonly DetectedObject[];
  /** Parts that look like no shape or have no one colour of the palette: nothing that any prompt asks for. */
  readonly unknownParts: number;
  /** Deviation of the pixels that belong to the background, mean over channels; 0 when there are none. */
  readonly backgroundDeviation: number;
}

const colors: readonly Rgb[] = miniColors.map((name) => palette[name]);

const squaredDistance = (r: number, g: number, b: number, [x, y, z]: Rgb): number =>
  (r - x) ** 2 + (g - y) ** 2 + (b - z) ** 2;

/** What a pixel is, by its clamped colour. */
function kindOf(red: number, green: number, blue: number): number {
  let nearest = Infinity;
  for (const color of colors) {
    const distance = squaredDistance(red, green, blue, color);
    if (distance < nearest) nearest = distance;
  }
  const grey = red * red + green * green + blue * blue;
  if (Math.min(nearest, grey) > FAR * FAR) return UNKNOWN;
  return nearest < grey ? COLORED : NOTHING;
}

function nearestColor(mean: Rgb): MiniColor {
  const distances = colors.map((color) => squaredDistance(...mean, color));
  return miniColors[distances.indexOf(Math.min(...distances))]!;
}

function purityOf({ pixels }: Component, data: Float32Array, color: MiniColor): number {
  let sum = 0;
  for (const pixel of pixels) {
    const [red, green, blue] = [0, 1, 2].map((channel) => clampUnit(data[pixel * 3 + channel]!));
    const distance = Math.sqrt(squaredDistance(red!, green!, blue!, palette[color]));
    sum += Math.max(0, 1 - distance / FAR);
  }
  return sum / pixels.length;
}

function describe(component: Component, { data, shape: [, width] }: Raster): DetectedObject {
  const { shape, iou } = matchShape(component, width);
  let [red, green, blue] = [0, 0, 0];
  for (const pixel of component.pixels) {
    red += clampUnit(data[pixel * 3]!);
    green += clampUnit(data[pixel * 3 + 1]!);
    blue += clampUnit(data[pixel * 3 + 2]!);
  }
  const count = component.pixels.length;
  const color = nearestColor([red / count, green / count, blue / count]);
  const purity = purityOf(component, data, color);
  return { shape, confidence: iou, color, box: component.box, purity };
}

function deviationWhere(data: Float32Array, kinds: Uint8Array): number {
  let count = 0;
  const [sums, squares] = [new Float64Array(3), new Float64Array(3)];
  for (let pixel = 0; pixel < kinds.length; pixel++) {
    if (kinds[pixel] !== NOTHING) continue;
    count++;
    for (let channel = 0; channel < 3; channel++) {
      const value = clampUnit(data[pixel * 3 + channel]!);
      sums[channel]! += value;
      squares[channel]! += value * value;
    }
  }
  if (count === 0) return 0;
  const deviation = (channel: number): number =>
    Math.sqrt(Math.max(0, squares[channel]! / count - (sums[channel]! / count) ** 2));
  return (deviation(0) + deviation(1) + deviation(2)) / 3;
}

/** Throws a DataError for an image that is not finite. */
export function detect(image: Raster): MiniDetections {
  checkFinite(image, "detector");
  const { data, shape } = image;
  const kinds = new Uint8Array(shape[0] * shape[1]);
  for (let pixel = 0; pixel < kinds.length; pixel++) {
    const at = pixel * 3;
    kinds[pixel] = kindOf(clampUnit(data[at]!), clampUnit(data[at + 1]!), clampUnit(data[at + 2]!));
  }
  const parts = componentsOf(kinds, shape[1]);
  const objects = parts
    .filter((part) => part.kind === COLORED && hasObjectSize(part, kinds.length))
    .map((part) => describe(part, image))
    .filter(
      ({ confidence, purity }) => confidence > miniThresholds.others && purity > LEAST_PURITY,
    );
  return {
    objects,
    unknownParts: parts.length - objects.length,
    backgroundDeviation: deviationWhere(data, kinds),
  };
}

/** The objects by class, as rewards and metrics take them. */
export function byClass(objects: readonly DetectedObject[]): Detections {
  const found = new Map<string, DetectedObject[]>();
  for (const object of objects) {
    found.set(object.shape, [...(found.get(object.shape) ?? []), object]);
  }
  return found;
}
