// Reading and adding at indices. Indices are int32.

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
import { pad } from "./shape.ts";

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
  const [oneHot] = emit.node("Cast", [hit!], { to: { int: 1 } });
  return emit.node(
    "FusedMatMul",
    [oneHot!, updates],
    { transA: { int: 1 } },
    { domain: "com.microsoft" },
  );
}

function scatterElements(emit: Emitter, column: string, updates: string, shape: Shape): string[] {
  const [zeros] = emit.node("Expand", [emit.float32([0], []), emit.int64(shape)]);
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
    const [zeros] = emit.node("Expand", [emit.float32([0], []), emit.int64(shape)]);
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

const selectRowsOperator: Operator = {
  name: "selectRows",
  type: ([table, indices, places]) => {
    const fits =
      indices!.dtype === "int32" &&
      places!.dtype === "int32" &&
      indices!.shape.length === 1 &&
      sameShape(places!.shape, table!.shape.slice(0, 1));
    if (!fits) {
      throw shapeError("selectRows", "a table, int32 indices [selected] and int32 places [rows]", [
        table!,
        indices!,
        places!,
      ]);
    }
    return [{ shape: [indices!.shape[0]!, ...table!.shape.slice(1)], dtype: table!.dtype }];
  },
  lower: (emit, _node, inputs) =>
    emit.node("Gather", [inputs[0]!, inputs[1]!], { axis: { int: 0 } }),
  gradient: ([dy], node) => {
    const padded = pad(dy!, 0, 0, 1); // one row of zeros at the end
    return [gatherRows(padded, node.inputs[2]!), undefined, undefined];
  },
};

/**
 * Rows of `table` [rows, width] at different `indices` [selected]; `places` [rows] says where each row went, and `selected`
 * where it went nowhere. Equal indices are allowed only where the result gets no gradient (padding).
 * The gradient is again a selection, many times faster than adding rows one after the other.
 */
export function selectRows(table: Tensor, indices: Tensor, places: Tensor): Tensor {
  return apply(selectRowsOperator, [table, indices, places])[0]!;
}
