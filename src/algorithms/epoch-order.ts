// The order in which a fixed set is trained on: every epoch goes through all of it once, in a new random order.

import type { Random } from "../core/random.ts";

/**
 * Positions below `size` of the draws `start`, …, `start + count - 1`. A pure function of its arguments, so that a resume
 * goes on where it was stopped.
 */
export function epochOrder(
  size: number,
  start: number,
  count: number,
  random: (epoch: number) => Random,
): number[] {
  const all = Array.from({ length: size }, (_, position) => position);
  const orders = new Map<number, readonly number[]>();
  const orderOf = (epoch: number): readonly number[] => {
    const order = orders.get(epoch) ?? random(epoch).shuffle(all);
    orders.set(epoch, order);
    return order;
  };
  return Array.from({ length: count }, (_, offset) => {
    const draw = start + offset;
    return orderOf(Math.floor(draw / size))[draw % size]!;
  });
}
