// The engine of flow models: samples are made by denoising, trained on by losses of the predicted velocity. It speaks token
// ids and flat arrays; pictures and rewards belong elsewhere. Time: 1 is noise, 0 is data, x_t = (1 - t) x0 + t eps.
//
// `Loss` and `Rule` are what the losses and draws of flow models are written in (losses/flow-loss.ts).

import type { StepOptions, StepResult, TokenIds } from "./engine.ts";
import type { Random } from "./random.ts";

/** The weights that are trained, or a copy: their moving average, the reference policy, the policy of a while ago. */
export type FlowWeights = "current" | FlowCopy;
export type FlowCopy = "average" | "reference" | "old";

/** Token ids of a prompt; null: no prompt. */
export type FlowPrompt = TokenIds | null;

export interface FlowBatch {
  /** Noisy samples `[row · sample]`. */
  readonly x: Float32Array;
  /** Time of each `[row]`; neighbours may be at other times. */
  readonly t: Float32Array;
  readonly prompts: readonly FlowPrompt[];
}

export interface VelocityOptions {
  readonly weights: FlowWeights;
  /**
   * Classifier-free guidance w: v(none) + w (v(prompt) - v(none)); 1: the prompt alone. In training no gradient flows into v(none).
   */
  readonly guidance: number;
}

/**
 * How one step goes from t to a smaller time: along the velocity (Euler), along the mean of the velocities at both ends
 * (Heun; Euler at time 0), by two predictions of the sample (DPM-Solver++ 2M), or by a draw from a Gaussian.
 */
export type DenoiseStep<Rule> = "euler" | "heun" | "dpm2" | StochasticStep<Rule>;

export interface StochasticStep<Rule> {
  readonly rule: Rule;
  /** Numbers that the rule reads beside the times, the same for all rows. */
  readonly values?: Readonly<Record<string, number>>;
}

export interface DenoiseOptions<Rule> extends VelocityOptions {
  /** From 1 down to 0, one more than steps. */
  readonly times: readonly number[];
  readonly steps: readonly DenoiseStep<Rule>[];
  /** Stream of each sample; what it gives depends on nothing else. Its forks "noise" and ("step", index) are drawn from. */
  readonly random: (sample: number) => Random;
  /** Where the samples begin `[row · sample]`; absent: drawn. */
  readonly noise?: Float32Array;
  /** Keep what training needs: states, means, log-probabilities. */
  readonly keep: boolean;
}

export interface Denoised {
  /** `[row · sample]`. */
  readonly samples: Float32Array;
  /** x at each time `[time][row · sample]`; empty unless kept. */
  readonly states: readonly Float32Array[];
  /** Of each step: its log-probability `[row · …]` as the step defines it, and its mean `[row · sample]`; null where it is not a draw. */
  readonly draws: readonly (FlowDraw | null)[];
}

export interface FlowDraw {
  readonly logProbs: Float32Array;
  readonly means: Float32Array;
}

export interface FlowAccumulateOptions {
  /** What the loss reads, its weights among them, by name; each `[row · …]`. */
  readonly arrays: Readonly<Record<string, Float32Array>>;
  readonly guidance: number;
}

export interface FlowAccumulateResult {
  readonly loss: number;
  /** What the loss reports `[row · …]`. */
  readonly outputs: Readonly<Record<string, Float32Array>>;
}

export interface FlowEngine<Loss, Rule> {
  /** Numbers in a sample. */
  readonly sampleSize: number;
  /** Velocity of each row `[row · sample]`. */
  velocity(batch: FlowBatch, options: VelocityOptions): Promise<Float32Array>;
  denoise(prompts: readonly FlowPrompt[], options: DenoiseOptions<Rule>): Promise<Denoised>;
  /** Forward and backward; adds to the gradient. Rows keep their order, which matters to losses of several rows together. */
  accumulate(
    batch: FlowBatch,
    loss: Loss,
    options: FlowAccumulateOptions,
  ): Promise<FlowAccumulateResult>;
  /** One optimiser step; clears the gradient and moves the average. */
  step(options: StepOptions): Promise<StepResult>;
  /** Zero moments and steps; the average begins again at the present weights. */
  resetOptimiser(): Promise<void>;
  /** Makes a copy of the present weights. */
  copyWeights(copy: FlowCopy): Promise<void>;
  /** copy ← decay · copy + (1 - decay) · present weights. */
  blendWeights(copy: FlowCopy, decay: number): Promise<void>;
  /** Makes a copy the present weights. */
  adoptWeights(copy: FlowCopy): Promise<void>;
  save(directory: string): Promise<void>;
  load(directory: string): Promise<void>;
}
