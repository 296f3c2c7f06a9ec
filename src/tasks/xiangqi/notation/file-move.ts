// A move as players say it: the piece, its file, which way it goes, and how far or to which file. WXF and Chinese notation both
// write this and differ in signs only.
//
// Files count from 1 at the mover's right, forward is away from the mover; so both sides use the same words.

import { kindOf, type Move, moveFrom, moveTo, type Position } from "../rules/position.ts";
import { RED, type Side, type Variant } from "../rules/variant.ts";

/** Forward, backward, sideways. */
export type Direction = "+" | "-" | "=";

/** Where a move goes. */
export interface Step {
  readonly direction: Direction;
  /** Steps along the own file; of a move that leaves it, the file where it ends. */
  readonly number: number;
}

export interface FileMove extends Step {
  readonly kind: number;
  readonly side: Side;
  readonly file: number;
  /** How many pieces of the same kind and side stand on the file. */
  readonly count: number;
  /** Place among those, 1 the foremost. */
  readonly order: number;
  /** Files with two or more pieces of this kind and side. */
  readonly tandemFiles: number;
  /** Place among all pieces on those files, counted from the mover's right and on each file from the front; 0: alone on its file. */
  readonly series: number;
}

const fileOf = (square: number, side: Side, { files }: Variant): number =>
  side === RED ? files - (square % files) : (square % files) + 1;
/** Ranks that the mover has left behind, up to a constant. */
const advanceOf = (square: number, side: Side, { files }: Variant): number =>
  Math.floor(square / files) * (side === RED ? 1 : -1);

function stepOf({ side, variant }: Position, move: Move): Step {
  const [from, to] = [moveFrom(move), moveTo(move)];
  const advance = advanceOf(to, side, variant) - advanceOf(from, side, variant);
  const file = fileOf(to, side, variant);
  return {
    direction: advance === 0 ? "=" : advance > 0 ? "+" : "-",
    number: file === fileOf(from, side, variant) ? Math.abs(advance) : file,
  };
}

/** The words of a legal move. */
export function fileMove(position: Position, move: Move): FileMove {
  const { board, side, variant } = position;
  const from = moveFrom(move);
  const piece = board[from]!;
  const [file, advance] = [fileOf(from, side, variant), advanceOf(from, side, variant)];
  const counts = new Uint8Array(variant.files + 1);
  let order = 1;
  for (let square = 0; square < variant.squares; square++) {
    if (board[square] !== piece) continue;
    const itsFile = fileOf(square, side, variant);
    counts[itsFile]!++;
    if (itsFile === file && advanceOf(square, side, variant) > advance) order++;
  }
  const count = counts[file]!;
  let [tandemFiles, series] = [0, count > 1 ? order : 0];
  for (let other = 1; other < counts.length; other++) {
    if (counts[other]! < 2) continue;
    tandemFiles++;
    if (other < file && count > 1) series += counts[other]!;
  }
  const kind = kindOf(piece);
  return { ...stepOf(position, move), kind, side, file, count, order, tandemFiles, series };
}

/** The only legal move that takes this step with a piece that is meant; null: there is none, or more than one. */
export function onlyMove(
  position: Position,
  { direction, number }: Step,
  isMeant: (move: FileMove) => boolean,
): Move | null {
  const meant = position.legalMoves().filter((move) => {
    const step = stepOf(position, move);
    if (step.direction !== direction || step.number !== number) return false;
    return isMeant(fileMove(position, move));
  });
  return meant.length === 1 ? meant[0]! : null;
}

/** Without white space, and with the half-width forms of full-width letters, digits and signs (U+FF01 to U+FF5E). */
export function plainText(text: string): string {
  const halfWidth = (letter: string): string => String.fromCharCode(letter.charCodeAt(0) - 0xfee0);
  return text.replaceAll(/\s/g, "").replaceAll(/[\uff01-\uff5e]/g, halfWidth);
}
