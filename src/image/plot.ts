// A picture of curves: series of points over two axes, with ticks and a legend.

import { ConfigError } from "../core/errors.ts";
import { ADVANCE, drawLine, drawText, fillBox, LINE } from "./draw.ts";
import { GLYPH_HEIGHT } from "./glyphs.ts";
import { blankRaster, type Raster, type Rgb } from "./raster.ts";

export interface PlotSeries {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

export interface PlotOptions {
  readonly title: string;
  readonly x: string;
  readonly y: string;
}

const [WIDTH, HEIGHT] = [560, 380];
const frame = { left: 48, right: 12, top: 40, bottom: 36 };
const paper: Rgb = [1, 1, 1];
const ink: Rgb = [-0.6, -0.6, -0.6];
const faint: Rgb = [0.8, 0.8, 0.8];
const colors: readonly Rgb[] = [
  [0.7, -0.7, -0.7],
  [-0.7, -0.3, 0.5],
  [-0.8, 0.3, -0.6],
  [0.7, 0.2, -0.8],
  [0.2, -0.6, 0.4],
  [-0.2, -0.2, -0.2],
  [-0.5, 0.5, 0.5],
  [0.6, -0.2, 0.5],
];

/** Distance of ticks: 1, 2 or 5 times a power of ten, so that about five fit in. */
function tickDistance(extent: number): number {
  const rough = extent / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
}

interface Axis {
  readonly low: number;
  readonly high: number;
  readonly ticks: readonly number[];
}

function axisOf(values: readonly number[]): Axis {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const distance = tickDistance(most > least ? most - least : Math.max(Math.abs(most), 1));
  const first = Math.floor(least / distance);
  const last = Math.max(first + 1, Math.ceil(most / distance));
  const ticks = Array.from({ length: last - first + 1 }, (_, index) => (first + index) * distance);
  return { low: ticks[0]!, high: ticks.at(-1)!, ticks };
}

/** Throws a ConfigError when there is no point to draw, or one that is not finite. */
export function drawPlot(series: readonly PlotSeries[], { title, x, y }: PlotOptions): Raster {
  const points = series.flatMap((one) => one.points);
  const isFine = points.every((point) => Number.isFinite(point.x) && Number.isFinite(point.y));
  if (points.length === 0 || !isFine) {
    const got = points.length === 0 ? "none" : "one that is not finite";
    throw new ConfigError({ where: `plot ${title}`, expected: "points", got });
  }
  const [across, up] = [
    axisOf(points.map((point) => point.x)),
    axisOf(points.map((point) => point.y)),
  ];
  const picture = blankRaster(HEIGHT, WIDTH, paper);
  const [right, bottom] = [WIDTH - frame.right, HEIGHT - frame.bottom];
  const placeX = (value: number): number =>
    frame.left + ((value - across.low) / (across.high - across.low)) * (right - frame.left);
  const placeY = (value: number): number =>
    bottom - ((value - up.low) / (up.high - up.low)) * (bottom - frame.top);
  const text = (value: number): string => String(Number(value.toPrecision(6)));
  for (const tick of across.ticks) {
    const at = Math.round(placeX(tick));
    fillBox(picture, [at, frame.top, at + 1, bottom], faint);
    drawText(picture, text(tick), at - (text(tick).length * ADVANCE) / 2, bottom + 5, ink);
  }
  for (const tick of up.ticks) {
    const at = Math.round(placeY(tick));
    fillBox(picture, [frame.left, at, right, at + 1], faint);
    const left = frame.left - 4 - text(tick).length * ADVANCE;
    drawText(picture, text(tick), left, at - Math.floor(GLYPH_HEIGHT / 2), ink);
  }
  drawText(picture, title, 6, 6, ink);
  drawText(picture, y, 6, 6 + 2 * LINE, ink);
  drawText(picture, x, right - x.length * ADVANCE, HEIGHT - LINE, ink);
  series.forEach(({ name, points: own }, index) => {
    const color = colors[index % colors.length]!;
    own.forEach((point, place) => {
      const at = [placeX(point.x), placeY(point.y)] as const;
      const before = own[place - 1];
      if (before !== undefined) drawLine(picture, [placeX(before.x), placeY(before.y)], at, color);
      const [px, py] = at.map(Math.round) as [number, number];
      fillBox(picture, [px - 2, py - 2, px + 4, py + 4], color);
    });
    const top = frame.top + 6 + index * (LINE + 2);
    const left = right - (Math.max(...series.map((one) => one.name.length)) + 3) * ADVANCE;
    fillBox(picture, [left, top + 1, left + 10, top + 6], color);
    drawText(picture, name, left + 14, top, ink);
  });
  return picture;
}
