// What the local engine needs memory for, computed from shapes before any of it is allocated.

import type { MemoryPart, Workload } from "../core/engine.ts";
import type { LossSpec } from "../core/loss-spec.ts";
import { readsReference } from "../losses/policy-loss.ts";
import type { DecoderConfig } from "../models/decoder.ts";
import type { PackShape } from "../models/packing.ts";
import type { ParameterSpec } from "../nn/parameters.ts";
import { liveMemory, sizeOf, type LiveMemory, type Tensor } from "../tensor/index.ts";
import { usedArrays, type LossArray } from "./loss-inputs.ts";
import { microBatches } from "./micro-batch.ts";
import { MOST_PROGRAMS } from "./program-cache.ts";
import { WORST_SPREADS, worstBatch } from "./worst-case.ts";

/** What is known of an engine. */
export interface MemoryPlan {
  readonly config: DecoderConfig;
  /** Floats of a block of what is trained. */
  readonly trainedFloats: number;
  readonly frozen: readonly ParameterSpec[];
  readonly microBatchTokens: number;
  readonly sampler: { readonly caches: number; readonly work: number };
  readonly trainingGraph: (
    shape: PackShape,
    loss: LossSpec,
    arrays: readonly LossArray[],
  ) => Readonly<Record<string, Tensor>>;
}

/** Added to what a program needs while it runs: the arena keeps blocks that fit nothing, kernels keep buffers (docs/log.md). */
const ARENA_MARGIN = 1.8;
/** A program holds so much for each layer of the model beside its constants: kernels, names, the graph it was made from. */
const LAYER_BYTES = { engine: 2e6, sampler: 0.8e6 } as const;
/** A constant exists in the graph and in ONNX Runtime. */
const COPIES = 2;
const SHORTER = "a smaller grpo.maxTokens or evaluate.maxTokens";

/** Bytes of a training program of the largest piece of a workload: while it runs, and as long as it exists. */
function trainingNeed(load: Workload, plan: MemoryPlan): { work: number; constants: number } {
  const { loss } = load.training!;
  const shapes = new Map<string, { shape: PackShape; arrays: LossArray[] }>();
  for (const spread of WORST_SPREADS) {
    const batch = worstBatch(load, plan.config.vocabularySize, spread);
    const arrays = usedArrays(batch, loss);
    const pieces = microBatches(batch, plan.microBatchTokens);
    const shape = pieces.map((piece) => piece.shape).toSorted((a, b) => weight(b) - weight(a))[0]!;
    shapes.set(JSON.stringify(shape), { shape, arrays });
  }
  const needs = [...shapes.values()].map(({ shape, arrays }) =>
    maskFloats(shape, plan.config) > LARGEST_MASK
      ? roughMemory(shape, plan.config)
      : liveMemory(plan.trainingGraph(shape, loss, arrays)),
  );
  return {
    work: Math.max(...needs.map(({ peak }) => peak)),
    constants: Math.max(...needs.map(({ constants }) => constants)),
  };
}

/** The masks that a graph holds for its rows and for its prompts. */
const maskFloats = (
  { promptTime, rowTime }: PackShape,
  { heads, kvHeads }: DecoderConfig,
): number => (heads / kvHeads) * (promptTime ** 2 + rowTime ** 2);

/** Above it a graph takes seconds to build, because its masks are written out. */
const LARGEST_MASK = 1 << 23;

/** About what `liveMemory` finds, without the graph: the weights of attention of all layers, and every token's activations. */
function roughMemory(shape: PackShape, config: DecoderConfig): LiveMemory {
  const { groups, rows, promptTime, rowTime, promptTokens, rowTokens } = shape;
  const { layers, heads, headSize, width, hiddenWidth, vocabularySize } = config;
  const attended = groups * heads * (promptTime ** 2 + rows * rowTime * (promptTime + rowTime));
  const inner = layers * (6 * width + 6 * heads * headSize + 5 * hiddenWidth);
  const floats =
    (layers + 4) * attended + (promptTokens + rowTokens) * inner + 5 * rowTokens * vocabularySize;
  return { peak: 4 * floats, constants: 4 * maskFloats(shape, config) };
}

/** Orders the pieces of a batch by what they need. */
const weight = ({
  groups,
  rows,
  promptTime,
  rowTime,
  promptTokens,
  rowTokens,
}: PackShape): number =>
  promptTokens +
  rowTokens +
  (groups * (promptTime ** 2 + rows * rowTime * (promptTime + rowTime))) / 64;

/** Bytes of the merged copies of what has adapters. */
function mergedBytes({ config, frozen }: MemoryPlan): number {
  const targets = config.lora?.targets ?? [];
  return frozen
    .filter(({ name }) => targets.some((target) => name.endsWith(`.${target}.weight`)))
    .reduce((total, { shape }) => total + 4 * sizeOf(shape), 0);
}

/** What the programs of all stages need while they run, each part by what makes it less. */
function workParts(loads: readonly Workload[], plan: MemoryPlan): MemoryPart[] {
  const trained = loads.filter(({ training }) => training !== null);
  const needs = trained.map((load) => trainingNeed(load, plan));
  const most = (pick: (need: (typeof needs)[number]) => number): number =>
    Math.max(0, ...needs.map(pick));
  // The arena gives nothing back, and what one stage left is cut too small for the next: so they add up.
  const work = needs.reduce((total, need) => total + need.work, 0);
  // Rows end at all lengths, and the mean square of a length is a third of the largest.
  const constants = most((need) => need.constants) / 3;
  return [
    {
      what: "activations",
      bytes: ARENA_MARGIN * work,
      remedy: `a smaller engine.microBatchTokens, or ${SHORTER}`,
    },
    {
      what: "work of the sampler",
      bytes: ARENA_MARGIN * plan.sampler.work,
      remedy: `a smaller engine.maxSampleRows or engine.microBatchTokens, or ${SHORTER}`,
    },
    {
      what: "programs",
      bytes:
        plan.config.layers *
          (MOST_PROGRAMS.engine * LAYER_BYTES.engine +
            MOST_PROGRAMS.sampler * LAYER_BYTES.sampler) +
        MOST_PROGRAMS.engine * COPIES * constants,
      remedy: `a smaller model, or ${SHORTER}`,
    },
  ];
}

export function memoryParts(loads: readonly Workload[], plan: MemoryPlan): MemoryPart[] {
  const block = 4 * plan.trainedFloats;
  const base = plan.frozen.reduce((total, { shape }) => total + 4 * sizeOf(shape), 0);
  const hasReference = loads.some(
    ({ training }) => training?.loss.type === "policy-gradient" && readsReference(training.loss),
  );
  const smaller = "a smaller model";
  const parts: MemoryPart[] = [
    {
      what: "weights, gradient and moments",
      bytes: 4 * block + base,
      remedy: plan.config.lora === undefined ? `model.lora, or ${smaller}` : smaller,
    },
    { what: "reference policy", bytes: hasReference ? block : 0, remedy: "grpo.loss.kl.weight=0" },
    {
      what: "caches of the sampler",
      bytes: plan.sampler.caches,
      remedy: `a smaller engine.maxSampleRows, or ${SHORTER}`,
    },
    ...workParts(loads, plan),
    { what: "merged weights, when they are saved", bytes: mergedBytes(plan), remedy: smaller },
  ];
  return parts.filter(({ bytes }) => bytes > 0);
}
