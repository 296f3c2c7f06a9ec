// The engine: whoever holds the weights. Local (ONNX Runtime) or remote, one interface.
// It speaks token ids; text belongs to text/, rewards to the algorithms.

import type { LossSpec } from "./loss-spec.ts";
import type { Random } from "./random.ts";
import type { StopReason } from "./task.ts";

/** Ragged token ids are `[time]`. */
export type TokenIds = Int32Array;

export interface SampleOptions {
  /** Completions per prompt (G). */
  readonly group: number;
  /** Most tokens of one completion, the stop token included. */
  readonly maxTokens: number;
  /** 0 is greedy (arg-max). */
  readonly temperature: number;
  /** Keep only the k most likely tokens; absent: all. */
  readonly topK?: number;
  /** Keep the smallest set of tokens whose probability reaches p; absent: all. */
  readonly topP?: number;
  /** Token ids that end a completion; the stop token is kept as its last token. */
  readonly stop: readonly number[];
  /** Stream of one completion; its draw at a position depends on nothing else. */
  readonly random: (prompt: number, sample: number) => Random;
}

/** One sampled answer. */
export interface Completion {
  readonly tokens: TokenIds;
  /** log softmax(logits / temperature) of each token, before top-k and top-p, nats `[time]`; at temperature 0: of the plain logits. */
  readonly logProbs: Float32Array;
  readonly stopReason: StopReason;
}

/** A prompt and what follows it, as one row of token ids. */
export interface Sequence {
  /** Prompt and completion `[time]`. */
  readonly tokens: TokenIds;
  /** Tokens of the prompt; the rest is the completion, and only it is scored or trained on. */
  readonly promptLength: number;
}

/** A sequence with what a loss needs to know about its completion tokens. Arrays are `[completion time]`. */
export interface Example extends Sequence {
  /** 1 where a token counts, 0 where not (cross-entropy: any weight); absent: everywhere 1. */
  readonly mask?: Float32Array;
  /** Of the completion, or of each of its tokens (policy losses). */
  readonly advantage?: number | Float32Array;
  /** Log-probabilities when the batch was made; absent: this is the first pass (ratio 1). */
  readonly old?: Float32Array;
  /** Log-probabilities under the reference policy (for a KL term). */
  readonly reference?: Float32Array;
  /** Log-probabilities as the sampler reported them, NaN where it could not. */
  readonly sampler?: Float32Array;
  /** dL/dlog p (linear losses). */
  readonly slope?: Float32Array;
}

interface TokenCounts {
  /** Tokens that the masks count. */
  readonly loss: number;
  /** All tokens of the completions. */
  readonly completion: number;
}

/**
 * What the batches have in common that are accumulated for one optimiser step (a window), and the samples they were taken from
 * (a generation batch). With it the weight of a token does not depend on how a window is cut into batches.
 */
export interface LossWindow {
  /** Batches of the window (TRL: gradient accumulation steps). */
  readonly batches: number;
  /** Sequences of the window. */
  readonly sequences: number;
  /** Those of them with at least one loss token. */
  readonly filled: number;
  /** Tokens of the window, and of the whole generation batch, per process. */
  readonly step: TokenCounts;
  readonly generation: TokenCounts;
  /** Share of the window in the generation batch (TRL: GA / steps_per_generation). */
  readonly share: number;
  /** Most tokens that a completion may have. */
  readonly maxTokens: number;
}

export interface AccumulateResult {
  readonly loss: number;
  /** Under the policy that was trained `[sequence][completion time]`, nats. */
  readonly logProbs: readonly Float32Array[];
  /** Entropy of the policy at each completion token `[sequence][completion time]`, nats. */
  readonly entropy: readonly Float32Array[];
}

/** AdamW with decoupled weight decay, or Muon for hidden matrices beside it. */
export interface StepOptions {
  /** Default "adamw". */
  readonly method?: "adamw" | "muon";
  /** Muon: decay of the momentum; default 0.95. */
  readonly momentum?: number;
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Largest global L2 norm of the gradient; Infinity: no clipping. */
  readonly clipNorm: number;
}

export interface StepResult {
  /** Global L2 norm of the accumulated gradient before clipping. */
  readonly gradientNorm: number;
}

export interface LogProbOptions {
  readonly policy: "current" | "reference";
  readonly temperature: number;
}

/** The largest batch that a part of a run can ask for; every completion has its full length. */
export interface Workload {
  readonly prompts: number;
  /** Completions a prompt. */
  readonly group: number;
  /** Tokens of each prompt, and of each completion. */
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** How completions are drawn; null: they are given. */
  readonly sampling: Pick<SampleOptions, "temperature" | "topK" | "topP"> | null;
  /** What is done with them; null: nothing (an evaluation). */
  readonly training: {
    readonly loss: LossSpec;
    /** Optimiser steps a batch. */
    readonly passes: number;
    readonly optimiser: StepOptions;
  } | null;
}

/** What memory is for. */
export interface MemoryPart {
  readonly what: string;
  readonly bytes: number;
  /** How it becomes less. */
  readonly remedy: string;
}

/** Most milliseconds of one step of a workload. */
export interface StepTime {
  readonly sampleMs: number;
  readonly trainMs: number;
}

export interface Engine {
  /** Tokens of the vocabulary; ids are below this. */
  readonly vocabularySize: number;
  /** Most tokens of a sequence. */
  readonly contextLength: number;
  /** Completions `[prompt][group]`. */
  sample(prompts: readonly TokenIds[], options: SampleOptions): Promise<Completion[][]>;
  /** Log-probabilities of completion tokens `[sequence][completion time]`, nats. */
  logProbs(sequences: readonly Sequence[], options: LogProbOptions): Promise<Float32Array[]>;
  /**
   * Forward and backward; adds to the gradient. The engine cuts the batch into micro-batches; that never changes the sum. A
   * batch that is one of several for an optimiser step needs their window.
   */
  accumulate(
    batch: readonly Example[],
    loss: LossSpec,
    window?: LossWindow,
  ): Promise<AccumulateResult>;
  /** Optimiser step with the accumulated gradient, which is then cleared. */
  step(options: StepOptions): Promise<StepResult>;
  /** Forgets the optimiser's moments and any accumulated gradient: a new stage begins. */
  resetOptimiser(): Promise<void>;
  /** Makes the current weights the reference policy. */
  freezeReference(): Promise<void>;
  /** Writes weights, optimiser state, accumulated gradient and reference policy into an existing empty folder. */
  save(directory: string): Promise<void>;
  /** Writes the weights alone, in the Hugging Face layout, into an existing folder. */
  saveModel(directory: string): Promise<void>;
  /** Reads what `save` wrote; the engine then continues bit for bit. */
  load(directory: string): Promise<void>;
  /** Most memory that the engine takes in a run of these workloads, from shapes alone. Absent: the engine cannot tell. */
  memoryNeed?(loads: readonly Workload[]): readonly MemoryPart[];
  /**
   * Runs the workload on made-up tokens, or as much of it as tells how long the whole takes. Only before the first step; leaves
   * weights, optimiser, gradient and reference as they are. `clock` gives milliseconds.
   */
  rehearse?(load: Workload, clock: () => number): Promise<StepTime>;
  dispose(): void;
}
