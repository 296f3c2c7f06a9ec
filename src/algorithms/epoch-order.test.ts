import * as fc from "fast-check";
import { expect, it } from "vitest";
import { randomStream } from "../core/random.ts";
import { epochOrder } from "./epoch-order.ts";

const random = (epoch: number) => randomStream(3, "test order", epoch);

it("goes through everything once an epoch, each time in another order", () => {
  const draws = epochOrder(40, 0, 80, random);
  const [first, second] = [draws.slice(0, 40), draws.slice(40)];
  const all = Array.from({ length: 40 }, (_, position) => position);
  expect(first.toSorted((a, b) => a - b)).toEqual(all);
  expect(second.toSorted((a, b) => a - b)).toEqual(all);
  expect(first).not.toEqual(all);
  expect(second).not.toEqual(first);
});

it("gives every draw the same position, wherever the batch that holds it begins", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9 }), fc.nat(60), fc.nat(20), (size, start, count) => {
      const all = epochOrder(size, 0, 100, random);
      expect(epochOrder(size, start, count, random)).toEqual(all.slice(start, start + count));
    }),
  );
});
