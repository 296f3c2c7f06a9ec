// Symbolic tensors: a node of a graph with a static shape and a dtype. Nothing runs when one is made; a graph is a value.

import { ShapeError } from "../core/errors.ts";
import type { Operator } from "./operator.ts";

export type Dtype = "float32" | "int32" | "int64" | "bool";
export type Shape = readonly number[];

/** What a program computes its float32 tensors in. */
export type Precision = "float32" | "float64";

export interface TensorType {
  readonly shape: Shape;
  readonly dtype: Dtype;
}

export interface Tensor extends TensorType {
  readonly node: Node;
  /** Which output of the node this is. */
  readonly index: number;
}

/** Settings of one use of an operator: plain data. */
export type Attributes = Readonly<Record<string, unknown>>;

export interface Node {
  readonly operator: Operator;
  readonly inputs: readonly Tensor[];
  readonly attributes: Attributes;
  readonly outputs: readonly Tensor[];
  /** Name of the layer that made it; ONNX Runtime's profile shows it. */
  readonly label: string;
}

const labels: string[] = [];

/** Nodes made inside `build` carry this label, so that profiles and errors read like the model. */
export function scope<T>(label: string, build: () => T): T {
  labels.push(label);
  try {
    return build();
  } finally {
    labels.pop();
  }
}

export const showShape = (shape: Shape): string => `[${shape.join(", ")}]`;
export const showType = (type: TensorType): string => `${type.dtype}${showShape(type.shape)}`;

export function sizeOf(shape: Shape): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((extent, axis) => extent === b[axis]);
}

/** Uses an operator; throws a ShapeError that names it and the shapes when they do not fit. */
export function apply(
  operator: Operator,
  inputs: readonly Tensor[],
  attributes: Attributes = {},
): readonly Tensor[] {
  const outputs: Tensor[] = [];
  const node: Node = { operator, inputs, attributes, outputs, label: labels.join("/") };
  operator
    .type(inputs, attributes)
    .forEach((type, index) => outputs.push({ ...type, node, index }));
  return outputs;
}

/** A ShapeError of an operator: `<layer>/matmul: expected …, got float32[2, 3] and float32[4, 5]`. */
export function shapeError(
  operator: string,
  expected: string,
  inputs: readonly TensorType[],
  hint?: string,
): ShapeError {
  const where = [...labels, operator].join("/");
  return new ShapeError({ where, expected, got: inputs.map(showType).join(" and "), hint });
}

/** An axis of x counted from the front; negative ones count from the back. */
export function normalAxis(operator: string, axis: number, x: TensorType): number {
  const rank = x.shape.length;
  const normal = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || normal < 0 || normal >= rank) {
    throw shapeError(operator, `an axis in [${-rank}, ${rank})`, [x], `got axis ${axis}`);
  }
  return normal;
}

/** NumPy broadcasting of two shapes; undefined when they do not fit. */
export function broadcastShapes(a: Shape, b: Shape): Shape | undefined {
  const rank = Math.max(a.length, b.length);
  const shape: number[] = [];
  for (let axis = 0; axis < rank; axis++) {
    const x = a[a.length - rank + axis] ?? 1;
    const y = b[b.length - rank + axis] ?? 1;
    if (x !== y && x !== 1 && y !== 1) return undefined;
    shape.push(x === 1 ? y : x);
  }
  return shape;
}
