// A position that moves are made on and taken back: pieces, side to move, plies since the last capture, hash.
//
// A move is a number, from + to · 128. Generated moves obey how pieces go; whether the own general is safe afterwards is asked of
// each (`makeIfLegal`). A general is never captured: a move that leaves it attacked, or facing the other one, is not legal.

import { randomStream } from "../../../core/random.ts";
import { BLACK, END, KIND, RED, type Side, type Variant } from "./variant.ts";

export type Move = number;

export const moveFrom = (move: Move): number => move & 127;
export const moveTo = (move: Move): number => move >>> 7;
export const moveOf = (from: number, to: number): Move => from | (to << 7);

export const kindOf = (piece: number): number => piece & 7;
export const sideOf = (piece: number): Side => (piece >>> 3) as Side;
export const pieceOf = (kind: number, side: Side): number => kind | (side << 3);
export const otherSide = (side: Side): Side => (side ^ 1) as Side;

/** More than the moves of any position: 17 a chariot or cannon, 8 a horse, 3 a soldier, 4 each of the others. */
export const MOST_MOVES = 128;

const ABSENT = 255;
/** Numbers that `unmake` needs of a move: the move, the captured slot, plies since capture, both halves of the hash. */
const UNDO = 5;

interface HashWords {
  readonly low: Int32Array;
  readonly high: Int32Array;
}

const hashWords = new Map<Variant, HashWords>();

/** Random words of a piece on a square, at piece · squares + square; entry 0 is the side to move. */
function hashWordsOf(variant: Variant): HashWords {
  const known = hashWords.get(variant);
  if (known !== undefined) return known;
  const random = randomStream("xiangqi position hash", variant.name);
  const word = (): number => random.integer(2 ** 32) | 0;
  const make = (): Int32Array => Int32Array.from({ length: 16 * variant.squares }, word);
  const words = { low: make(), high: make() };
  hashWords.set(variant, words);
  return words;
}

export class Position {
  readonly variant: Variant;
  /** Piece on every square; 0: none. */
  readonly board: Uint8Array;
  /** Squares of the pieces, sixteen slots a side, Red's first; 255: captured, or never there. */
  readonly #squareOf = new Uint8Array(32).fill(ABSENT);
  readonly #slotOf: Uint8Array;
  readonly #count: [number, number] = [0, 0];
  readonly #general = new Uint8Array([ABSENT, ABSENT]);
  readonly #words: HashWords;
  #undo = new Int32Array(UNDO * 256);
  #made = 0;
  #side: Side = RED;
  #quiet = 0;
  #low = 0;
  #high = 0;

  constructor(variant: Variant) {
    this.variant = variant;
    this.board = new Uint8Array(variant.squares);
    this.#slotOf = new Uint8Array(variant.squares).fill(ABSENT);
    this.#words = hashWordsOf(variant);
  }

  get side(): Side {
    return this.#side;
  }

  /** Plies since the last capture. */
  get quietPlies(): number {
    return this.#quiet;
  }

  /** Moves that `unmake` can take back. */
  get made(): number {
    return this.#made;
  }

  /** The halves of a 64-bit hash of pieces and side to move. */
  get hashLow(): number {
    return this.#low;
  }
  get hashHigh(): number {
    return this.#high;
  }

  /** Where the general of a side stands; 255 on a board without it. */
  general(side: Side): number {
    return this.#general[side]!;
  }

  /** A piece on an empty square, while a position is set up. Throws a RangeError when the side has sixteen. */
  place(piece: number, square: number): void {
    const side = sideOf(piece);
    const slot = side * 16 + this.#count[side];
    if (this.#count[side] === 16 || this.board[square] !== 0) {
      throw new RangeError(
        "position.place: expected an empty square and fewer than 16 pieces of the side",
      );
    }
    this.#count[side]++;
    this.#squareOf[slot] = square;
    this.#slotOf[square] = slot;
    this.board[square] = piece;
    if (kindOf(piece) === KIND.general) this.#general[side] = square;
    this.#toggle(piece, square);
  }

  /** Who moves, and the plies since the last capture, while a position is set up. */
  setTurn(side: Side, quietPlies: number): void {
    if (side !== this.#side) this.#passTurn();
    this.#quiet = quietPlies;
  }

  #toggle(piece: number, square: number): void {
    const index = piece * this.variant.squares + square;
    this.#low ^= this.#words.low[index]!;
    this.#high ^= this.#words.high[index]!;
  }

  #passTurn(): void {
    this.#side = otherSide(this.#side);
    this.#low ^= this.#words.low[0]!;
    this.#high ^= this.#words.high[0]!;
  }

  make(move: Move): void {
    const from = move & 127;
    const to = move >>> 7;
    const { board } = this;
    const squareOf = this.#squareOf;
    const slotOf = this.#slotOf;
    const squares = this.variant.squares;
    const { low, high } = this.#words;
    let undo = this.#made * UNDO;
    if (undo === this.#undo.length) {
      const longer = new Int32Array(undo * 2);
      longer.set(this.#undo);
      this.#undo = longer;
    }
    this.#made++;
    const captured = slotOf[to]!;
    const undoList = this.#undo;
    undoList[undo++] = move;
    undoList[undo++] = captured === ABSENT ? -1 : captured * 16 + board[to]!;
    undoList[undo++] = this.#quiet;
    undoList[undo++] = this.#low;
    undoList[undo] = this.#high;

    const piece = board[from]!;
    const slot = slotOf[from]!;
    let index = piece * squares + from;
    let newLow = this.#low ^ low[index]! ^ low[0]!;
    let newHigh = this.#high ^ high[index]! ^ high[0]!;
    index += to - from;
    newLow ^= low[index]!;
    newHigh ^= high[index]!;
    if (captured === ABSENT) this.#quiet++;
    else {
      this.#quiet = 0;
      squareOf[captured] = ABSENT;
      index = board[to]! * squares + to;
      newLow ^= low[index]!;
      newHigh ^= high[index]!;
    }
    this.#low = newLow;
    this.#high = newHigh;
    board[from] = 0;
    board[to] = piece;
    slotOf[from] = ABSENT;
    slotOf[to] = slot;
    squareOf[slot] = to;
    if ((piece & 7) === KIND.general) this.#general[this.#side] = to;
    this.#side = (this.#side ^ 1) as Side;
  }

  /** Takes the last move back. */
  unmake(): void {
    const undo = --this.#made * UNDO;
    const undoList = this.#undo;
    const move = undoList[undo]!;
    const from = move & 127;
    const to = move >>> 7;
    const { board } = this;
    const slotOf = this.#slotOf;
    const piece = board[to]!;
    const slot = slotOf[to]!;
    this.#side = (this.#side ^ 1) as Side;
    board[from] = piece;
    slotOf[from] = slot;
    this.#squareOf[slot] = from;
    const captured = undoList[undo + 1]!;
    if (captured < 0) {
      board[to] = 0;
      slotOf[to] = ABSENT;
    } else {
      board[to] = captured & 15;
      slotOf[to] = captured >>> 4;
      this.#squareOf[captured >>> 4] = to;
    }
    this.#quiet = undoList[undo + 2]!;
    this.#low = undoList[undo + 3]!;
    this.#high = undoList[undo + 4]!;
    if ((piece & 7) === KIND.general) this.#general[this.#side] = from;
  }

  /** Whether pieces of `by` attack the square; the other general attacks along an open file. */
  isAttacked(square: number, by: Side): boolean {
    const { board } = this;
    const { rays, rayStride, horseFrom, pairStride, soldierFrom, stepStride } = this.variant.tables;
    const flag = by << 3;
    const chariot = KIND.chariot | flag;
    const cannon = KIND.cannon | flag;
    const general = KIND.general | flag;
    for (let direction = 0; direction < 4; direction++) {
      let entry = (square * 4 + direction) * rayStride;
      let to = rays[entry]!;
      while (to !== END && board[to] === 0) to = rays[++entry]!;
      if (to === END) continue;
      const first = board[to]!;
      if (first === chariot || (first === general && direction > 1)) return true;
      to = rays[++entry]!;
      while (to !== END && board[to] === 0) to = rays[++entry]!;
      if (to !== END && board[to] === cannon) return true;
    }
    const horse = KIND.horse | flag;
    for (let entry = square * pairStride; horseFrom[entry] !== END; entry += 2) {
      if (board[horseFrom[entry]!] === horse && board[horseFrom[entry + 1]!] === 0) return true;
    }
    const soldier = KIND.soldier | flag;
    let entry = (by * this.variant.squares + square) * stepStride;
    for (; soldierFrom[entry] !== END; entry++) {
      if (board[soldierFrom[entry]!] === soldier) return true;
    }
    return false;
  }

  /** Whether the general of the side is attacked, or faces the other one. */
  isGeneralAttacked(side: Side): boolean {
    return this.isAttacked(this.#general[side]!, (side ^ 1) as Side);
  }

  get isInCheck(): boolean {
    return this.isGeneralAttacked(this.#side);
  }

  /**
   * Writes the moves of the side to move to `moves` from `start` on, without asking whether its general stays safe; returns
   * the end. A general is never a target. @param capturesOnly only those.
   */
  generate(moves: Int32Array, start: number, capturesOnly = false): number {
    const { board } = this;
    const { squares, tables } = this.variant;
    const { rays, rayStride, pairStride, stepStride } = tables;
    const squareOf = this.#squareOf;
    const side = this.#side;
    const theirGeneral = this.#general[side ^ 1]!;
    let end = start;
    const firstSlot = side * 16;
    const lastSlot = firstSlot + this.#count[side];
    for (let slot = firstSlot; slot < lastSlot; slot++) {
      const from = squareOf[slot]!;
      if (from === ABSENT) continue;
      const kind = board[from]! & 7;
      if (kind === KIND.chariot || kind === KIND.cannon) {
        for (let direction = 0; direction < 4; direction++) {
          let entry = (from * 4 + direction) * rayStride;
          let to = rays[entry]!;
          while (to !== END && board[to] === 0) {
            if (!capturesOnly) moves[end++] = from | (to << 7);
            to = rays[++entry]!;
          }
          if (to === END) continue;
          if (kind === KIND.cannon) {
            to = rays[++entry]!;
            while (to !== END && board[to] === 0) to = rays[++entry]!;
            if (to === END) continue;
          }
          if (board[to]! >>> 3 !== side && to !== theirGeneral) moves[end++] = from | (to << 7);
        }
        continue;
      }
      if (kind === KIND.horse || kind === KIND.elephant) {
        const table = kind === KIND.horse ? tables.horse : tables.elephant;
        for (let entry = from * pairStride; table[entry] !== END; entry += 2) {
          if (board[table[entry]!] !== 0) continue;
          const to = table[entry + 1]!;
          const target = board[to]!;
          if (target === 0 ? capturesOnly : target >>> 3 === side || to === theirGeneral) continue;
          moves[end++] = from | (to << 7);
        }
        continue;
      }
      let [table, entry] = [tables.general, from * stepStride];
      if (kind === KIND.advisor) table = tables.advisor;
      else if (kind === KIND.soldier) {
        table = tables.soldier;
        entry = (side * squares + from) * stepStride;
      }
      for (; table[entry] !== END; entry++) {
        const to = table[entry]!;
        const target = board[to]!;
        if (target === 0 ? capturesOnly : target >>> 3 === side || to === theirGeneral) continue;
        moves[end++] = from | (to << 7);
      }
    }
    return end;
  }

  /**
   * Makes a generated move unless it leaves the own general attacked; then nothing has changed.
   * @param wasInCheck whether the side to move is in check: out of check, most moves cannot expose the general.
   */
  makeIfLegal(move: Move, wasInCheck: boolean): boolean {
    const side = this.#side;
    const general = this.#general[side]!;
    const from = move & 127;
    const { squares, tables } = this.variant;
    const line = general * squares;
    const isSafe =
      !wasInCheck &&
      from !== general &&
      tables.nearLine[line + from] === 0 &&
      tables.nearLine[line + (move >>> 7)] === 0;
    this.make(move);
    if (isSafe || !this.isAttacked(this.#general[side]!, (side ^ 1) as Side)) return true;
    this.unmake();
    return false;
  }

  /** Every legal move. */
  legalMoves(): Move[] {
    const moves = new Int32Array(MOST_MOVES);
    const end = this.generate(moves, 0);
    const wasInCheck = this.isInCheck;
    const legal: Move[] = [];
    for (let index = 0; index < end; index++) {
      if (!this.makeIfLegal(moves[index]!, wasInCheck)) continue;
      this.unmake();
      legal.push(moves[index]!);
    }
    return legal;
  }

  isLegal(move: Move): boolean {
    return this.legalMoves().includes(move);
  }

  /** A copy without the moves made so far. */
  copy(): Position {
    const copy = new Position(this.variant);
    this.board.forEach((piece, square) => {
      if (piece !== 0) copy.place(piece, square);
    });
    copy.setTurn(this.#side, this.#quiet);
    return copy;
  }

  /** Squares of the pieces of a side, in the order in which they were placed. */
  pieces(side: Side): number[] {
    const slots = this.#squareOf.subarray(side * 16, side * 16 + this.#count[side]);
    return Array.from(slots).filter((square) => square !== ABSENT);
  }
}

export { BLACK, RED };
