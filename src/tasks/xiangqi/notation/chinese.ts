// Chinese notation: 炮二平五, 马8进7, 前车退二.
//
// Red writes Chinese numerals, Black Arabic ones. Of two on a file the front one is 前, the rear one 后; of three the middle one is
// 中. Soldiers beyond that, as the Chinese Wikipedia has it ("象棋", section 中式记谱法):
//
//   four and five on a file   前兵 二兵 三兵 四兵 后兵
//   tandems on two files      前九平八: order and file, without the name
//
// Advisors and elephants keep their file: of two on a file only one can go forward, and only the other backward.

import { type Move, type Position } from "../rules/position.ts";
import { KIND, RED, type Side } from "../rules/variant.ts";
import { type Direction, type FileMove, fileMove, onlyMove, plainText } from "./file-move.ts";

/** By side and kind. */
const names = [" 帅仕相马车炮兵", " 将士象马车炮卒"] as const;
const numerals = "一二三四五六七八九";
const directionWords: Readonly<Record<Direction, string>> = { "+": "进", "-": "退", "=": "平" };

const formatNumber = (number: number, side: Side): string =>
  side === RED ? numerals[number - 1]! : String(number);

/** Which of several on a file; a numeral here is Chinese for both sides. */
function formatOrder(order: number, count: number): string {
  if (order === 1) return "前";
  if (order === count) return "后";
  return count === 3 ? "中" : numerals[order - 1]!;
}

/** The words before the direction: which piece moves. */
function formatPiece({ kind, side, file, count, order, tandemFiles }: FileMove): string {
  const name = names[side][kind]!;
  const fileWord = formatNumber(file, side);
  if (count === 1 || kind === KIND.advisor || kind === KIND.elephant) return name + fileWord;
  return formatOrder(order, count) + (tandemFiles > 1 ? fileWord : name);
}

/** A legal move in Chinese. Every move of a position that can occur has a text of its own. */
export function formatChinese(position: Position, move: Move): string {
  const words = fileMove(position, move);
  const { direction, number, side } = words;
  return formatPiece(words) + directionWords[direction] + formatNumber(number, side);
}

/** What a character is: the name of a piece, a numeral, a word of order, or a direction. */
type Word =
  | { readonly type: "piece"; readonly kind: number }
  | { readonly type: "number"; readonly number: number }
  | { readonly type: "order"; readonly order: "front" | "middle" | "rear" }
  | { readonly type: "direction"; readonly direction: Direction };

const spellings: readonly (readonly [string, Word])[] = [
  ["帅帥将將", { type: "piece", kind: KIND.general }],
  ["仕士", { type: "piece", kind: KIND.advisor }],
  ["相象", { type: "piece", kind: KIND.elephant }],
  ["马馬傌㐷", { type: "piece", kind: KIND.horse }],
  ["车車俥伡", { type: "piece", kind: KIND.chariot }],
  ["炮砲包", { type: "piece", kind: KIND.cannon }],
  ["兵卒", { type: "piece", kind: KIND.soldier }],
  ["前", { type: "order", order: "front" }],
  ["中", { type: "order", order: "middle" }],
  ["后後", { type: "order", order: "rear" }],
  ["进進上", { type: "direction", direction: "+" }],
  ["退下", { type: "direction", direction: "-" }],
  ["平", { type: "direction", direction: "=" }],
  ...Array.from(numerals, (numeral, index): [string, Word] => [
    `${numeral}${index + 1}`,
    { type: "number", number: index + 1 },
  ]),
];
const words: ReadonlyMap<string, Word> = new Map(
  spellings.flatMap(([letters, word]) => Array.from(letters, (letter) => [letter, word] as const)),
);

/** Where the words before the direction have the order, the name and the file; without a name it is a soldier. */
interface Shape {
  readonly order?: number;
  readonly name?: number;
  readonly file?: number;
}

/** By the types of these words. */
const shapes: Readonly<Record<string, Shape>> = {
  "piece number": { name: 0, file: 1 },
  "order piece": { order: 0, name: 1 },
  "number piece": { order: 0, name: 1 },
  // 炮后退一, as the WXF's page has it.
  "piece order": { name: 0, order: 1 },
  "order number": { order: 0, file: 1 },
  "number number": { order: 0, file: 1 },
  "order piece number": { order: 0, name: 1, file: 2 },
  "number piece number": { order: 0, name: 1, file: 2 },
};

/**
 * Whether the order is that of the move. A numeral without a file counts through all tandems, from the right and from the front
 * (二兵平五; Chinese computer standard of xqbase.com, 2006): on a single file that is the order from the front.
 */
function isOrder(word: Word, hasFile: boolean, { count, order, series }: FileMove): boolean {
  if (count < 2) return false;
  if (word.type === "number") return word.number === (hasFile ? order : series);
  if (word.type !== "order") return false;
  if (word.order === "front") return order === 1;
  if (word.order === "rear") return order === count;
  return count > 2 && order * 2 === count + 1;
}

/**
 * The legal move of a Chinese text, or null when it is none, illegal or ambiguous. Traditional and simplified characters, names of
 * either side, numerals of both kinds (also full-width), 上 and 下, and white space are all read; so are 一兵 to 五兵, 炮后退一,
 * the long 前兵九平八, and the file of one of several pieces where only one of them can go.
 */
export function parseChinese(position: Position, text: string): Move | null {
  const read = Array.from(plainText(text), (letter) => words.get(letter));
  if (read.length < 4 || read.length > 5) return null;
  const direction = read.at(-2);
  const number = read.at(-1);
  if (direction?.type !== "direction" || number?.type !== "number") return null;
  const piece = read.slice(0, -2);
  const shape = shapes[piece.map((word) => word?.type ?? "?").join(" ")];
  if (shape === undefined) return null;
  const wordAt = (index: number | undefined): Word | undefined =>
    index === undefined ? undefined : piece[index];
  const [order, name, file] = [wordAt(shape.order), wordAt(shape.name), wordAt(shape.file)];
  const kind = name?.type === "piece" ? name.kind : KIND.soldier;
  const step = { direction: direction.direction, number: number.number };
  return onlyMove(
    position,
    step,
    (move) =>
      move.kind === kind &&
      (file?.type !== "number" || file.number === move.file) &&
      (order === undefined || isOrder(order, file !== undefined, move)),
  );
}
