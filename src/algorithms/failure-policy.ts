// What a run does with a sample whose reward failed. A failure is never a number: the sample leaves the step, or the run stops.

import { z } from "zod";
import { RunError } from "../core/errors.ts";
import {
  failureKinds,
  type FailureKind,
  type ScoredOutput,
  type ScoreFailure,
} from "../rollout/score-outputs.ts";
import type { RunDirectory } from "../run/run-directory.ts";
import { newestCheckpoint } from "./stage.ts";

const failurePolicy = z.discriminatedUnion("type", [
  z.object({ type: z.literal("stop") }),
  z.object({ type: z.literal("drop-sample") }),
  z.object({ type: z.literal("drop-group") }),
  z.object({
    type: z.literal("stop-after"),
    count: z
      .int()
      .min(1)
      .default(100)
      .describe("failures of one reward that stop the run; until then the sample is dropped"),
  }),
]);
export type FailurePolicy = z.output<typeof failurePolicy>;

const meaning: Readonly<Record<FailureKind, string>> = {
  error: "a scorer throws, or returns no number",
  timeout: "a scorer does not answer within scoring.timeoutMs",
  notFinite: "a scorer returns NaN or an infinity",
};

/** A policy for each kind of failure. */
export const failurePolicies = z.object({
  error: failurePolicy.prefault({ type: "stop" }).describe(meaning.error),
  timeout: failurePolicy.prefault({ type: "stop-after" }).describe(meaning.timeout),
  notFinite: failurePolicy.prefault({ type: "stop" }).describe(meaning.notFinite),
});
export type FailurePolicies = z.output<typeof failurePolicies>;

/** Failures of a run so far, by reward and kind. */
export const failureCounts = z.record(
  z.string(),
  z.partialRecord(z.enum(failureKinds), z.int().min(0)),
);
export type FailureCounts = z.output<typeof failureCounts>;

/** What was scored of one prompt, whatever a model made of it. */
export interface ScoredGroup {
  readonly completions: readonly ScoredOutput[];
}

/** Where a failure happened. */
export interface FailurePlace {
  readonly step: number;
  readonly prompt: number;
  readonly sample: number;
  readonly run: Pick<RunDirectory, "checkpointNames">;
}

const words: Readonly<Record<FailureKind, string>> = {
  error: "an error of the scorer",
  timeout: "a timeout of the scorer",
  notFinite: "no finite number",
};

/** The error of a run that stops because of a failed reward. */
function failureError(
  name: string,
  { kind, error }: ScoreFailure,
  policy: FailurePolicy,
  { step, prompt, sample, run }: FailurePlace,
): RunError {
  const isCounted = policy.type === "stop-after";
  const before = isCounted ? `failure ${policy.count} of this run, ` : "";
  const other = isCounted
    ? "count=… allows more of them"
    : "type=drop-sample goes on without the sample";
  return new RunError({
    where: `grpo step ${step}: prompt ${prompt}, sample ${sample}`,
    expected: `a number or null for reward ${name}`,
    got: `${before}${words[kind]}: ${error.message}`,
    cause: error,
    hint: `grpo.rewards.${kind}.${other}; ${newestCheckpoint(run)}`,
  });
}

/**
 * The samples of one step that leave it `[prompt][sample]`, and the counts after it. Only scores with a weight decide; the counts
 * of `names` go on from `counts`. Throws a RunError where a policy stops the run.
 */
export function dropFailures(
  rollouts: readonly ScoredGroup[],
  names: readonly string[],
  policies: FailurePolicies,
  counts: FailureCounts,
  place: Pick<FailurePlace, "step" | "run">,
): { readonly dropped: readonly (readonly boolean[])[]; readonly counts: FailureCounts } {
  const after: FailureCounts = structuredClone(counts);
  const dropped = rollouts.map(({ completions }, prompt) => {
    let isGroupDropped = false;
    const samples = completions.map(({ failures }, sample) => {
      const failed = names.filter((name) => failures[name] !== undefined);
      for (const name of failed) {
        const failure = failures[name]!;
        const policy = policies[failure.kind];
        const count = (after[name]?.[failure.kind] ?? 0) + 1;
        after[name] = { ...after[name], [failure.kind]: count };
        if (policy.type === "stop" || (policy.type === "stop-after" && count >= policy.count)) {
          throw failureError(name, failure, policy, { ...place, prompt, sample });
        }
        if (policy.type === "drop-group") isGroupDropped = true;
      }
      return failed.length > 0;
    });
    return isGroupDropped ? samples.map(() => true) : samples;
  });
  return { dropped, counts: after };
}
