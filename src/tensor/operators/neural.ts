// Fused operators of neural networks: softmax, normalisation, gated activation, rotary positions.

import type { Operator } from "../operator.ts";
import { apply, sameShape, shapeError, sizeOf, type Node, type Tensor } from "../tensor.ts";
import { add, broadcastTo, exp, mul, neg, sigmoid, sub } from "./elementwise.ts";
import { constant } from "./leaf.ts";
import { matmul } from "./matmul.ts";
import { sum } from "./reduce.ts";
import { reshape } from "./shape.ts";

const overLastAxis = { axis: { int: -1 } };

const softmaxOperator: Operator = {
  name: "softmax",
  type: ([x]) => [x!],
  lower: (emit, _node, inputs) => emit.node("Softmax", inputs, overLastAxis),
  gradient: ([dy], node) => {
    const y = node.outputs[0]!;
    const weighted = mul(dy!, y);
    return [sub(weighted, mul(y, sum(weighted, { axes: [-1], keepAxes: true })))];
  },
};

/** Over the last axis. */
export function softmax(x: Tensor): Tensor {
  return apply(softmaxOperator, [x])[0]!;
}

const logSoftmaxOperator: Operator = {
  name: "logSoftmax",
  type: ([x]) => [x!],
  lower: (emit, _node, inputs) => emit.node("LogSoftmax", inputs, overLastAxis),
  gradient: ([dy], node) => [
    sub(dy!, mul(exp(node.outputs[0]!), sum(dy!, { axes: [-1], keepAxes: true }))),
  ],
};

/** Over the last axis. */
export function logSoftmax(x: Tensor): Tensor {
  return apply(logSoftmaxOperator, [x])[0]!;
}

const SHORT = 64;

/** How many short rows (heads) to treat as one: broadcasting along them costs more than computing. */
function rowsTogether(rows: number, width: number): number {
  let count = 1;
  while (count * width < SHORT && rows % (2 * count) === 0) count *= 2;
  return count;
}

/**
 * The gradient of rmsNorm for rows of a few numbers, `count` of which lie in each row of a matrix. One number a short row
 * becomes one a column, and columns a number a short row, by products with E [count, count · width] (1 where they belong
 * together).
 */
function shortRowsGradient(node: Node, dy: Tensor, count: number): readonly Tensor[] {
  const [x, scale] = [node.inputs[0]!, node.inputs[1]!];
  const width = scale.shape[0]!;
  const wide = count * width;
  const flat = (tensor: Tensor): Tensor => reshape(tensor, [-1, wide]);
  const belongs = Float32Array.from({ length: count * wide }, (_, index) =>
    Math.floor((index % wide) / width) === Math.floor(index / wide) ? 1 : 0,
  );
  const e = constant(belongs, [count, wide]);
  const scales = reshape(broadcastTo(scale, [count, width]), [1, wide]);
  const inverse = matmul(reshape(node.outputs[1]!, [-1, count]), e); // [rows / count, wide]
  const normed = mul(flat(x), inverse);
  const product = mul(flat(dy), normed);
  const sums = matmul(
    constant(new Float32Array(product.shape[0]!).fill(1), [1, product.shape[0]!]),
    product,
  );
  const dScale = sum(reshape(sums, [count, width]), { axes: [0] });
  const means = matmul(product, mul(e, scales), { transposeB: true, scale: 1 / width }); // [rows / count, count]
  const dx = mul(sub(mul(flat(dy), scales), mul(normed, matmul(means, e))), inverse);
  return [reshape(dx, x.shape), dScale];
}

const rmsNormOperator: Operator = {
  name: "rmsNorm",
  type: ([x, scale]) => {
    if (!sameShape(scale!.shape, x!.shape.slice(-1))) {
      throw shapeError("rmsNorm", "a scale of the extent of the last axis", [x!, scale!]);
    }
    return [x!, { shape: [...x!.shape.slice(0, -1), 1], dtype: "float32" }];
  },
  lower: (emit, node, inputs) => {
    const epsilon = node.attributes["epsilon"] as number;
    if (emit.precision === "float64") {
      // SimplifiedLayerNormalization gives the inverse in float32.
      const op = (type: string, list: readonly string[]): string => emit.node(type, list)[0]!;
      const [x, scale] = inputs as [string, string];
      const [square] = emit.node("ReduceMean", [op("Mul", [x, x]), emit.int64([-1])]);
      const r = op("Reciprocal", [op("Sqrt", [op("Add", [square!, emit.float([epsilon], [])])])]);
      return [op("Mul", [op("Mul", [x, r]), scale]), r];
    }
    const [y, inverse] = emit.node(
      "SimplifiedLayerNormalization",
      inputs,
      { axis: { int: -1 }, epsilon: { float: epsilon }, stash_type: { int: 1 } },
      { outputs: 2 },
    );
    return [y!, inverse!];
  },
  gradient: ([dy], node) => {
    // y = x r g with r = 1 / rms(x), p = dy x:
    //   dg = Σ_rows r p        dx = r g dy − r³ mean(g p) x
    const [x, scale] = [node.inputs[0]!, node.inputs[1]!];
    const width = scale.shape[0]!;
    const rows = sizeOf(x.shape) / width;
    const together = rowsTogether(rows, width);
    if (together > 1) return shortRowsGradient(node, dy!, together);
    const inverse = reshape(node.outputs[1]!, [rows, 1]);
    const [flatX, flatDy] = [reshape(x, [rows, width]), reshape(dy!, [rows, width])];
    const product = mul(flatDy, flatX); // [rows, width]
    const dScale = reshape(matmul(inverse, product, { transposeA: true }), [width]);
    const mean = matmul(product, reshape(scale, [width, 1]), { scale: 1 / width }); // [rows, 1]
    const cube = mul(mul(inverse, inverse), mul(inverse, mean)); // [rows, 1]
    const dx = sub(mul(mul(flatDy, scale), inverse), mul(flatX, cube));
    return [reshape(dx, x.shape), dScale];
  },
};

/** x / sqrt(mean(x²) + epsilon) · scale over the last axis (Zhang and Sennrich, arXiv:1910.07467). */
export function rmsNorm(x: Tensor, scale: Tensor, epsilon: number): Tensor {
  return apply(rmsNormOperator, [x, scale], { epsilon })[0]!;
}

const swigluOperator: Operator = {
  name: "swiglu",
  type: ([gate, up]) => {
    if (!sameShape(gate!.shape, up!.shape))
      throw shapeError("swiglu", "two equal shapes", [gate!, up!]);
    return [gate!, gate!];
  },
  lower: (emit, _node, [gate, up]) => {
    const [activated] = emit.node(
      "QuickGelu",
      [gate!],
      { alpha: { float: 1 } },
      { domain: "com.microsoft" },
    );
    return [emit.node("Mul", [activated!, up!])[0]!, activated!];
  },
  gradient: ([dy], node) => {
    // a = g s with s = sigmoid(g):  da/dg = s + a - a s
    const [gate, up] = [node.inputs[0]!, node.inputs[1]!];
    const activated = node.outputs[1]!;
    const s = sigmoid(gate);
    const slope = add(s, sub(activated, mul(activated, s)));
    return [mul(mul(dy!, up), slope), mul(dy!, activated)];
  },
};

/** gate · sigmoid(gate) · up (Shazeer, arXiv:2002.05202, "SwiGLU" without its matrices). */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  return apply(swigluOperator, [gate, up])[0]!;
}

const rotaryOperator: Operator = {
  name: "rotary",
  type: ([x, positions, cosine, sine]) => {
    const [tokens, width] = x!.shape;
    const fits =
      x!.shape.length === 2 &&
      positions!.dtype === "int32" &&
      sameShape(positions!.shape, [tokens!]) &&
      sameShape(cosine!.shape, sine!.shape) &&
      width! % (2 * cosine!.shape[1]!) === 0;
    if (!fits)
      throw shapeError(
        "rotary",
        "x [tokens, heads * 2n], int32 positions [tokens] and tables [positions, n]",
        [x!, positions!, cosine!],
      );
    return [x!];
  },
  lower: (emit, node, [x, positions, cosine, sine]) => {
    const shape = node.inputs[0]!.shape;
    // A batch of sequences of one token: a sequence may not be longer than the tables.
    const [rows] = emit.node("Reshape", [x!, emit.int64([shape[0]!, 1, shape[1]!])]);
    const [wide] = emit.node("Cast", [positions!], { to: { int: 7 } });
    const [ids] = emit.node("Reshape", [wide!, emit.int64([-1, 1])]);
    const [turned] = emit.node(
      "RotaryEmbedding",
      [rows!, ids!, cosine!, sine!],
      {},
      { domain: "com.microsoft" },
    );
    return emit.node("Reshape", [turned!, emit.int64(shape)]);
  },
  gradient: ([dy], node) => {
    const [, positions, cosine, sine] = node.inputs;
    return [rotary(dy!, positions!, cosine!, neg(sine!)), undefined, undefined, undefined];
  },
};

/**
 * Rotary positions, halves split (Su et al., arXiv:2104.09864, in the layout of Llama and Qwen).
 * x [tokens, heads · headSize], the position of each token int32 [tokens], tables [positions, headSize / 2].
 */
export function rotary(x: Tensor, positions: Tensor, cosine: Tensor, sine: Tensor): Tensor {
  return apply(rotaryOperator, [x, positions, cosine, sine])[0]!;
}
