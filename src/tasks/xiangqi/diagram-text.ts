// A position as text for a terminal.
//
//      a b c d e f g h i
//   1  . . . .[K]. . . .  1
//   0  . . . .[.]A . . .  0
//      a b c d e f g h i
//
// Brackets stand around both points of the last move.

import {
  columnsOf,
  type DiagramOptions,
  gridLabels,
  type GridPoint,
  moveLine,
  pieceCharacter,
  placedPieces,
  riverRow,
} from "./diagram.ts";
import { pieceLetter, sideName } from "./rules/fen.ts";
import { type Position, sideOf } from "./rules/position.ts";
import { RED } from "./rules/variant.ts";

export interface TextDiagramOptions extends DiagramOptions {
  /** Letters, upper case for Red, or Chinese characters, which are two columns wide. Default: latin. */
  readonly pieces?: "latin" | "chinese";
  /** Colours by ANSI escape sequences. Default: false. */
  readonly hasColors?: boolean;
}

const ansi = { red: "1;31", black: "1", empty: "2", mark: "33" } as const;
type Paint = (text: string, style: keyof typeof ansi) => string;

const colored: Paint = (text, style) => `\u001B[${ansi[style]}m${text}\u001B[0m`;
const plain: Paint = (text) => text;

/** What stands between the points of a row, and at its ends: brackets around the marked ones. */
function gaps(files: number, marked: readonly GridPoint[], row: number, paint: Paint): string[] {
  const columns = new Set(marked.filter((point) => point.row === row).map((point) => point.column));
  return Array.from({ length: files + 1 }, (_, gap) => {
    const [closes, opens] = [columns.has(gap - 1), columns.has(gap)];
    if (closes && opens) return paint("|", "mark");
    if (closes) return paint("]", "mark");
    return opens ? paint("[", "mark") : " ";
  });
}

/** Without control characters, which a terminal would obey. */
const harmless = (text: string): string => text.replaceAll(/(?!\n)\p{Cc}/gu, "\uFFFD");

/** The position, who is to move, and the caption; every line ends with a line feed. */
export function diagramText(position: Position, options: TextDiagramOptions = {}): string {
  const { view = RED, pieces = "latin", hasColors = false, caption = "", lastMove } = options;
  const { variant } = position;
  const paint = hasColors ? colored : plain;
  const isChinese = pieces === "chinese";
  const width = isChinese ? 2 : 1;
  const padded = (text: string): string => text + " ".repeat(width - columnsOf(text));

  const empty = paint(isChinese ? "＋" : ".", "empty");
  const cells = Array.from({ length: variant.ranks }, () =>
    Array.from({ length: variant.files }, () => empty),
  );
  for (const { piece, point } of placedPieces(position, view)) {
    const text = isChinese ? pieceCharacter(piece) : pieceLetter(piece);
    cells[point.row]![point.column] = paint(text, sideOf(piece) === RED ? "red" : "black");
  }

  const labels = gridLabels(variant, view);
  const marked = lastMove === undefined ? [] : moveLine(lastMove, variant, view);
  const files = `   ${labels.files.map(padded).join(" ")}`.trimEnd();
  const lines = [files];
  labels.ranks.forEach((rank, row) => {
    const between = gaps(variant.files, marked, row, paint);
    const points = cells[row]!.map((cell, column) => between[column]! + cell).join("");
    lines.push(`${rank} ${points}${between.at(-1)!} ${rank}`);
    const riverWidth = variant.files * (width + 1) - 1;
    if (row === riverRow(variant)) lines.push(`   ${paint("~".repeat(riverWidth), "empty")}`);
  });
  lines.push(files, `   ${sideName(position.side)} to move`);
  if (caption.trim() !== "") lines.push(`   ${harmless(caption.trim()).replaceAll("\n", "\n   ")}`);
  return `${lines.join("\n")}\n`;
}
