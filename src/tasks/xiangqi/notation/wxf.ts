// WXF notation: `C2=5`, `H8+7`, `R+=3`, `C--1`.
//
// Source: World Xiangqi Federation, "Official Xiangqi Piece Names and Notation" (C. W. Huang, 1980/82; wxf.org). Of equal pieces on
// one file, + marks the front one and - the rear one in place of the file. Soldiers of which three and more share a file:
//
//   three   P+ P3 P-           (on file 3; the one in the middle keeps the file)
//   four    ++ P+ P- --
//   five    ++ P+ P3 P- --
//   tandems on two files: the file in place of the letter, 3+ 33 3-
//
// Advisors and elephants keep their file: of two on a file only one can go forward, and only the other backward.

import { type Move, moveFrom, moveTo, type Position } from "../rules/position.ts";
import { KIND } from "../rules/variant.ts";
import { type Direction, type FileMove, fileMove, onlyMove, plainText } from "./file-move.ts";

/** By kind. */
const letters = " KAEHRCP";

/**
 * Letters on input. G is the general, or the guard of ICCS, who is the advisor: no move of one reads like a move of the other.
 * B, M and X are the elephant as bishop, minister and xiang, N is the horse as knight, S the soldier.
 */
const kindsOfLetter: ReadonlyMap<string, readonly number[]> = new Map([
  ["K", [KIND.general]],
  ["G", [KIND.general, KIND.advisor]],
  ["A", [KIND.advisor]],
  ["E", [KIND.elephant]],
  ["B", [KIND.elephant]],
  ["M", [KIND.elephant]],
  ["X", [KIND.elephant]],
  ["H", [KIND.horse]],
  ["N", [KIND.horse]],
  ["R", [KIND.chariot]],
  ["C", [KIND.cannon]],
  ["P", [KIND.soldier]],
  ["S", [KIND.soldier]],
]);

const keepsFile = (kind: number): boolean => kind === KIND.advisor || kind === KIND.elephant;

/** The first two characters: which piece moves. */
function formatPiece({ kind, file, count, order, tandemFiles }: FileMove): string {
  const letter = letters[kind]!;
  if (count === 1 || keepsFile(kind)) return `${letter}${file}`;
  if (count > 3 && tandemFiles === 1) {
    if (order === 1) return "++";
    if (order === count) return "--";
    if (order === 2) return "P+";
    return order === count - 1 ? "P-" : `P${file}`;
  }
  const place = order === 1 ? "+" : order === count ? "-" : file;
  return tandemFiles > 1 ? `${file}${place}` : `${letter}${place}`;
}

/** A legal move as the WXF writes it. Every move of a position that can occur has a text of its own. */
export function formatWxf(position: Position, move: Move): string {
  const words = fileMove(position, move);
  return `${formatPiece(words)}${words.direction}${words.number}`;
}

/**
 * A legal move as Fairy-Stockfish writes it (checked against version 0.7.10 of its package ffish). Differs from the WXF in:
 * - tandem soldiers, that is three or more on a file, or two and more on two files: order from the front and file (`15=6`);
 * - two equal pieces on a file where the other one could not go as far the same way on an empty board: the file stays (`R8+1`).
 */
export function formatFairyWxf(position: Position, move: Move): string {
  const words = fileMove(position, move);
  const { kind, file, count, order, tandemFiles } = words;
  const letter = letters[kind]!;
  let piece = `${letter}${file}`;
  if (count > 2 || (count > 1 && tandemFiles > 1)) piece = `${order}${file}`;
  else if (count === 2 && !keepsFile(kind) && isOtherOnBoard(position, move)) {
    piece = `${letter}${order === 1 ? "+" : "-"}`;
  }
  return `${piece}${words.direction}${words.number}`;
}

/** Whether the other piece of two on a file would stay on the board if it moved like the one that does. */
function isOtherOnBoard({ board, variant }: Position, move: Move): boolean {
  const { files, squares } = variant;
  const [from, to] = [moveFrom(move), moveTo(move)];
  for (let other = from % files; other < squares; other += files) {
    if (other === from || board[other] !== board[from]) continue;
    const otherTo = other + to - from;
    return otherTo >= 0 && otherTo < squares;
  }
  return false;
}

type Meaning = (move: FileMove) => boolean;

const isSoldier: Meaning = ({ kind }) => kind === KIND.soldier;
const isMiddle: Meaning = ({ count, order }) => count > 2 && order * 2 === count + 1;

/** What +, - and = say of a piece behind its letter. Of four and five soldiers the outer two have ++ and --, so + is the second. */
function signMeaning(sign: string): Meaning {
  if (sign === "=") return isMiddle;
  return ({ count, order }) => {
    if (count < 2) return false;
    const outer = count > 3 ? 2 : 1;
    return order === (sign === "+" ? outer : count + 1 - outer);
  };
}

/** What a file says behind a letter. Of three or five soldiers, where no other file has two, the middle one has it. */
const fileMeaning =
  (file: number): Meaning =>
  (move) => {
    if (move.file !== file) return false;
    const isOnlyTandem = isSoldier(move) && move.tandemFiles === 1;
    const hasMiddle = isOnlyTandem && move.count > 2 && move.count % 2 === 1;
    return !hasMiddle || isMiddle(move);
  };

/**
 * Two digits. With tandems on two files, 33 is the middle of three on file 3, as the WXF says; everywhere else the order from the
 * front and the file, as Fairy-Stockfish says.
 */
const digitsMeaning =
  (first: number, second: number): Meaning =>
  (move) => {
    if (!isSoldier(move) || move.file !== second || move.count < 2) return false;
    const isWxf = first === second && move.tandemFiles > 1 && move.count === 3;
    return move.order === (isWxf ? 2 : first);
  };

const isDigit = (letter: string): boolean => letter >= "1" && letter <= "9";
const isSign = (letter: string): boolean => letter === "+" || letter === "-" || letter === "=";

function letterMeaning(kinds: readonly number[], place: string): Meaning | null {
  const isKind: Meaning = ({ kind }) => kinds.includes(kind);
  // `Pa`: soldiers of tandems by the letters a to e (Chinese computer standard of xqbase.com, 2006).
  if (place >= "A" && place <= "E") {
    const series = place.charCodeAt(0) - 64;
    return (move) => isSoldier(move) && isKind(move) && move.series === series;
  }
  if (!isDigit(place) && !isSign(place)) return null;
  const isPlace = isDigit(place) ? fileMeaning(Number(place)) : signMeaning(place);
  return (move) => isKind(move) && isPlace(move);
}

/** What the two characters before the direction say, or null when they say nothing. */
function pieceMeaning(first: string, second: string): Meaning | null {
  const kinds = kindsOfLetter.get(first);
  if (kinds !== undefined) return letterMeaning(kinds, second);
  if (isDigit(first)) {
    if (isDigit(second)) return digitsMeaning(Number(first), Number(second));
    if (!isSign(second)) return null;
    const isPlace = signMeaning(second);
    return (move) =>
      isSoldier(move) && move.file === Number(first) && move.count < 4 && isPlace(move);
  }
  if (!isSign(first)) return null;
  if (first === second && first !== "=") {
    return (move) =>
      isSoldier(move) && move.count > 3 && move.order === (first === "+" ? 1 : move.count);
  }
  const kindsBehind = kindsOfLetter.get(second);
  return kindsBehind === undefined ? null : letterMeaning(kindsBehind, first);
}

const pattern = /^([A-Z1-9+=-])([A-Z1-9+=-])([+=-])([1-9])$/;

/**
 * The legal move of a WXF text, or null when it is none, illegal or ambiguous. Beside what `formatWxf` and `formatFairyWxf` write:
 * `.` for `=`, small letters, other letters of pieces, the sign before the letter (`+R=3`), soldiers by letter (`Pa+1`), and the
 * file of one of several pieces where only one of them can go. Where the two formats disagree, the WXF's meaning holds.
 */
export function parseWxf(position: Position, text: string): Move | null {
  const plain = plainText(text)
    .replaceAll(/[\u2010-\u2015\u2212]/g, "-")
    .replaceAll(".", "=")
    .toUpperCase();
  const match = pattern.exec(plain);
  if (match === null) return null;
  const isPiece = pieceMeaning(match[1]!, match[2]!);
  if (isPiece === null) return null;
  const step = { direction: match[3] as Direction, number: Number(match[4]) };
  return onlyMove(position, step, isPiece);
}
