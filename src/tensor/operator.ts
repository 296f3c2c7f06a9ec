// What one row of the operator table holds: shape rule, ONNX lowering, gradient.

import type { Attributes, Node, Precision, Tensor, TensorType } from "./tensor.ts";

/** A value of an ONNX attribute, tagged with its type. */
export type OnnxAttribute =
  | { readonly int: number }
  | { readonly float: number }
  | { readonly ints: readonly number[] }
  | { readonly string: string };

export interface EmitOptions {
  readonly domain?: "com.microsoft";
  /** Number of outputs; default 1. */
  readonly outputs?: number;
}

/** Writes ONNX nodes; a lowering calls it and passes names around. "" is an absent optional input. */
export interface Emitter {
  node(
    type: string,
    inputs: readonly string[],
    attributes?: Readonly<Record<string, OnnxAttribute>>,
    options?: EmitOptions,
  ): string[];
  /** An int64 constant, rank 1. */
  int64(values: readonly number[]): string;
  /** Of the float32 tensors of the graph: in a double-precision program they are computed as float64. */
  readonly precision: Precision;
  /** A constant of that precision; shape [] is a scalar. */
  float(values: readonly number[] | Float32Array, shape: readonly number[]): string;
  int32(values: readonly number[] | Int32Array, shape: readonly number[]): string;
}

export interface Operator {
  readonly name: string;
  /** Types of the outputs; throws a ShapeError when the inputs do not fit. */
  type(inputs: readonly Tensor[], attributes: Attributes): readonly TensorType[];
  /** Names of the outputs. */
  lower(emit: Emitter, node: Node, inputs: readonly string[]): readonly string[];
  /**
   * dL/dinput for every input (undefined: none flows there), given dL/doutput (undefined where nothing depends on it).
   * null: the operator has no gradient, and asking for one is an error.
   */
  readonly gradient:
    | ((upstream: readonly (Tensor | undefined)[], node: Node) => readonly (Tensor | undefined)[])
    | null;
  /** Reads each input element only to write the same output element, so the output may share an input's memory. */
  readonly elementwise?: true;
  /** This input alone may share its memory with the output: it is read before anything is written, or where it is written. */
  readonly inPlaceInput?: number;
}
