// What the local engine needs memory for, computed from shapes before any of it is allocated.

import type { LossSpec, MemoryPart, Workload } from "../core/engine.ts";
import type { DecoderConfig } from "../models/decoder.ts";
import type { PackShape } from "../models/packing.ts";
import type { ParameterSpec } from "../nn/parameters.ts";
import { liveMemory, sizeOf, type Tensor } from "../tensor/index.ts";
import { usedArrays, type LossArray } from "./loss-inputs.ts";
import { microBatches } from "./micro-batch.ts";
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
const ARENA_MARGIN = 1.3;
/** A compiled program beside its constants: nodes, kernels, the graph it was made from. */
const PROGRAM_BYTES = 1.5e6;
/** So many programs a run has at most, in engine and sampler. */
const PROGRAMS = 64;

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
    liveMemory(plan.trainingGraph(shape, loss, arrays)),
  );
  return {
    work: Math.max(...needs.map(({ peak }) => peak)),
    constants: Math.max(...needs.map(({ constants }) => constants)),
  };
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
    .filter(({ name }) => targets.some((target) => name.includes(`.${target}.`)))
    .reduce((total, { shape }) => total + 4 * sizeOf(shape), 0);
}

export function memoryParts(loads: readonly Workload[], plan: MemoryPlan): MemoryPart[] {
  const block = 4 * plan.trainedFloats;
  const base = plan.frozen.reduce((total, { shape }) => total + 4 * sizeOf(shape), 0);
  const hasReference = loads.some(
    ({ training }) => training?.loss.type === "policy-gradient" && training.loss.klBeta > 0,
  );
  const trained = loads.filter(({ training }) => training !== null);
  const needs = trained.map((load) => trainingNeed(load, plan));
  const training = Math.max(0, ...needs.map(({ work }) => work));
  const constants = Math.max(0, ...needs.map((need) => need.constants));
  const { caches, work } = plan.sampler;
  const isSampling = work > training;
  const shorter = "a smaller grpo.maxTokens or evaluate.maxTokens";
  const parts: MemoryPart[] = [
    {
      what: "weights, gradient and moments",
      bytes: 4 * block + base,
      remedy: plan.config.lora === undefined ? "model.lora, or a smaller model" : "a smaller model",
    },
    { what: "reference policy", bytes: hasReference ? block : 0, remedy: "grpo.klBeta=0" },
    {
      what: "caches of the sampler",
      bytes: caches,
      remedy: `${shorter}, or a smaller engine.maxSampleRows`,
    },
    {
      what: isSampling ? "work of the sampler" : "activations",
      bytes: ARENA_MARGIN * Math.max(training, work),
      remedy: isSampling
        ? `a smaller engine.maxSampleRows or engine.microBatchTokens, or ${shorter}`
        : `a smaller engine.microBatchTokens, or ${shorter}`,
    },
    {
      what: "programs",
      bytes: PROGRAMS * (PROGRAM_BYTES + 2 * constants),
      remedy: shorter,
    },
    {
      what: "merged weights, when they are saved",
      bytes: mergedBytes(plan),
      remedy: "a smaller model",
    },
  ];
  return parts.filter(({ bytes }) => bytes > 0);
}
