// Encodes a graph as an ONNX ModelProto. Field numbers: onnx.proto3.

import protobuf from "protobufjs/minimal.js";
import { EngineError } from "../core/errors.ts";
import type { Emitter, EmitOptions, OnnxAttribute } from "./operator.ts";
import { elementType } from "./element-type.ts";
import type { Dtype, Node, Precision, Shape, Tensor } from "./tensor.ts";

const { Writer } = protobuf;
type Writer = protobuf.Writer;

const IR_VERSION = 10;
const OPSET = 21;

const lengthDelimited = (field: number): number => (field << 3) | 2;
const varint = (field: number): number => field << 3;

function writeMessage(writer: Writer, field: number, write: (inner: Writer) => void): void {
  writer.uint32(lengthDelimited(field)).fork();
  write(writer);
  writer.ldelim();
}

function writeAttribute(writer: Writer, name: string, value: OnnxAttribute): void {
  writer.uint32(lengthDelimited(1)).string(name);
  if ("float" in value) {
    writer.uint32((2 << 3) | 5).float(value.float);
    writer.uint32(varint(20)).int32(1);
  } else if ("int" in value) {
    writer.uint32(varint(3)).int64(value.int);
    writer.uint32(varint(20)).int32(2);
  } else if ("string" in value) {
    writer.uint32(lengthDelimited(4)).string(value.string);
    writer.uint32(varint(20)).int32(3);
  } else {
    for (const item of value.ints) writer.uint32(varint(8)).int64(item);
    writer.uint32(varint(20)).int32(7);
  }
}

function writeValueInfo(
  writer: Writer,
  { name, dtype, shape }: OnnxValue,
  precision: Precision,
): void {
  writer.uint32(lengthDelimited(1)).string(name);
  writeMessage(writer, 2, (type) =>
    writeMessage(type, 1, (tensor) => {
      tensor.uint32(varint(1)).int32(elementType(dtype, precision));
      writeMessage(tensor, 2, (dims) => {
        for (const extent of shape)
          writeMessage(dims, 1, (dim) => {
            if (typeof extent === "number") dim.uint32(varint(1)).int64(extent);
            else dim.uint32(lengthDelimited(2)).string(extent);
          });
      });
    }),
  );
}

/** An input or output of a model; an extent that is known only when it runs has a name. */
export interface OnnxValue {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly (number | string)[];
}

/** Bytes of a constant in a file beside the model. */
export interface ExternalData {
  readonly file: string;
  readonly offset: number;
  readonly length: number;
}

/** Collects nodes and constants, then writes them as a model. */
export class OnnxWriter implements Emitter {
  readonly #nodes: ((writer: Writer) => void)[] = [];
  readonly #initializers = new Map<string, (writer: Writer) => void>();
  #count = 0;
  label = "";
  readonly precision: Precision;

  constructor(precision: Precision = "float32") {
    this.precision = precision;
  }

  node(
    type: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, OnnxAttribute>> = {},
    options: EmitOptions = {},
  ): string[] {
    const name = `${this.label === "" ? "" : `${this.label}/`}${type}_${this.#count++}`;
    const outputs = Array.from({ length: options.outputs ?? 1 }, (_, index) =>
      index === 0 ? name : `${name}:${index}`,
    );
    this.#nodes.push((writer) => {
      for (const input of inputs) writer.uint32(lengthDelimited(1)).string(input);
      for (const output of outputs) writer.uint32(lengthDelimited(2)).string(output);
      writer.uint32(lengthDelimited(3)).string(name);
      writer.uint32(lengthDelimited(4)).string(type);
      for (const [key, value] of Object.entries(attributes)) {
        writeMessage(writer, 5, (inner) => writeAttribute(inner, key, value));
      }
      if (options.domain !== undefined) writer.uint32(lengthDelimited(7)).string(options.domain);
    });
    return outputs;
  }

  /** Gives a value a fixed name (graph outputs). ONNX Runtime removes the Identity. */
  rename(from: string, to: string): void {
    this.#nodes.push((writer) => {
      writer.uint32(lengthDelimited(1)).string(from);
      writer.uint32(lengthDelimited(2)).string(to);
      writer.uint32(lengthDelimited(4)).string("Identity");
    });
  }

  int64(values: readonly number[]): string {
    return this.#constant("int64", BigInt64Array.from(values, BigInt), [values.length]);
  }

  float(values: readonly number[] | Float32Array, shape: readonly number[]): string {
    const array = this.precision === "float64" ? Float64Array : Float32Array;
    return this.#constant("float32", array.from(values), shape);
  }

  int32(values: readonly number[] | Int32Array, shape: readonly number[]): string {
    return this.#constant("int32", Int32Array.from(values), shape);
  }

  #constant(dtype: Dtype, values: ArrayBufferView, shape: readonly number[]): string {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    const key =
      bytes.length <= 64
        ? `${dtype}[${shape.join(",")}]:${Buffer.from(bytes).toString("hex")}`
        : `constant_${this.#initializers.size}`;
    if (!this.#initializers.has(key)) this.constant(key, dtype, shape, bytes);
    return key;
  }

  /** A constant of this name, its bytes in the model or in a file beside it. */
  constant(name: string, dtype: Dtype, shape: Shape, bytes: Uint8Array | ExternalData): void {
    this.#initializers.set(name, (writer) => {
      for (const extent of shape) writer.uint32(varint(1)).int64(extent);
      writer.uint32(varint(2)).int32(elementType(dtype, this.precision));
      writer.uint32(lengthDelimited(8)).string(name);
      if (bytes instanceof Uint8Array) {
        writer.uint32(lengthDelimited(9)).bytes(bytes);
        return;
      }
      const { file, offset, length } = bytes;
      for (const [key, value] of Object.entries({ location: file, offset, length })) {
        writeMessage(writer, 13, (entry) => {
          entry.uint32(lengthDelimited(1)).string(key);
          entry.uint32(lengthDelimited(2)).string(String(value));
        });
      }
      writer.uint32(varint(14)).int32(1); // EXTERNAL
    });
  }

  /** The bytes of a ModelProto. */
  finish(inputs: readonly OnnxValue[], outputs: readonly OnnxValue[]): Uint8Array {
    const model = Writer.create();
    model.uint32(varint(1)).int64(IR_VERSION);
    writeMessage(model, 7, (graph) => {
      for (const write of this.#nodes) writeMessage(graph, 1, write);
      graph.uint32(lengthDelimited(2)).string("alidade");
      for (const write of this.#initializers.values()) writeMessage(graph, 5, write);
      const describe = (field: number, value: OnnxValue): void =>
        writeMessage(graph, field, (info) => writeValueInfo(info, value, this.precision));
      for (const value of inputs) describe(11, value);
      for (const value of outputs) describe(12, value);
    });
    for (const [domain, version] of [
      ["", OPSET],
      ["com.microsoft", 1],
    ] as const) {
      writeMessage(model, 8, (opset) => {
        opset.uint32(lengthDelimited(1)).string(domain);
        opset.uint32(varint(2)).int64(version);
      });
    }
    return model.finish();
  }
}

export interface NamedTensor {
  readonly name: string;
  readonly tensor: Tensor;
}

export interface EncodedGraph {
  readonly bytes: Uint8Array;
  readonly inputs: readonly NamedTensor[];
  readonly outputs: readonly NamedTensor[];
}

/** Nodes that the outputs need, each after its inputs (iterative: deep graphs do not overflow the stack). */
export function topologicalOrder(outputs: readonly Tensor[]): Node[] {
  const order: Node[] = [];
  const state = new Map<Node, "open" | "done">();
  const stack: Node[] = outputs.map((tensor) => tensor.node).toReversed();
  while (stack.length > 0) {
    const node = stack.at(-1)!;
    const seen = state.get(node);
    if (seen === undefined) {
      state.set(node, "open");
      for (const input of node.inputs.toReversed()) {
        if (!state.has(input.node)) stack.push(input.node);
      }
    } else {
      stack.pop();
      if (seen === "open") {
        state.set(node, "done");
        order.push(node);
      }
    }
  }
  return order;
}

/** The ONNX bytes of a graph; its inputs are the `input` nodes that the outputs reach. */
export function encodeGraph(
  outputs: Readonly<Record<string, Tensor>>,
  precision: Precision = "float32",
): EncodedGraph {
  const writer = new OnnxWriter(precision);
  const names = new Map<Tensor, string>();
  const inputs: NamedTensor[] = [];
  const taken = new Set(Object.keys(outputs));
  for (const node of topologicalOrder(Object.values(outputs))) {
    writer.label = node.label;
    if (node.operator.name === "input") {
      const name = String(node.attributes["name"]);
      if (taken.has(name)) {
        throw new EngineError({
          where: "compile",
          expected: "inputs and outputs of different names",
          got: `"${name}" twice`,
        });
      }
      taken.add(name);
      names.set(node.outputs[0]!, name);
      inputs.push({ name, tensor: node.outputs[0]! });
      continue;
    }
    const lowered = node.operator.lower(
      writer,
      node,
      node.inputs.map((input) => names.get(input)!),
    );
    node.outputs.forEach((output, index) => names.set(output, lowered[index]!));
  }
  const named = Object.entries(outputs).map(([name, tensor]) => ({ name, tensor }));
  for (const { name, tensor } of named) writer.rename(names.get(tensor)!, name);
  const values = (list: readonly NamedTensor[]): OnnxValue[] =>
    list.map(({ name, tensor: { dtype, shape } }) => ({ name, dtype, shape }));
  return { bytes: writer.finish(values(inputs), values(named)), inputs, outputs: named };
}
