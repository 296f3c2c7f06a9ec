// Scales of AlphaMaze: what differs from the defaults of the settings.
//
// `tiny` and `small` differ from the paper in: half of the SFT answers skip the thinking. A model of this size learns a
// written-out search perfectly or not at all; with both habits in it, GRPO has the choice that it has in a large model, between
// guessing and working it out (docs/log.md has what it does without).
//
// `paper` has the published settings. Sources, by their file in menloresearch/visual-thinker: [sft]
// training/Llama-factory-config/Qwen2.5_1.5B_distil.yaml, [grpo] training/grpo_stage.py, [sh] training/grpo_train.sh, [run]
// README.md, experiment table, [bench] benchmark/run.sh. [HF] is a default of transformers' TrainingArguments, [TRL] one of
// TRL of February 2025.

import type { Scale } from "../system.ts";

export const scales: Readonly<Record<string, Scale>> = {
  tiny: {
    summary: "3x3 mazes, 0.3 M parameters; about a minute on two cores",
    settings: {
      task: { size: 3, trace: "search", generator: "uniform", directShare: 0.5 },
      model: {
        layers: 3,
        width: 96,
        heads: 6,
        kvHeads: 6,
        headSize: 16,
        hiddenWidth: 256,
        contextLength: 96,
      },
      sft: { steps: 500, batch: 64, optimiser: { learningRate: 2e-3 } },
      grpo: {
        profile: "trl-0.14",
        temperature: 1,
        steps: 80,
        prompts: 16,
        group: 8,
        maxTokens: 56,
        optimiser: { learningRate: 1e-4, schedule: "cosine" },
      },
      rft: { roundSteps: 20, prompts: 256, maxTokens: 56 },
      dpo: { maxTokens: 56, beta: 1, optimiser: { learningRate: 3e-5 } },
      evaluate: { count: 1000, maxTokens: 56, temperature: 0.6 },
      checkpointEvery: 100,
    },
  },
  small: {
    summary:
      "5x5 mazes in the published cell encoding, 0.8 M parameters; about a quarter of an hour on two cores",
    settings: {
      task: { size: 5, trace: "search", directShare: 0.5 },
      model: {
        layers: 4,
        width: 128,
        heads: 8,
        kvHeads: 8,
        headSize: 16,
        hiddenWidth: 352,
        contextLength: 224,
      },
      sft: { steps: 1500, batch: 64, optimiser: { learningRate: 2e-3 } },
      grpo: {
        profile: "trl-0.14",
        temperature: 1,
        steps: 150,
        prompts: 16,
        group: 8,
        maxTokens: 136,
        samplesEvery: 5,
        optimiser: { learningRate: 1e-4, schedule: "cosine" },
      },
      rft: { maxTokens: 136 },
      dpo: { maxTokens: 136 },
      evaluate: { count: 1000, maxTokens: 136, temperature: 0.6 },
      checkpointEvery: 100,
    },
  },
  ablation: {
    summary: "4x4 mazes, 0.3 M parameters; a few minutes on two cores, for comparing settings",
    settings: {
      task: { size: 4, trace: "search", directShare: 0.5 },
      model: {
        layers: 3,
        width: 96,
        heads: 6,
        kvHeads: 6,
        headSize: 16,
        hiddenWidth: 256,
        contextLength: 160,
      },
      sft: { steps: 1200, batch: 64, optimiser: { learningRate: 2e-3 } },
      grpo: {
        profile: "trl-0.14",
        temperature: 1,
        steps: 100,
        prompts: 16,
        group: 8,
        maxTokens: 100,
        samplesEvery: 5,
        optimiser: { learningRate: 1e-4 },
      },
      // With 320 steps of rft, or any of dpo, as many completions as the 100 steps of GRPO sample: 12,800.
      rft: {
        roundSteps: 40,
        prompts: 200,
        maxTokens: 100,
        temperature: 0.7, // at 1 more of what passes got there by luck (docs/log.md)
        optimiser: { learningRate: 2e-4 },
      },
      dpo: {
        prompts: 1600,
        maxTokens: 100,
        beta: 1,
        optimiser: { learningRate: 5e-5 },
      },
      evaluate: { count: 1000, maxTokens: 100, temperature: 0.6 },
      checkpointEvery: 100,
    },
  },
  paper: {
    summary:
      "the published settings: DeepSeek-R1-Distill-Qwen-1.5B on 5x5 mazes; needs its files (model.from) and more than 40 GB of memory; not yet run at this size",
    settings: {
      // [bench] has the template without indentation; rows bring the prompt that they were published with.
      task: { size: 5, trace: "full", prompt: "benchmark" },
      model: {
        from: "DeepSeek-R1-Distill-Qwen-1.5B", // [sft] model_name_or_path, before its new tokens
        vocabulary: "special", // open_vocab.py: 48 tokens
        newRows: "compat", // open_vocab.py writes the rows of the output matrix into the input matrix
        contextLength: 4096, // [sft] cutoff_len, [sh] max_seq_length
      },
      sft: {
        steps: 3681, // [run], 1.5B with new tokens; one epoch of the reset set, [sft] num_train_epochs 1
        batch: 128, // [sft] 4 a device x 4 accumulated x 8 devices [run]
        optimiser: {
          learningRate: 1e-5, // [sft] learning_rate
          schedule: "cosine", // [sft] lr_scheduler_type
          warmup: 0.1, // [sft] warmup_ratio
          beta1: 0.9, // [HF]
          beta2: 0.999, // [HF]
          weightDecay: 0, // [HF]
          clipNorm: 1, // [HF]
        },
      },
      grpo: {
        profile: "trl-0.14", // [sh] installs TRL of February 2025: its loss, temperature 0.9, KL 0.04
        steps: 2000, // [grpo] max_steps; the paper reports about 1600
        prompts: 2, // [sh] per_device_train_batch_size 8 completions, in groups of 4
        group: 4, // [sh] num_generations
        maxTokens: 3484, // [sh] max_completion_length 4096 in max_seq_length 4096, less max_prompt_length 612
        optimiser: {
          learningRate: 1e-6, // [grpo] learning_rate
          schedule: "cosine", // [grpo] lr_scheduler_type
          warmup: 0.1, // [grpo] warmup_ratio
          beta1: 0.9, // [grpo] adam_beta1
          beta2: 0.99, // [grpo] adam_beta2
          weightDecay: 0.1, // [grpo] weight_decay
          clipNorm: 0.1, // [grpo] max_grad_norm
        },
      },
      reward: { preset: "head" }, // [grpo]
      evaluate: {
        count: 100, // Maze-Bench-v0.2
        maxTokens: 3484, // [bench] up to 20,000; no more fit the context
        temperature: 0.6, // [bench]
      },
      checkpointEvery: 200, // [grpo] save_steps
    },
  },
};
