// Reductions over axes.

import type { Operator } from "../operator.ts";
import {
  apply,
  normalAxis,
  sameShape,
  shapeError,
  sizeOf,
  type Shape,
  type Tensor,
} from "../tensor.ts";
import { broadcastTo, cast, div, equal, mul } from "./elementwise.ts";
import { stopGradient } from "./leaf.ts";
import { reshape } from "./shape.ts";

export interface ReduceOptions {
  /** Default: all axes. Negative ones count from the back. */
  readonly axes?: readonly number[];
  /** Keep reduced axes with extent 1. */
  readonly keepAxes?: boolean;
}

const reduced = (shape: Shape, axes: readonly number[], keep: boolean): number[] =>
  shape.flatMap((extent, axis) => (axes.includes(axis) ? (keep ? [1] : []) : [extent]));

type Slope = (x: Tensor, keptY: Tensor, keptDy: Tensor) => Tensor;

function reduction(
  name: string,
  onnxType: string,
  slope: Slope,
): (x: Tensor, options?: ReduceOptions) => Tensor {
  const operator: Operator = {
    name,
    type: ([x], { axes, keep }) => {
      if (x!.dtype !== "float32") throw shapeError(name, "a float32 tensor", [x!]);
      return [{ shape: reduced(x!.shape, axes as number[], keep as boolean), dtype: x!.dtype }];
    },
    lower: (emit, node, inputs) =>
      emit.node(onnxType, [inputs[0]!, emit.int64(node.attributes["axes"] as number[])], {
        keepdims: { int: node.attributes["keep"] === true ? 1 : 0 },
      }),
    gradient: ([dy], node) => {
      const x = node.inputs[0]!;
      const kept = reduced(x.shape, node.attributes["axes"] as number[], true);
      return [slope(x, reshape(node.outputs[0]!, kept), reshape(dy!, kept))];
    },
  };
  return (x, options = {}) => {
    const axes = (options.axes ?? x.shape.map((_, axis) => axis)).map((axis) =>
      normalAxis(name, axis, x),
    );
    if (axes.length === 0) return x;
    return apply(operator, [x], { axes, keep: options.keepAxes ?? false })[0]!;
  };
}

export const sum = reduction("sum", "ReduceSum", (x, _y, dy) => broadcastTo(dy, x.shape));
export const mean = reduction("mean", "ReduceMean", (x, y, dy) =>
  broadcastTo(mul(dy, sizeOf(y.shape) / sizeOf(x.shape)), x.shape),
);
/** Largest element; ties share the gradient evenly. */
export const max = reduction("max", "ReduceMax", (x, y, dy) => {
  const hit = cast(equal(x, y), "float32");
  const axes = x.shape.flatMap((extent, axis) => (y.shape[axis] === extent ? [] : [axis]));
  return mul(stopGradient(div(hit, sum(hit, { axes, keepAxes: true }))), dy);
});

/** Sums a gradient over the axes along which a tensor of this shape was broadcast. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const extra = x.shape.length - shape.length;
  if (extra < 0) return broadcastTo(x, shape);
  const axes = x.shape.flatMap((extent, axis) =>
    axis < extra || (shape[axis - extra] === 1 && extent !== 1) ? [axis] : [],
  );
  const summed = axes.length === 0 ? x : sum(x, { axes, keepAxes: true });
  // A gradient may be smaller than its tensor (a constant zero of one branch): widen it.
  return broadcastTo(reshape(summed, summed.shape.slice(extra)), shape);
}
