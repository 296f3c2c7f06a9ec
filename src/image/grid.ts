// A picture of many images: a grid, each with its caption and a mark that says whether it is right.

import { ShapeError } from "../core/errors.ts";
import { ADVANCE, drawText, fillBox, LINE } from "./draw.ts";
import { blankRaster, clampUnit, type Raster, type Rgb } from "./raster.ts";

export interface GridCell {
  readonly image: Raster;
  /** What was asked for. */
  readonly caption: string;
  /** Right, wrong, or not judged. */
  readonly verdict: boolean | null;
}

export interface GridOptions {
  readonly columns: number;
  /** Every pixel becomes a square of so many. */
  readonly scale: number;
  /** A line above the grid. */
  readonly title?: string;
}

/** Lines of at most `length` characters, broken at spaces; a longer word is cut. */
export function wrapText(text: string, length: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/).filter((one) => one !== "")) {
    let rest = word;
    while (line === "" ? rest.length > length : line.length + 1 + rest.length > length) {
      if (line !== "") {
        lines.push(line);
        line = "";
      } else {
        lines.push(rest.slice(0, length));
        rest = rest.slice(length);
      }
    }
    line = line === "" ? rest : `${line} ${rest}`;
  }
  return line === "" ? lines : [...lines, line];
}

const MARGIN = 6;
const FRAME = 2;
const paper: Rgb = [1, 1, 1];
const ink: Rgb = [-0.8, -0.8, -0.75];
const marks = {
  right: { sign: "✓", color: [-0.9, 0.2, -0.6] },
  wrong: { sign: "✗", color: [0.7, -0.8, -0.8] },
  none: { sign: "", color: [0.5, 0.5, 0.5] },
} as const satisfies Readonly<Record<string, { sign: string; color: Rgb }>>;

const markOf = (verdict: boolean | null) =>
  verdict === null ? marks.none : verdict ? marks.right : marks.wrong;

function drawScaled(target: Raster, image: Raster, x: number, y: number, scale: number): void {
  const [height, width] = image.shape;
  for (let row = 0; row < height * scale; row++) {
    for (let column = 0; column < width * scale; column++) {
      const from = (Math.floor(row / scale) * width + Math.floor(column / scale)) * 3;
      const to = ((y + row) * target.shape[1] + x + column) * 3;
      for (let channel = 0; channel < 3; channel++) {
        const value = image.data[from + channel]!;
        // A pixel that is no number is shown as the darkest: a picture of a broken model must still be drawn.
        target.data[to + channel] = Number.isNaN(value) ? -1 : clampUnit(value);
      }
    }
  }
}

/**
 * One image with all cells, row by row: frame and mark green (✓) when right, red (✗) when wrong, grey when not judged; the caption
 * below. All images have one shape. Throws a ShapeError otherwise, or when there are none.
 */
export function drawGrid(cells: readonly GridCell[], options: GridOptions): Raster {
  const { columns, scale, title = "" } = options;
  const shape = cells[0]?.image.shape;
  if (shape === undefined || cells.some(({ image }) => image.shape.join() !== shape.join())) {
    const got = cells.length === 0 ? "none" : "several shapes";
    throw new ShapeError({ where: "image grid", expected: "images of one shape", got });
  }
  const [height, width] = [shape[0] * scale, shape[1] * scale];
  const cellWidth = width + 2 * FRAME;
  const letters = Math.max(1, Math.floor(cellWidth / ADVANCE));
  const captions = cells.map(({ caption, verdict }) =>
    wrapText(`${markOf(verdict).sign} ${caption}`, letters),
  );
  const lines = Math.max(...captions.map((caption) => caption.length));
  const cellHeight = height + 2 * FRAME + 3 + lines * LINE;
  const used = Math.min(columns, cells.length);
  const total = MARGIN + used * (cellWidth + MARGIN);
  const heading = wrapText(title, Math.floor((total - 2 * MARGIN) / ADVANCE));
  const top = MARGIN + (heading.length === 0 ? 0 : heading.length * LINE + MARGIN);
  const grid = blankRaster(
    top + Math.ceil(cells.length / columns) * (cellHeight + MARGIN),
    total,
    paper,
  );
  heading.forEach((line, row) => drawText(grid, line, MARGIN, MARGIN + row * LINE, ink));
  cells.forEach(({ image, verdict }, index) => {
    const x = MARGIN + (index % columns) * (cellWidth + MARGIN);
    const y = top + Math.floor(index / columns) * (cellHeight + MARGIN);
    const { color, sign } = markOf(verdict);
    fillBox(grid, [x, y, x + cellWidth, y + height + 2 * FRAME], color);
    drawScaled(grid, image, x + FRAME, y + FRAME, scale);
    const below = y + height + 2 * FRAME + 3;
    captions[index]!.forEach((line, row) => drawText(grid, line, x, below + row * LINE, ink));
    if (sign !== "") drawText(grid, sign, x, below, color);
  });
  return grid;
}
