// Reading and adding at indices. Indices are int32.

import { elementType } from "../element-type.ts";
import { emitProduct } from "../emit-product.ts";
import type { Emitter, Operator } from "../operator.ts";
import {
  apply,
  sameShape,
  shapeError,
  showShape,
  sizeOf,
  type Shape,
  type Tensor,
} from "../tensor.ts";
import { broadcastTo } from "./elementwise.ts";
import { constant } from "./leaf.ts";

const gatherRowsOperator: Operator = {
  name: "gatherRows",
  type: ([table, indices]) => {
    if (indices!.dtype !== "int32" || table!.shape.length < 1) {
      throw shapeError("gatherRows", "a table and int32 indices", [table!, indices!]);
    }
    return [{ shape: [...indices!.shape, ...table!.shape.slice(1)], dtype: table!.dtype }];
  },
  lower: (emit, _node, inputs) => emit.node("Gather", inputs, { axis: { int: 0 } }),
  gradient: ([dy], node) => [
    scatterAddRows(node.inputs[1]!, dy!, node.inputs[0]!.shape),
    undefined,
  ],
};

/** Rows of `table` [rows, …] at `indices` […i]: result […i, …]. */
export function gatherRows(table: Tensor, indices: Tensor): Tensor {
  return apply(gatherRowsOperator, [table, indices])[0]!;
}

const scatterAddRowsOperator: Operator = {
  name: "scatterAddRows",
  type: ([indices, updates], { shape }) => {
    const target = shape as Shape;
    const fits = sameShape(updates!.shape, [...indices!.shape, ...target.slice(1)]);
    if (!fits || indices!.dtype !== "int32") {
      throw shapeError("scatterAddRows", `updates of indices x ${showShape(target.slice(1))}`, [
        indices!,
        updates!,
      ]);
    }
    return [{ shape: target, dtype: updates!.dtype }];
  },
  lower: (emit, node, inputs) => {
    const shape = node.attributes["shape"] as readonly [number, ...number[]];
    const width = sizeOf(shape.slice(1));
    const [updates] = emit.node("Reshape", [inputs[1]!, emit.int64([-1, width])]);
    const [column] = emit.node("Reshape", [inputs[0]!, emit.int64([-1, 1])]);
    const [rows] =
      shape[0] <= ONE_HOT_LIMIT
        ? oneHotProduct(emit, column!, updates!, shape[0])
        : scatterElements(emit, column!, updates!, [shape[0], width]);
    return emit.node("Reshape", [rows!, emit.int64(shape)]);
  },
  gradient: ([dy], node) => [undefined, gatherRows(dy!, node.inputs[0]!)],
};

// ScatterND with reduction "add" would be the obvious lowering, but ONNX Runtime 1.30 runs it on several threads
// without a lock: equal indices lose updates (docs/log.md). ScatterElements runs in order on one thread; for few rows a
// product with a one-hot matrix is faster still.
const ONE_HOT_LIMIT = 512;

function oneHotProduct(emit: Emitter, column: string, updates: string, rows: number): string[] {
  const classes = emit.int32(
    Array.from({ length: rows }, (_, row) => row),
    [1, rows],
  );
  const [hit] = emit.node("Equal", [column, classes]);
  const to = { int: elementType("float32", emit.precision) };
  const [oneHot] = emit.node("Cast", [hit!], { to });
  return emitProduct(
    emit,
    [oneHot!, updates],
    { transposeA: true, transposeB: false, scale: 1 },
    2,
  );
}

function scatterElements(emit: Emitter, column: string, updates: string, shape: Shape): string[] {
  const [zeros] = emit.node("Expand", [emit.float([0], []), emit.int64(shape)]);
  const [size] = emit.node("Shape", [updates]);
  const [indices] = emit.node("Expand", [column, size!]);
  return emit.node("ScatterElements", [zeros!, indices!, updates], {
    axis: { int: 0 },
    reduction: { string: "add" },
  });
}

/** Zeros of `shape` with `updates` […i, …] added to the rows at `indices` […i]. */
export function scatterAddRows(indices: Tensor, updates: Tensor, shape: Shape): Tensor {
  return apply(scatterAddRowsOperator, [indices, updates], { shape })[0]!;
}

const takeLastOperator: Operator = {
  name: "takeLast",
  type: ([x, indices]) => {
    if (indices!.dtype !== "int32" || !sameShape(x!.shape.slice(0, -1), indices!.shape)) {
      throw shapeError("takeLast", "int32 indices of the shape of x without its last axis", [
        x!,
        indices!,
      ]);
    }
    return [{ shape: indices!.shape, dtype: x!.dtype }];
  },
  lower: (emit, _node, inputs) => {
    const [column] = emit.node("Unsqueeze", [inputs[1]!, emit.int64([-1])]);
    const [taken] = emit.node("GatherElements", [inputs[0]!, column!], { axis: { int: -1 } });
    return emit.node("Squeeze", [taken!, emit.int64([-1])]);
  },
  gradient: ([dy], node) => [scatterLast(node.inputs[1]!, dy!, node.inputs[0]!.shape), undefined],
};

/** One element of the last axis for every position before it: x […i, n] at indices […i] gives […i]. */
export function takeLast(x: Tensor, indices: Tensor): Tensor {
  return apply(takeLastOperator, [x, indices])[0]!;
}

const scatterLastOperator: Operator = {
  name: "scatterLast",
  type: ([indices, updates], { shape }) => {
    const leading = (shape as Shape).slice(0, -1);
    const fits = sameShape(indices!.shape, leading) && sameShape(updates!.shape, leading);
    if (!fits || indices!.dtype !== "int32") {
      throw shapeError(
        "scatterLast",
        `int32 indices and updates of ${showShape(leading)} for ${showShape(shape as Shape)}`,
        [indices!, updates!],
      );
    }
    return [{ shape: shape as Shape, dtype: updates!.dtype }];
  },
  lower: (emit, node, inputs) => {
    const shape = node.attributes["shape"] as readonly number[];
    const [zeros] = emit.node("Expand", [emit.float([0], []), emit.int64(shape)]);
    const [column] = emit.node("Unsqueeze", [inputs[0]!, emit.int64([-1])]);
    const [update] = emit.node("Unsqueeze", [inputs[1]!, emit.int64([-1])]);
    return emit.node("ScatterElements", [zeros!, column!, update!], { axis: { int: -1 } });
  },
  gradient: ([dy], node) => [undefined, takeLast(dy!, node.inputs[0]!)],
};

/** Zeros of `shape` […i, n] with `updates` […i] at `indices` […i] of the last axis. */
export function scatterLast(indices: Tensor, updates: Tensor, shape: Shape): Tensor {
  return apply(scatterLastOperator, [indices, updates], { shape })[0]!;
}

const partitionRowsOperator: Operator = {
  name: "partitionRows",
  type: ([table, places, ...parts]) => {
    const fits =
      table!.shape.length === 2 &&
      sameShape(places!.shape, table!.shape.slice(0, 1)) &&
      [places!, ...parts].every(({ dtype, shape }) => dtype === "int32" && shape.length === 1);
    if (!fits) {
      throw shapeError("partitionRows", "a table [rows, width], int32 places [rows] and indices", [
        table!,
        places!,
        ...parts,
      ]);
    }
    return parts.map(({ shape }) => ({
      shape: [shape[0]!, table!.shape[1]!],
      dtype: table!.dtype,
    }));
  },
  lower: (emit, _node, [table, , ...parts]) =>
    parts.map((indices) => emit.node("Gather", [table!, indices], { axis: { int: 0 } })[0]!),
  gradient: (upstream, node) => {
    const [table, places, ...indices] = node.inputs;
    const parts = upstream.map(
      (dy, index) => dy ?? broadcastTo(constant(0), [indices[index]!.shape[0]!, table!.shape[1]!]),
    );
    return [assembleRows(parts, places!, indices), undefined, ...indices.map(() => undefined)];
  },
};

const assembleRowsOperator: Operator = {
  name: "assembleRows",
  type: ([places, ...rest]) => {
    const parts = rest.slice(0, rest.length / 2);
    const indices = rest.slice(rest.length / 2);
    const width = parts[0]!.shape[1]!;
    const fits =
      parts.every(({ shape }) => shape.length === 2 && shape[1] === width) &&
      indices.every(({ shape }, at) => sameShape(shape, parts[at]!.shape.slice(0, 1))) &&
      [places!, ...indices].every(({ dtype, shape }) => dtype === "int32" && shape.length === 1);
    if (!fits) {
      throw shapeError("assembleRows", "parts [rows, width], int32 indices of each, places", [
        places!,
        ...rest,
      ]);
    }
    return [{ shape: [places!.shape[0]!, width], dtype: parts[0]!.dtype }];
  },
  lower: (emit, node, [places, ...rest]) => {
    const parts = rest.slice(0, rest.length / 2);
    const width = node.inputs[1]!.shape[1]!;
    const nowhere = emit.float(new Float32Array(width), [1, width]);
    const [whole] = emit.node("Concat", [...parts, nowhere], { axis: { int: 0 } });
    return emit.node("Gather", [whole!, places!], { axis: { int: 0 } });
  },
  gradient: ([dy], node) => {
    const [places, ...rest] = node.inputs;
    const indices = rest.slice(rest.length / 2);
    return [undefined, ...partitionRows(dy!, places!, indices), ...indices.map(() => undefined)];
  },
};

/**
 * Rows of `table` [rows, width] laid out anew: one result [indices, width] for each of `indices`. `places` [rows] says where in
 * the results, one after the other, each row went, and their total length where it went nowhere.
 *
 * Every row that gets a gradient stands in exactly one place, so the gradient is again a selection (`assembleRows`), many
 * times faster than adding rows one after the other. Other indices fill padding, which must get no gradient.
 */
export function partitionRows(
  table: Tensor,
  places: Tensor,
  indices: readonly Tensor[],
): readonly Tensor[] {
  return apply(partitionRowsOperator, [table, places, ...indices]);
}

/** The way back: rows of `parts` at `places` [rows], zeros where a place is their total length. Arguments as in `partitionRows`. */
export function assembleRows(
  parts: readonly Tensor[],
  places: Tensor,
  indices: readonly Tensor[],
): Tensor {
  return apply(assembleRowsOperator, [places, ...parts, ...indices])[0]!;
}
