// Reverse-mode differentiation: walks a graph backwards and returns gradients that are again graphs.

import { EngineError, ShapeError } from "../core/errors.ts";
import { topologicalOrder } from "./onnx.ts";
import { add } from "./operators/elementwise.ts";
import { constant } from "./operators/leaf.ts";
import { scope, showShape, sizeOf, type Node, type Tensor } from "./tensor.ts";

const nameOf = ({ node }: Tensor): string =>
  node.operator.name === "input" ? (node.attributes["name"] as string) : node.label;

/** Nodes between `wrt` and the loss: only they carry a gradient. */
function relevantNodes(order: readonly Node[], wrt: ReadonlySet<Tensor>): Set<Node> {
  const relevant = new Set<Node>();
  for (const node of order) {
    if (node.operator.name === "stopGradient") continue;
    const reached =
      node.inputs.some((input) => relevant.has(input.node)) ||
      node.outputs.some((output) => wrt.has(output));
    if (reached) relevant.add(node);
  }
  return relevant;
}

/**
 * dLoss/dw for every tensor of `wrt`, of its shape. Throws a ShapeError when the loss is not a scalar and an
 * EngineError when it does not depend on one of them or passes through an operator without a gradient.
 */
export function gradients(loss: Tensor, wrt: readonly Tensor[]): Tensor[] {
  if (sizeOf(loss.shape) !== 1) {
    throw new ShapeError({
      where: "gradients",
      expected: "a loss of one element",
      got: showShape(loss.shape),
    });
  }
  const order = topologicalOrder([loss]);
  const relevant = relevantNodes(order, new Set(wrt));
  const upstream = new Map<Tensor, Tensor>([[loss, constant([1], loss.shape)]]);
  for (const node of order.toReversed()) {
    const flowing = node.outputs.map((output) => upstream.get(output));
    if (
      !relevant.has(node) ||
      flowing.every((gradient) => gradient === undefined) ||
      node.inputs.length === 0
    )
      continue;
    if (node.operator.gradient === null) {
      throw new EngineError({
        where: "gradients",
        expected: "operators with a gradient between the loss and the parameters",
        got: `${node.operator.name} (${node.label})`,
      });
    }
    const back = scope(`${node.label}/gradient`, () => node.operator.gradient!(flowing, node));
    node.inputs.forEach((input, index) => {
      const gradient = back[index];
      if (gradient === undefined || !relevant.has(input.node)) return;
      const sum = upstream.get(input);
      upstream.set(input, sum === undefined ? gradient : add(sum, gradient));
    });
  }
  return wrt.map((tensor) => {
    const gradient = upstream.get(tensor);
    if (gradient !== undefined) return gradient;
    throw new EngineError({
      where: "gradients",
      expected: "a loss that depends on every parameter",
      got: `none on ${nameOf(tensor)}`,
    });
  });
}
