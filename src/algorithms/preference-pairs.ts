// Pairs of a better and a worse completion of one prompt.

import type { Random } from "../core/random.ts";
import { different, type StoredSample } from "./stored-samples.ts";

export interface Pair<Sample> {
  readonly chosen: Sample;
  readonly rejected: Sample;
}

/**
 * At most `most` pairs of completions of one prompt: one of those with its largest reward over one of those with its smallest,
 * drawn from `random`. No completion is in two pairs, and what the policy wrote several times counts once. A group without spread
 * gives none; completions without a reward are left out.
 */
export function preferencePairs<Sample extends StoredSample>(
  group: readonly Sample[],
  most: number,
  random: Random,
): Pair<Sample>[] {
  const scored = different(group.filter(({ reward }) => reward !== null));
  const rewards = scored.map(({ reward }) => reward!);
  const [best, worst] = [Math.max(...rewards), Math.min(...rewards)];
  if (!(best > worst)) return [];
  const drawn = (reward: number): Sample[] =>
    random.shuffle(scored.filter((sample) => sample.reward === reward));
  const [chosen, rejected] = [drawn(best), drawn(worst)];
  const count = Math.min(most, chosen.length, rejected.length);
  return Array.from({ length: count }, (_, pair) => ({
    chosen: chosen[pair]!,
    rejected: rejected[pair]!,
  }));
}
