// Cuts a batch of ragged sequences into packed pieces of few different shapes: every shape is a compiled program.

import type { Sequence } from "../core/engine.ts";
import { completionLength } from "../losses/weights.ts";
import type { PackedGroup, PackShape } from "../models/packing.ts";

/** Where the completion of one sequence stands among the row tokens of a piece. */
export interface Span {
  /** Position in the batch. */
  readonly member: number;
  readonly start: number;
  readonly length: number;
}

export interface MicroBatch {
  readonly shape: PackShape;
  readonly groups: readonly PackedGroup[];
  readonly spans: readonly Span[];
}

/** Sequences that continue the same prompt, longest first. */
interface Group {
  /** Tokens of the prompt but for the last one, with which every row begins. */
  readonly shared: Int32Array;
  readonly members: readonly number[];
  readonly longest: number;
  readonly tokens: number;
}

const roundUp = (value: number, step: number): number => Math.ceil(value / step) * step;
const powerBelow = (value: number): number => 2 ** Math.floor(Math.log2(Math.max(1, value)));
export const powerAbove = (value: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, value)));

/** Rounded up to a step of `share` of its size at most, 16 at least: few shapes, little padding. */
const rounded = (value: number, share: number): number =>
  value === 0 ? 0 : roundUp(value, Math.max(16, powerBelow(value * share)));

const timeExtent = (value: number): number => rounded(value, 1 / 4);

/** Members of the batch by equal prompts, in order of appearance; a prompt of one token has nothing to share, an empty completion nothing to compute. */
function byPrompt(batch: readonly Sequence[]): number[][] {
  const groups = new Map<string, number[]>();
  batch.forEach((sequence, index) => {
    if (completionLength(sequence) === 0) return;
    const { tokens, promptLength } = sequence;
    const key = promptLength === 1 ? `alone ${index}` : tokens.subarray(0, promptLength).join();
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [index]);
    else group.push(index);
  });
  return [...groups.values()];
}

/** A rectangle of attention may be so many times as large as the budget. */
const MOST_PADDING = 2;

/** Prompts with as many of their rows as the budget allows, at least one. A prompt does not count: cut, it would run again. */
function groupsOf(batch: readonly Sequence[], budget: number): Group[] {
  return byPrompt(batch).flatMap((members) => {
    const length = (member: number): number => completionLength(batch[member]!);
    const sorted = members.toSorted((a, b) => length(b) - length(a) || a - b);
    const { tokens, promptLength } = batch[sorted[0]!]!;
    const shared = tokens.subarray(0, promptLength - 1);
    const result: Group[] = [];
    for (let start = 0; start < sorted.length;) {
      const longest = length(sorted[start]!);
      let end = start;
      let size = 0;
      do size += length(sorted[end++]!);
      while (
        end < sorted.length &&
        size + length(sorted[end]!) <= budget &&
        (end + 1 - start) * longest <= MOST_PADDING * budget
      );
      const part = sorted.slice(start, end);
      result.push({ shared, members: part, longest, tokens: size + shared.length });
      start = end;
    }
    return result;
  });
}

/** Tokens of the rectangles of attention of a piece. */
function rectangle(part: readonly Group[]): number {
  const most = (pick: (group: Group) => number): number => Math.max(...part.map(pick));
  const rows = most(({ members }) => members.length);
  const rowTime = timeExtent(most(({ longest }) => longest));
  return part.length * (timeExtent(most(({ shared }) => shared.length)) + rows * rowTime);
}

/** The same groups in order, in pieces whose rectangles stay within the limit. */
function withinLimit(part: readonly Group[], limit: number): Group[][] {
  if (part.length === 1 || rectangle(part) <= limit) return [[...part]];
  const pieces: Group[][] = [];
  for (const group of part) {
    const open = pieces.at(-1);
    if (open !== undefined && rectangle([...open, group]) <= limit) open.push(group);
    else pieces.push([group]);
  }
  return pieces;
}

function pack(batch: readonly Sequence[], part: readonly Group[]): MicroBatch {
  const spans: Span[] = [];
  let start = 0;
  for (const { members } of part) {
    for (const member of members) {
      const length = completionLength(batch[member]!);
      spans.push({ member, start, length });
      start += length;
    }
  }
  const most = (pick: (group: Group) => number): number => Math.max(...part.map(pick));
  const prompts = part.reduce((total, { shared }) => total + shared.length, 0);
  return {
    shape: {
      groups: part.length,
      rows: most(({ members }) => members.length),
      promptTime: timeExtent(most(({ shared }) => shared.length)),
      rowTime: timeExtent(most(({ longest }) => longest)),
      promptTokens: rounded(prompts, 1 / 8),
      rowTokens: rounded(start + 1, 1 / 8), // at least one is padding
    },
    groups: part.map(({ shared, members }) => ({
      prompt: shared,
      rows: members.map((member) => {
        const { tokens, promptLength } = batch[member]!;
        return tokens.subarray(promptLength - 1, tokens.length - 1);
      }),
    })),
    spans,
  };
}

/**
 * Pieces of about `budget` tokens, each of groups alike in size; equal prompts stand in a piece once. The order of the batch is
 * free, the result is not. Sequences without a completion are in none.
 */
export function microBatches(batch: readonly Sequence[], budget: number): MicroBatch[] {
  const groups = groupsOf(batch, budget);
  groups.sort(
    (a, b) =>
      b.members.length - a.members.length ||
      b.longest - a.longest ||
      b.shared.length - a.shared.length ||
      a.members[0]! - b.members[0]!,
  );
  const tokens = groups.reduce((total, group) => total + group.tokens, 0);
  const pieces = Math.min(groups.length, Math.ceil(tokens / budget));
  // As many groups in every piece: their number and the length of their prompts are then the same from batch to batch.
  const alike = Array.from({ length: pieces }, (_, piece) => {
    const [from, to] = [piece, piece + 1].map((at) => Math.round((at * groups.length) / pieces));
    return groups.slice(from, to);
  });
  return alike
    .flatMap((part) => withinLimit(part, MOST_PADDING * budget))
    .map((part) => pack(batch, part));
}
