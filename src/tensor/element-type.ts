// Element types of ONNX (TensorProto.DataType).

import type { Dtype, Precision } from "./tensor.ts";

const ELEMENT_TYPE = { float32: 1, int32: 6, int64: 7, bool: 9 } as const satisfies Record<
  Dtype,
  number
>;
const DOUBLE = 11;

export function elementType(dtype: Dtype, precision: Precision): number {
  return dtype === "float32" && precision === "float64" ? DOUBLE : ELEMENT_TYPE[dtype];
}
