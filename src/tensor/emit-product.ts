// Matrix products in ONNX: which operator computes one, by its transposes and the precision.

import type { Emitter, OnnxAttribute } from "./operator.ts";

export interface ProductFlags {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly scale: number;
}

/** Of an ONNX Gemm or FusedMatMul. */
export const gemmAttributes = (flags: ProductFlags): Record<string, OnnxAttribute> => ({
  transA: { int: flags.transposeA ? 1 : 0 },
  transB: { int: flags.transposeB ? 1 : 0 },
  alpha: { float: flags.scale },
});

/** Writes a product of two tensors of this rank. */
export function emitProduct(
  emit: Emitter,
  inputs: readonly string[],
  flags: ProductFlags,
  rank: number,
): string[] {
  const { transposeA, transposeB, scale } = flags;
  if (!transposeA && !transposeB && scale === 1) return emit.node("MatMul", inputs);
  if (emit.precision === "float32") {
    return emit.node("FusedMatMul", inputs, gemmAttributes(flags), { domain: "com.microsoft" });
  }
  // FusedMatMul knows float32 only.
  if (rank === 2) return emit.node("Gemm", inputs, gemmAttributes(flags));
  const order = Array.from({ length: rank }, (_, axis) => axis);
  const perm = { ints: [...order.slice(0, -2), rank - 1, rank - 2] };
  const sides = [transposeA, transposeB].map((turned, side) =>
    turned ? emit.node("Transpose", [inputs[side]!], { perm })[0]! : inputs[side]!,
  );
  return emit.node("Mul", [emit.node("MatMul", sides)[0]!, emit.float([scale], [])]);
}
