// How a position is shown to a model.

import type { Message } from "../../core/messages.ts";
import { formatFen, kindName, pieceLetter, sideName, squareName } from "./rules/fen.ts";
import { kindOf, otherSide, pieceOf, type Position } from "./rules/position.ts";
import { BLACK, canStand, pieceLetters, RED, type Side, type Variant } from "./rules/variant.ts";

/**
 * - `pieces`: letters and squares, own pieces first; made for models that start from nothing. A piece on its square is one token:
 *   a model of 0.4 M parameters then learns more legal moves than with two (docs/log.md).
 * - `board`: words for a language model: FEN, board, legend, what to answer. The paper's own words are not known; these carry
 *   what is known of its prompt (a FEN goes in) and of its authors' later arena (piece list, legend).
 */
export const promptTemplates = ["pieces", "board"] as const;
export type PromptTemplate = (typeof promptTemplates)[number];

/** Squares of a side's pieces, generals first, soldiers last, from the first square on. */
function sortedPieces({ board }: Position, squares: readonly number[]): number[] {
  return [...squares].sort((a, b) => kindOf(board[a]!) - kindOf(board[b]!) || a - b);
}

function pieceList(position: Position, side: Side): string {
  return sortedPieces(position, position.pieces(side))
    .map((square) => pieceLetter(position.board[square]!) + squareName(square, position.variant))
    .join("");
}

/** Rows of letters, with ranks and files at the edges. */
function boardText({ board, variant }: Position): string {
  const { files, ranks } = variant;
  const letterAt = (square: number): string =>
    board[square] === 0 ? "." : pieceLetter(board[square]!);
  const squares = Array.from(board, (_piece, square) => square);
  const rows = Array.from({ length: ranks }, (_row, index) => {
    const rank = ranks - 1 - index;
    const letters = squares.slice(rank * files, (rank + 1) * files).map(letterAt);
    return `${rank} ${letters.join(" ")}`;
  });
  const names = Array.from({ length: files }, (_, file) => String.fromCharCode(97 + file));
  return [...rows, `  ${names.join(" ")}`].join("\n");
}

function boardPrompt(position: Position): string {
  const { variant } = position;
  const side = sideName(position.side);
  const own = position.side === RED ? "upper" : "lower";
  const legend = Array.from(pieceLetters, (letter, kind) => `${letter} ${kindName(kind)}`)
    .filter((_text, kind) => variant.most[kind]! > 0)
    .join(", ");
  const lastFile = String.fromCharCode(96 + variant.files);
  return [
    `You play Xiangqi (Chinese chess) as ${side}, whose pieces are in ${own} case. It is your move.`,
    "",
    `FEN: ${formatFen(position)}`,
    boardText(position),
    "",
    `${legend}. Files a to ${lastFile} from the left and ranks 0 to ${variant.ranks - 1} from`,
    "Red's side name the points; a move is the point it leaves and the point it reaches, as b2e2.",
    "",
    "Judge the position as one of Balanced, Slight_Adv_Red, Clear_Adv_Red, Slight_Adv_Black, Clear_Adv_Black, and choose a move.",
    "Think first, then answer in this form:",
    // No class and no move: an example would be an answer, and its echo might be a legal one.
    "<think>your analysis</think><answer>Situation: …",
    "Move: …</answer>",
  ].join("\n");
}

export function xiangqiPrompt(template: PromptTemplate, position: Position): Message[] {
  if (template === "board") return [{ role: "user", content: boardPrompt(position) }];
  const { side } = position;
  const content = pieceList(position, side) + pieceList(position, otherSide(side));
  return [{ role: "user", content }];
}

/** Tokens of the template `pieces` and of answers: the names of all squares, and every piece on every square that it can reach. */
export function squareTokens(variant: Variant): string[] {
  const squares = Array.from({ length: variant.squares }, (_, square) => square);
  const names = squares.map((square) => squareName(square, variant));
  const pieces = ([RED, BLACK] as const).flatMap((side) =>
    Array.from(pieceLetters, (_letter, kind) => pieceOf(kind, side)),
  );
  const placed = pieces.flatMap((piece) =>
    squares
      .filter((square) => canStand(piece, square, variant))
      .map((square) => pieceLetter(piece) + names[square]!),
  );
  return [...names, ...placed];
}
