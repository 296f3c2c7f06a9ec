// A system: one published paper with its task, scales, claims and training program.

import type { z } from "zod";
import type { RewardWeights } from "../algorithms/generation.ts";
import type { GrpoSettings } from "../algorithms/grpo-settings.ts";
import type { ProfileName } from "../losses/index.ts";
import type { Progress } from "../core/progress.ts";
import type { Task } from "../core/task.ts";
import type { ScoringSettings } from "../rollout/score-outputs.ts";
import type { RunDirectory } from "../run/run-directory.ts";

export interface Paper {
  readonly title: string;
  readonly arxiv: string;
  readonly code?: string;
}

/** A number from the paper, and the command of ours that stands beside it. */
export interface Claim {
  readonly metric: string;
  readonly paper: string;
  readonly source: string;
}

export interface Scale {
  readonly summary: string;
  /** What differs from the defaults of the settings schema (nested, partial). */
  readonly settings: Readonly<Record<string, unknown>>;
}

export interface TrainContext<Config> {
  readonly config: Config;
  readonly seed: number;
  /** Fresh, or positioned at its last checkpoint by a resume. */
  readonly run: RunDirectory;
  readonly progress: Progress;
  /** Aborted by Ctrl-C: the stage finishes its step, writes a checkpoint and throws `Interrupted`. */
  readonly signal: AbortSignal;
}

export interface EvaluateContext<Config> {
  readonly config: Config;
  readonly seed: number;
  /** Folder in the Hugging Face layout (`config.json`, `model.safetensors`, `tokenizer.json`). */
  readonly modelDirectory: string;
  readonly count: number;
  readonly progress: Progress;
}

/** How a run turned outputs into rewards, and rewards into advantages. */
export interface Scoring {
  readonly task: Task<unknown, unknown>;
  /** Config of the system's task. */
  readonly taskConfig: unknown;
  readonly weights: RewardWeights;
  /** How scorers are asked. */
  readonly settings: ScoringSettings;
  readonly grpo: Pick<GrpoSettings, "advantages" | "overlong">;
}

export interface System<Config = unknown> {
  readonly name: string;
  readonly title: string;
  readonly summary: string;
  readonly paper: Paper;
  /** Schema of the resolved config: every setting with default, range and help. */
  readonly settings: z.ZodType<Config>;
  readonly scales: Readonly<Record<string, Scale>>;
  readonly stages: readonly string[];
  /** What the paper trained with: its losses and advantages where its own text says nothing else. */
  readonly profile?: ProfileName;
  readonly claims: readonly Claim[];
  /** What is trained on, for lists. */
  readonly task: Pick<Task<unknown, unknown>, "name" | "summary">;
  /**
   * Opens what a run of this config reads; throws when a file is missing or broken, before a run directory is made. Returns
   * the config to record: with absolute paths, so that the run can be resumed from any folder.
   */
  prepare?(config: Config): Promise<Config>;
  /** Trains from where the run directory stands; returns a JSON summary for `--json`. */
  train(context: TrainContext<Config>): Promise<Readonly<Record<string, unknown>>>;
  /** What a run of this config scores and rewards with; absent: its samples cannot be scored again. */
  scoring?(config: Config): Scoring;
  /** Evaluates a saved model; returns a JSON summary. */
  evaluate(context: EvaluateContext<Config>): Promise<Readonly<Record<string, unknown>>>;
}
