// How KL, entropy and length spread over the tokens and completions of one step: what a mean hides.

import { histogram, type Histogram } from "../core/histogram.ts";
import { masksOf } from "../losses/weights.ts";
import type { Generation } from "./generation.ts";
import type { Update } from "./grpo.ts";

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

type Histograms = Record<string, Histogram>;

const known = (all: Readonly<Record<string, Histogram | null>>): Histograms =>
  Object.fromEntries(
    Object.entries(all).filter((entry): entry is [string, Histogram] => entry[1] !== null),
  );

/** `completion/length`: tokens of the completions of a generation batch. */
export function generationHistograms(
  { rollouts }: Pick<Generation, "rollouts">,
  { maxTokens }: { readonly maxTokens: number },
): Histograms {
  const lengths = rollouts.flatMap(({ completions }) =>
    completions.map(({ tokens }) => tokens.length),
  );
  return known({ "completion/length": histogram(lengths, lengthEdges(maxTokens)) });
}

/**
 * `kl` (only with a reference policy; k3, exp(d) − d − 1 with d = log π_ref − log π) and `entropy` of every loss token of an
 * optimiser step, in nats and for the policy before the step. The edges are the same at every step, but for the outermost ones.
 */
export function updateHistograms({ examples, results }: Pick<Update, "examples" | "results">) {
  const masks = masksOf(examples);
  const counted = (rows: readonly ArrayLike<number>[]): number[] =>
    rows.flatMap((row, sequence) =>
      Array.from(row).filter((_, time) => masks[sequence]![time]! > 0),
    );
  const logProbs = results.flatMap((result) => result.logProbs);
  const kl = logProbs.flatMap((row, sequence) => {
    const { reference } = examples[sequence]!;
    if (reference === undefined) return [];
    return [
      Array.from(row, (logProb, time) => {
        const difference = reference[time]! - logProb;
        return Math.exp(difference) - difference - 1;
      }),
    ];
  });
  return known({
    ...(kl.length > 0 && { kl: histogram(counted(kl), klEdges) }),
    entropy: histogram(counted(results.flatMap((result) => result.entropy)), entropyEdges),
  });
}
