// Operators that move elements without computing: reshape, transpose, slice, concat.

import type { Operator } from "../operator.ts";
import {
  apply,
  normalAxis,
  sameShape,
  shapeError,
  showShape,
  sizeOf,
  type Shape,
  type Tensor,
} from "../tensor.ts";

const reshapeOperator: Operator = {
  name: "reshape",
  type: ([x], { shape }) => {
    const target = shape as Shape;
    const isWhole = target.every((extent) => Number.isInteger(extent) && extent >= 0);
    if (!isWhole || sizeOf(target) !== sizeOf(x!.shape)) {
      throw shapeError("reshape", `${sizeOf(target)} elements for ${showShape(target)}`, [x!]);
    }
    return [{ shape: target, dtype: x!.dtype }];
  },
  lower: (emit, node, inputs) =>
    emit.node("Reshape", [inputs[0]!, emit.int64(node.attributes["shape"] as number[])]),
  gradient: ([dy], node) => [reshape(dy!, node.inputs[0]!.shape)],
};

/** The same elements in row-major order under another shape; one extent may be -1. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const known = shape.reduce((product, extent) => (extent === -1 ? product : product * extent), 1);
  const target = shape.map((extent) => (extent === -1 ? sizeOf(x.shape) / known : extent));
  return sameShape(x.shape, target) ? x : apply(reshapeOperator, [x], { shape: target })[0]!;
}

const transposeOperator: Operator = {
  name: "transpose",
  type: ([x], { order }) => {
    const axes = order as readonly number[];
    if (
      axes.length !== x!.shape.length ||
      new Set(axes).size !== axes.length ||
      axes.some((axis) => !(axis in x!.shape))
    ) {
      throw shapeError(
        "transpose",
        `an order of ${x!.shape.length} axes`,
        [x!],
        `got order ${showShape(axes)}`,
      );
    }
    return [{ shape: axes.map((axis) => x!.shape[axis]!), dtype: x!.dtype }];
  },
  lower: (emit, node, inputs) =>
    emit.node("Transpose", inputs, { perm: { ints: node.attributes["order"] as number[] } }),
  gradient: ([dy], node) => {
    const order = node.attributes["order"] as number[];
    return [
      transpose(
        dy!,
        order.map((_, axis) => order.indexOf(axis)),
      ),
    ];
  },
};

/** Axes in another order: output axis i is input axis `order[i]`. */
export function transpose(x: Tensor, order: readonly number[]): Tensor {
  return apply(transposeOperator, [x], { order })[0]!;
}

const sliceOperator: Operator = {
  name: "slice",
  type: ([x], { axis, start, end }) => {
    const [at, from, to] = [axis as number, start as number, end as number];
    if (from < 0 || to > x!.shape[at]! || from >= to) {
      throw shapeError(
        "slice",
        `0 <= start < end <= ${x!.shape[at]}`,
        [x!],
        `got start ${from}, end ${to} on axis ${at}`,
      );
    }
    return [
      {
        shape: x!.shape.map((extent, index) => (index === at ? to - from : extent)),
        dtype: x!.dtype,
      },
    ];
  },
  lower: (emit, node, inputs) => {
    const value = (key: string): string => emit.int64([node.attributes[key] as number]);
    return emit.node("Slice", [inputs[0]!, value("start"), value("end"), value("axis")]);
  },
  gradient: ([dy], node) => {
    const x = node.inputs[0]!;
    const [axis, start, end] = [
      node.attributes["axis"],
      node.attributes["start"],
      node.attributes["end"],
    ] as number[];
    return [pad(dy!, axis!, start!, x.shape[axis!]! - end!)];
  },
};

/** Elements `start` (included) to `end` (excluded) of one axis. */
export function slice(x: Tensor, axis: number, start: number, end: number): Tensor {
  return apply(sliceOperator, [x], { axis: normalAxis("slice", axis, x), start, end })[0]!;
}

const padOperator: Operator = {
  name: "pad",
  type: ([x], { axis, before, after }) => [
    {
      shape: x!.shape.map((extent, index) =>
        index === axis ? extent + (before as number) + (after as number) : extent,
      ),
      dtype: x!.dtype,
    },
  ],
  lower: (emit, node, inputs) => {
    const { axis, before, after } = node.attributes;
    const rank = node.inputs[0]!.shape.length;
    const pads = Array.from({ length: 2 * rank }, (_, index) =>
      index === axis
        ? (before as number)
        : index === rank + (axis as number)
          ? (after as number)
          : 0,
    );
    return emit.node("Pad", [inputs[0]!, emit.int64(pads)]);
  },
  gradient: ([dy], node) => {
    const [axis, before] = [node.attributes["axis"] as number, node.attributes["before"] as number];
    return [slice(dy!, axis, before, before + node.inputs[0]!.shape[axis]!)];
  },
};

/** Zeros before and after along one axis. */
export function pad(x: Tensor, axis: number, before: number, after: number): Tensor {
  return before === 0 && after === 0
    ? x
    : apply(padOperator, [x], { axis: normalAxis("pad", axis, x), before, after })[0]!;
}

const concatOperator: Operator = {
  name: "concat",
  type: (inputs, { axis }) => {
    const [first] = inputs;
    const fits = inputs.every(
      (x) =>
        x.dtype === first!.dtype &&
        x.shape.length === first!.shape.length &&
        x.shape.every((extent, index) => index === axis || extent === first!.shape[index]),
    );
    if (!fits) throw shapeError("concat", `equal shapes but for axis ${String(axis)}`, inputs);
    const total = inputs.reduce((length, x) => length + x.shape[axis as number]!, 0);
    return [
      {
        shape: first!.shape.map((extent, index) => (index === axis ? total : extent)),
        dtype: first!.dtype,
      },
    ];
  },
  lower: (emit, node, inputs) =>
    emit.node("Concat", inputs, { axis: { int: node.attributes["axis"] as number } }),
  gradient: ([dy], node) => {
    const axis = node.attributes["axis"] as number;
    let start = 0;
    return node.inputs.map((x) => slice(dy!, axis, start, (start += x.shape[axis]!)));
  },
};

/** Tensors one after the other along one axis. */
export function concat(parts: readonly Tensor[], axis: number): Tensor {
  return parts.length === 1
    ? parts[0]!
    : apply(concatOperator, parts, { axis: normalAxis("concat", axis, parts[0]!) })[0]!;
}
