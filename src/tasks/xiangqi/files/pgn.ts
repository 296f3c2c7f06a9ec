// Collections of games in PGN, the Chinese dialect: tags such as Red and ECCO, moves in Chinese, WXF or ICCS, UTF-8 or GB18030.
//
// Sources: Portable Game Notation specification (S. J. Edwards, 1994); "PGN文件格式" (third of the computer standards for Chinese
// chess of xqbase.com), whose tags Game, Red, FEN and Format these are.
//
// A game that cannot be read is a fault with file and line, and so is text that belongs to no game; the other games load.
//
// What a file says in several ways, or need not say:
// - `Format` does not matter: every move is tried in every notation. Nor do move numbers, `$1`, and signs such as !? behind a move.
// - A game may end without a result. Where tag and text both name one, they must agree; an empty tag, ? and * name none.
// - The tag `Variant` chooses the board; without it that of the options.

import { DataError, shownJson } from "../../../core/errors.ts";
import { parseMove } from "../notation/parse-move.ts";
import { formatFen, parseFen, sideName } from "../rules/fen.ts";
import type { Move, Position } from "../rules/position.ts";
import { type Variant, variantNames, variants, xiangqi } from "../rules/variant.ts";
import { decodeBytes, UNREADABLE } from "./decode-bytes.ts";
import { isResult, moveNumber, pgnSections } from "./pgn-sections.ts";
import { plainComment, type PgnToken, pgnTokens, type TagToken } from "./pgn-tokens.ts";

export type PgnResult = "red" | "black" | "draw" | "unknown";

/** How a result is written. */
export const resultTexts: Readonly<Record<PgnResult, string>> = {
  red: "1-0",
  black: "0-1",
  draw: "1/2-1/2",
  unknown: "*",
};

export interface PgnGame {
  /** As they stand in the file. Game, Variant, Result, FEN and Format among them; `formatPgn` writes those five anew. */
  readonly tags: Readonly<Record<string, string>>;
  readonly variant: Variant["name"];
  /** FEN of the first position. */
  readonly start: string;
  readonly moves: readonly Move[];
  /** By the number of moves before the comment. */
  readonly comments: Readonly<Record<number, string>>;
  readonly result: PgnResult;
}

/** A game, and where it stands in its file. */
export interface NumberedGame extends PgnGame {
  /** 1 for the first of the file, broken ones counted. */
  readonly number: number;
  readonly line: number;
}

export interface PgnFault {
  readonly file: string;
  /** 1 for the first line. */
  readonly line: number;
  /** 1 for the first of the file; null: outside of games. */
  readonly game: number | null;
  /** 1 for the first move; 0: before the moves; null: outside of games. */
  readonly ply: number | null;
  /** `<file, line, game, ply>: expected <what>, got <what>`. */
  readonly message: string;
}

export interface PgnFile {
  readonly games: readonly NumberedGame[];
  readonly faults: readonly PgnFault[];
}

export interface PgnOptions {
  /** Names the file in faults. Default: `PGN`. */
  readonly file?: string;
  /** Board of games without a tag `Variant`. Default: Xiangqi. */
  readonly variant?: Variant;
}

/** What is wrong at a token; ends the reading of its game. */
class GameFault extends Error {
  readonly line: number;
  readonly ply: number;
  /** The end of the message, from `expected` on. */
  readonly complaint: string;

  constructor(line: number, ply: number, complaint: string) {
    super(complaint);
    this.line = line;
    this.ply = ply;
    this.complaint = complaint;
  }
}

const complain = (expected: string, got: string): string => `expected ${expected}, got ${got}`;

const resultWords = Object.values(resultTexts).join(", ");
const resultOf = (text: string): PgnResult | undefined =>
  (Object.keys(resultTexts) as PgnResult[]).find((result) => resultTexts[result] === text);

/** The tags by name; the ones that say how to read the game, by small letters. Throws a GameFault when a name repeats. */
function readTags(tokens: readonly PgnToken[]): ReadonlyMap<string, TagToken> {
  const tags = new Map<string, TagToken>();
  for (const token of tokens) {
    if (token.type !== "tag") continue;
    const name = token.name.toLowerCase();
    const first = tags.get(name);
    if (first !== undefined) {
      const expected = `one tag ${shownJson(token.name)} a game`;
      throw new GameFault(token.line, 0, complain(expected, `another in line ${first.line}`));
    }
    tags.set(name, token);
  }
  return tags;
}

function variantOf(tag: TagToken | undefined, otherwise: Variant): Variant {
  if (tag === undefined || tag.value === "") return otherwise;
  const name = variantNames.find((known) => known === tag.value.toLowerCase());
  if (name !== undefined) return variants[name];
  const expected = `a variant (${variantNames.join(" or ")})`;
  throw new GameFault(tag.line, 0, complain(expected, shownJson(tag.value)));
}

function startOf(
  tag: TagToken | undefined,
  variant: Variant,
): { readonly position: Position; readonly start: string } {
  const fen = tag === undefined || tag.value.trim() === "" ? variant.start : tag.value;
  try {
    // Without `where`, the message would begin with the FEN.
    const { position, moveNumber: number } = parseFen(fen, { variant, where: "FEN" });
    return { position, start: formatFen(position, number) };
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    throw new GameFault(tag?.line ?? 1, 0, error.message);
  }
}

function resultOfTag(tag: TagToken | undefined): PgnResult {
  const text = tag?.value.trim() ?? "";
  const result = text === "" || text === "?" ? "unknown" : resultOf(text);
  if (result !== undefined) return result;
  throw new GameFault(tag!.line, 0, complain(`a result (${resultWords})`, shownJson(text)));
}

/** Two and more Chinese moves without white space, as in xqdb: piece, file, direction, number. */
const chineseMove = /.{2,3}?[进進退平上下]./gsu;

function chineseMoves(text: string): readonly string[] {
  const parts = text.match(chineseMove) ?? [];
  return parts.join("") === text ? parts : [text];
}

/** Without what praises or blames a move, or says that it is check. No move ends with one of these. */
function withoutMarks(word: string): string {
  let end = word.length;
  while (end > 0 && "!?+#！？".includes(word[end - 1]!)) end--;
  return word.slice(0, end);
}

/** Reads the moves, comments and result of one game. */
class GameReader {
  readonly #position: Position;
  readonly #comments = new Map<number, string[]>();
  readonly moves: Move[] = [];
  result: PgnResult;

  constructor(position: Position, result: PgnResult) {
    this.#position = position;
    this.result = result;
  }

  get comments(): Readonly<Record<number, string>> {
    const texts = [...this.#comments].map(
      ([ply, parts]) => [ply, plainComment(parts.join("\n"))] as const,
    );
    return Object.fromEntries(texts.filter(([, text]) => text !== ""));
  }

  read(token: PgnToken): void {
    const ply = this.moves.length;
    if (token.type === "broken") {
      const isBefore = token.isTag && ply === 0;
      throw new GameFault(token.line, isBefore ? 0 : ply + 1, complain(token.expected, token.got));
    }
    if (token.type === "comment") {
      const parts = this.#comments.get(ply) ?? [];
      this.#comments.set(ply, [...parts, token.text]);
    }
    if (token.type === "word") this.#word(token.text, token.line);
  }

  #word(word: string, line: number): void {
    if (isResult(word)) {
      this.#end(word, line);
      return;
    }
    if (/^\$\d+$/.test(word)) return;
    const bare = withoutMarks(word);
    const text = bare.replace(moveNumber, "");
    // A WXF move can begin like a move number: 33.4, which is 33=4.
    if (text === "" || this.#make(text) || this.#make(bare)) return;
    const parts = chineseMoves(text);
    const made = parts.findIndex((part) => !this.#make(part));
    if (made < 0) return;
    const expected = `a legal move of ${sideName(this.#position.side)}, or a result`;
    throw new GameFault(line, this.moves.length + 1, complain(expected, shownJson(parts[made])));
  }

  #make(text: string): boolean {
    const move = parseMove(this.#position, text);
    if (move === null) return false;
    this.#position.make(move);
    this.moves.push(move);
    return true;
  }

  #end(word: string, line: number): void {
    const result = resultOf(word);
    const ply = this.moves.length + 1;
    if (result === undefined) {
      throw new GameFault(line, ply, complain(`a result (${resultWords})`, shownJson(word)));
    }
    if (result === "unknown") return;
    if (this.result !== "unknown" && this.result !== result) {
      const expected = `${resultTexts[this.result]}, the result of the tag`;
      throw new GameFault(line, ply, complain(expected, word));
    }
    this.result = result;
  }
}

const isUnreadable = (token: PgnToken): boolean => {
  if (token.type === "broken") return false;
  const text = token.type === "tag" ? token.name + token.value : token.text;
  return text.includes(UNREADABLE);
};

/** The game of a section. Throws a GameFault. */
function readGame(tokens: readonly PgnToken[], defaultVariant: Variant, isLossy: boolean): PgnGame {
  const tags = readTags(tokens);
  const variant = variantOf(tags.get("variant"), defaultVariant);
  const { position, start } = startOf(tags.get("fen"), variant);
  const reader = new GameReader(position, resultOfTag(tags.get("result")));
  for (const token of tokens) {
    if (isLossy && isUnreadable(token)) {
      const ply = token.type === "tag" ? 0 : reader.moves.length + 1;
      const complaint = complain("text in UTF-8 or GB18030", "bytes that are neither");
      throw new GameFault(token.line, ply, complaint);
    }
    reader.read(token);
  }
  const { moves, comments, result } = reader;
  const entries = [...tags.values()].map(({ name, value }) => [name, value] as const);
  return {
    tags: Object.fromEntries(entries),
    variant: variant.name,
    start,
    moves,
    comments,
    result,
  };
}

/** The games of a PGN collection, and everything in it that could not be read. Never throws for what the bytes say. */
export function readPgn(bytes: Uint8Array, options: PgnOptions = {}): PgnFile {
  const { file = "PGN", variant = xiangqi } = options;
  const { text, isLossy } = decodeBytes(bytes);
  const games: NumberedGame[] = [];
  const faults: PgnFault[] = [];
  let number = 0;
  for (const section of pgnSections(pgnTokens(text))) {
    if (section.type === "stray") {
      const complaint = complain("a tag or a move number", shownJson(section.text));
      const message = `${file}, line ${section.line}: ${complaint}`;
      faults.push({ file, line: section.line, game: null, ply: null, message });
      continue;
    }
    number++;
    try {
      const game = readGame(section.tokens, variant, isLossy);
      games.push({ ...game, number, line: section.tokens[0]!.line });
    } catch (error) {
      if (!(error instanceof GameFault)) throw error;
      const { line, ply, complaint } = error;
      const where = `${file}, line ${line}, game ${number}${ply === 0 ? "" : `, ply ${ply}`}`;
      faults.push({ file, line, game: number, ply, message: `${where}: ${complaint}` });
    }
  }
  return { games, faults };
}
