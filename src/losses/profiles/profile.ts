// A named set of choices: what one trainer, at one version, does when nobody changes its defaults.

import type { z } from "zod";
import type { advantageSettings } from "../../core/advantage-spec.ts";
import type { policySettings } from "../../core/loss-spec.ts";

/** Settings of the GRPO stage; what is left out has the default of the stage. */
export interface ProfileSettings {
  /** Completions a prompt. */
  readonly group?: number;
  /** Passes over a generation batch. */
  readonly iterations?: number;
  /** Optimiser steps a pass. */
  readonly minibatches?: number;
  readonly temperature: number;
  readonly topK?: number | null;
  readonly topP?: number | null;
  /** Whether the loss divides the logits by the sampling temperature. */
  readonly logits: "tempered" | "plain";
  readonly loss: z.input<typeof policySettings>;
  readonly advantages: z.input<typeof advantageSettings>;
  readonly withoutSpread?: { readonly type: "keep" | "drop" | "refill" };
  readonly overlong?: {
    readonly mask?: boolean;
    readonly penalty?: { readonly buffer: number; readonly weight: number } | null;
  };
}

export interface Profile {
  readonly title: string;
  readonly sources: readonly string[];
  readonly settings: ProfileSettings;
  /** Why, by the path of a setting or the beginning of one; every choice has a reason. */
  readonly reasons: Readonly<Record<string, string>>;
}
