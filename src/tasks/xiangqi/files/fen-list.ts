// Lists of positions: a FEN a line, with what is known of it. UTF-8 or GB18030.
//
//   # a comment; empty lines are passed over too
//   3k5/9/9/9/9/9/9/9/4A4/4K4 w
//   3k5/9/9/9/9/9/9/9/4A4/4K4 w - - 0 1 bm e1d2 e1f2; ce 12; id "two advisors, no";
//   3k5/9/9/9/9/9/9/9/4A4/4K4 w - - 0 1,e1d2,12
//
//   line        FEN, then operations; or columns
//   operation   name, operands separated by white space (with white space of their own in quotes), `;` (the last may lack it)
//   columns     separated by tabs or commas; the first is the FEN. They are `fen`, `bm` and `ce` unless the first line of the file
//               names others, beginning with `fen`. An empty one says nothing.
//
//   bm          the best moves, in any notation (notation/parse-move.ts)
//   ce, score   value in centipawns for the side to move
//   others      are kept as text
//
// Source of the operations: Extended Position Description, section 16.2 of the Portable Game Notation specification (S. J. Edwards,
// 1994), which has four fields of a FEN and no more; here all six may stand.

import { DataError, shownJson } from "../../../core/errors.ts";
import { parseMove } from "../notation/parse-move.ts";
import { formatFen, parseFen } from "../rules/fen.ts";
import type { Move } from "../rules/position.ts";
import { type Variant, xiangqi } from "../rules/variant.ts";
import { decodeBytes, UNREADABLE } from "./decode-bytes.ts";

export interface ListedPosition {
  /** 1 for the first line of the file. */
  readonly line: number;
  readonly fen: string;
  readonly bestMoves: readonly Move[];
  /** For the side to move; null: the file does not say it. */
  readonly scoreCp: number | null;
  /** What else the line says, by name. */
  readonly operations: Readonly<Record<string, string>>;
}

export interface FenListFault {
  readonly file: string;
  readonly line: number;
  /** `<file, line>: expected <what>, got <what>`. */
  readonly message: string;
}

export interface FenList {
  readonly positions: readonly ListedPosition[];
  readonly faults: readonly FenListFault[];
}

export interface FenListOptions {
  /** Names the file in faults. Default: `FEN list`. */
  readonly file?: string;
  /** Default: Xiangqi. */
  readonly variant?: Variant;
}

/** The FEN of a line and what follows it, by name in small letters. */
interface Line {
  readonly fen: string;
  readonly operations: readonly (readonly [name: string, value: string])[];
}

const defaultColumns = ["fen", "bm", "ce"] as const;
const fenFields = /^\s*\S+(?:\s+[wrb](?![^\s]))?(?:\s+-(?!\S)){0,2}(?:\s+\d+(?!\S)){0,2}/;
const operation = /\s*([A-Za-z]\w*)((?:\s+(?:"[^"]*"|[^\s;"]+))*)\s*(?:;|$)/y;

const unquoted = (text: string): string => /^"([^"]*)"$/.exec(text)?.[1] ?? text;

/** Columns of a line; null: it has no tab or comma, or only inside its operations. */
function splitColumns(text: string): readonly string[] | null {
  const separator = /[\t,]/.exec(text);
  if (separator === null || /[;"]/.test(text.slice(0, separator.index))) return null;
  return text.split(separator[0]).map((column) => column.trim());
}

function readColumns(values: readonly string[], names: readonly string[], where: string): Line {
  if (values.length > names.length) {
    const expected = `at most ${names.length} columns (${names.join(", ")})`;
    throw new DataError({ where, expected, got: String(values.length) });
  }
  const named = values.map((value, index) => [names[index]!, value] as const);
  return { fen: values[0]!, operations: named.slice(1).filter(([, value]) => value !== "") };
}

function readOperations(text: string, where: string): Line {
  const fen = fenFields.exec(text)?.[0] ?? "";
  const rest = text.slice(fen.length).trimEnd();
  const operations: (readonly [string, string])[] = [];
  for (let at = 0; at < rest.length; at = operation.lastIndex) {
    operation.lastIndex = at;
    const match = operation.exec(rest);
    if (match === null) {
      const expected = "the rest of a FEN, or operations such as bm h2e2;";
      throw new DataError({ where, expected, got: shownJson(rest.slice(at).trim()) });
    }
    operations.push([match[1]!.toLowerCase(), unquoted(match[2]!.trim())]);
  }
  return { fen, operations };
}

const wholeNumber = /^[+-]?\d{1,9}$/;

/** What the line says. Throws a DataError that begins with `where`. */
function readPosition(
  { fen, operations }: Line,
  line: number,
  variant: Variant,
  where: string,
): ListedPosition {
  const { position, moveNumber } = parseFen(fen, { variant, where });
  let scoreCp: number | null = null;
  const bestMoves: Move[] = [];
  const others = new Map<string, string>();
  const seen = new Set<string>();
  for (const [name, value] of operations) {
    const key = name === "score" ? "ce" : name;
    if (seen.has(key)) {
      throw new DataError({ where, expected: `${key} once`, got: `it again: ${shownJson(value)}` });
    }
    seen.add(key);
    if (key === "bm") {
      for (const text of value.split(/\s+/)) {
        const move = parseMove(position, text);
        if (move === null) {
          throw new DataError({ where, expected: "legal moves in bm", got: shownJson(text) });
        }
        bestMoves.push(move);
      }
    } else if (key === "ce") {
      if (!wholeNumber.test(value)) {
        const expected = `a whole number of centipawns in ${name}`;
        throw new DataError({ where, expected, got: shownJson(value) });
      }
      scoreCp = Number(value);
    } else others.set(name, value);
  }
  return {
    line,
    fen: formatFen(position, moveNumber),
    bestMoves,
    scoreCp,
    operations: Object.fromEntries(others),
  };
}

/** The positions of a list, and the lines that could not be read. Never throws for what the bytes say. */
export function readFenList(bytes: Uint8Array, options: FenListOptions = {}): FenList {
  const { file = "FEN list", variant = xiangqi } = options;
  const { text, isLossy } = decodeBytes(bytes);
  const positions: ListedPosition[] = [];
  const faults: FenListFault[] = [];
  let [names, isFirst]: [readonly string[], boolean] = [defaultColumns, true];
  text.split("\n").forEach((content, index) => {
    if (/^\s*(?:#|$)/.test(content)) return;
    const line = index + 1;
    const where = `${file}, line ${line}`;
    const columns = splitColumns(content);
    const isHeader = isFirst && (columns?.[0] ?? content).trim().toLowerCase() === "fen";
    isFirst = false;
    if (isHeader) {
      names = (columns ?? ["fen"]).map((name) => name.toLowerCase());
      return;
    }
    try {
      if (isLossy && content.includes(UNREADABLE)) {
        const expected = "text in UTF-8 or GB18030";
        throw new DataError({ where, expected, got: "bytes that are neither" });
      }
      const read =
        columns === null ? readOperations(content, where) : readColumns(columns, names, where);
      positions.push(readPosition(read, line, variant, where));
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      faults.push({ file, line, message: error.message });
    }
  });
  return { positions, faults };
}
