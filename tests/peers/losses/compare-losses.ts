// The largest differences between our losses, gradients and advantages and those of TRL and verl.

import { batchAdvantages } from "../../../src/algorithms/advantages.ts";
import { evaluateLoss } from "../../../src/losses/index.ts";
import { trlAdvantages, trlGroups, trlSpec, trlWindow } from "./trl-spec.ts";
import {
  lossBatch,
  type AdvantageConfiguration,
  type LossConfiguration,
  type TrainerCases,
} from "./trainer-cases.ts";
import { verlAdvantages, verlGroups, verlScale, verlSpec, verlWindow } from "./verl-spec.ts";

/** What counts as equal: |ours − theirs| / max(1, |theirs|). */
export const TOLERANCE = 1e-6;

/**
 * verl divides by the number of tokens + 1e-8 when it whitens: of equal rewards, ours 0, up to 1e-5 is left there.
 */
export const advantageTolerance = ({ config }: AdvantageConfiguration): number =>
  config["adv_estimator"] === "reinforce_plus_plus" ? 1e-5 : TOLERANCE;

export interface Differences {
  readonly cases: number;
  readonly loss: number;
  readonly gradient: number;
}

/** NaN is the largest difference there is. */
function difference(ours: number | undefined, theirs: number): number {
  const found = Math.abs(ours! - theirs) / Math.max(1, Math.abs(theirs));
  return Number.isNaN(found) ? Infinity : found;
}

const largest = (values: readonly number[]): number =>
  values.reduce((most, value) => Math.max(most, value), 0);

/** The larger of the two lengths is walked through, so that a missing number is a difference. */
function rowDifferences(ours: readonly number[], theirs: readonly number[]): number[] {
  const length = Math.max(ours.length, theirs.length);
  return Array.from({ length }, (_, index) => difference(ours[index], theirs[index] ?? NaN));
}

export function compareLosses(
  { trainer, version, config, cases }: LossConfiguration,
  { batches }: Pick<TrainerCases, "batches">,
): Differences {
  const choice = trainer === "trl" ? trlSpec(version, config) : verlSpec(config);
  const readsSampler = config["use_vllm"] === true || "rollout_is" in config;
  const found = cases.map((one) => {
    const batch = batches[one.batch]!;
    const { window } = one;
    const cut =
      trainer === "trl" || window === null ? trlWindow(window) : verlWindow(config, window, batch);
    const given = { ...lossBatch(batch, one, readsSampler), window: cut };
    const { loss, gradient } = evaluateLoss(given, choice);
    const scale = trainer === "verl" && window !== null ? verlScale(config, window) : 1;
    return {
      loss: difference(loss * scale, one.loss),
      gradient: largest(
        one.gradient.flatMap((row, sequence) =>
          rowDifferences(
            gradient[sequence]!.map((slope) => slope * scale),
            row,
          ),
        ),
      ),
    };
  });
  return {
    cases: cases.length,
    loss: largest(found.map((one) => one.loss)),
    gradient: largest(found.map((one) => one.gradient)),
  };
}

export function compareAdvantages(
  { trainer, version, config, cases }: AdvantageConfiguration,
  { rewards }: Pick<TrainerCases, "rewards">,
): { readonly cases: number; readonly advantages: number } {
  const found = cases.map(({ table, advantages }) => {
    const { ours, lengths } =
      trainer === "trl"
        ? { ours: trlOurs(version, config, rewards[table]!), lengths: undefined }
        : { ours: verlOurs(config, rewards[table]!), lengths: rewards[table]!.lengths };
    const rows = advantages.map((value) => (typeof value === "number" ? [value] : value));
    const repeated = ours.map((value, index) => Array<number>(lengths?.[index] ?? 1).fill(value));
    return largest(rows.flatMap((row, index) => rowDifferences(repeated[index]!, row)));
  });
  return { cases: cases.length, advantages: largest(found) };
}

type Table = TrainerCases["rewards"][number];

function trlOurs(version: string, config: AdvantageConfiguration["config"], table: Table) {
  const groups = batchAdvantages(trlGroups(version, table), trlAdvantages(version, config));
  return groups.flatMap(({ advantages }) => advantages);
}

function verlOurs(config: AdvantageConfiguration["config"], table: Table): number[] {
  const { groups, places } = verlGroups(config, table);
  const ours: number[] = [];
  batchAdvantages(groups, verlAdvantages(config)).forEach(({ advantages }, group) => {
    advantages.forEach((value, index) => {
      ours[places[group]![index]!] = value;
    });
  });
  return ours;
}
