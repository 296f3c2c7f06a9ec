// A shape error names the layer, the operator and every shape.

import { describe, expect, it } from "vitest";
import { ShapeError } from "../core/errors.ts";
import {
  add,
  and,
  broadcastTo,
  concat,
  constant,
  exp,
  gatherRows,
  assembleRows,
  partitionRows,
  sharedAttention,
  input,
  matmul,
  max,
  mean,
  mul,
  pad,
  reshape,
  attention,
  rmsNorm,
  rotary,
  scatterAddRows,
  scatterLast,
  scope,
  slice,
  sum,
  takeLast,
  transpose,
  where,
  type Dtype,
  type Tensor,
} from "./index.ts";

const x = (...shape: number[]): Tensor => input("x", shape);
const typed = (dtype: Dtype, ...shape: number[]): Tensor => input("x", shape, dtype);

const wrong: readonly (readonly [string, () => Tensor, readonly string[]])[] = [
  ["add", () => add(x(2, 3), x(2)), ["float32[2, 3] and float32[2]"]],
  ["add", () => add(x(2), typed("int32", 2)), ["float32[2] and int32[2]"]],
  ["mul", () => mul(typed("int32", 2), typed("int32", 2)), ["int32[2] and int32[2]"]],
  ["and", () => and(x(2), x(2)), ["float32[2] and float32[2]"]],
  ["exp", () => exp(typed("int32", 2)), ["expected a float32 tensor", "int32[2]"]],
  ["where", () => where(typed("bool", 3), x(2), x(2)), ["bool[3] and float32[2] and float32[2]"]],
  ["where", () => where(x(2), x(2), x(2)), ["a bool condition"]],
  ["matmul", () => matmul(x(2, 3), x(4, 5)), ["float32[2, 3] and float32[4, 5]", "3 and 4"]],
  [
    "matmul",
    () => matmul(x(2, 3), x(3, 5), { transposeB: true }),
    ["float32[2, 3] and float32[3, 5]", "transposeB true"],
  ],
  ["matmul", () => matmul(x(2, 2, 3), x(3, 3, 5)), ["float32[2, 2, 3] and float32[3, 3, 5]"]],
  ["matmul", () => matmul(x(2, 2, 3), x(3, 5)), ["float32[2, 2, 3] and float32[3, 5]"]],
  ["matmul", () => matmul(x(2), x(2)), ["float32[2] and float32[2]"]],
  ["broadcastTo", () => broadcastTo(x(2, 3), [2, 4]), ["[2, 4]", "float32[2, 3]"]],
  ["broadcastTo", () => broadcastTo(x(2, 3), [3]), ["[3]", "float32[2, 3]"]],
  ["reshape", () => reshape(x(2, 3), [4, 2]), ["[4, 2]", "float32[2, 3]"]],
  ["reshape", () => reshape(x(2, 5), [-1, 4]), ["4]", "float32[2, 5]"]],
  ["reshape", () => reshape(x(2, 5), [-2, -5]), ["[-2, -5]", "float32[2, 5]"]],
  ["transpose", () => transpose(x(2, 3), [0, 0]), ["[0, 0]", "float32[2, 3]"]],
  ["transpose", () => transpose(x(2, 3), [1]), ["[1]", "float32[2, 3]"]],
  ["slice", () => slice(x(2, 3), 1, 1, 4), ["start 1, end 4 on axis 1", "float32[2, 3]"]],
  ["slice", () => slice(x(2, 3), 1, 2, 2), ["start 2, end 2", "float32[2, 3]"]],
  ["slice", () => slice(x(2, 3), 2, 0, 1), ["[-2, 2)", "2", "float32[2, 3]"]],
  ["pad", () => pad(x(2, 3), -3, 0, 1), ["[-2, 2)", "-3", "float32[2, 3]"]],
  ["concat", () => concat([x(2, 3), x(3, 3)], 1), ["float32[2, 3] and float32[3, 3]"]],
  ["concat", () => concat([x(2, 3), x(2, 3)], 0.5), ["0.5", "float32[2, 3]"]],
  ["sum", () => sum(x(2, 3), { axes: [2] }), ["[-2, 2)", "float32[2, 3]"]],
  ["mean", () => mean(x(2, 3), { axes: [-3] }), ["-3", "float32[2, 3]"]],
  ["max", () => max(typed("int32", 2)), ["int32[2]"]],
  ["gatherRows", () => gatherRows(x(4, 2), x(3)), ["float32[4, 2] and float32[3]"]],
  [
    "scatterAddRows",
    () => scatterAddRows(typed("int32", 3), x(3, 2), [4, 5]),
    ["int32[3] and float32[3, 2]", "[5]"],
  ],
  ["takeLast", () => takeLast(x(2, 3, 4), typed("int32", 2)), ["float32[2, 3, 4] and int32[2]"]],
  ["scatterLast", () => scatterLast(typed("int32", 2), x(3), [2, 5]), ["int32[2] and float32[3]"]],
  [
    "scatterLast",
    () => scatterLast(typed("int32", 2), x(2), [3, 5]),
    ["[3, 5]", "int32[2] and float32[2]"],
  ],
  [
    "attention",
    () => attention(x(2, 3, 4), x(2, 5, 4), x(2, 5, 4), x(3, 3)),
    ["float32[2, 3, 4] and float32[2, 5, 4]"],
  ],
  ["rmsNorm", () => rmsNorm(x(2, 3), x(2), 1e-6), ["float32[2, 3] and float32[2]"]],
  [
    "rotary",
    () => rotary(x(6, 8), typed("int32", 5), x(3, 2), x(3, 2)),
    ["float32[6, 8] and int32[5] and float32[3, 2]"],
  ],
  ["rotary", () => rotary(x(6, 6), typed("int32", 6), x(3, 2), x(3, 2)), ["float32[6, 6]"]],
  [
    "partitionRows",
    () => partitionRows(x(4, 2), typed("int32", 3), [typed("int32", 2)])[0]!,
    ["float32[4, 2] and int32[3] and int32[2]"],
  ],
  [
    "assembleRows",
    () => assembleRows([x(2, 3)], typed("int32", 4), [typed("int32", 3)]),
    ["int32[4] and float32[2, 3] and int32[3]"],
  ],
  [
    "sharedAttention",
    () =>
      sharedAttention({
        query: x(4, 3, 8),
        key: x(4, 3, 8),
        value: x(4, 3, 8),
        promptKey: x(3, 1, 5, 8),
        promptValue: x(3, 1, 5, 8),
        promptMask: x(3, 1, 1, 5),
        mask: x(3, 3),
      }),
    ["float32[4, 3, 8]", "float32[3, 1, 5, 8]"],
  ],
  ["constant", () => constant([1, 2, 3], [2, 2]), ["expected 4 values", "float32[2, 2]", "got 3"]],
];

describe("a shape error", () => {
  it.each(wrong)("of %s", (name, build, parts) => {
    let error: unknown;
    try {
      scope("layer7", () => scope("mlp", build));
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(ShapeError);
    const { message } = error as Error;
    expect(message.startsWith(`layer7/mlp/${name}: expected `), message).toBe(true);
    for (const part of parts) expect(message).toContain(part);
  });

  it("leaves the layer behind", () => {
    expect(() => scope("broken", () => add(x(2), x(3)))).toThrow("broken/add");
    expect(() => add(x(2), x(3))).toThrow(/^add: expected/);
  });
});
