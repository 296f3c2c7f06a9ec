// What a model wrote, taken apart: `<think>…</think><answer>Situation: …\nMove: …</answer>`. Nothing here throws.
//
// The form is that of a re-implementation which quotes the paper (sections 3.4 and 4.2); the paper's own template is not known.

import { parseCoordinates } from "./notation/coordinates.ts";
import type { Move } from "./rules/position.ts";
import type { Variant } from "./rules/variant.ts";
import { readSituation, type Situation3, type Situation5 } from "./situation.ts";

export interface Answer {
  /** Exactly one think block, then exactly one answer block, and nothing else. */
  readonly isWellFormed: boolean;
  /** What is thought; empty without a closed block. */
  readonly thinking: string;
  /** The words behind `Move:`; null: there are none. */
  readonly moveText: string | null;
  /** The first move by coordinates behind `Move:`, legal or not. */
  readonly move: Move | null;
  readonly three: Situation3 | null;
  readonly five: Situation5 | null;
}

const wellFormed = /^\s*<think>[\s\S]*<\/think>\s*<answer>[\s\S]*<\/answer>\s*$/;
const tags = /<\/?(?:think|answer)>/g;
const coordinates = /[a-i]\d{1,2}-?[a-i]\d{1,2}/i;

interface Block {
  /** Up to the closing tag, or to the end. */
  readonly inner: string;
  readonly isClosed: boolean;
}

/** The first block of a name; null: nothing opens one. */
function firstBlock(text: string, name: "think" | "answer"): Block | null {
  const open = text.indexOf(`<${name}>`);
  if (open < 0) return null;
  const rest = text.slice(open + name.length + 2);
  const close = rest.indexOf(`</${name}>`);
  return close < 0
    ? { inner: rest, isClosed: false }
    : { inner: rest.slice(0, close), isClosed: true };
}

/** Text of the first answer block; an output without one is read as a whole, so that a bare `Move: h2e2` counts as a move. */
const answerText = (text: string): string =>
  firstBlock(text, "answer")?.inner ?? text.replace(/<think>[\s\S]*?(?:<\/think>|$)/, "");

/** Exactly these four tags, in this order. They are counted first: with one of each, the pattern takes one pass of the text. */
const isWellFormed = (text: string): boolean =>
  text.match(tags)?.length === 4 && wellFormed.test(text);

/** Reads an output. Missing parts are null. */
export function readAnswer(text: string, variant: Variant): Answer {
  const answer = answerText(text);
  const thought = firstBlock(text, "think");
  // White space behind the colon may be a line break, as for the parser of the re-implementation.
  const moveLine = /Move:\s*([^\n<]*)/i.exec(answer);
  const situationLine = /Situation:\s*([^\n<]*)/i.exec(answer);
  const moveText = moveLine === null ? null : moveLine[1]!.trim();
  const found = moveText === null ? null : coordinates.exec(moveText);
  const { three, five } = readSituation(situationLine?.[1] ?? "");
  return {
    isWellFormed: isWellFormed(text),
    thinking: thought?.isClosed === true ? thought.inner.trim() : "",
    moveText,
    move: found === null ? null : parseCoordinates(found[0], variant),
    three,
    five,
  };
}

/** An output; without thinking and situation the bare form of the first training stage. */
export function writeAnswer(parts: {
  readonly move: string;
  readonly thinking?: string;
  readonly situation?: Situation5 | Situation3;
}): string {
  const { move, thinking, situation } = parts;
  const think = thinking === undefined ? "" : `<think>${thinking}</think>`;
  const judgement = situation === undefined ? "" : `Situation: ${situation}\n`;
  return `${think}<answer>${judgement}Move: ${move}</answer>`;
}
