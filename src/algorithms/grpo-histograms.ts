// How KL, entropy and length spread over the tokens and completions of one step: what a mean hides.

import { histogram, type Histogram } from "../core/histogram.ts";
import type { MeasuredStep } from "./grpo.ts";

const LENGTH_BINS = 16;

/** 0, then two edges a power of ten: most tokens have almost none, and the few that have much are looked for. */
const logEdges = (from: number, to: number): number[] => [
  0,
  ...Array.from({ length: to - from }, (_, index) => from + index).flatMap((power) => [
    Number(`1e${power}`),
    Number(`3e${power}`),
  ]),
  Number(`1e${to}`),
];
const klEdges = logEdges(-6, 1);
const entropyEdges = logEdges(-4, 1);

/** At most 16 bins of whole tokens from 0 up to the token limit. */
function lengthEdges(maxTokens: number): number[] {
  const width = Math.ceil((maxTokens + 1) / LENGTH_BINS);
  const bins = Math.ceil((maxTokens + 1) / width);
  return Array.from({ length: bins + 1 }, (_, index) => index * width);
}

/** k3 of every token: exp(d) − d − 1, d = log π_ref − log π. */
function* tokenKl(
  policy: readonly Float32Array[],
  reference: readonly Float32Array[],
): Generator<number> {
  for (const [sequence, row] of policy.entries()) {
    for (const [time, logProb] of row.entries()) {
      const difference = reference[sequence]![time]! - logProb;
      yield Math.exp(difference) - difference - 1;
    }
  }
}

/**
 * `kl` (only with a reference policy) and `entropy` of every completion token, in nats and for the policy before its first
 * optimiser step; `completion/length` in tokens. The edges are the same at every step, but for the outermost ones.
 */
export function grpoHistograms({
  rollouts,
  passes,
  reference,
  settings,
}: MeasuredStep): Record<string, Histogram> {
  const first = passes[0]!;
  const lengths = rollouts.flatMap(({ completions }) =>
    completions.map((one) => one.tokens.length),
  );
  const all: Record<string, Histogram | null> = {
    ...(reference && { kl: histogram(tokenKl(first.logProbs, reference), klEdges) }),
    entropy: histogram(
      first.entropy.flatMap((row) => Array.from(row)),
      entropyEdges,
    ),
    "completion/length": histogram(lengths, lengthEdges(settings.maxTokens)),
  };
  return Object.fromEntries(
    Object.entries(all).filter((entry): entry is [string, Histogram] => entry[1] !== null),
  );
}
