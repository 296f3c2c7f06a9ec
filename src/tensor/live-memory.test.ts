import { expect, it } from "vitest";
import { add, addInto, constant, input, liveMemory, matmul, reshape, sum } from "./index.ts";

const x = input("x", [10, 10]);
/** Bytes of x. */
const SQUARE = 400;

it("counts what exists at one time: an intermediate value until its last reader", () => {
  const a = matmul(x, x);
  const b = matmul(a, x); // a and b
  const c = matmul(b, x); // b and c
  expect(liveMemory({ y: sum(c) })).toEqual({ peak: 2 * SQUARE, constants: 0 });
  expect(liveMemory({ y: sum(matmul(a, c)) }).peak).toBe(3 * SQUARE);
});

it("leaves out inputs, outputs and views", () => {
  expect(liveMemory({ y: matmul(x, x) }).peak).toBe(0);
  const flat = reshape(matmul(x, x), [100]);
  expect(liveMemory({ y: flat }).peak).toBe(0);
  expect(liveMemory({ y: sum(flat) }).peak).toBe(SQUARE);
});

it("takes the worse of two orders of the outputs", () => {
  const a = matmul(x, x);
  const small = sum(a); // ends a, or waits with it while the rest runs
  const rest = sum(matmul(matmul(a, x), x));
  expect(liveMemory({ small, rest }).peak).toBe(liveMemory({ rest, small }).peak);
  expect(liveMemory({ small, rest }).peak).toBe(3 * SQUARE);
});

it("counts constants apart, and nothing for a gradient that accumulates in its own memory", () => {
  const shifted = add(matmul(x, x), constant(new Float32Array(10)));
  expect(liveMemory({ y: sum(shifted) })).toEqual({ peak: 2 * SQUARE, constants: 40 });
  expect(liveMemory({ y: addInto(input("g", [10, 10]), matmul(x, x)) }).peak).toBe(0);
});
