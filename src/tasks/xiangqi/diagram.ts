// What diagrams of a position share: which point stands where, the lines of the board, names and colours.
//
// Drawing coordinates: column to the right and row down, both from 0 at the top left point, as the viewer sees them. Board lines and
// marks look the same from both sides.

import { ConfigError } from "../../core/errors.ts";
import { parseFen, squareName } from "./rules/fen.ts";
import { kindOf, type Move, moveFrom, moveTo, type Position, sideOf } from "./rules/position.ts";
import { KIND, pieceLetters, RED, type Side, type Variant } from "./rules/variant.ts";

export const arrowColors = ["green", "blue", "red"] as const;

export interface DiagramArrow {
  readonly move: Move;
  /** Default: green. */
  readonly color?: (typeof arrowColors)[number];
}

export interface DiagramOptions {
  /** Who sits at the bottom. Default: Red. */
  readonly view?: Side;
  /** Its two points are marked. */
  readonly lastMove?: Move;
  /** Stands below the board. */
  readonly caption?: string;
}

export interface PictureOptions extends DiagramOptions {
  readonly arrows?: readonly DiagramArrow[];
}

export interface GridPoint {
  readonly column: number;
  readonly row: number;
}

export type GridLine = readonly [from: GridPoint, to: GridPoint];

/** Red and Black have different characters for every kind, so that sides can be told apart without colours. */
const characters = [" 帥仕相傌俥炮兵", " 將士象馬車砲卒"] as const;

export const pieceCharacter = (piece: number): string => characters[sideOf(piece)][kindOf(piece)]!;

/** Upper case for both sides. */
export const pieceCapital = (piece: number): string => pieceLetters[kindOf(piece)]!;

export const diagramColors = {
  paper: "#fffdf8",
  board: "#f0d6a4",
  line: "#6b4423",
  label: "#7d6b55",
  shadow: "#8a6433",
  disc: "#fdf3df",
  sides: ["#b5221c", "#23252b"],
  lastMove: "#1668b8",
  arrows: { green: "#1d8a43", blue: "#1668b8", red: "#c8402f" },
} as const;

/** Where the viewer sees a square. */
export function gridPoint(square: number, { files, squares }: Variant, view: Side): GridPoint {
  // Red sees rank 0 below; Black sees the square that is as far from the other corner.
  const seen = view === RED ? square : squares - 1 - square;
  const ranks = squares / files;
  return { column: seen % files, row: ranks - 1 - Math.floor(seen / files) };
}

/** Letters of the files from left to right, and digits of the ranks from top to bottom. */
export function gridLabels(
  variant: Variant,
  view: Side,
): { readonly files: readonly string[]; readonly ranks: readonly string[] } {
  const { files, ranks } = variant;
  const isRed = view === RED;
  const names = Array.from({ length: files }, (_, file) => squareName(file, variant)[0]!);
  const digits = Array.from({ length: ranks }, (_, rank) => String(rank));
  return { files: isRed ? names : names.toReversed(), ranks: isRed ? digits.toReversed() : digits };
}

/** The row above the river; null: there is none. Only boards with a river have elephants, who cannot cross it. */
export const riverRow = ({ most, ranks }: Variant): number | null =>
  most[KIND.elephant]! > 0 ? ranks / 2 - 1 : null;

/** The lines of the board, with the gap of the river and the diagonals of both palaces. */
export function boardLines(variant: Variant): readonly GridLine[] {
  const { files, ranks, squares, places } = variant;
  const line = (x0: number, y0: number, x1: number, y1: number): GridLine => [
    { column: x0, row: y0 },
    { column: x1, row: y1 },
  ];
  const [right, bottom] = [files - 1, ranks - 1];
  const lines: GridLine[] = [];
  for (let row = 0; row <= bottom; row++) lines.push(line(0, row, right, row));
  const river = riverRow(variant);
  for (let column = 0; column <= right; column++) {
    if (river === null || column === 0 || column === right) {
      lines.push(line(column, 0, column, bottom));
    } else lines.push(line(column, 0, column, river), line(column, river + 1, column, bottom));
  }
  for (const side of [0, 1] as const) {
    const general = places.subarray((KIND.general * 2 + side) * squares);
    const palace = Array.from({ length: squares }, (_, square) => square)
      .filter((square) => general[square] === 1)
      .map((square) => gridPoint(square, variant, RED));
    const [left, end] = [palace.map((point) => point.column), palace.map((point) => point.row)];
    const [x0, x1] = [Math.min(...left), Math.max(...left)];
    const [y0, y1] = [Math.min(...end), Math.max(...end)];
    lines.push(line(x0, y0, x1, y1), line(x0, y1, x1, y0));
  }
  return lines;
}

/** Points on which cannons and soldiers begin, marked on boards with a river. */
export function startMarks(variant: Variant): readonly GridPoint[] {
  if (riverRow(variant) === null) return [];
  const { board } = parseFen(variant.start, { variant }).position;
  return Array.from(board.keys())
    .filter((square) => [KIND.cannon, KIND.soldier].some((kind) => kind === kindOf(board[square]!)))
    .map((square) => gridPoint(square, variant, RED));
}

/** Both points of a move. Throws a ConfigError for a move that leaves the board. */
export function moveLine(move: Move, variant: Variant, view: Side): GridLine {
  const [from, to] = [moveFrom(move), moveTo(move)];
  if (from >= variant.squares || to >= variant.squares) {
    throw new ConfigError({
      where: "diagram",
      expected: `a move on the ${variant.squares} points of ${variant.name}`,
      got: `one from ${from} to ${to}`,
    });
  }
  return [gridPoint(from, variant, view), gridPoint(to, variant, view)];
}

/** The pieces and where they stand. */
export function placedPieces(
  { board, variant }: Position,
  view: Side,
): readonly { readonly piece: number; readonly square: number; readonly point: GridPoint }[] {
  return Array.from(board.keys())
    .filter((square) => board[square] !== 0)
    .map((square) => ({ piece: board[square]!, square, point: gridPoint(square, variant, view) }));
}

/** Characters that take two columns of a terminal (the wide ones of Unicode's East Asian Width, but for emoji). */
const wide =
  /[\u1100-\u115F\u2E80-\u303E\u3041-\uA4CF\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF00-\uFF60\uFFE0-\uFFE6\u{20000}-\u{3FFFD}]/u;

export const columnsOf = (character: string): number => (wide.test(character) ? 2 : 1);

/** A text in lines of at most so many columns, broken at white space; where there is none, and around wide characters, anywhere. */
export function wrapText(
  text: string,
  columns: number,
  widthOf: (character: string) => number = columnsOf,
): readonly string[] {
  const lines: string[] = [];
  for (const paragraph of text.trim().split(/\r\n?|\n/)) {
    let [line, width, wordStart] = ["", 0, 0];
    for (const character of paragraph.trim()) {
      const [isSpace, its] = [/\s/.test(character), widthOf(character)];
      if (width + its > columns && !isSpace) {
        const cut = wordStart > 0 ? wordStart : line.length;
        lines.push(line.slice(0, cut).trimEnd());
        line = line.slice(cut);
        width = Array.from(line).reduce((sum, one) => sum + widthOf(one), 0);
        wordStart = 0;
      }
      line += character;
      width += its;
      if (isSpace || its > 1) wordStart = line.length;
    }
    lines.push(line.trimEnd());
  }
  return text.trim() === "" ? [] : lines;
}
