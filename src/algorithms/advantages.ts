// Group-relative advantages: plain numbers, outside the engine.

import { mean, standardDeviation } from "../core/statistics.ts";

export interface GroupAdvantages {
  /** One a completion; 0 where the reward abstains. */
  readonly advantages: readonly number[];
  /** All rewards of the group are equal (or fewer than two are known): it teaches nothing. */
  readonly withoutSpread: boolean;
}

/**
 * A_i = (r_i − mean(r)) / (std(r) + 1e-4) within a group, std with n − 1; rewards that abstain (null) are left out of the
 * statistics and get 0.
 *
 * Paper: DeepSeekMath, arXiv:2402.03300, section 4.1.2; n − 1 and 1e-4 as in TRL.
 *
 * @example groupAdvantages([1, 0]).advantages // [0.7070067953, -0.7070067953]
 */
export function groupAdvantages(rewards: readonly (number | null)[]): GroupAdvantages {
  const known = rewards.filter((reward) => reward !== null);
  // Not by the deviation: the mean of equal rewards may differ from them in the last bit.
  if (known.every((reward) => reward === known[0])) {
    return { advantages: rewards.map(() => 0), withoutSpread: true };
  }
  const deviation = standardDeviation(known, "sample");
  const center = mean(known);
  return {
    advantages: rewards.map((reward) =>
      reward === null ? 0 : (reward - center) / (deviation + 1e-4),
    ),
    withoutSpread: false,
  };
}
