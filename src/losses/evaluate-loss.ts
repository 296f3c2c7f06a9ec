// A loss by itself: log-probabilities in, loss and dL/dlog p out. The same symbolic loss that the local engine fuses into a
// model, compiled alone in double precision: the way to train on an engine that only knows log-probabilities, and to check us.

import type { LossWindow } from "../core/engine.ts";
import { EngineError } from "../core/errors.ts";
import type { Aggregation, PolicySpec, PreferenceSpec } from "../core/loss-spec.ts";
import {
  allocate,
  compile,
  gradients,
  input,
  type Tensor,
  type TensorData,
} from "../tensor/index.ts";
import { checkLossBatch, checkPolicyMask } from "./check-loss-batch.ts";
import { lossMetrics } from "./loss-metrics.ts";
import { readsEntropy, readsReference, type SequenceLayout } from "./policy-loss.ts";
import { preferenceLoss, type PreferenceInputs } from "./preference-loss.ts";
import { resolveLoss, type LossChoice } from "./resolve-loss.ts";
import { batchLoss } from "./token-loss.ts";
import { entropyWeights, tokenWeights, wholeWindow } from "./weights.ts";

/** Numbers of each completion token `[sequence][time]`. */
export type Ragged = readonly ArrayLike<number>[];

export interface LossBatch {
  /** Log-probabilities under the policy that is trained, nats. */
  readonly logprobs: Ragged;
  /** When the batch was made; absent: the first pass, ratio 1. */
  readonly old?: Ragged;
  /** Under the reference policy. */
  readonly reference?: Ragged;
  /** As the sampler reported them; NaN where it could not. Absent: the sampler is the policy itself. */
  readonly sampler?: Ragged;
  /** One a sequence, or one a token. Not read by cross-entropy and preference losses. */
  readonly advantages?: readonly number[] | Ragged;
  /** 1 where a token counts; for cross-entropy any weight. Absent: everywhere. */
  readonly mask?: Ragged;
  /** Entropy of the policy at each token, nats; for an entropy bonus. */
  readonly entropy?: Ragged;
  /** What the batch is a part of; absent: all there is. */
  readonly window?: BatchWindow;
}

/** TRL's words for a batch that is one of several. Batches that are not given are taken to look like this one. */
export interface BatchWindow {
  /** Batches that one optimiser step accumulates (GA); default 1. */
  readonly accumulation?: number;
  /** Batches that one generation feeds (S); default: as many as are accumulated. */
  readonly stepsPerGeneration?: number;
  /** Processes that average their gradients (W); default 1. */
  readonly processes?: number;
  /** Sequences of the whole optimiser step on this process; default: those given times `accumulation`. */
  readonly sequences?: number;
  /** Loss tokens of the whole optimiser step over all processes; default: those given times `accumulation` and `processes`. */
  readonly stepTokens?: number;
  /** Loss tokens of the whole generation batch over all processes (num_items_in_batch). */
  readonly generationTokens?: number;
  /** Most tokens of a completion; default: the longest given. */
  readonly maxTokens?: number;
}

export interface LossValue {
  readonly loss: number;
  /** dL/dlog p `[sequence][time]`; exactly 0 where the mask is 0. */
  readonly gradient: number[][];
  /** dL/dentropy `[sequence][time]`, where the loss has an entropy bonus. */
  readonly entropyGradient?: number[][];
  /** See `lossMetrics`; empty for losses other than policy gradient. */
  readonly metrics: Readonly<Record<string, number>>;
}

/**
 * Loss, gradient and metrics of a batch under a spec, a profile (`"trl-1.13"`) or a profile with changes
 * (`{ profile: "trl-1.13", surrogate: { type: "clip", high: 0.28 } }`), in float64.
 *
 * @throws EngineError when an array is missing or has another shape than `logprobs`, for names and windows that make no sense; ConfigError for an unknown profile or choice.
 * @example
 * evaluateLoss({ logprobs: [[-1], [-2]], advantages: [1, -1] }, "trl-1.13").gradient // [[-0.5], [0.5]]
 */
export function evaluateLoss(batch: LossBatch, choice: LossChoice): LossValue {
  checkLossBatch(batch);
  const loss = resolveLoss(choice);
  const { logprobs } = batch;
  if (logprobs === undefined) throw missing("logprobs");
  const mask = checked("mask", batch.mask ?? logprobs.map(({ length }) => ones(length)), logprobs);
  if (loss.type === "preference") return evaluatePreference(batch, mask, loss.spec);
  if (loss.type === "cross-entropy") return evaluateSupervised(batch, mask, loss.aggregation);
  checkPolicyMask(mask);
  return evaluatePolicy(batch, mask, loss.spec);
}

const ones = (length: number): number[] => Array.from({ length }, () => 1);

function evaluatePolicy(batch: LossBatch, mask: Ragged, spec: PolicySpec): LossValue {
  const { logprobs, sampler, old } = batch;
  const advantages = tokenAdvantages(batch);
  const window = windowOf(mask, batch.window ?? {});
  const weights = tokenWeights(mask, spec.aggregation, window);
  const wanted: Record<string, Ragged | undefined> = {
    logProbs: logprobs,
    mask,
    advantage: advantages,
    weights,
    ...(old && { old }),
    ...((sampler !== undefined || spec.sampler.type === "denominator") && { sampler }),
    ...(readsReference(spec) && { reference: batch.reference }),
    ...(readsEntropy(spec) && {
      entropy: batch.entropy,
      entropyWeights: entropyWeights(spec, mask, window, weights),
    }),
  };
  const result = run(wanted, logprobs, (rows, sequences) =>
    batchLoss(
      { ...spec, type: "policy-gradient", temperature: 1 },
      { ...(rows as unknown as { logProbs: Tensor }), sequences },
    ),
  );
  const measured = { logProbs: logprobs, mask, advantages, old, sampler };
  return { ...result, metrics: lossMetrics(spec, { ...measured, reference: batch.reference }) };
}

function evaluateSupervised(batch: LossBatch, mask: Ragged, aggregation: Aggregation): LossValue {
  const weights = tokenWeights(mask, aggregation, windowOf(mask, batch.window ?? {}));
  const result = run({ logProbs: batch.logprobs, weights }, batch.logprobs, (rows) =>
    batchLoss({ type: "cross-entropy", aggregation }, rows as { logProbs: Tensor }),
  );
  return { ...result, metrics: {} };
}

function evaluatePreference(batch: LossBatch, mask: Ragged, spec: PreferenceSpec): LossValue {
  const { logprobs, reference } = batch;
  if (logprobs.length % 2 !== 0 || logprobs.length === 0) {
    throw new EngineError({
      where: "evaluateLoss",
      expected: "pairs of sequences, chosen then rejected",
      got: `${logprobs.length} sequences`,
    });
  }
  const result = run({ logProbs: logprobs, reference, mask }, logprobs, (rows, sequences) => {
    const inputs = { ...rows, sequences } as unknown as PreferenceInputs;
    return preferenceLoss(spec, inputs).loss;
  });
  return { ...result, metrics: {} };
}

function windowOf(mask: Ragged, given: BatchWindow): LossWindow {
  const { accumulation = 1, processes = 1 } = given;
  const { stepsPerGeneration = accumulation } = given;
  const own = wholeWindow(mask);
  const scaled = (factor: number, tokens?: number) => ({
    loss: (tokens ?? own.step.loss * factor) / processes,
    completion: (tokens ?? own.step.completion * factor) / processes,
  });
  return {
    batches: accumulation,
    sequences: given.sequences ?? own.sequences * accumulation,
    filled: given.sequences ?? own.filled * accumulation,
    step: scaled(accumulation * processes, given.stepTokens),
    generation: scaled(stepsPerGeneration * processes, given.generationTokens),
    share: accumulation / stepsPerGeneration,
    maxTokens: given.maxTokens ?? own.maxTokens,
  };
}

function tokenAdvantages({ advantages, logprobs }: LossBatch): Ragged {
  if (advantages === undefined) throw missing("advantages");
  if (advantages.length !== logprobs.length) {
    throw wrongShape("advantages", `${logprobs.length} sequences`, String(advantages.length));
  }
  return logprobs.map((row, sequence) => {
    const value = advantages[sequence];
    if (typeof value === "number") return ones(row.length).map(() => value);
    if (value !== null && value !== undefined) return value;
    // A reward that is not known has an advantage of 0, and whoever leaves it out should say so.
    throw wrongShape(`advantages[${sequence}]`, "a number, or one a token", String(value));
  });
}

const wrongShape = (name: string, expected: string, got: string): EngineError =>
  new EngineError({ where: `evaluateLoss: ${name}`, expected, got });

const missing = (name: string): EngineError =>
  wrongShape(name, "this array for the loss", "nothing");

function checked(name: string, rows: Ragged | undefined, like: Ragged): Ragged {
  if (rows === undefined) throw missing(name);
  if (rows.length !== like.length) {
    throw wrongShape(name, `${like.length} sequences`, String(rows.length));
  }
  rows.forEach((row, sequence) => {
    const { length } = like[sequence]!;
    if (row.length === length) return;
    const where = `${name}[${sequence}]`;
    throw wrongShape(where, `${length} numbers, as in logprobs`, String(row.length));
  });
  return rows;
}

type Inputs = Readonly<Record<string, Tensor>>;

/** Compiles the loss over rows padded to the longest, runs it once and cuts its gradient back into sequences. */
function run(
  arrays: Readonly<Record<string, Ragged | undefined>>,
  like: Ragged,
  build: (inputs: Inputs, sequences: SequenceLayout) => Tensor,
): Omit<LossValue, "metrics"> {
  const time = like.reduce((longest, { length }) => Math.max(longest, length), 0);
  if (time === 0) throw wrongShape("logprobs", "at least one token", "none");
  const extents = [like.length * time];
  const memory: Record<string, TensorData> = {};
  const inputs: Record<string, Tensor> = {};
  for (const [name, values] of Object.entries(arrays)) {
    const padded = allocate("float64", extents) as Float64Array; // padding has mask and weight 0
    checked(name, values, like).forEach((row, sequence) => padded.set(row, sequence * time));
    memory[name] = padded;
    inputs[name] = input(name, extents);
  }
  const loss = build(inputs, { time });
  const asked = ["logProbs", "entropy"].filter((name) => name in inputs);
  const slopes = gradients(
    loss,
    asked.map((name) => inputs[name]!),
  );
  const outputs = Object.fromEntries(asked.map((name, index) => [`d ${name}`, slopes[index]!]));
  using program = compile({ loss, ...outputs }, { name: "evaluateLoss", precision: "float64" });
  const used = program.inputs.map(({ name }) => [name, memory[name]!] as const);
  const binding = program.bind(Object.fromEntries(used));
  binding.runNow();
  const cut = (name: string): number[][] => {
    const slope = binding.doubles(`d ${name}`);
    // Adding 0 turns −0 into 0.
    return like.map(({ length }, sequence) =>
      Array.from(slope.subarray(sequence * time, sequence * time + length), (x) => x + 0),
    );
  };
  return {
    loss: binding.doubles("loss")[0]!,
    gradient: cut("logProbs"),
    ...(asked.includes("entropy") && { entropyGradient: cut("entropy") }),
  };
}
