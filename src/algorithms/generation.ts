// A generation batch: prompts are sampled and scored, scores become rewards, rewards become advantages. What it returns is
// ready for the loss.

import type { Engine, Example } from "../core/engine.ts";
import { randomStream } from "../core/random.ts";
import type { Scores } from "../core/task.ts";
import { klEstimate } from "../losses/loss-metrics.ts";
import { weighScores } from "../rollout/items.ts";
import {
  sampleGroups,
  scoreGroups,
  type Environment,
  type Rollout,
  type RolloutOptions,
} from "../rollout/single-turn.ts";
import type { RunDirectory } from "../run/run-directory.ts";
import { batchAdvantages, type GroupAdvantages, type RewardGroup } from "./advantages.ts";
import { lossOf, needsReference, stepsPerGeneration, type GrpoSettings } from "./grpo-settings.ts";
import type { RewardMonitor } from "./reward-monitor.ts";
import { brokenNumber } from "./stage.ts";

/** What a reward is made of: weight of each score. */
export type RewardWeights = Readonly<Record<string, number>>;

/** What is taken off the reward of a completion before it is compared; absent where nothing is. */
export type Penalties = Readonly<Partial<Record<"kl" | "overlong", number>>>;

/** Everything by `[prompt][sample]`, or flat in that order. */
export interface Generation {
  readonly rollouts: readonly Rollout<unknown>[];
  /** Samples that a failed reward took out. */
  readonly dropped: readonly (readonly boolean[])[];
  readonly rewards: readonly (readonly (number | null)[])[];
  /** Flat. */
  readonly penalties: readonly Penalties[];
  readonly groups: readonly GroupAdvantages[];
  /** Flat; null: takes no part in the training. */
  readonly examples: readonly (Example | null)[];
  /** Log-probabilities under the reference policy, flat. */
  readonly reference: readonly Float32Array[] | undefined;
  /** Under the policy that sampled, as the trainer computes them, flat; absent when the first pass of the training does. */
  readonly trainer: readonly Float32Array[] | undefined;
  /** Groups that others took the place of. */
  readonly refilled: number;
}

export interface GenerationContext<Item, Config> {
  readonly engine: Engine;
  readonly environment: Environment<Item, Config>;
  readonly run: RunDirectory;
  readonly seed: number;
  readonly settings: GrpoSettings;
  readonly weights: RewardWeights;
  readonly monitor: RewardMonitor;
}

/** Where a generation stands in the run. */
export interface GenerationPlace {
  /** Counted from 1: names its random streams. */
  readonly rollout: number;
  /** Optimiser step that it comes before, for messages. */
  readonly step: number;
}

/** Groups that were sampled and scored together. */
interface Sampled {
  readonly rollouts: readonly Rollout<unknown>[];
  readonly dropped: readonly (readonly boolean[])[];
  readonly rewards: readonly (readonly (number | null)[])[];
  readonly greedy: readonly (number | null)[] | undefined;
}

/** @param more Reads further items, for groups that are refilled. */
export async function generate<Item, Config>(
  context: GenerationContext<Item, Config>,
  items: readonly Item[],
  place: GenerationPlace,
  more: (count: number) => Promise<readonly Item[]>,
): Promise<Generation> {
  const { settings, monitor } = context;
  let { sampled, trainer, reference } = await sampleAndCompare(context, items, place, 0);
  let result = compare(context, sampled, trainer, reference);
  const seen = [{ rollouts: sampled.rollouts, groups: result.groups }];
  let refilled = 0;
  const rounds = settings.withoutSpread.type === "refill" ? settings.withoutSpread.rounds : 0;
  for (let round = 1; round <= rounds; round++) {
    const flat = result.groups.flatMap(({ withoutSpread }, index) =>
      withoutSpread ? [index] : [],
    );
    if (flat.length === 0) break;
    const others = await sampleAndCompare(context, await more(flat.length), place, round);
    refilled += flat.length;
    const size = settings.group;
    sampled = {
      rollouts: replaced(sampled.rollouts, flat, others.sampled.rollouts),
      dropped: replaced(sampled.dropped, flat, others.sampled.dropped),
      rewards: replaced(sampled.rewards, flat, others.sampled.rewards),
      greedy: sampled.greedy && replaced(sampled.greedy, flat, others.sampled.greedy!),
    };
    trainer = trainer && replacedRows(trainer, flat, others.trainer!, size);
    reference = reference && replacedRows(reference, flat, others.reference!, size);
    result = compare(context, sampled, trainer, reference);
    const groups = flat.map((index) => result.groups[index]!);
    seen.push({ rollouts: others.sampled.rollouts, groups });
  }
  monitor.watch(
    place.step,
    seen.flatMap(({ rollouts }) => rollouts),
    seen.flatMap(({ groups }) => groups),
  );
  return { ...sampled, ...result, trainer, reference, refilled };
}

function replaced<T>(list: readonly T[], at: readonly number[], others: readonly T[]): T[] {
  const result = [...list];
  at.forEach((index, position) => (result[index] = others[position]!));
  return result;
}

/** The same for lists that hold `size` rows for every group. */
function replacedRows<T>(
  list: readonly T[],
  at: readonly number[],
  others: readonly T[],
  size: number,
): T[] {
  const result = [...list];
  at.forEach((index, position) => {
    result.splice(index * size, size, ...others.slice(position * size, (position + 1) * size));
  });
  return result;
}

/** Samples groups, scores them, and computes what the loss compares them with. */
async function sampleAndCompare<Item, Config>(
  context: GenerationContext<Item, Config>,
  items: readonly Item[],
  place: GenerationPlace,
  round: number,
): Promise<{
  sampled: Sampled;
  trainer: readonly Float32Array[] | undefined;
  reference: readonly Float32Array[] | undefined;
}> {
  const { engine, environment, settings, seed } = context;
  const { rollout } = place;
  const options: RolloutOptions = {
    group: settings.group,
    maxTokens: settings.maxTokens,
    temperature: settings.temperature,
    topK: settings.topK ?? undefined,
    topP: settings.topP ?? undefined,
    random: (prompt, sample) =>
      round === 0
        ? randomStream(seed, "rollout", rollout, prompt, sample)
        : randomStream(seed, "rollout", rollout, prompt, sample, "round", round),
  };
  const groups = await sampleGroups(engine, environment, items, options);
  const sequences = groups.flatMap(({ promptTokens, completions }) =>
    completions.map(({ tokens }) => ({
      tokens: Int32Array.from([...promptTokens, ...tokens]),
      promptLength: promptTokens.length,
    })),
  );
  const { temperature } = lossOf(settings);
  // Log-probabilities are computed while this thread scores.
  const comparing = async () => ({
    reference: needsReference(settings)
      ? await engine.logProbs(sequences, { policy: "reference", temperature })
      : undefined,
    trainer: needsTrainer(settings)
      ? await engine.logProbs(sequences, { policy: "current", temperature })
      : undefined,
  });
  const scoring = Promise.resolve().then(() => scoreGroups(environment, groups));
  const [logProbs, rollouts] = await Promise.all([comparing(), scoring]);
  const greedy = await greedyRewards(context, items, place);
  const dropped = context.monitor.drop(place.step, rollouts);
  const rewards = rollouts.map((one, prompt) =>
    groupRewards(one, prompt, dropped[prompt]!, context, place.step),
  );
  return { sampled: { rollouts, dropped, rewards, greedy }, ...logProbs };
}

/** The first pass gives the log-probabilities by itself when nothing comes before or between it. */
const needsTrainer = (settings: GrpoSettings): boolean =>
  stepsPerGeneration(settings) > 1 ||
  settings.accumulation > 1 ||
  (settings.loss.kl.type === "reward" && settings.loss.kl.weight !== 0);

/** Reward of the greedy completion of each prompt; null where it is not known. */
async function greedyRewards<Item, Config>(
  { engine, environment, settings, weights, seed, monitor }: GenerationContext<Item, Config>,
  items: readonly Item[],
  { rollout, step }: GenerationPlace,
): Promise<(number | null)[] | undefined> {
  const { advantages } = settings;
  if (advantages.type !== "reward" || advantages.baseline !== "greedy") return undefined;
  const groups = await sampleGroups(engine, environment, items, {
    group: 1,
    maxTokens: settings.maxTokens,
    temperature: 0,
    random: (prompt) => randomStream(seed, "greedy", rollout, prompt),
  });
  const rollouts = await scoreGroups(environment, groups);
  // A baseline that failed is a failed reward like any other: counted, said, and the end of the run where the policy says so.
  const dropped = monitor.drop(step, rollouts);
  return rollouts.map(({ completions }, prompt) =>
    dropped[prompt]![0]! ? null : weighScores(completions[0]!.scores, weights),
  );
}

/** Reward of each completion, null where it abstains or was dropped. */
function groupRewards<Item, Config>(
  rollout: Rollout<unknown>,
  prompt: number,
  dropped: readonly boolean[],
  { weights, run }: GenerationContext<Item, Config>,
  step: number,
): (number | null)[] {
  return rollout.completions.map(({ scores }, sample) => {
    if (dropped[sample]!) return null;
    const reward = weighScores(scores, weights);
    if (reward === null || Number.isFinite(reward)) return reward;
    const what = `a reward of ${reward} for prompt ${prompt}, sample ${sample}`;
    throw brokenNumber("grpo", step, run, `${what} (scores ${scoresText(scores)})`);
  });
}

const scoresText = (scores: Scores): string =>
  Object.entries(scores)
    .map(([name, score]) => `${name} ${score}`)
    .join(", ");

/** Penalties, advantages and what the loss reads of each completion. */
function compare<Item, Config>(
  { settings, weights }: GenerationContext<Item, Config>,
  sampled: Sampled,
  trainer: readonly Float32Array[] | undefined,
  reference: readonly Float32Array[] | undefined,
): Pick<Generation, "penalties" | "groups" | "examples"> {
  const { rollouts, dropped } = sampled;
  const flat = rollouts.flatMap(({ promptTokens, completions }, prompt) =>
    completions.map((completion, sample) => ({ promptTokens, completion, prompt, sample })),
  );
  const masks = flat.map(({ completion, prompt, sample }) => {
    const isOut =
      dropped[prompt]![sample]! || (settings.overlong.mask && completion.stopReason === "length");
    return new Float32Array(completion.tokens.length).fill(isOut ? 0 : 1);
  });
  const penalties = flat.map(({ completion }, index) => ({
    ...klPenalty(settings, masks[index]!, trainer?.[index], reference?.[index]),
    ...overlongPenalty(settings, completion.tokens.length),
  }));
  const groups = advantagesOf(settings, weights, sampled, masks, penalties);
  const needsOld = stepsPerGeneration(settings) > 1 || settings.accumulation > 1;
  const usesSampler =
    settings.loss.sampler.type !== "ignored" || settings.loss.offPolicyMask !== null;
  const examples = flat.map(({ promptTokens, completion, prompt, sample }, index) => {
    const { advantages, withoutSpread } = groups[prompt]!;
    if (withoutSpread && settings.withoutSpread.type !== "keep") return null;
    const mask = masks[index]!;
    return {
      tokens: Int32Array.from([...promptTokens, ...completion.tokens]),
      promptLength: promptTokens.length,
      advantage: advantages[sample]!,
      ...(mask.some((value) => value === 0) && { mask }),
      ...(needsOld && { old: trainer![index]! }),
      ...(reference && { reference: reference[index]! }),
      ...(usesSampler && { sampler: completion.logProbs }),
    };
  });
  return { penalties, groups, examples };
}

/** β Σ_t KL_t of a completion, from the estimates of its loss tokens (TRL's RLOO, verl's use_kl_in_reward). */
function klPenalty(
  { loss: { kl } }: GrpoSettings,
  mask: Float32Array,
  trainer: Float32Array | undefined,
  reference: Float32Array | undefined,
): Penalties {
  if (kl.type !== "reward" || kl.weight === 0) return {};
  const sum = mask.reduce(
    (total, weight, time) =>
      weight === 0 ? total : total + klEstimate(kl, reference![time]! - trainer![time]!),
    0,
  );
  return { kl: kl.weight * sum };
}

/** 0 up to maxTokens − buffer, then linear to `weight` at maxTokens (DAPO, equation 13). */
function overlongPenalty({ overlong, maxTokens }: GrpoSettings, length: number): Penalties {
  if (overlong.penalty === null) return {};
  const { buffer, weight } = overlong.penalty;
  return { overlong: (weight * Math.max(0, length - (maxTokens - buffer))) / buffer };
}

function advantagesOf(
  settings: GrpoSettings,
  weights: RewardWeights,
  { rollouts, rewards, greedy }: Sampled,
  masks: readonly Float32Array[],
  penalties: readonly Penalties[],
): GroupAdvantages[] {
  let next = 0;
  const groups = rollouts.map(({ completions }, prompt): RewardGroup => {
    const start = next;
    next += completions.length;
    const penalty = (sample: number): number => {
      const { kl = 0, overlong = 0 } = penalties[start + sample]!;
      return kl + overlong;
    };
    const own = rewards[prompt]!;
    const parts = Object.entries(weights).map(([name, weight]) => {
      const values = completions.map(({ scores }, sample) =>
        own[sample] === null ? null : (scores[name] ?? null),
      );
      return [name, { weight, values }] as const;
    });
    return {
      rewards: own.map((reward, sample) => (reward === null ? null : reward - penalty(sample))),
      parts: Object.fromEntries(parts),
      tokens: completions.map((_, sample) =>
        masks[start + sample]!.reduce((total, value) => total + value, 0),
      ),
      ...(greedy && { greedy: greedy[prompt]! }),
    };
  });
  return batchAdvantages(groups, settings.advantages);
}

/** Completions that take part in the training, in the order they are trained in. */
export function trainingOrder(
  { examples }: Generation,
  settings: GrpoSettings,
  seed: number,
  rollout: number,
): Example[] {
  const list = examples.filter((example) => example !== null);
  const isWhole = settings.minibatches === 1 && settings.accumulation === 1;
  return isWhole ? list : randomStream(seed, "buffer", rollout).shuffle(list);
}
