// What bench/peers measures, and what ratio is required. A job is plain JSON: one argument of the process that measures it,
// on our side (ours.ts, ours-flow.ts) and on theirs, so that both read the same sizes and the same optimiser settings.

import type { StepOptions } from "../../src/core/engine.ts";

interface JobBase {
  /** Runs before the clock counts. */
  readonly warmUp: number;
  readonly repetitions: number;
  readonly threads: number;
  /** Folder of the initial weights (Hugging Face layout, or Alidade's of a flow model) and of batch.json. */
  readonly model: string;
  /** Which setting of a peer is measured; ours ignores it. */
  readonly variant?: string;
}

export interface TrainJob extends JobBase {
  readonly kind: "train";
  readonly width: number;
  readonly rows: number;
  readonly time: number;
  readonly optimiser: StepOptions;
}

export interface SampleJob extends JobBase {
  readonly kind: "sample";
  readonly width: number;
  readonly rows: number;
  /** Completions of one prompt; rows / group prompts. */
  readonly group: number;
  readonly newTokens: number;
}

export interface GrpoJob extends JobBase {
  readonly kind: "grpo";
  readonly width: number;
  readonly prompts: number;
  readonly group: number;
  readonly newTokens: number;
  readonly optimiser: StepOptions;
}

/** The image model; its sizes are in src/cli/flow-benchmarks.ts. */
export interface FlowJob extends JobBase {
  readonly kind: "flow";
  /** What is timed: a rollout, the updates on it, both; or a step of flow matching. */
  readonly part: "sample" | "update" | "epoch" | "matching";
}

export type DecoderJob = TrainJob | SampleJob | GrpoJob;
export type Job = DecoderJob | FlowJob;

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
  /** Training: losses and gradient norms of the steps, from the same weights. */
  readonly losses?: readonly number[];
  readonly gradientNorms?: readonly number[];
  /** Sampling: log-probabilities of the greedy continuations of the first prompts. */
  readonly greedyLogProbs?: readonly (readonly number[])[];
  /** GRPO: first step. */
  readonly entropy?: number;
  readonly gradientNorm?: number;
  readonly completionTokens?: number;
  /** Flow models, of the peer: largest difference from our velocities, and from our samples of the first epoch. */
  readonly velocityDifference?: number;
  readonly sampleDifference?: number;
}

export interface Peer {
  readonly label: string;
  readonly program:
    | "torch_train.py"
    | "torch_flow.py"
    | "hf_generate.py"
    | "trl_step.py"
    | "tfjs.mjs";
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
  /** What `prepare` of our program calls the model. */
  readonly model: string;
  readonly peers: readonly Peer[];
}

/** Workloads with a table of their own. */
export interface Suite {
  /** As `--suite` takes it. */
  readonly name: "decoder" | "flow";
  /** Of the table. */
  readonly title: string;
  /** Our measuring program. */
  readonly program: "ours.js" | "ours-flow.js";
  /** Where the table of a whole run goes, and what it was made of. */
  readonly table: string;
  readonly data: string;
  readonly rounds: number;
  /** How both sides use the two threads that they have. */
  readonly threads: string;
  readonly workloads: readonly Workload[];
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
    model: String(width),
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
    model: "256",
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
  model: "256",
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

/** Images of an epoch, 24 prompts x 16, and its optimiser steps. */
export const FLOW_IMAGES = 384;
export const FLOW_UPDATES = 2;

/** The required ratio has to be reached against the faster of eager and torch.compile; lanes show what they are worth there. */
function flow(part: FlowJob["part"], title: string, repetitions: number): Workload {
  const peer = { program: "torch_flow.py", required: 1.5 } as const;
  return {
    name: `flow-${part}`,
    title,
    model: "flow",
    peers: [
      { ...peer, label: "PyTorch eager", variant: "eager" },
      { ...peer, label: "PyTorch torch.compile", variant: "compile", optional: true },
      { ...peer, label: "PyTorch eager in lanes", variant: "lanes", required: null },
    ],
    job: (model, quick) => ({
      kind: "flow",
      model,
      part,
      threads: THREADS,
      warmUp: COMPARED_STEPS,
      repetitions: quick ? 2 : repetitions,
    }),
  };
}

const decoders: Suite = {
  name: "decoder",
  title: "Alidade and its peers",
  program: "ours.js",
  table: "RESULTS.md",
  data: "results.json",
  rounds: 3,
  threads: "2 threads an operator on both sides; TensorFlow.js has 1",
  workloads: [
    training(96, 1.2, 16),
    training(256, 1, 10),
    training(512, 1, 8),
    sampling(16, 1, 8),
    sampling(64, 1, 6),
    sampling(256, 1, 4),
    sampling(64, 8, 6),
    sampling(256, 8, 4),
    grpo,
  ],
};

const flows: Suite = {
  name: "flow",
  title: "Alidade and its peers: the image model of Flow-GRPO",
  program: "ours-flow.js",
  table: "RESULTS-FLOW.md",
  data: "results-flow.json",
  rounds: 5,
  threads:
    "ours two lanes of 1 thread; PyTorch 2 threads an operator, in lanes two micro-batches of 1 thread",
  workloads: [
    flow("sample", "rollout, 24 prompts x 16 images, 10 steps", 8),
    flow("update", "updates on 384 images x 3 steps", 8),
    flow("epoch", "GRPO epoch: rollout and updates", 8),
    flow("matching", "flow matching step, 128 images", 16),
  ],
};

export const suites: readonly Suite[] = [decoders, flows];
