// Element-wise operators with NumPy broadcasting. One row each: ONNX operator and gradient.

import { elementType } from "../element-type.ts";
import type { OnnxAttribute, Operator } from "../operator.ts";
import {
  apply,
  broadcastShapes,
  sameShape,
  shapeError,
  type Dtype,
  type Tensor,
} from "../tensor.ts";
import { constant, stopGradient } from "./leaf.ts";
import { sumTo } from "./reduce.ts";

/** A tensor, or a number that stands for a scalar constant. */
export type Operand = Tensor | number;

const asTensor = (operand: Operand): Tensor =>
  typeof operand === "number" ? constant(operand) : operand;

type Slope = (x: Tensor, y: Tensor, dy: Tensor) => Tensor;

function unary(
  name: string,
  onnx: { type: string; domain?: "com.microsoft"; attributes?: Record<string, OnnxAttribute> },
  slope: Slope | null,
  dtypes: { from: Dtype; to: Dtype } = { from: "float32", to: "float32" },
): (x: Tensor) => Tensor {
  const operator: Operator = {
    name,
    elementwise: true,
    type: ([x]) => {
      if (x!.dtype !== dtypes.from) throw shapeError(name, `a ${dtypes.from} tensor`, [x!]);
      return [{ shape: x!.shape, dtype: dtypes.to }];
    },
    lower: (emit, _node, inputs) =>
      emit.node(
        onnx.type,
        inputs,
        onnx.attributes,
        onnx.domain === undefined ? {} : { domain: onnx.domain },
      ),
    gradient: slope && (([dy], node) => [slope(node.inputs[0]!, node.outputs[0]!, dy!)]),
  };
  return (x) => apply(operator, [x])[0]!;
}

type Slopes = (
  a: Tensor,
  b: Tensor,
  y: Tensor,
  dy: Tensor,
) => readonly [Tensor | undefined, Tensor | undefined];

function binary(
  name: string,
  onnxType: string,
  slopes: Slopes | null,
  dtypes: { from?: Dtype; to?: Dtype } = {},
): (a: Operand, b: Operand) => Tensor {
  const operator: Operator = {
    name,
    elementwise: true,
    type: ([a, b]) => {
      const shape = broadcastShapes(a!.shape, b!.shape);
      if (shape === undefined) throw shapeError(name, "shapes that broadcast", [a!, b!]);
      if (a!.dtype !== b!.dtype || (dtypes.from !== undefined && a!.dtype !== dtypes.from)) {
        throw shapeError(name, `two ${dtypes.from ?? "equal"} dtypes`, [a!, b!]);
      }
      return [{ shape, dtype: dtypes.to ?? a!.dtype }];
    },
    lower: (emit, _node, inputs) => emit.node(onnxType, inputs),
    gradient:
      slopes &&
      (([dy], node) => {
        const [a, b] = [node.inputs[0]!, node.inputs[1]!];
        const [da, db] = slopes(a, b, node.outputs[0]!, dy!);
        return [da && sumTo(da, a.shape), db && sumTo(db, b.shape)];
      }),
  };
  return (a, b) => {
    const [x, y] = [asTensor(a), asTensor(b)];
    return apply(operator, [x, y])[0]!;
  };
}

export const add = binary("add", "Add", (_a, _b, _y, dy) => [dy, dy]);
export const sub = binary("sub", "Sub", (_a, _b, _y, dy) => [dy, neg(dy)]);
export const mul = binary("mul", "Mul", (a, b, _y, dy) => [mul(dy, b), mul(dy, a)], {
  from: "float32",
});
export const div = binary("div", "Div", (_a, b, y, dy) => [div(dy, b), neg(div(mul(dy, y), b))], {
  from: "float32",
});
/** Where the operands are equal the gradient goes to the first. */
export const minimum = binary("minimum", "Min", (a, b, _y, dy) => routed(lessOrEqual(a, b), dy), {
  from: "float32",
});
/** Where the operands are equal the gradient goes to the first. */
export const maximum = binary(
  "maximum",
  "Max",
  (a, b, _y, dy) => routed(greaterOrEqual(a, b), dy),
  { from: "float32" },
);
export const greater = binary("greater", "Greater", null, { to: "bool" });
export const greaterOrEqual = binary("greaterOrEqual", "GreaterOrEqual", null, { to: "bool" });
export const less = binary("less", "Less", null, { to: "bool" });
export const lessOrEqual = binary("lessOrEqual", "LessOrEqual", null, { to: "bool" });
export const equal = binary("equal", "Equal", null, { to: "bool" });
export const and = binary("and", "And", null, { from: "bool", to: "bool" });
export const or = binary("or", "Or", null, { from: "bool", to: "bool" });

const routed = (first: Tensor, dy: Tensor): readonly [Tensor, Tensor] => [
  where(first, dy, constant(0)),
  where(first, constant(0), dy),
];

export const neg = unary("neg", { type: "Neg" }, (_x, _y, dy) => neg(dy));
export const exp = unary("exp", { type: "Exp" }, (_x, y, dy) => mul(dy, y));
export const log = unary("log", { type: "Log" }, (x, _y, dy) => div(dy, x));
export const sqrt = unary("sqrt", { type: "Sqrt" }, (_x, y, dy) => div(mul(dy, 0.5), y));
export const reciprocal = unary("reciprocal", { type: "Reciprocal" }, (_x, y, dy) =>
  neg(mul(dy, mul(y, y))),
);
export const tanh = unary("tanh", { type: "Tanh" }, (_x, y, dy) => mul(dy, sub(1, mul(y, y))));
export const sigmoid = unary("sigmoid", { type: "Sigmoid" }, (_x, y, dy) =>
  mul(dy, mul(y, sub(1, y))),
);
export const relu = unary("relu", { type: "Relu" }, (x, _y, dy) =>
  where(greater(x, 0), dy, constant(0)),
);
export const sin = unary("sin", { type: "Sin" }, (x, _y, dy) => mul(dy, cos(x)));
export const cos = unary("cos", { type: "Cos" }, (x, _y, dy) => neg(mul(dy, sin(x))));
export const abs = unary("abs", { type: "Abs" }, (x, _y, dy) => mul(dy, sign(x)));
export const sign = unary("sign", { type: "Sign" }, null);
export const not = unary("not", { type: "Not" }, null, { from: "bool", to: "bool" });

/** x sigmoid(alpha x). With s the sigmoid: dy/dx = s + alpha (y - y s). */
const sigmoidGated = (name: string, alpha: number): ((x: Tensor) => Tensor) =>
  unary(
    name,
    { type: "QuickGelu", domain: "com.microsoft", attributes: { alpha: { float: alpha } } },
    (x, y, dy) => {
      const s = sigmoid(alpha === 1 ? x : mul(x, alpha));
      const bend = sub(y, mul(y, s));
      return mul(dy, add(s, alpha === 1 ? bend : mul(bend, alpha)));
    },
  );

/** x * sigmoid(x); the activation of SwiGLU. */
export const silu = sigmoidGated("silu", 1);

/** x * sigmoid(1.702 x), the GELU within 0.021 (Hendrycks and Gimpel, arXiv:1606.08415, section 2); its gradient needs no erf. */
export const quickGelu = sigmoidGated("quickGelu", 1.702);

/** The exact GELU: x * Phi(x), Phi the normal distribution function. */
export const gelu = unary("gelu", { type: "Gelu" }, (x, _y, dy) => {
  const phi = mul(add(1, erf(mul(x, Math.SQRT1_2))), 0.5);
  const density = mul(exp(mul(mul(x, x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
  return mul(dy, add(phi, mul(x, density)));
});
export const erf = unary("erf", { type: "Erf" }, (x, _y, dy) =>
  mul(dy, mul(exp(neg(mul(x, x))), 2 / Math.sqrt(Math.PI))),
);

const whereOperator: Operator = {
  name: "where",
  elementwise: true,
  type: ([condition, a, b]) => {
    const inner = broadcastShapes(a!.shape, b!.shape);
    const shape = inner && broadcastShapes(condition!.shape, inner);
    if (shape === undefined)
      throw shapeError("where", "three shapes that broadcast", [condition!, a!, b!]);
    if (condition!.dtype !== "bool" || a!.dtype !== b!.dtype) {
      throw shapeError("where", "a bool condition and two equal dtypes", [condition!, a!, b!]);
    }
    return [{ shape, dtype: a!.dtype }];
  },
  lower: (emit, _node, inputs) => emit.node("Where", inputs),
  gradient: ([dy], node) => {
    const [condition, a, b] = [node.inputs[0]!, node.inputs[1]!, node.inputs[2]!];
    return [
      undefined,
      sumTo(where(condition, dy!, constant(0)), a.shape),
      sumTo(where(condition, constant(0), dy!), b.shape),
    ];
  },
};

/** `a` where the condition holds, else `b`. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  return apply(whereOperator, [condition, asTensor(a), asTensor(b)])[0]!;
}

const castOperator: Operator = {
  name: "cast",
  type: (_inputs, { to }) => [{ shape: _inputs[0]!.shape, dtype: to as Dtype }],
  lower: (emit, node, inputs) =>
    emit.node("Cast", inputs, {
      to: { int: elementType(node.attributes["to"] as Dtype, emit.precision) },
    }),
  gradient: ([dy], node) => [
    node.inputs[0]!.dtype === "float32" && node.outputs[0]!.dtype === "float32" ? dy : undefined,
  ],
};

/** Another dtype; no gradient flows through, unless both are float32. */
export function cast(x: Tensor, to: Dtype): Tensor {
  return x.dtype === to ? x : apply(castOperator, [x], { to })[0]!;
}

/** x limited to [low, high]; the gradient is zero outside. */
export function clamp(x: Tensor, low: number, high: number): Tensor {
  return minimum(maximum(x, constant(low)), constant(high));
}

/** exp(x) computed once and used as a constant factor: exp(stopGradient(x)). */
export const detachedExp = (x: Tensor): Tensor => exp(stopGradient(x));

/** x, repeated along axes of extent 1 (or missing at the front). */
export function broadcastTo(x: Tensor, shape: readonly number[]): Tensor {
  return sameShape(x.shape, shape) ? x : apply(broadcastOperator, [x], { shape })[0]!;
}

const broadcastOperator: Operator = {
  name: "broadcastTo",
  type: ([x], { shape }) => {
    const target = shape as readonly number[];
    const result = broadcastShapes(x!.shape, target);
    if (result === undefined || !sameShape(result, target)) {
      throw shapeError("broadcastTo", `a shape that broadcasts to [${target.join(", ")}]`, [x!]);
    }
    return [{ shape: target, dtype: x!.dtype }];
  },
  lower: (emit, node, inputs) =>
    emit.node("Expand", [inputs[0]!, emit.int64(node.attributes["shape"] as number[])]),
  gradient: ([dy], node) => [sumTo(dy!, node.inputs[0]!.shape)],
};
