// A position as an SVG picture, 64 units from point to point. It needs a Chinese font where it is shown, unless its pieces are letters.

import {
  boardLines,
  columnsOf,
  diagramColors,
  gridLabels,
  type GridLine,
  type GridPoint,
  moveLine,
  pieceCapital,
  pieceCharacter,
  type PictureOptions,
  placedPieces,
  riverRow,
  startMarks,
  wrapText,
} from "./diagram.ts";
import { formatFen, pieceName, squareName } from "./rules/fen.ts";
import { type Position, sideOf } from "./rules/position.ts";
import { RED, type Variant } from "./rules/variant.ts";

export interface SvgDiagramOptions extends PictureOptions {
  /** Characters, or capital letters on coloured discs. Default: chinese. */
  readonly pieces?: "chinese" | "latin";
  /** Marks where cannons and soldiers begin. Default: true. */
  readonly hasMarks?: boolean;
}

const CELL = 64;
/** From the edge of the picture to the outer points: half a piece, the frame, the labels. */
const MARGIN = 66;
const RADIUS = 28;
const CAPTION = { size: 20, line: 28 } as const;

const chineseFonts =
  "'Kaiti SC','Kaiti TC',STKaiti,KaiTi,'AR PL UKai TW','Noto Serif CJK TC','Noto Serif CJK SC','Source Han Serif TC','Songti TC',serif";
const latinFonts = "'Helvetica Neue',Helvetica,Arial,'Liberation Sans','DejaVu Sans',sans-serif";

/** Text of an element or an attribute. What XML cannot hold (control characters, halves of pairs) becomes U+FFFD. */
const xmlText = (text: string): string =>
  text
    .replaceAll(/[\p{Cs}\uFFFE\uFFFF]|(?![\t\n\r])\p{Cc}/gu, "\uFFFD")
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");

type Attributes = Readonly<Record<string, string | number>>;

/** An element; `content` is XML already. */
function element(name: string, attributes: Attributes, content = ""): string {
  const written = Object.entries(attributes).map(
    ([key, value]) => ` ${key}="${typeof value === "number" ? rounded(value) : xmlText(value)}"`,
  );
  const start = `<${name}${written.join("")}`;
  return content === "" ? `${start}/>` : `${start}>${content}</${name}>`;
}

const rounded = (value: number): string => String(Math.round(value * 100) / 100);
const x = ({ column }: GridPoint): number => MARGIN + column * CELL;
const y = ({ row }: GridPoint): number => MARGIN + row * CELL;
const pathOf = (points: readonly (readonly [number, number])[]): string =>
  points
    .map(([px, py], index) => `${index === 0 ? "M" : "L"}${rounded(px)} ${rounded(py)}`)
    .join("");

/** Text with its middle at a point. Capitals and Chinese characters reach about `rise` of their size above the middle. */
function centred(
  text: string,
  at: readonly [number, number],
  size: number,
  rise: number,
  more: Attributes,
): string {
  const [left, middle] = at;
  const place = { x: left, y: middle + size * rise, "font-size": size, "text-anchor": "middle" };
  return element("text", { ...place, ...more }, xmlText(text));
}
const [CHINESE_RISE, LATIN_RISE] = [0.37, 0.355];

function drawBoard(variant: Variant, hasMarks: boolean): string {
  const { line } = diagramColors;
  const [right, bottom] = [(variant.files - 1) * CELL, (variant.ranks - 1) * CELL];
  const stroke = { fill: "none", stroke: line, "stroke-linecap": "round" };
  const segments = boardLines(variant).map(([from, to]) =>
    pathOf([
      [x(from), y(from)],
      [x(to), y(to)],
    ]),
  );
  const gap = 7;
  const parts = [
    element("rect", {
      x: MARGIN - gap,
      y: MARGIN - gap,
      width: right + gap * 2,
      height: bottom + gap * 2,
      ...stroke,
      "stroke-width": 3.5,
    }),
    element("path", { d: segments.join(""), ...stroke, "stroke-width": 1.5 }),
  ];
  if (hasMarks) {
    const marks = startMarks(variant).map((point) => corners(point, 5, 9, variant));
    parts.push(element("path", { d: marks.join(""), ...stroke, "stroke-width": 1.5 }));
  }
  const river = riverRow(variant);
  if (river !== null) {
    const middle = y({ column: 0, row: river + 0.5 });
    const words = [
      ["楚 河", 0.25],
      ["漢 界", 0.75],
    ] as const;
    for (const [text, share] of words) {
      const style = { fill: line, opacity: 0.75, "font-family": chineseFonts };
      parts.push(centred(text, [MARGIN + right * share, middle], 32, CHINESE_RISE, style));
    }
  }
  return parts.join("\n");
}

/** Four angles around a point, `inner` away from its lines and `length` long; none outside of the board. */
function corners(point: GridPoint, inner: number, length: number, variant: Variant | null): string {
  const ways = [
    [-1, -1],
    [1, -1],
    [1, 1],
    [-1, 1],
  ] as const;
  return ways
    .filter(([across]) => {
      const column = point.column + across;
      return variant === null || (column >= 0 && column < variant.files);
    })
    .map(([across, down]) => {
      const [px, py] = [x(point) + across * inner, y(point) + down * inner];
      return pathOf([
        [px + across * length, py],
        [px, py],
        [px, py + down * length],
      ]);
    })
    .join("");
}

function drawLabels(position: Position, options: SvgDiagramOptions): string {
  const { variant } = position;
  const labels = gridLabels(variant, options.view ?? RED);
  const style = { fill: diagramColors.label };
  const far = 46;
  const texts: string[] = [];
  labels.files.forEach((label, column) => {
    const left = x({ column, row: 0 });
    const below = y({ column, row: variant.ranks - 1 }) + far;
    for (const at of [MARGIN - far, below]) texts.push(centred(label, [left, at], 17, 0.3, style));
  });
  labels.ranks.forEach((label, row) => {
    const right = x({ column: variant.files - 1, row }) + far;
    for (const at of [MARGIN - far, right]) {
      texts.push(centred(label, [at, y({ column: 0, row })], 17, LATIN_RISE, style));
    }
  });
  return element("g", { class: "labels", "font-family": latinFonts }, `\n${texts.join("\n")}\n`);
}

function drawPieces(position: Position, options: SvgDiagramOptions): string {
  const { view = RED, pieces = "chinese" } = options;
  const { disc, shadow, sides } = diagramColors;
  const isLatin = pieces === "latin";
  const drawn = placedPieces(position, view).map(({ piece, square, point }) => {
    const color = sides[sideOf(piece)];
    const at = { cx: x(point), cy: y(point) };
    const [face, ink] = isLatin ? [color, disc] : [disc, color];
    const text = isLatin ? pieceCapital(piece) : pieceCharacter(piece);
    const [size, rise] = isLatin ? [30, LATIN_RISE] : [36, CHINESE_RISE];
    const parts = [
      element("circle", { cx: at.cx + 1, cy: at.cy + 2.5, r: RADIUS, fill: shadow, opacity: 0.5 }),
      element("circle", {
        ...at,
        r: RADIUS - 0.75,
        fill: face,
        stroke: color,
        "stroke-width": 1.5,
      }),
      element("circle", {
        ...at,
        r: RADIUS - 4.5,
        fill: "none",
        stroke: ink,
        "stroke-width": 1.25,
      }),
      centred(text, [at.cx, at.cy], size, rise, { fill: ink, "font-weight": 700 }),
    ];
    const name = element(
      "title",
      {},
      `${pieceName(piece)} ${squareName(square, position.variant)}`,
    );
    return element("g", { class: "piece" }, name + parts.join(""));
  });
  const fonts = isLatin ? latinFonts : chineseFonts;
  return element("g", { class: "pieces", "font-family": fonts }, `\n${drawn.join("\n")}\n`);
}

function drawLastMove(line: GridLine): string {
  const [from, to] = line;
  const style = { stroke: diagramColors.lastMove, "stroke-width": 3, fill: "none" };
  // The frame of the empty point is smaller: neighbours do not touch.
  const path = corners(from, RADIUS - 8, -10, null) + corners(to, RADIUS + 2.5, -12, null);
  const dot = { cx: x(from), cy: y(from), r: 6, fill: diagramColors.lastMove };
  return element(
    "g",
    { class: "last-move" },
    element("path", { d: path, ...style, "stroke-linejoin": "round", "stroke-linecap": "round" }) +
      element("circle", dot),
  );
}

/** From point to point, its head on the disc of the target. */
function drawArrow([from, to]: GridLine, color: string): string {
  const [x0, y0, x1, y1] = [x(from), y(from), x(to), y(to)];
  const length = Math.hypot(x1 - x0, y1 - y0) || 1;
  const [right, down] = [(x1 - x0) / length, (y1 - y0) / length];
  const at = (along: number, aside: number): readonly [number, number] => [
    x0 + right * along - down * aside,
    y0 + down * along + right * aside,
  ];
  // It begins beside the letter of its piece.
  const [tail, neck, tip] = [20, length - 28, length - 4];
  const outline = [
    at(tail, -5),
    at(neck, -5),
    at(neck, -15),
    at(tip, 0),
    at(neck, 15),
    at(neck, 5),
    at(tail, 5),
  ];
  return element("path", {
    class: "arrow",
    d: `${pathOf(outline)}Z`,
    fill: color,
    opacity: 0.78,
    stroke: color,
    "stroke-width": 2,
    "stroke-linejoin": "round",
  });
}

/** The position as an SVG document. */
export function diagramSvg(position: Position, options: SvgDiagramOptions = {}): string {
  const { view = RED, arrows = [], caption = "", hasMarks = true, lastMove } = options;
  const { variant } = position;
  const width = (variant.files - 1) * CELL + MARGIN * 2;
  const board = (variant.ranks - 1) * CELL + MARGIN * 2;
  // A column is about half the size of the letters.
  const lines = wrapText(caption, Math.floor((width - 40) / (CAPTION.size * 0.52)), columnsOf);
  const height = board + (lines.length === 0 ? 0 : lines.length * CAPTION.line + 16);
  const parts = [
    element("title", {}, xmlText(formatFen(position))),
    element("rect", { width, height, fill: diagramColors.paper }),
    element("rect", { width, height: board, rx: 10, fill: diagramColors.board }),
    drawBoard(variant, hasMarks),
    drawLabels(position, options),
    drawPieces(position, options),
  ];
  if (lastMove !== undefined) parts.push(drawLastMove(moveLine(lastMove, variant, view)));
  for (const { move, color = "green" } of arrows) {
    parts.push(drawArrow(moveLine(move, variant, view), diagramColors.arrows[color]));
  }
  lines.forEach((line, index) => {
    const middle = board + 8 + (index + 0.5) * CAPTION.line;
    const style = { class: "caption", fill: diagramColors.sides[1], "font-family": latinFonts };
    parts.push(centred(line, [width / 2, middle], CAPTION.size, LATIN_RISE, style));
  });
  const frame = {
    xmlns: "http://www.w3.org/2000/svg",
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    role: "img",
  };
  return `${element("svg", frame, `\n${parts.join("\n")}\n`)}\n`;
}
