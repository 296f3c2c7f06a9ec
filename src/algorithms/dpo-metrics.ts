// What a step of DPO tells of itself.

import { mean } from "../core/statistics.ts";

export interface MeasuredPairs {
  /** Under the policy before the optimiser step, nats `[sequence][time]`; chosen, rejected, chosen, rejected, … */
  readonly logProbs: readonly Float32Array[];
  readonly reference: readonly Float32Array[];
  /** How a completion's log-probability is made of its tokens'. */
  readonly over: "sum" | "mean";
}

const sum = (values: Float32Array): number => values.reduce((total, value) => total + value, 0);

/**
 * - `margin/mean`: h, nats; `margin/right`: share of the pairs with h > 0; before the first step both are 0.
 * - `logProb/chosen`, `logProb/rejected`: of a completion (as the loss takes it: sum or mean over its tokens), nats, mean over
 *   the batch. `logRatio/chosen`, `logRatio/rejected`: the same less that of the reference. The loss only sees their
 *   difference: that both fall is DPO's known failure.
 * - `kl`: estimate of KL(π_ref ‖ π) per token, exp(d) − d − 1 with d = log p − log p_ref, over the tokens of the pairs. They are a
 *   choice among the samples of π_ref, so it is biased; it still tells when the policy leaves the reference.
 */
export function dpoMetrics({ logProbs, reference, over }: MeasuredPairs): Record<string, number> {
  const total = (row: Float32Array): number =>
    over === "mean" ? sum(row) / Math.max(1, row.length) : sum(row);
  const policy = logProbs.map(total);
  const ratios = policy.map((value, index) => value - total(reference[index]!));
  const every = (list: readonly number[], side: 0 | 1): number[] =>
    list.filter((_, index) => index % 2 === side);
  const [chosen, rejected] = [every(ratios, 0), every(ratios, 1)];
  const margins = chosen.map((value, pair) => value - rejected[pair]!);
  const estimates = logProbs.flatMap((row, sequence) =>
    Array.from(row, (value, time) => {
      const d = value - reference[sequence]![time]!;
      return Math.exp(d) - d - 1;
    }),
  );
  return {
    "margin/mean": mean(margins),
    "margin/right": mean(margins.map((margin) => Number(margin > 0))),
    "logProb/chosen": mean(every(policy, 0)),
    "logProb/rejected": mean(every(policy, 1)),
    "logRatio/chosen": mean(chosen),
    "logRatio/rejected": mean(rejected),
    kl: mean(estimates),
    "length/chosen": mean(
      every(
        logProbs.map(({ length }) => length),
        0,
      ),
    ),
    "length/rejected": mean(
      every(
        logProbs.map(({ length }) => length),
        1,
      ),
    ),
  };
}
