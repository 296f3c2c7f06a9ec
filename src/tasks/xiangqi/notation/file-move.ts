// A move as players say it: the piece, its file, which way it goes, and how far or to which file. WXF and Chinese notation both
// write this and differ in signs only.
//
// Files count from 1 at the mover's right, forward is away from the mover; so both sides use the same words.

import { kindOf, type Move, moveFrom, moveTo, type Position, sideOf } from "../rules/position.ts";
import { RED, type Side } from "../rules/variant.ts";

/** Forward, backward, sideways. */
export type Direction = "+" | "-" | "=";

export interface FileMove {
  readonly kind: number;
  readonly side: Side;
  readonly file: number;
  readonly direction: Direction;
  /** Steps along the own file; of a move that leaves it, the file where it ends. */
  readonly number: number;
  /** How many pieces of the same kind and side stand on the file. */
  readonly count: number;
  /** Place among those, 1 the foremost. */
  readonly order: number;
  /** Files with two or more pieces of this kind and side. */
  readonly tandemFiles: number;
  /** Place among all pieces on those files, counted from the mover's right and on each file from the front; 0: alone on its file. */
  readonly series: number;
}

/** The words of a legal move. */
export function fileMove({ board, variant }: Position, move: Move): FileMove {
  const { files, squares } = variant;
  const [from, to] = [moveFrom(move), moveTo(move)];
  const piece = board[from]!;
  const side = sideOf(piece);
  const forward = side === RED ? 1 : -1;
  const fileOf = (square: number): number =>
    side === RED ? files - (square % files) : (square % files) + 1;
  const rankOf = (square: number): number => Math.floor(square / files) * forward;

  const file = fileOf(from);
  const counts = new Uint8Array(files + 1);
  let order = 1;
  for (let square = 0; square < squares; square++) {
    if (board[square] !== piece) continue;
    const itsFile = fileOf(square);
    counts[itsFile]!++;
    if (itsFile === file && rankOf(square) > rankOf(from)) order++;
  }
  const count = counts[file]!;
  let [tandemFiles, series] = [0, count > 1 ? order : 0];
  for (let other = 1; other <= files; other++) {
    if (counts[other]! < 2) continue;
    tandemFiles++;
    if (other < file && count > 1) series += counts[other]!;
  }
  const advance = rankOf(to) - rankOf(from);
  return {
    kind: kindOf(piece),
    side,
    file,
    direction: advance === 0 ? "=" : advance > 0 ? "+" : "-",
    number: fileOf(to) === file ? Math.abs(advance) : fileOf(to),
    count,
    order,
    tandemFiles,
    series,
  };
}

/** The only legal move that is meant; null: there is none, or more than one. */
export function onlyMove(position: Position, isMeant: (move: FileMove) => boolean): Move | null {
  const meant = position.legalMoves().filter((move) => isMeant(fileMove(position, move)));
  return meant.length === 1 ? meant[0]! : null;
}

/** Without white space, and with the half-width forms of full-width letters, digits and signs (U+FF01 to U+FF5E). */
export function plainText(text: string): string {
  const halfWidth = (letter: string): string => String.fromCharCode(letter.charCodeAt(0) - 0xfee0);
  return text.replaceAll(/\s/g, "").replaceAll(/[\uff01-\uff5e]/g, halfWidth);
}
