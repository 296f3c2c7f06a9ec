// Watches the rewards of a run: failures and what they mean for the step, windows in which a reward says nothing, and what is
// said about it once. Its state is plain JSON and stands in the checkpoint, so that a resumed run counts on.

import { z } from "zod";
import { DataError, RunError } from "../core/errors.ts";
import type { RunDirectory } from "../run/run-directory.ts";
import {
  dropFailures,
  failureCounts,
  failurePolicies,
  type ScoredGroup,
} from "./failure-policy.ts";
import { findings, noStreaks, rewardWindow, streaks, withStep } from "./reward-window.ts";
import { newestCheckpoint } from "./stage.ts";

export const rewardSettings = failurePolicies.extend({
  window: rewardWindow
    .nullable()
    .prefault({})
    .describe("steps after which a reward that says nothing is noticed; null: never"),
});
export type RewardSettings = z.output<typeof rewardSettings>;

const monitorState = z.object({
  failures: failureCounts,
  streaks,
  /** What has been said and is not said again. */
  said: z.array(z.string()),
});
export type RewardMonitorState = z.output<typeof monitorState>;

/** What the monitor is told of the run. */
export interface Watched {
  /** Scores with a weight: the rewards. */
  readonly rewards: readonly string[];
  /** Score that says whether an answer is right. */
  readonly accuracy: string;
  readonly run: Pick<RunDirectory, "checkpointNames">;
  /** A line that stays on the screen. */
  readonly tell: (line: string) => void;
}

export class RewardMonitor {
  readonly #settings: RewardSettings;
  readonly #watched: Watched;
  #state: RewardMonitorState = { failures: {}, streaks: noStreaks, said: [] };

  /** @param saved What `toJSON` gave the checkpoint; undefined: the run begins. */
  constructor(settings: RewardSettings, watched: Watched, saved?: unknown) {
    this.#settings = settings;
    this.#watched = watched;
    if (saved === undefined) return;
    const parsed = monitorState.safeParse(saved);
    if (!parsed.success) {
      const where = "checkpoint state, rewards";
      const got = z.prettifyError(parsed.error);
      throw new DataError({ where, expected: "counters and streaks", got, cause: parsed.error });
    }
    this.#state = parsed.data;
  }

  toJSON(): RewardMonitorState {
    return this.#state;
  }

  /** Says a line unless each of its keys was said before in this run. */
  tellOnce(keys: readonly string[], line: string): void {
    const said = new Set(this.#state.said);
    if (keys.every((key) => said.has(key))) return;
    this.#state = { ...this.#state, said: [...new Set([...said, ...keys])] };
    this.#watched.tell(line);
  }

  /** The samples that leave the step because a reward failed `[prompt][sample]`. Throws a RunError where a policy says stop. */
  drop(step: number, rollouts: readonly ScoredGroup[]): readonly (readonly boolean[])[] {
    const { rewards, run } = this.#watched;
    const place = { step, run };
    const { dropped, counts } = dropFailures(
      rollouts,
      rewards,
      this.#settings,
      this.#state.failures,
      place,
    );
    this.#state = { ...this.#state, failures: counts };
    this.#tellFailures(rollouts);
    return dropped;
  }

  #tellFailures(rollouts: readonly ScoredGroup[]): void {
    for (const { failures } of rollouts.flatMap(({ completions }) => completions)) {
      for (const [name, { kind, error }] of Object.entries(failures)) {
        const what = this.#watched.rewards.includes(name)
          ? `reward ${name} failed, its sample is left out (grpo.rewards.${kind}: ${this.#settings[kind].type})`
          : `score ${name} failed, it has no weight in the reward`;
        const counted = `counted as scorer/${name}/${kind}`;
        this.tellOnce([`failure/${name}/${kind}`], `${what}; ${counted}: ${error.message}`);
      }
    }
  }

  /** Counts the step. Throws a RunError when a reward has said nothing for a whole window. */
  watch(
    step: number,
    rollouts: readonly ScoredGroup[],
    groups: readonly { readonly withoutSpread: boolean }[],
  ): void {
    const { window } = this.#settings;
    if (window === null) return;
    const { rewards, accuracy, run } = this.#watched;
    const scores = rollouts.flatMap(({ completions }) => completions.map((one) => one.scores));
    const numbers = (name: string): number[] =>
      scores.map((one) => one[name]).filter((value) => typeof value === "number");
    const after = withStep(this.#state.streaks, {
      values: Object.fromEntries(rewards.map((name) => [name, numbers(name)])),
      isFlat: groups.every(({ withoutSpread }) => withoutSpread),
      isSolved: scores.every((one) => one[accuracy] === 1),
    });
    this.#state = { ...this.#state, streaks: after };
    const found = findings(after, window.steps);
    const stopping = found.filter(({ type }) => window[type] === "stop");
    if (stopping.length > 0) {
      const options = stopping.map(({ type }) => `grpo.rewards.window.${type}=warn`);
      throw new RunError({
        where: `grpo step ${step}`,
        expected: "rewards that tell answers apart",
        // Constants are no reason to stop by default, but they are what one wants to know here.
        got: found.map(({ text }) => text).join("; "),
        hint: `${options.join(" ")} goes on; ${newestCheckpoint(run)}`,
      });
    }
    for (const { type, names, text } of found) {
      const keys = names.length === 0 ? [type] : names.map((name) => `${type}/${name}`);
      this.tellOnce(keys, `grpo step ${step}: ${text}`);
    }
  }
}
