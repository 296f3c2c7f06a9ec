import { expect, it } from "vitest";
import { resolveConfig } from "../algorithms/resolve-config.ts";
import { velocityGraph } from "../engine/flow-graphs.ts";
import { flowModel } from "../models/flow-model.ts";
import type { FlowTransformerConfig } from "../models/flow-transformer.ts";
import { flowGrpoSystem } from "../systems/flow-grpo/system.ts";
import { flowConfig } from "../systems/flow-recipe.ts";
import { genevalMini } from "../tasks/image-generation/index.ts";
import { sizeOf, type Tensor } from "../tensor/index.ts";
import { topologicalOrder } from "../tensor/onnx.ts";
import { flowBenchmarkModel, flowBenchmarkSettings, flowForwardFlops } from "./flow-benchmarks.ts";

/** FLOPs of the products and of the attention in a graph, from the shapes of their operands. */
function flopsOf(tensor: Tensor): number {
  const flops = topologicalOrder([tensor]).map(({ operator, inputs, outputs, attributes }) => {
    const [a, b] = inputs;
    if (operator.name === "matmul") {
      const inner = a!.shape.at(attributes["transposeA"] === true ? -2 : -1)!;
      return 2 * sizeOf(outputs[0]!.shape) * inner;
    }
    if (operator.name === "attention") return 4 * sizeOf(a!.shape) * b!.shape.at(-2)!;
    return 0;
  });
  return flops.reduce((sum, one) => sum + one, 0);
}

it("measures the model and the epoch of Flow-GRPO's scale small", () => {
  const { settings, scales } = flowGrpoSystem;
  const { mini } = resolveConfig(settings, scales["small"]!.settings, []);
  const model = flowConfig({ task: genevalMini, config: mini.task }, mini.model);
  expect(flowBenchmarkModel).toEqual(model);
  const { epochs, optimiser } = mini.grpo;
  expect({ ...flowBenchmarkSettings, epochs, optimiser }).toEqual(mini.grpo);
});

const video: FlowTransformerConfig = {
  ...flowBenchmarkModel,
  sample: [2, 6, 9, 2],
  patch: 3,
  width: 24,
  layers: 2,
  heads: 3,
  hiddenWidth: 40,
  activation: "swiglu",
  prompt: { ...flowBenchmarkModel.prompt, width: 20 },
};

it.each([
  ["the benchmark's model", flowBenchmarkModel],
  ["another one", video],
])("the formula counts what the graph of %s multiplies", (_, config) => {
  const rows = 3;
  const { velocity } = velocityGraph(flowModel(config), config, rows, 1);
  expect(flowForwardFlops(config)).toBe(flopsOf(velocity!) / rows);
});
