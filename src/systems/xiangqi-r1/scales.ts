// Scales of Xiangqi-R1: what differs from the defaults of the settings.
//
// Both small ones begin with random weights, so that stage 1 has to teach the board itself; Muon does so in half the steps of AdamW
// (docs/log.md). Positions are shown from the mover's side, as pieces on squares: a model of this size reads no FEN.

import type { Scale } from "../system.ts";

export const scales: Readonly<Record<string, Scale>> = {
  tiny: {
    summary: "Minixiangqi (7x7), 0.4 M parameters; about two minutes on two cores",
    settings: {
      task: {
        variant: "minixiangqi",
        view: "mover",
        prompt: "pieces",
        depth: 2,
        selfPlay: { minPieces: 6, maxPieces: 12 },
      },
      labels: { legal: 30_000, annotated: 3_000, rl: 1_000, test: 1_000 },
      model: {
        layers: 3,
        width: 96,
        heads: 6,
        kvHeads: 6,
        headSize: 16,
        hiddenWidth: 256,
        contextLength: 64,
      },
      sft: { steps: 800, batch: 64, optimiser: { method: "muon", learningRate: 5e-3 } },
      sft2: { steps: 150, batch: 64, optimiser: { method: "muon", learningRate: 2e-3 } },
      grpo: {
        profile: "trl-0.14",
        temperature: 1,
        steps: 100,
        prompts: 16,
        group: 8,
        maxTokens: 24,
        optimiser: { learningRate: 2e-4, schedule: "cosine" },
      },
      rft: { maxTokens: 24 },
      dpo: { maxTokens: 24 },
      evaluate: { count: 1000, maxTokens: 24, temperature: 1, samples: 3 },
      checkpointEvery: 100,
    },
  },
  small: {
    summary:
      "the full board with 8 to 14 pieces, 0.9 M parameters; a quarter of an hour on two cores",
    settings: {
      task: { view: "mover", prompt: "pieces", depth: 3 },
      labels: { annotated: 20_000 },
      model: {
        layers: 4,
        width: 128,
        heads: 8,
        kvHeads: 8,
        headSize: 16,
        hiddenWidth: 352,
        contextLength: 64,
      },
      sft: { steps: 3000, batch: 64, optimiser: { method: "muon", learningRate: 5e-3 } },
      sft2: { steps: 600, batch: 64, optimiser: { method: "muon", learningRate: 3e-3 } },
      grpo: {
        profile: "trl-0.14",
        temperature: 1,
        steps: 300,
        prompts: 32,
        group: 8,
        maxTokens: 24,
        samplesEvery: 5,
        optimiser: { learningRate: 3e-4, schedule: "cosine" },
      },
      rft: { maxTokens: 24 },
      dpo: { maxTokens: 24 },
      evaluate: { count: 2000, maxTokens: 24, temperature: 1, samples: 3 },
      checkpointEvery: 100,
    },
  },
  paper: {
    summary:
      "Qwen2.5-7B-Instruct on rows of game records (alidade xiangqi label); needs its files, and memory for 7 B parameters; not run",
    settings: {
      // What is published of the training is the model, the three stages and their rewards. INFERRED, all of it: every number of
      // optimisation here; nothing of the sort was found in the paper or elsewhere.
      task: { view: "board", prompt: "board" },
      labels: { make: false },
      model: { from: "Qwen2.5-7B-Instruct", contextLength: 2048 },
      sft: {
        steps: 39_000, // one epoch of 5 million pairs
        batch: 128,
        optimiser: { learningRate: 1e-5, schedule: "cosine", warmup: 0.03 },
      },
      sft2: {
        steps: 780, // two epochs of 50,000 annotated pairs
        batch: 128,
        optimiser: { learningRate: 1e-5, schedule: "cosine", warmup: 0.03 },
      },
      grpo: {
        profile: "trl-0.14",
        steps: 500,
        prompts: 128,
        group: 8,
        maxTokens: 1024,
        temperature: 1,
        optimiser: { learningRate: 1e-6, schedule: "constant" },
      },
      evaluate: { count: 2000, maxTokens: 1024, temperature: 1, samples: 3 },
      checkpointEvery: 50,
    },
  },
};
