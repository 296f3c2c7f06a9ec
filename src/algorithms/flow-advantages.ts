// Advantages of flow policies: plain numbers. A group is what has the same prompt text within one epoch, whatever batch it came
// from; rewards that are not known (null) leave every statistic, and their samples the epoch.
//
// Papers: Flow-GRPO, arXiv:2505.05470, equation 4 (deviation of the group; its repository: of the whole epoch, population);
// ViPO, arXiv:2511.18719, equation 8 (dense advantages; order of product and clip as in TeleBoost).

import { ConfigError, DataError, RunError, ShapeError } from "../core/errors.ts";
import type { FlowAdvantageSpec, PixelAdvantage } from "../core/flow-spec.ts";
import type { Random } from "../core/random.ts";
import { standardDeviation } from "../core/statistics.ts";
import { batchAdvantages } from "./advantages.ts";

export interface PromptReward {
  /** The text the image was made from. */
  readonly prompt: string;
  /** null: not known. */
  readonly reward: number | null;
}

/** Indices of the samples of each prompt, prompts in the order in which they first appear. */
export function promptGroups(samples: readonly { readonly prompt: string }[]): number[][] {
  const groups = new Map<string, number[]>();
  samples.forEach(({ prompt }, index) => {
    const group = groups.get(prompt);
    if (group === undefined) groups.set(prompt, [index]);
    else group.push(index);
  });
  return [...groups.values()];
}

export interface FlowAdvantages {
  /** One a sample, not yet clipped; null where the reward is not known. */
  readonly advantages: readonly (number | null)[];
  /** Prompts, and those of them whose rewards do not differ (zero-std ratio: their quotient). */
  readonly prompts: number;
  readonly withoutSpread: number;
}

/**
 * A = (r − mean of the prompt) / (deviation + ε), deviation of the epoch or of the prompt.
 *
 * @throws RunError for a reward that is not finite: it would poison every advantage of the epoch.
 */
export function flowAdvantages(
  samples: readonly PromptReward[],
  spec: Omit<FlowAdvantageSpec, "clip">,
): FlowAdvantages {
  samples.forEach(({ prompt, reward }) => {
    if (reward === null || Number.isFinite(reward)) return;
    throw new RunError({
      where: `reward of ${JSON.stringify(prompt)}`,
      expected: "a finite number, or null",
      got: String(reward),
    });
  });
  const groups = promptGroups(samples);
  const rewards = groups.map((group) => group.map((index) => samples[index]!.reward));
  const results = batchAdvantages(
    rewards.map((row) => ({ rewards: row })),
    {
      type: "reward",
      baseline: "group-mean",
      scale: {
        type: spec.scale === "epoch" ? "batch" : "group",
        deviation: spec.deviation,
        epsilon: spec.epsilon,
      },
      lone: "zero",
      clip: null,
    },
  );
  const advantages: (number | null)[] = samples.map(() => null);
  let withoutSpread = 0;
  results.forEach((result, group) => {
    const isFlat = result.withoutSpread || deviatesTooLittle(rewards[group]!, spec);
    if (isFlat) withoutSpread += 1;
    groups[group]!.forEach((sample, index) => {
      if (samples[sample]!.reward === null) return;
      advantages[sample] = isFlat ? 0 : result.advantages[index]!;
    });
  });
  return { advantages, prompts: groups.length, withoutSpread };
}

/** Whether the rewards of a prompt deviate by less than the spec asks for. */
function deviatesTooLittle(
  rewards: readonly (number | null)[],
  { minGroupDeviation, deviation }: Pick<FlowAdvantageSpec, "minGroupDeviation" | "deviation">,
): boolean {
  const known = rewards.filter((reward) => reward !== null);
  return known.length > 1 && standardDeviation(known, deviation) < minGroupDeviation;
}

/**
 * Several rewards mixed as advantages (MixGRPO, arXiv:2507.21802; DanceGRPO): each normalised by itself, then the weighted sum.
 * One that abstains (null) adds nothing, as in a sum of rewards; null where all do.
 */
export function mixedAdvantages(
  parts: readonly { readonly weight: number; readonly advantages: readonly (number | null)[] }[],
): (number | null)[] {
  const [first, ...others] = parts;
  if (first === undefined) return [];
  if (others.some(({ advantages }) => advantages.length !== first.advantages.length)) {
    const got = parts.map(({ advantages }) => advantages.length).join(", ");
    throw new ShapeError({ where: "mixedAdvantages", expected: "lists of one length", got });
  }
  return first.advantages.map((_, sample) =>
    parts.reduce<number | null>((total, { weight, advantages }) => {
      const value = advantages[sample]!;
      return value === null ? total : (total ?? 0) + weight * value;
    }, null),
  );
}

export interface ScoredSample extends PromptReward {
  /** The scores that the reward was made of. */
  readonly scores: Readonly<Record<string, number | null>>;
}

/** Advantages of an epoch, of one reward or of several, mixed as the spec says. */
export function epochAdvantages(
  samples: readonly ScoredSample[],
  weights: Readonly<Record<string, number>>,
  spec: Omit<FlowAdvantageSpec, "clip">,
): FlowAdvantages {
  if (spec.mix === "rewards") return flowAdvantages(samples, spec);
  const parts = Object.entries(weights).map(([name, weight]) => {
    const own = samples.map(({ prompt, reward, scores }) => ({
      prompt,
      reward: reward === null ? null : (scores[name] ?? null),
    }));
    return { weight, advantages: flowAdvantages(own, spec).advantages };
  });
  const advantages = mixedAdvantages(parts);
  const groups = promptGroups(samples);
  const isFlat = (group: readonly number[]): boolean =>
    group.every((sample) => advantages[sample] === null || advantages[sample] === 0);
  return { advantages, prompts: groups.length, withoutSpread: groups.filter(isFlat).length };
}

/**
 * Samples that are trained, in order: those with an advantage other than 0; and, if their count does not divide into `batches`,
 * so many randomly chosen ones with advantage 0 that it does. When there are not enough of them none is added, as in the
 * repository. A sample without a reward never comes back.
 */
export function trainedSamples(
  advantages: readonly (number | null)[],
  batches: number,
  random: Random,
): number[] {
  const indices = advantages.map((_, index) => index);
  const kept = indices.filter((index) => advantages[index] !== null && advantages[index] !== 0);
  const missing = (batches - (kept.length % batches)) % batches;
  const idle = indices.filter((index) => advantages[index] === 0);
  if (idle.length < missing) return kept;
  return [...kept, ...random.shuffle(idle).slice(0, missing)].sort((a, b) => a - b);
}

const clipped = (value: number, clip: number | null): number =>
  clip === null ? value : Math.min(Math.max(value, -clip), clip);

/** Scalar advantages within ± clip. */
export const clippedAdvantages = (
  advantages: readonly (number | null)[],
  clip: number | null,
): (number | null)[] => advantages.map((value) => (value === null ? null : clipped(value, clip)));

/** clip(M(p) A) of every position of each sample, from A that is not yet clipped. */
export function mappedAdvantages(
  advantages: readonly (number | null)[],
  maps: readonly (ArrayLike<number> | undefined)[],
  clip: number | null,
): (Float64Array | null)[] {
  checkMaps(advantages.length, maps);
  return advantages.map((advantage, sample) =>
    advantage === null
      ? null
      : Float64Array.from(maps[sample]!, (weight) => clipped(weight * advantage, clip)),
  );
}

/**
 * Advantages of the positions of each sample `[sample][position]`, from maps M of the same form; null where the reward is not
 * known.
 *
 * target advantage: clip(M(p) A). target reward: r(p) = M(p) r, and A(p) = (r(p) − mean) / (deviation + ε) over the group, each
 * position by itself (the deviation over the epoch where the spec says so), then clipped.
 *
 * @throws ConfigError for a missing map, ShapeError for maps of different sizes, DataError for a value that is negative or no number.
 */
export function denseAdvantages(
  samples: readonly PromptReward[],
  maps: readonly (ArrayLike<number> | undefined)[],
  spec: FlowAdvantageSpec,
  target: PixelAdvantage["target"],
): (Float64Array | null)[] {
  if (target === "advantage")
    return mappedAdvantages(flowAdvantages(samples, spec).advantages, maps, spec.clip);
  const size = checkMaps(samples.length, maps);
  const dense = samples.map(({ reward }) => (reward === null ? null : new Float64Array(size)));
  for (let position = 0; position < size; position++) {
    const weighed = samples.map(({ prompt, reward }, sample) => ({
      prompt,
      reward: reward === null ? null : reward * maps[sample]![position]!,
    }));
    const { advantages } = flowAdvantages(weighed, spec);
    advantages.forEach((value, sample) => {
      if (value !== null) dense[sample]![position] = clipped(value, spec.clip);
    });
  }
  return dense;
}

/** Positions of a map. */
function checkMaps(samples: number, maps: readonly (ArrayLike<number> | undefined)[]): number {
  if (maps.length !== samples) {
    const [expected, got] = [`${samples} maps`, String(maps.length)];
    throw new ShapeError({ where: "denseAdvantages", expected, got });
  }
  const size = maps[0]?.length ?? 0;
  maps.forEach((map, sample) => {
    const where = `map of sample ${sample}`;
    if (map === undefined) {
      const hint = "a missing map is not a map of ones";
      throw new ConfigError({ where, expected: "a map", got: "none", hint });
    }
    if (map.length !== size) {
      throw new ShapeError({ where, expected: `${size} positions`, got: String(map.length) });
    }
    const bad = Array.from(map).find((weight) => !(weight >= 0 && weight < Infinity));
    if (bad !== undefined) {
      throw new DataError({ where, expected: "finite weights >= 0", got: String(bad) });
    }
  });
  return size;
}
