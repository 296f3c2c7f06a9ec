// Gradients at equal indices: ONNX Runtime's ScatterND loses updates there, so ours must not.

import { describe, expect, it } from "vitest";
import { randomStream } from "../core/random.ts";
import {
  allocate,
  compile,
  constant,
  gatherRows,
  gradients,
  input,
  mul,
  scatterAddRows,
  scatterLast,
  sum,
} from "./index.ts";

const COUNT = 20_000;

/** Indices of which one is met again and again, another never. */
function skewed(rows: number): Int32Array {
  const random = randomStream(1, "skewed", rows);
  const indices = allocate("int32", [COUNT]);
  for (let index = 0; index < COUNT; index++) {
    indices[index] = random.uniform() < 0.5 ? 1 : random.integer(rows - 1);
  }
  return indices;
}

function sums(indices: Int32Array, updates: Float32Array, rows: number, width: number) {
  const result = new Float64Array(rows * width);
  indices.forEach((row, at) => {
    for (let column = 0; column < width; column++) {
      result[row * width + column]! += updates[at * width + column]!;
    }
  });
  return result;
}

// Below, at and above the number of rows up to which a product with a one-hot matrix is used.
const sizes = [
  [7, 16],
  [512, 16],
  [513, 16],
  [4000, 16],
  [40, 1],
  [700, 1],
] as const;

describe.each(sizes)("20,000 updates of %i rows of %i", (rows, width) => {
  const indices = skewed(rows);
  const updates = allocate("float32", [COUNT, width]);

  it("are all added: whole numbers give exact sums", () => {
    const random = randomStream(2, rows, width);
    updates.forEach((_, at) => (updates[at] = random.integer(9) - 4));
    const program = compile({
      y: scatterAddRows(input("indices", [COUNT], "int32"), input("updates", [COUNT, width]), [
        rows,
        width,
      ]),
    });
    const binding = program.bind({ indices, updates });
    const expected = sums(indices, updates, rows, width);
    for (let run = 0; run < 5; run++) {
      binding.runNow();
      expect(binding.floats("y").every((value, at) => value === expected[at])).toBe(true);
    }
    program.dispose();
  });

  it("give the same bits in every run, as the gradient of gatherRows", () => {
    const random = randomStream(3, rows, width);
    updates.forEach((_, at) => (updates[at] = random.normal()));
    const table = input("table", [rows, width]);
    const gathered = gatherRows(table, input("indices", [COUNT], "int32"));
    const [slope] = gradients(sum(mul(gathered, input("updates", [COUNT, width]))), [table]);
    const program = compile({ slope: slope! });
    const binding = program.bind({ indices, updates });
    binding.runNow();
    const first = Float32Array.from(binding.floats("slope"));
    const expected = sums(indices, updates, rows, width);
    first.forEach((value, at) => expect(Math.abs(value - expected[at]!)).toBeLessThan(0.02));
    for (let run = 0; run < 10; run++) {
      binding.runNow();
      expect(
        Buffer.compare(
          Buffer.from(
            binding.floats("slope").buffer,
            binding.floats("slope").byteOffset,
            first.byteLength,
          ),
          Buffer.from(first.buffer),
        ),
      ).toBe(0);
    }
    program.dispose();
  });
});

it("keeps rows apart in scatterLast", () => {
  const indices = constant(new Int32Array(500).fill(2), [500], "int32");
  const program = compile({ y: scatterLast(indices, input("updates", [500]), [500, 3]) });
  const updates = allocate("float32", [500]).map((_, at) => at);
  const binding = program.bind({ updates: Object.assign(allocate("float32", [500]), updates) });
  binding.runNow();
  const expected = Array.from({ length: 1500 }, (_, at) => (at % 3 === 2 ? (at - 2) / 3 : 0));
  expect(Array.from(binding.floats("y"))).toEqual(expected);
  program.dispose();
});
