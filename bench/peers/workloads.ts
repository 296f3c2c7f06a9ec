// What bench/peers measures, and what ratio is required. A job is plain JSON: one argument of the process that measures it,
// on our side (ours.ts) and on theirs, so that both read the same sizes and the same optimiser settings.

import type { StepOptions } from "../../src/core/engine.ts";

interface JobBase {
  readonly width: number;
  /** Runs before the clock counts. */
  readonly warmUp: number;
  readonly repetitions: number;
  readonly threads: number;
  /** Folder of the initial weights (Hugging Face layout) and of batch.json. */
  readonly model: string;
  /** Which setting of a peer is measured; ours ignores it. */
  readonly variant?: string;
}

export interface TrainJob extends JobBase {
  readonly kind: "train";
  readonly rows: number;
  readonly time: number;
  readonly optimiser: StepOptions;
}

export interface SampleJob extends JobBase {
  readonly kind: "sample";
  readonly rows: number;
  /** Completions of one prompt; rows / group prompts. */
  readonly group: number;
  readonly newTokens: number;
}

export interface GrpoJob extends JobBase {
  readonly kind: "grpo";
  readonly prompts: number;
  readonly group: number;
  readonly newTokens: number;
  readonly optimiser: StepOptions;
}

export type Job = TrainJob | SampleJob | GrpoJob;

/** The line of JSON that a measuring process prints last. */
export interface Measurement {
  /** One a repetition. */
  readonly timesMs: readonly number[];
  readonly parameters: number;
  /** Largest resident memory of the process. */
  readonly peakMemoryBytes: number;
  /** Resident once libraries and model are there, before the first run. */
  readonly startMemoryBytes: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly evidence: Evidence;
}

/** What both sides must agree on. */
export interface Evidence {
  /** Training: loss and gradient norm of the steps of the warm-up, from the same weights. */
  readonly losses?: readonly number[];
  readonly gradientNorms?: readonly number[];
  /** Sampling: log-probabilities of the greedy continuations of the first prompts. */
  readonly greedyLogProbs?: readonly (readonly number[])[];
  /** GRPO: first step. */
  readonly entropy?: number;
  readonly gradientNorm?: number;
  readonly completionTokens?: number;
}

export interface Peer {
  readonly label: string;
  readonly program: "torch_train.py" | "hf_generate.py" | "trl_step.py" | "tfjs.mjs";
  readonly variant?: string;
  /** Least ratio of their median time to ours; null: shown, not required. */
  readonly required: number | null;
  /** May fail without failing the whole. */
  readonly optional?: true;
  /** Of slow peers, which need half a minute for a step. */
  readonly warmUp?: number;
  readonly repetitions?: number;
  /** Least rounds that are enough for it. */
  readonly rounds?: number;
}

export interface Workload {
  readonly name: string;
  readonly title: string;
  readonly job: (model: string, quick: boolean) => Job;
  readonly width: number;
  readonly peers: readonly Peer[];
}

const THREADS = 2;
export const PROMPT_LENGTH = 50;
/** Tokens below this stand in prompts; the two above are padding and end of TRL's tokenizer. */
export const PROMPT_TOKENS = 126;
export const PROMPTS = 256;
/** Steps of the warm-up whose losses are compared. */
export const COMPARED_STEPS = 3;

const pretraining: StepOptions = {
  learningRate: 1e-4,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clipNorm: 1,
};

/** TRL's defaults but for the learning rate. */
const postTraining: StepOptions = { ...pretraining, beta2: 0.999, weightDecay: 0 };

/** Rows and time of the training batch of each width. */
export const trainingShapes: Readonly<Record<number, readonly [rows: number, time: number]>> = {
  96: [64, 112],
  256: [32, 128],
  512: [16, 128],
};

function training(width: number, required: number, repetitions: number): Workload {
  const [rows, time] = trainingShapes[width]!;
  const peers: Peer[] = [
    { label: "PyTorch eager", program: "torch_train.py", variant: "eager", required },
    {
      label: "PyTorch torch.compile",
      program: "torch_train.py",
      variant: "compile",
      required: null,
      optional: true,
    },
  ];
  if (width < 512) {
    peers.push({
      label: "TensorFlow.js wasm",
      program: "tfjs.mjs",
      required: null,
      warmUp: 1,
      repetitions: 1,
      rounds: 1,
    });
  }
  return {
    name: `train-${width}`,
    title: `training step, width ${width}, ${rows} x ${time} tokens`,
    width,
    peers,
    job: (model, quick) => ({
      kind: "train",
      model,
      width,
      rows,
      time,
      optimiser: pretraining,
      threads: THREADS,
      warmUp: COMPARED_STEPS,
      repetitions: quick ? 2 : repetitions,
    }),
  };
}

/** `group` completions of each prompt, as GRPO samples; 1: every row has a prompt of its own. */
function sampling(rows: number, group: number, repetitions: number): Workload {
  const newTokens = 64;
  const peer = (variant: string): Peer => ({
    label: `transformers generate, ${variant} cache`,
    program: "hf_generate.py",
    variant,
    required: 4,
  });
  return {
    name: group === 1 ? `sample-${rows}` : `sample-${rows}-g${group}`,
    title: `sampling, width 256, batch ${rows}${group === 1 ? "" : ` = ${rows / group} prompts x ${group}`}, ${PROMPT_LENGTH} + ${newTokens} tokens`,
    width: 256,
    peers: [peer("dynamic"), peer("static")],
    job: (model, quick) => ({
      kind: "sample",
      model,
      width: 256,
      rows,
      group,
      newTokens,
      threads: THREADS,
      warmUp: 1,
      repetitions: quick ? 2 : repetitions,
    }),
  };
}

const grpo: Workload = {
  name: "grpo",
  title: `GRPO step, width 256, 8 prompts x 8, ${PROMPT_LENGTH} + 64 tokens`,
  width: 256,
  peers: [{ label: "TRL GRPOTrainer", program: "trl_step.py", required: 2.5 }],
  job: (model, quick) => ({
    kind: "grpo",
    model,
    width: 256,
    prompts: 8,
    group: 8,
    newTokens: 64,
    optimiser: postTraining,
    threads: THREADS,
    warmUp: 2,
    repetitions: quick ? 2 : 8,
  }),
};

export const workloads: readonly Workload[] = [
  training(96, 1.2, 16),
  training(256, 1, 10),
  training(512, 1, 8),
  sampling(16, 1, 8),
  sampling(64, 1, 6),
  sampling(256, 1, 4),
  sampling(64, 8, 6),
  sampling(256, 8, 4),
  grpo,
];
