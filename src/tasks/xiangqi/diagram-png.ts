// A position as pixels, 48 from point to point. No font is needed: the pieces are letters of 5x7 pixels on discs in the colours of
// their sides.

import { ADVANCE, fillBox } from "../../image/draw.ts";
import { GLYPH_HEIGHT, GLYPH_WIDTH, glyphRows } from "../../image/glyphs.ts";
import { encodePng } from "../../image/png.ts";
import { blankRaster, type Raster, type Rgb } from "../../image/raster.ts";
import {
  boardLines,
  diagramColors,
  gridLabels,
  type GridLine,
  type GridPoint,
  moveLine,
  pieceCapital,
  type PictureOptions,
  placedPieces,
  startMarks,
  wrapText,
} from "./diagram.ts";
import { type Position, sideOf } from "./rules/position.ts";
import { RED, type Side, type Variant } from "./rules/variant.ts";

const CELL = 48;
const MARGIN = 52;
const RADIUS = 21;
/** Pixels a dot of a letter: on pieces, and elsewhere. */
const [PIECE_DOT, TEXT_DOT] = [3, 2];
const CAPTION_LINE = (GLYPH_HEIGHT + 4) * TEXT_DOT;

/** `#rrggbb` as a colour of a raster. */
function rgb(hex: string): Rgb {
  const [red, green, blue] = [1, 3, 5].map(
    (at) => Number.parseInt(hex.slice(at, at + 2), 16) / 127.5 - 1,
  );
  return [red!, green!, blue!];
}

const colors = {
  paper: rgb(diagramColors.paper),
  board: rgb(diagramColors.board),
  line: rgb(diagramColors.line),
  label: rgb(diagramColors.label),
  shadow: rgb(diagramColors.shadow),
  disc: rgb(diagramColors.disc),
  sides: diagramColors.sides.map(rgb),
  lastMove: rgb(diagramColors.lastMove),
};

type PixelPoint = readonly [x: number, y: number];
/** Pixels from a point to the edge of a shape; negative inside. */
type Shape = (x: number, y: number) => number;

/**
 * Paints a shape inside a box [x0, y0, x1, y1). At its edge a pixel is covered in part: by 1/2 - distance of its centre, clamped to
 * [0, 1], so that discs and slanted lines look smooth.
 */
function paint(
  { shape, data }: Raster,
  box: readonly [number, number, number, number],
  distance: Shape,
  color: Rgb,
  opacity = 1,
): void {
  const [height, width] = shape;
  const [x0, y0, x1, y1] = box.map(Math.round) as [number, number, number, number];
  for (let py = Math.max(0, y0); py < Math.min(height, y1); py++) {
    for (let px = Math.max(0, x0); px < Math.min(width, x1); px++) {
      const cover = Math.min(1, Math.max(0, 0.5 - distance(px + 0.5, py + 0.5))) * opacity;
      if (cover === 0) continue;
      for (let channel = 0; channel < 3; channel++) {
        const at = (py * width + px) * 3 + channel;
        data[at] = data[at]! + (color[channel]! - data[at]!) * cover;
      }
    }
  }
}

/** The box around some points, and so much more at every side. */
function boxAround(points: readonly PixelPoint[], more: number): [number, number, number, number] {
  const [xs, ys] = [points.map(([px]) => px), points.map(([, py]) => py)];
  return [
    Math.min(...xs) - more,
    Math.min(...ys) - more,
    Math.max(...xs) + more,
    Math.max(...ys) + more,
  ];
}

function paintDisc(raster: Raster, at: PixelPoint, radius: number, color: Rgb, opacity = 1): void {
  const [cx, cy] = at;
  const disc: Shape = (px, py) => Math.hypot(px - cx, py - cy) - radius;
  paint(raster, boxAround([at], radius + 1), disc, color, opacity);
}

function paintRing(
  raster: Raster,
  at: PixelPoint,
  radius: number,
  width: number,
  color: Rgb,
): void {
  const [cx, cy] = at;
  const ring: Shape = (px, py) => Math.abs(Math.hypot(px - cx, py - cy) - radius) - width / 2;
  paint(raster, boxAround([at], radius + width), ring, color);
}

function paintLine(
  raster: Raster,
  from: PixelPoint,
  to: PixelPoint,
  width: number,
  color: Rgb,
): void {
  const [right, down] = [to[0] - from[0], to[1] - from[1]];
  const square = right ** 2 + down ** 2 || 1;
  const line: Shape = (px, py) => {
    const along = ((px - from[0]) * right + (py - from[1]) * down) / square;
    const near = Math.min(1, Math.max(0, along));
    return Math.hypot(px - from[0] - right * near, py - from[1] - down * near) - width / 2;
  };
  paint(raster, boxAround([from, to], width + 1), line, color);
}

/** A line with a head, painted at once: its parts do not shine through each other. */
function paintArrow(raster: Raster, from: PixelPoint, to: PixelPoint, color: Rgb): void {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
  const [right, down] = [(to[0] - from[0]) / length, (to[1] - from[1]) / length];
  // It begins beside the letter of its piece.
  const [tail, neck, tip] = [15, length - 20, length - 3];
  const slope = Math.hypot(tip - neck, 11);
  const arrow: Shape = (px, py) => {
    const along = (px - from[0]) * right + (py - from[1]) * down;
    const aside = Math.abs((py - from[1]) * right - (px - from[0]) * down);
    const shaft = Math.max(aside - 3.5, tail - along, along - neck);
    const head = Math.max(neck - along, ((along - tip) * 11 + aside * (tip - neck)) / slope);
    return Math.min(shaft, head);
  };
  paint(raster, boxAround([from, to], 14), arrow, color, 0.8);
}

const textWidth = (text: string, dot: number): number =>
  (Array.from(text).length * ADVANCE - (ADVANCE - GLYPH_WIDTH)) * dot;

/** Letters of 5x7 dots, the middle of the text at (x, y). */
function paintText(raster: Raster, text: string, at: PixelPoint, dot: number, color: Rgb): void {
  const left = Math.round(at[0] - textWidth(text, dot) / 2);
  const top = Math.round(at[1] - (GLYPH_HEIGHT * dot) / 2);
  Array.from(text).forEach((character, index) => {
    glyphRows(character).forEach((bits, row) => {
      for (let column = 0; column < GLYPH_WIDTH; column++) {
        if (((bits >> (GLYPH_WIDTH - 1 - column)) & 1) === 0) continue;
        const [px, py] = [left + (index * ADVANCE + column) * dot, top + row * dot];
        fillBox(raster, [px, py, px + dot, py + dot], color);
      }
    });
  });
}

/** The middle of a pixel, so that a line of one pixel is sharp. */
const pixelOf = ({ column, row }: GridPoint): PixelPoint => [
  MARGIN + column * CELL + 0.5,
  MARGIN + row * CELL + 0.5,
];

/** Four angles around a point: corners `inner` away from it, arms of `length` outwards, or inwards when that is negative. */
function paintCorners(
  raster: Raster,
  point: GridPoint,
  [inner, length, width]: readonly [number, number, number],
  color: Rgb,
  isOn: (column: number) => boolean = () => true,
): void {
  const [cx, cy] = pixelOf(point);
  for (const across of [-1, 1]) {
    if (!isOn(point.column + across)) continue;
    for (const down of [-1, 1]) {
      const corner: PixelPoint = [cx + across * inner, cy + down * inner];
      paintLine(raster, corner, [corner[0] + across * length, corner[1]], width, color);
      paintLine(raster, corner, [corner[0], corner[1] + down * length], width, color);
    }
  }
}

function paintBoard(raster: Raster, variant: Variant): void {
  const [left, top] = pixelOf({ column: 0, row: 0 });
  const [right, bottom] = pixelOf({ column: variant.files - 1, row: variant.ranks - 1 });
  const frame: readonly PixelPoint[] = [
    [left - 5, top - 5],
    [right + 5, top - 5],
    [right + 5, bottom + 5],
    [left - 5, bottom + 5],
  ];
  frame.forEach((corner, index) => {
    paintLine(raster, corner, frame[(index + 1) % 4]!, 3, colors.line);
  });
  for (const [from, to] of boardLines(variant)) {
    paintLine(raster, pixelOf(from), pixelOf(to), 1, colors.line);
  }
  const isOn = (column: number): boolean => column >= 0 && column < variant.files;
  for (const point of startMarks(variant))
    paintCorners(raster, point, [4, 6, 1], colors.line, isOn);
}

function paintLabels(raster: Raster, { variant }: Position, view: Side): void {
  const labels = gridLabels(variant, view);
  const far = 36;
  labels.files.forEach((label, column) => {
    const [px, top] = pixelOf({ column, row: 0 });
    const bottom = pixelOf({ column, row: variant.ranks - 1 })[1];
    for (const py of [top - far, bottom + far]) {
      paintText(raster, label, [px, py], TEXT_DOT, colors.label);
    }
  });
  labels.ranks.forEach((label, row) => {
    const [left, py] = pixelOf({ column: 0, row });
    const right = pixelOf({ column: variant.files - 1, row })[0];
    for (const px of [left - far, right + far]) {
      paintText(raster, label, [px, py], TEXT_DOT, colors.label);
    }
  });
}

function paintLastMove(raster: Raster, line: GridLine): void {
  // The frame of the empty point is smaller: neighbours do not touch.
  paintCorners(raster, line[0], [RADIUS - 6, -7, 2.5], colors.lastMove);
  paintCorners(raster, line[1], [RADIUS + 2, -9, 2.5], colors.lastMove);
  paintDisc(raster, pixelOf(line[0]), 5, colors.lastMove);
}

/** The position as an image. */
export function diagramRaster(position: Position, options: PictureOptions = {}): Raster {
  const { view = RED, arrows = [], caption = "", lastMove } = options;
  const { variant } = position;
  const width = (variant.files - 1) * CELL + MARGIN * 2;
  const board = (variant.ranks - 1) * CELL + MARGIN * 2;
  const columns = Math.floor((width - 24) / (ADVANCE * TEXT_DOT));
  const lines = wrapText(caption, columns, () => 1);
  const height = board + (lines.length === 0 ? 0 : lines.length * CAPTION_LINE + 12);
  const raster = blankRaster(height, width, colors.paper);
  fillBox(raster, [0, 0, width, board], colors.board);
  paintBoard(raster, variant);
  paintLabels(raster, position, view);
  for (const { piece, point } of placedPieces(position, view)) {
    const at = pixelOf(point);
    const color = colors.sides[sideOf(piece)]!;
    paintDisc(raster, [at[0] + 1, at[1] + 2], RADIUS, colors.shadow, 0.5);
    paintDisc(raster, at, RADIUS, color);
    paintRing(raster, at, RADIUS - 3.5, 1, colors.disc);
    paintText(raster, pieceCapital(piece), at, PIECE_DOT, colors.disc);
  }
  if (lastMove !== undefined) paintLastMove(raster, moveLine(lastMove, variant, view));
  for (const { move, color = "green" } of arrows) {
    const [from, to] = moveLine(move, variant, view);
    paintArrow(raster, pixelOf(from), pixelOf(to), rgb(diagramColors.arrows[color]));
  }
  lines.forEach((line, index) => {
    const middle = board + 6 + (index + 0.5) * CAPTION_LINE;
    paintText(raster, line, [width / 2, middle], TEXT_DOT, colors.sides[1]!);
  });
  return raster;
}

/** The position as the bytes of a PNG file. */
export const diagramPng = (position: Position, options: PictureOptions = {}): Uint8Array =>
  encodePng(diagramRaster(position, options));
