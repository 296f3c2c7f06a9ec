// What a PGN text consists of: tags, comments and words. Variations, and lines that begin with %, are passed over.
//
// Source: Portable Game Notation specification (S. J. Edwards, 1994), sections 5 to 8. Read more leniently in one place: a quote
// inside a tag's value needs no backslash unless a bracket follows it.
//
// A comment or variation that nobody closed must not swallow the games after it. So it ends, as broken, before a line that begins
// with a tag; `formatPgn` indents such a line of a comment.

import { shownJson } from "../../../core/errors.ts";

interface Place {
  /** 1 for the first line of the text. */
  readonly line: number;
}

export interface TagToken extends Place {
  readonly type: "tag";
  readonly name: string;
  readonly value: string;
  /** An empty line stands before it. */
  readonly isApart: boolean;
}

export interface CommentToken extends Place {
  readonly type: "comment";
  readonly text: string;
}

export interface WordToken extends Place {
  readonly type: "word";
  readonly text: string;
}

/** A tag, comment or variation that is not well formed. */
export interface BrokenToken extends Place {
  readonly type: "broken";
  readonly isTag: boolean;
  readonly expected: string;
  readonly got: string;
}

export type PgnToken = TagToken | CommentToken | WordToken | BrokenToken;

/** Leads a name of a tag; also ends what was never closed. */
const tagBegins = String.raw`\[[^\s"[\]]+[ \t]+"`;

const patterns = {
  space: /\s+/y,
  escapedLine: /%[^\n]*/y,
  tag: /\[[ \t]*([^\s"[\]]+)[ \t]+"((?:\\[^\n]|[^"\\\n]|"(?![ \t]*\]))*)"[ \t]*\]/y,
  line: /[^\n]*/y,
  lineComment: /;([^\n]*)/y,
  commentEnd: new RegExp(String.raw`\}|\n(?=${tagBegins})`, "g"),
  variationPart: new RegExp(String.raw`[{;()]|\n(?=${tagBegins})`, "g"),
  word: /[^\s{}();[]+|[})[]/y,
};

/** Without the white space at both ends of every line, and without empty lines at both ends of the text. */
export const plainComment = (text: string): string =>
  text
    .split(/\r\n?|\n/)
    .map((line) => line.trim())
    .join("\n")
    .trim();

class Tokenizer {
  readonly #text: string;
  #at = 0;
  #line = 1;
  /** Where the line ends. */
  #lineEnd: number;

  constructor(text: string) {
    this.#text = text;
    this.#lineEnd = this.#endAfter(0);
  }

  #endAfter(at: number): number {
    const end = this.#text.indexOf("\n", at);
    return end < 0 ? Infinity : end;
  }

  /** The match at the present place, which it moves behind it. */
  #take(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (match !== null) this.#at = pattern.lastIndex;
    return match;
  }

  #lineOf(at: number): number {
    while (this.#lineEnd < at) {
      this.#lineEnd = this.#endAfter(this.#lineEnd + 1);
      this.#line++;
    }
    return this.#line;
  }

  /** Moves behind the closing brace; false, and before the next tag or at the end: there is none. */
  #closeComment(): boolean {
    const match = this.#take(patterns.commentEnd);
    if (match?.[0] === "}") return true;
    this.#at = match?.index ?? this.#text.length;
    return false;
  }

  #closeVariation(): boolean {
    let depth = 1;
    while (depth > 0) {
      const match = this.#take(patterns.variationPart);
      const part = match?.[0];
      if (part === "(") depth++;
      else if (part === ")") depth--;
      else if (part === ";") this.#take(patterns.line);
      else if (part !== "{") {
        this.#at = match?.index ?? this.#text.length;
        return false;
      } else if (!this.#closeComment()) return false;
    }
    return true;
  }

  /** A bracket that begins no tag is one that is broken, or in the middle of a line a word. */
  #tag(line: number, newlines: number): PgnToken | null {
    const tag = this.#take(patterns.tag);
    if (tag !== null) {
      const value = tag[2]!.replaceAll(/\\(["\\])/g, "$1");
      return { type: "tag", line, name: tag[1]!, value, isApart: newlines > 1 };
    }
    if (newlines === 0) return null;
    const got = shownJson(this.#take(patterns.line)![0]);
    return { type: "broken", line, isTag: true, expected: 'a tag [Name "value"]', got };
  }

  /** The next token; null: none, but something was passed over. @param newlines how many stand before it; 1 for the first */
  #next(newlines: number): PgnToken | null {
    const start = this.#at;
    const line = this.#lineOf(start);
    const unclosed = (expected: string): BrokenToken => {
      const got = shownJson(this.#text.slice(start, start + 40));
      return { type: "broken", line, isTag: false, expected, got };
    };
    switch (this.#text[start]) {
      case "{": {
        this.#at++;
        if (!this.#closeComment()) return unclosed("a } that closes the comment");
        const text = plainComment(this.#text.slice(start + 1, this.#at - 1));
        return { type: "comment", line, text };
      }
      case ";":
        return { type: "comment", line, text: this.#take(patterns.lineComment)![1]!.trim() };
      case "(":
        this.#at++;
        return this.#closeVariation() ? null : unclosed("a ) that closes the variation");
      case "[": {
        const token = this.#tag(line, newlines);
        if (token !== null) return token;
        break;
      }
      case "%":
        if (start === 0 || this.#text[start - 1] === "\n") {
          this.#take(patterns.escapedLine);
          return null;
        }
        break;
      default:
    }
    return { type: "word", line, text: this.#take(patterns.word)![0] };
  }

  *tokens(): Generator<PgnToken> {
    for (;;) {
      const space = this.#take(patterns.space)?.[0] ?? "";
      if (this.#at >= this.#text.length) return;
      const isFirst = this.#at === space.length;
      const token = this.#next(isFirst ? 1 : space.split("\n").length - 1);
      if (token !== null) yield token;
    }
  }
}

/** The tokens of a text whose lines end with a line feed. */
export const pgnTokens = (text: string): Generator<PgnToken> => new Tokenizer(text).tokens();
