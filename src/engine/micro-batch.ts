// Cuts a batch of ragged sequences into rectangles of few different shapes: every shape is a compiled program.

import type { Sequence } from "../core/engine.ts";
import { completionLength } from "../losses/weights.ts";

export interface MicroBatch {
  /** Positions in the batch; fewer than `rows` in the last one. */
  readonly members: readonly number[];
  readonly rows: number;
  /** Tokens of a row. */
  readonly time: number;
  /** Completion tokens of a row. */
  readonly completionTime: number;
}

const roundUp = (value: number, step: number): number => Math.ceil(value / step) * step;

/** The largest power of two that is at most `value`, at least 1. */
const powerBelow = (value: number): number => 2 ** Math.floor(Math.log2(Math.max(1, value)));
export const powerAbove = (value: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, value)));

const TIME_STEP = 16;

/** Rectangles of about `tokenBudget` tokens, each of sequences of similar length; the order of the batch is free, the result is not. */
export function microBatches(batch: readonly Sequence[], tokenBudget: number): MicroBatch[] {
  const order = batch.map((_, index) => index);
  order.sort((a, b) => batch[b]!.tokens.length - batch[a]!.tokens.length || a - b);
  const result: MicroBatch[] = [];
  for (let start = 0; start < order.length;) {
    const time = roundUp(batch[order[start]!]!.tokens.length, TIME_STEP);
    const limit = powerBelow(tokenBudget / time);
    const members = order.slice(start, start + limit);
    const longest = Math.max(...members.map((index) => completionLength(batch[index]!)), 1);
    result.push({
      members,
      rows: Math.min(limit, powerAbove(members.length)),
      time,
      completionTime: roundUp(longest, TIME_STEP),
    });
    start += members.length;
  }
  return result;
}
