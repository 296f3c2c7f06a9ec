// Compiles a graph into an ONNX Runtime session and runs it over memory that we own.

import { constants } from "node:buffer";
import { EngineError, ShapeError } from "../core/errors.ts";
import { elementType } from "./element-type.ts";
import { encodeGraph, topologicalOrder, type NamedTensor } from "./onnx.ts";
import { addressOf, ortLibrary, RunTables, type Pointer } from "./ort.ts";
import { showType, sizeOf } from "./tensor.ts";
import type { Dtype, Node, Precision, Shape, Tensor } from "./tensor.ts";

export type TensorData = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array;

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
} as const satisfies Record<Dtype | "float64", unknown>;

/** The kind of array that holds a tensor. */
const arrayType = (dtype: Dtype, precision: Precision): Dtype | "float64" =>
  dtype === "float32" ? precision : dtype;

/** Zeroed memory that ONNX Runtime may hold on to: it starts at a cache line and never moves. */
export function allocate(dtype: "float32", shape: Shape): Float32Array;
export function allocate(dtype: "int32", shape: Shape): Int32Array;
export function allocate(dtype: Dtype | "float64", shape: Shape): TensorData;
export function allocate(dtype: Dtype | "float64", shape: Shape): TensorData {
  const array = ARRAYS[dtype];
  const count = sizeOf(shape);
  if (count * array.BYTES_PER_ELEMENT + 128 > constants.MAX_LENGTH) {
    throw new EngineError({
      where: "memory",
      expected: `arrays of at most ${constants.MAX_LENGTH / 2 ** 30} GiB, the limit of this Node`,
      got: `${(count * array.BYTES_PER_ELEMENT) / 2 ** 30} GiB`,
      hint: "train adapters (model.lora), or use Node 22",
    });
  }
  const buffer = newBuffer(count * array.BYTES_PER_ELEMENT + 128);
  const offset = Number((64n - (addressOf(new Uint8Array(buffer)) & 63n)) & 63n);
  return new array(buffer, offset, count);
}

function newBuffer(bytes: number): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch (cause) {
    throw new EngineError({
      where: "memory",
      expected: `${(bytes / 2 ** 20).toFixed(0)} MiB for one array`,
      got: "none from the system",
      hint: "see engine.microBatchTokens, engine.maxSampleRows, model.lora",
      cause,
    });
  }
}

export interface CompileOptions {
  /** Output name → input name whose memory it may overwrite. Refused where that would be a race. */
  readonly inPlace?: Readonly<Record<string, string>>;
  /** Prefix of a file for ONNX Runtime's profile (a JSON trace of every node); complete once the program is disposed of. */
  readonly profile?: string;
  /** What the program is for; errors name it. */
  readonly name?: string;
  /** float64 computes every float32 tensor of the graph in double precision; its arrays are Float64Arrays. Default float32. */
  readonly precision?: Precision;
}

export type Bindings = Readonly<Record<string, TensorData>>;

const sessions = new FinalizationRegistry<Pointer>((session) =>
  ortLibrary().call("ReleaseSession", session),
);
const values = new FinalizationRegistry<readonly Pointer[]>((list) => {
  for (const value of list) ortLibrary().call("ReleaseValue", value);
});

/** A compiled graph. `bind` it to memory, then run the binding as often as needed. */
export class Program implements Disposable {
  readonly name: string;
  readonly inputs: readonly NamedTensor[];
  readonly outputs: readonly NamedTensor[];
  readonly #inPlace: Readonly<Record<string, string>>;
  readonly #isProfiled: boolean;
  readonly precision: Precision;
  readonly #session: Pointer;
  /** Asynchronous runs that have not come back. */
  #running = 0;
  #isDisposed = false;

  constructor(graph: Readonly<Record<string, Tensor>>, options: CompileOptions = {}) {
    const { inPlace = {}, name = "program", precision = "float32" } = options;
    this.name = name;
    this.precision = precision;
    this.#inPlace = inPlace;
    this.#isProfiled = options.profile !== undefined;
    for (const [output, inputName] of Object.entries(inPlace))
      checkInPlace(name, graph, output, inputName);
    const encoded = encodeGraph(graph, precision);
    this.inputs = encoded.inputs;
    this.outputs = encoded.outputs;
    // Rewriting would round factors to float32 (it fuses them into products), which float64 must not have.
    const optimise = precision === "float32";
    const profilePrefix = options.profile;
    this.#session = ortLibrary().createSession(encoded.bytes, { optimise, profilePrefix });
    sessions.register(this, this.#session, this);
  }

  /**
   * Ties names to memory once. Inputs must be given; outputs that are not given get memory of their own
   * (in-place ones that of their input).
   */
  bind(memory: Bindings): Binding {
    this.session();
    const bound: Record<string, TensorData> = {};
    for (const { name, tensor } of this.inputs)
      bound[name] = this.#checked(name, tensor, memory[name]);
    for (const { name, tensor } of this.outputs) {
      const shared = this.#inPlace[name];
      const given =
        memory[name] ??
        (shared === undefined
          ? allocate(arrayType(tensor.dtype, this.precision), tensor.shape)
          : bound[shared]);
      bound[name] = this.#checked(name, tensor, given);
    }
    const unknown = Object.keys(memory).find((name) => !(name in bound));
    if (unknown !== undefined) {
      const known = [...this.inputs, ...this.outputs].map(({ name }) => name).join(", ");
      throw new EngineError({
        where: `${this.name}.bind`,
        expected: `names among ${known}`,
        got: unknown,
      });
    }
    return new Binding(this, bound);
  }

  session(): Pointer {
    if (this.#isDisposed) {
      throw new EngineError({
        where: this.name,
        expected: "a program that is still alive",
        got: "a disposed one",
      });
    }
    return this.#session;
  }

  /** Runs on a worker thread; a program that is disposed of meanwhile lives until the run is over. */
  async run(tables: RunTables): Promise<void> {
    const session = this.session();
    this.#running++;
    try {
      await ortLibrary().run(session, tables);
    } finally {
      this.#running--;
      if (this.#isDisposed) this.#release();
    }
  }

  [Symbol.dispose](): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#release();
  }

  #release(): void {
    if (this.#running > 0) return;
    sessions.unregister(this);
    if (this.#isProfiled) ortLibrary().endProfiling(this.#session);
    ortLibrary().call("ReleaseSession", this.#session);
  }

  dispose(): void {
    this[Symbol.dispose]();
  }

  #checked(name: string, tensor: Tensor, data: TensorData | undefined): TensorData {
    const expected = ARRAYS[arrayType(tensor.dtype, this.precision)];
    if (data instanceof expected && data.length === sizeOf(tensor.shape)) return data;
    const got = data === undefined ? "nothing" : `${data.constructor.name} of ${data.length}`;
    throw new ShapeError({
      where: `${this.name}.bind: ${name}`,
      expected: `${expected.name} of ${sizeOf(tensor.shape)} for ${showType(tensor)}`,
      got,
    });
  }
}

/** A program with its memory. Keeps both alive; each run reads and writes whatever the memory holds then. */
export class Binding {
  readonly program: Program;
  readonly memory: Readonly<Record<string, TensorData>>;
  readonly #tables: RunTables;

  constructor(program: Program, memory: Readonly<Record<string, TensorData>>) {
    this.program = program;
    this.memory = memory;
    const made: Pointer[] = [];
    const side = (list: readonly NamedTensor[]): (readonly [string, Pointer])[] =>
      list.map(({ name, tensor }) => {
        const data = memory[name]!;
        const value = ortLibrary().createValue(
          addressOf(data),
          data.byteLength,
          tensor.shape,
          elementType(tensor.dtype, program.precision),
        );
        made.push(value);
        return [name, value];
      });
    this.#tables = new RunTables(side(program.inputs), side(program.outputs));
    values.register(this, made);
  }

  /** Runs on a worker thread; the event loop keeps turning. */
  async run(): Promise<void> {
    await this.program.run(this.#tables);
  }

  /** Runs on this thread: for programs of microseconds. */
  runNow(): void {
    ortLibrary().runNow(this.program.session(), this.#tables);
  }

  /** Float memory of an input or output. */
  floats(name: string): Float32Array {
    return this.memory[name] as Float32Array;
  }

  /** Float memory in a double-precision program. */
  doubles(name: string): Float64Array {
    return this.memory[name] as Float64Array;
  }

  ints(name: string): Int32Array {
    return this.memory[name] as Int32Array;
  }
}

/** Operators whose result may live in the memory of their input. */
const VIEWS: ReadonlySet<string> = new Set(["stopGradient", "reshape"]);

/** The tensor and its views, among nodes in topological order. */
function viewsOf(tensor: Tensor, order: readonly Node[]): Set<Tensor> {
  const views = new Set([tensor]);
  for (const { operator, inputs, outputs } of order) {
    if (VIEWS.has(operator.name) && views.has(inputs[0]!)) views.add(outputs[0]!);
  }
  return views;
}

/**
 * An output may overwrite an input only when the node that makes it reads that input element by element (or at the one place
 * where the runtime allows it) and every other reader of the input or of a view of it has run before (is an ancestor of that node).
 */
function checkInPlace(
  program: string,
  graph: Readonly<Record<string, Tensor>>,
  output: string,
  inputName: string,
): void {
  const refuse = (got: string): never => {
    throw new EngineError({
      where: `${program}: ${output} in place of ${inputName}`,
      expected: "a safe overwrite",
      got,
    });
  };
  const tensor = graph[output];
  if (tensor === undefined) return refuse("no such output");
  const maker = tensor.node;
  const order = topologicalOrder(Object.values(graph));
  const source = order.find(
    (node) => node.operator.name === "input" && node.attributes["name"] === inputName,
  );
  if (source === undefined) return refuse("no such input");
  const value = source.outputs[0]!;
  if (showType(value) !== showType(tensor)) refuse(`${showType(tensor)} over ${showType(value)}`);
  if (!maker.inputs.includes(value))
    refuse(`${maker.operator.name} does not read the input itself`);
  const views = viewsOf(value, order);
  const { name, elementwise, inPlaceInput } = maker.operator;
  const isFine = maker.inputs.every((read, index) => !views.has(read) || index === inPlaceInput);
  if (elementwise !== true && !isFine) refuse(`${name} is not element-wise`);
  const exposed = Object.keys(graph).find((key) => key !== output && views.has(graph[key]!));
  if (exposed !== undefined) refuse(`output ${exposed} is the input itself`);
  const before = new Set<Node>(topologicalOrder(maker.inputs));
  const late = order.find(
    (node) =>
      node !== maker &&
      !before.has(node) &&
      !VIEWS.has(node.operator.name) &&
      node.inputs.some((read) => views.has(read)),
  );
  if (late !== undefined) refuse(`${late.operator.name} (${late.label}) may read it later`);
}

/** Compiles named outputs into a program. */
export function compile(
  graph: Readonly<Record<string, Tensor>>,
  options?: CompileOptions,
): Program {
  return new Program(graph, options);
}
