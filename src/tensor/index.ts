// The tensor engine: symbolic tensors, operators, gradients, programs. The only folder that knows ONNX Runtime.

export { scope, sizeOf, type Dtype, type Shape, type Tensor } from "./tensor.ts";
export * from "./operators/attention.ts";
export * from "./operators/elementwise.ts";
export * from "./operators/gather.ts";
export * from "./operators/leaf.ts";
export * from "./operators/matmul.ts";
export * from "./operators/neural.ts";
export * from "./operators/reduce.ts";
export * from "./operators/shape.ts";
export { OnnxWriter, type ExternalData, type OnnxValue } from "./onnx.ts";
export { gradients } from "./gradients.ts";
export { liveMemory, type LiveMemory } from "./live-memory.ts";
export {
  allocate,
  compile,
  Program,
  type Binding,
  type CompileOptions,
  type TensorData,
} from "./program.ts";
export { configureRuntime, deviceNames, ortLibrary, type RuntimeOptions } from "./ort.ts";
