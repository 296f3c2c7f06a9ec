// Matrix products. com.microsoft.FusedMatMul transposes and scales inside, so every gradient is again one product.

import { emitProduct, gemmAttributes, type ProductFlags } from "../emit-product.ts";
import type { Operator } from "../operator.ts";
import { add } from "./elementwise.ts";
import { apply, sameShape, shapeError, showShape, type Node, type Tensor } from "../tensor.ts";

export interface MatmulOptions {
  /** Use the transpose of the last two axes of a. */
  readonly transposeA?: boolean;
  /** Use the transpose of the last two axes of b. */
  readonly transposeB?: boolean;
  /** Factor on the result; default 1. */
  readonly scale?: number;
}

const flagsOf = (node: Node): ProductFlags => node.attributes as unknown as ProductFlags;

const matmulOperator: Operator = {
  name: "matmul",
  type: ([a, b], attributes) => {
    const { transposeA, transposeB } = attributes as unknown as ProductFlags;
    const rank = a!.shape.length;
    const fail = (expected: string): never => {
      throw shapeError(
        "matmul",
        expected,
        [a!, b!],
        `transposeA ${transposeA}, transposeB ${transposeB}`,
      );
    };
    if (a!.dtype !== "float32" || b!.dtype !== "float32") fail("two float32 tensors");
    if (rank < 2 || b!.shape.length !== rank) fail("two tensors of the same rank, at least 2");
    const [rows, inner] = transposeA
      ? [a!.shape.at(-1)!, a!.shape.at(-2)!]
      : [a!.shape.at(-2)!, a!.shape.at(-1)!];
    const [innerB, columns] = transposeB
      ? [b!.shape.at(-1)!, b!.shape.at(-2)!]
      : [b!.shape.at(-2)!, b!.shape.at(-1)!];
    const batch = a!.shape.slice(0, -2);
    if (!sameShape(batch, b!.shape.slice(0, -2)))
      fail(`equal batch axes, here ${showShape(batch)}`);
    if (inner !== innerB) fail(`equal inner extents, here ${inner} and ${innerB}`);
    return [{ shape: [...batch, rows, columns], dtype: "float32" }];
  },
  lower: (emit, node, inputs) =>
    emitProduct(emit, inputs, flagsOf(node), node.outputs[0]!.shape.length),
  gradient: ([dy], node) => {
    const { transposeA: tA, transposeB: tB, scale } = node.attributes as unknown as ProductFlags;
    const [a, b] = [node.inputs[0]!, node.inputs[1]!];
    return [
      tA
        ? matmul(b, dy!, { transposeA: tB, transposeB: true, scale })
        : matmul(dy!, b, { transposeB: !tB, scale }),
      tB
        ? matmul(dy!, a, { transposeA: true, transposeB: tA, scale })
        : matmul(a, dy!, { transposeA: !tA, scale }),
    ];
  },
};

/** scale · op(a) op(b) over the last two axes; leading axes are batch axes and must be equal. */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { transposeA = false, transposeB = false, scale = 1 } = options;
  return apply(matmulOperator, [a, b], { transposeA, transposeB, scale })[0]!;
}

const matmulAddOperator: Operator = {
  name: "matmulAdd",
  inPlaceInput: 2,
  type: ([a, b, c], attributes) => {
    const [product] = matmulOperator.type([a!, b!], attributes);
    if (a!.shape.length !== 2 || !sameShape(product!.shape, c!.shape)) {
      throw shapeError("matmulAdd", "two matrices and an addend of the shape of their product", [
        a!,
        b!,
        c!,
      ]);
    }
    return [product!];
  },
  lower: (emit, node, inputs) => emit.node("Gemm", inputs, gemmAttributes(flagsOf(node))),
  gradient: ([dy], node) => [...matmulOperator.gradient!([dy], node), dy],
};

/**
 * sum + x. When x is a product of two matrices they become one operator that adds into the memory of `sum` (pass the result
 * as an output in place of `sum`): how gradients accumulate without a pass of their own.
 */
export function addInto(sum: Tensor, x: Tensor): Tensor {
  const { operator, inputs, attributes } = x.node;
  if (operator !== matmulOperator || x.shape.length !== 2) return add(sum, x);
  return apply(matmulAddOperator, [...inputs, sum], attributes)[0]!;
}
