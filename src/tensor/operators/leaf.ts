// Where graphs begin (inputs, constants) and where gradients end.

import type { Operator } from "../operator.ts";
import { apply, shapeError, sizeOf, type Dtype, type Shape, type Tensor } from "../tensor.ts";

const inputOperator: Operator = {
  name: "input",
  type: (_inputs, { shape, dtype }) => [{ shape: shape as Shape, dtype: dtype as Dtype }],
  lower: () => [],
  gradient: () => [],
};

/** A value that a run supplies, by name. */
export function input(name: string, shape: Shape, dtype: Dtype = "float32"): Tensor {
  return apply(inputOperator, [], { name, shape, dtype })[0]!;
}

const constantOperator: Operator = {
  name: "constant",
  type: (_inputs, { values, shape, dtype }) => {
    const type = { shape: shape as Shape, dtype: dtype as Dtype };
    const count = (values as ArrayLike<number>).length;
    if (count !== sizeOf(type.shape))
      throw shapeError("constant", `${sizeOf(type.shape)} values`, [type], `got ${count}`);
    return [type];
  },
  lower: (emit, node) => {
    const values = node.attributes["values"] as number[];
    const shape = node.attributes["shape"] as number[];
    return [
      node.attributes["dtype"] === "int32" ? emit.int32(values, shape) : emit.float(values, shape),
    ];
  },
  gradient: () => [],
};

/** A constant of the graph; a number is a scalar, shape []. */
export function constant(
  values: number | readonly number[] | Float32Array | Int32Array,
  shape?: Shape,
  dtype: "float32" | "int32" = "float32",
): Tensor {
  const list = typeof values === "number" ? [values] : values;
  return apply(constantOperator, [], {
    values: list,
    shape: shape ?? (typeof values === "number" ? [] : [list.length]),
    dtype,
  })[0]!;
}

const stopGradientOperator: Operator = {
  name: "stopGradient",
  type: ([x]) => [x!],
  lower: (_emit, _node, inputs) => inputs,
  gradient: () => [undefined],
};

/** The same value; no gradient flows through. */
export function stopGradient(x: Tensor): Tensor {
  return apply(stopGradientOperator, [x])[0]!;
}
