// The memory that a graph needs while it runs, from its shapes alone: known before anything is compiled or allocated.

import { topologicalOrder } from "./onnx.ts";
import { sizeOf, type Tensor, type TensorType } from "./tensor.ts";

export interface LiveMemory {
  /** Most bytes of intermediate values that exist at one time. */
  readonly peak: number;
  /** Bytes of the constants in the graph. */
  readonly constants: number;
}

/** Operators whose result lies in the memory of their input. */
const VIEWS: ReadonlySet<string> = new Set(["stopGradient", "reshape"]);
const LEAVES: ReadonlySet<string> = new Set(["input", "constant"]);

const BYTES = { float32: 4, int32: 4, int64: 8, bool: 1 } as const;
const bytesOf = ({ shape, dtype }: TensorType): number => sizeOf(shape) * BYTES[dtype];

/**
 * Runs the graph in the order of its nodes, on sizes instead of values: an intermediate value exists from the node that makes it to
 * the last one that reads it. Inputs and outputs lie in memory of their owner and do not count. ONNX Runtime may take another order,
 * fuse nodes, or keep the values inside a node for a moment: the true peak differs by some percent (docs/log.md).
 */
export function liveMemory(graph: Readonly<Record<string, Tensor>>): LiveMemory {
  const order = topologicalOrder(Object.values(graph));
  const owner = new Map<Tensor, Tensor>();
  const rootOf = (tensor: Tensor): Tensor => owner.get(tensor) ?? tensor;
  const kept = new Set<Tensor>();
  const readers = new Map<Tensor, number>();
  let constants = 0;
  for (const { operator, inputs, outputs } of order) {
    if (VIEWS.has(operator.name)) owner.set(outputs[0]!, rootOf(inputs[0]!));
    if (LEAVES.has(operator.name)) outputs.forEach((output) => kept.add(output));
    if (operator.name === "constant") constants += bytesOf(outputs[0]!);
    for (const input of new Set(inputs.map(rootOf)))
      readers.set(input, (readers.get(input) ?? 0) + 1);
  }
  for (const tensor of Object.values(graph)) kept.add(rootOf(tensor));
  let [live, peak] = [0, 0];
  for (const { operator, inputs, outputs } of order) {
    const made = outputs.filter((output) => !kept.has(output) && rootOf(output) === output);
    const created = made.reduce((total, output) => total + bytesOf(output), 0);
    let ended = 0;
    let isReplaced = false;
    for (const input of new Set(inputs.map(rootOf))) {
      const left = readers.get(input)! - 1;
      readers.set(input, left);
      if (left > 0 || kept.has(input)) continue;
      ended += bytesOf(input);
      // The result of an element-wise operator takes the place of an operand that nobody reads again.
      isReplaced ||= operator.elementwise === true && bytesOf(input) === created;
    }
    peak = Math.max(peak, live + (isReplaced ? 0 : created));
    live += created - ended;
    for (const output of made) if (!readers.has(output)) live -= bytesOf(output); // nobody reads it
  }
  return { peak, constants };
}
