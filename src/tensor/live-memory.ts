// The memory that a graph needs while it runs, from its shapes alone: known before anything is compiled or allocated.

import { topologicalOrder } from "./onnx.ts";
import { sizeOf, type Node, type Tensor, type TensorType } from "./tensor.ts";

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
 * Runs the graph on sizes instead of values: an intermediate value exists from the node that makes it to the last one that reads it.
 * Inputs and outputs lie in memory of their owner and do not count. ONNX Runtime chooses its own order, so the larger of two is
 * taken, from the first output on and from the last; and no result takes the place of an operand.
 */
export function liveMemory(graph: Readonly<Record<string, Tensor>>): LiveMemory {
  const outputs = Object.values(graph);
  const orders = [outputs, outputs.toReversed()].map((list) =>
    peakOf(graph, topologicalOrder(list)),
  );
  return { peak: Math.max(...orders.map(({ peak }) => peak)), constants: orders[0]!.constants };
}

function peakOf(graph: Readonly<Record<string, Tensor>>, order: readonly Node[]): LiveMemory {
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
  for (const { inputs, outputs } of order) {
    const made = outputs.filter((output) => !kept.has(output) && rootOf(output) === output);
    const created = made.reduce((total, output) => total + bytesOf(output), 0);
    let ended = 0;
    for (const input of new Set(inputs.map(rootOf))) {
      const left = readers.get(input)! - 1;
      readers.set(input, left);
      if (left > 0 || kept.has(input)) continue;
      ended += bytesOf(input);
    }
    peak = Math.max(peak, live + created);
    live += created - ended;
    for (const output of made) if (!readers.has(output)) live -= bytesOf(output); // nobody reads it
  }
  return { peak, constants };
}
