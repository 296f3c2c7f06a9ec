// Rewards that say nothing for many steps: null for every sample, one value for every sample, or no group with spread. Each is
// counted as a streak of steps; a streak as long as the window is a finding.

import { z } from "zod";

const action = (by: "stop" | "warn", help: string) =>
  z.enum(["stop", "warn"]).default(by).describe(help);

export const rewardWindow = z.object({
  steps: z
    .int()
    .min(1)
    .default(20)
    .describe("generation batches of a window: optimiser steps, where each feeds one"),
  onNull: action("stop", "when a reward gave no number for any sample of a whole window"),
  onConstant: action(
    "warn",
    "when a reward had one and the same value for every sample of a whole window (right for a format that is always kept)",
  ),
  onNoSpread: action(
    "stop",
    "when no group of a whole window had rewards that differ, so that nothing was learned; steps in which all answers are right do not count once others were seen",
  ),
});

/** Streaks of steps up to now: plain JSON. */
export const streaks = z.object({
  rewards: z.record(
    z.string(),
    z.object({
      /** Steps in a row without a number. */
      silentSteps: z.int(),
      /** Steps in a row in which every number was `value`. */
      constantSteps: z.int(),
      value: z.number().nullable(),
    }),
  ),
  /** Steps in a row in which no group had spread. */
  flatSteps: z.int(),
  /** An answer that was not right has been seen. */
  hasSeenWrong: z.boolean(),
});
export type Streaks = z.output<typeof streaks>;

export const noStreaks: Streaks = { rewards: {}, flatSteps: 0, hasSeenWrong: false };

/** What one step says about the rewards. */
export interface StepFacts {
  /** The numbers that a reward gave, over all samples; none: it abstained or failed everywhere. */
  readonly values: Readonly<Record<string, readonly number[]>>;
  /** No group had rewards that differ. */
  readonly isFlat: boolean;
  /** Every answer was right. */
  readonly isSolved: boolean;
}

/** The streaks after a step. */
export function withStep(before: Streaks, { values, isFlat, isSolved }: StepFacts): Streaks {
  const rewards = Object.entries(values).map(([name, numbers]) => {
    const last = before.rewards[name];
    const [value] = numbers;
    if (value === undefined) {
      const silentSteps = (last?.silentSteps ?? 0) + 1;
      return [name, { silentSteps, constantSteps: 0, value: null }] as const;
    }
    const isConstant = numbers.every((one) => one === value);
    const earlier = last?.value === value ? last.constantSteps : 0;
    const constantSteps = isConstant ? earlier + 1 : 0;
    return [name, { silentSteps: 0, constantSteps, value: isConstant ? value : null }] as const;
  });
  const hasSeenWrong = before.hasSeenWrong || !isSolved;
  // A model that learned to be right everywhere has nothing left to learn; a scorer that never said otherwise is a suspect.
  const isStuck = isFlat && !(isSolved && before.hasSeenWrong);
  return {
    rewards: Object.fromEntries(rewards),
    flatSteps: isStuck ? before.flatSteps + 1 : 0,
    hasSeenWrong,
  };
}

/** Something that was so for a whole window. */
export interface Finding {
  readonly type: "onNull" | "onConstant" | "onNoSpread";
  /** Rewards that it is about. */
  readonly names: readonly string[];
  readonly text: string;
}

/** What held for the last `steps` steps. */
export function findings({ rewards, flatSteps }: Streaks, steps: number): Finding[] {
  const all = Object.entries(rewards);
  const nameList = (list: typeof all): string[] => list.map(([name]) => name);
  const silent = all.filter(([, { silentSteps }]) => silentSteps >= steps);
  const constant = all.filter(([, { constantSteps }]) => constantSteps >= steps);
  const last = `the last ${steps} steps`;
  const plural = (list: typeof all): string => (list.length === 1 ? "reward" : "rewards");
  const values = constant.map(([name, { value }]) => `${name} = ${value}`).join(", ");
  return [
    ...(silent.length === 0
      ? []
      : [
          {
            type: "onNull" as const,
            names: nameList(silent),
            text: `${plural(silent)} ${nameList(silent).join(", ")} without a number for any sample of ${last}`,
          },
        ]),
    ...(constant.length === 0
      ? []
      : [
          {
            type: "onConstant" as const,
            names: nameList(constant),
            text: `${plural(constant)} with one value for every sample of ${last}: ${values}`,
          },
        ]),
    ...(flatSteps < steps
      ? []
      : [
          {
            type: "onNoSpread" as const,
            names: [],
            text: `no group with rewards that differ in ${last}`,
          },
        ]),
  ];
}
