// Accuracy of an image model on the prompts of a task: several images a prompt along the ODE, judged by the task.

import { RunError } from "../core/errors.ts";
import type { DenoiseStep, FlowEngine, FlowWeights } from "../core/flow-engine.ts";
import type { Drawing } from "../core/image-task.ts";
import type { Progress } from "../core/progress.ts";
import { randomStream } from "../core/random.ts";
import { meanEstimate, type Estimate } from "../core/statistics.ts";
import { flowTimes } from "../rollout/flow-schedule.ts";
import type { FlowSchedule } from "../core/flow-spec.ts";
import {
  imagesOf,
  promptEncoder,
  scoreImages,
  type ImageEnvironment,
} from "../rollout/image-environment.ts";
import { accuracyOf, type Accuracy } from "./evaluate-task.ts";

export interface EvaluateImagesOptions {
  readonly suite: string;
  /** Images of every prompt. */
  readonly images: number;
  readonly steps: number;
  readonly schedule: FlowSchedule;
  readonly solver: "euler" | "heun" | "dpm2";
  readonly guidance: number;
  readonly weights: FlowWeights;
  readonly seed: number;
  readonly progress: Progress;
  readonly label: string;
}

export interface ImageEvaluation {
  readonly count: number;
  /** Mean over the levels, as GenEval has it; its interval adds up those of the levels. */
  readonly accuracy: number;
  readonly ci95: readonly [number, number];
  /** Over the images, whatever their level. */
  readonly images: Accuracy;
  readonly levels: Readonly<Record<string, Accuracy>>;
  /** Wrong images by what is wrong with them. */
  readonly errors: Readonly<Record<string, number>>;
  /** Mean of every score over the images where it neither abstains nor fails. */
  readonly scores: Readonly<Record<string, number>>;
  /** One character an image, in order: 1 right, 0 wrong. */
  readonly outcomes: string;
}

/** An image with what was asked for and what became of it. */
export interface JudgedImage<Item, Image extends Drawing> {
  readonly item: Item;
  readonly image: Image;
  readonly isRight: boolean;
  readonly level: string;
}

/**
 * Mean over levels and its interval: squared distances from the share to the ends of Wilson's interval add up over the levels
 * (Newcombe's way for a sum of independent proportions).
 */
export function meanOverLevels(
  levels: readonly Accuracy[],
): Pick<ImageEvaluation, "accuracy" | "ci95"> {
  const count = levels.length;
  const accuracy = levels.reduce((sum, one) => sum + one.accuracy, 0) / count;
  const half = (end: 0 | 1): number =>
    Math.sqrt(levels.reduce((sum, one) => sum + (one.accuracy - one.ci95[end]) ** 2, 0)) / count;
  return { accuracy, ci95: [accuracy - half(0), accuracy + half(1)] };
}

/** Difference of two evaluations of the same images' seeds: every level weighs the same, images are pairs. */
export function pairedGain(
  before: Pick<ImageEvaluation, "outcomes">,
  after: Pick<ImageEvaluation, "outcomes">,
  levels: readonly string[],
): Estimate {
  const counts = new Map<string, number>();
  for (const level of levels) counts.set(level, (counts.get(level) ?? 0) + 1);
  return meanEstimate(
    levels.map((level, index) => {
      const share = levels.length / (counts.size * counts.get(level)!);
      return share * (Number(after.outcomes[index]) - Number(before.outcomes[index]));
    }),
  );
}

/** Images sampled together. */
const IMAGES_AT_ONCE = 512;

export async function evaluateImages<Item, Config, Image extends Drawing>(
  engine: Pick<FlowEngine<never, never>, "denoise">,
  environment: ImageEnvironment<Item, Config, Image>,
  options: EvaluateImagesOptions,
): Promise<{ evaluation: ImageEvaluation; judged: readonly JudgedImage<Item, Image>[] }> {
  const { task, config } = environment;
  const { progress, label, steps, schedule, solver, guidance, weights, seed } = options;
  const items = task
    .items(options.suite, config)
    .flatMap((item) => Array.from({ length: options.images }, () => item));
  const encode = promptEncoder(environment);
  const judged: JudgedImage<Item, Image>[] = [];
  const scores = new Map<string, number[]>();
  progress.begin(label, items.length);
  for (let start = 0; start < items.length; start += IMAGES_AT_ONCE) {
    const part = items.slice(start, start + IMAGES_AT_ONCE);
    const { samples } = await engine.denoise(part.map(encode), {
      weights,
      guidance,
      times: flowTimes(steps, schedule),
      steps: Array.from({ length: steps }, (): DenoiseStep<never> => solver),
      random: (row) => randomStream(seed, "image evaluation", start + row),
      keep: false,
    });
    const images = imagesOf(environment, samples);
    const scored = await scoreImages(environment, part, images);
    scored.forEach(({ scores: known, failures }, index) => {
      const item = part[index]!;
      const right = known[task.accuracy];
      if (typeof right !== "number") {
        const cause = failures[task.accuracy]?.error;
        const got = cause?.message ?? "a scorer that abstains";
        const where = `evaluation: image ${start + index} of task ${task.name}`;
        throw new RunError({ where, expected: `a number for ${task.accuracy}`, got, cause });
      }
      for (const [name, value] of Object.entries(known)) {
        if (value === null) continue;
        const values = scores.get(name);
        if (values === undefined) scores.set(name, [value]);
        else values.push(value);
      }
      const image = images[index]!;
      judged.push({ item, image, isRight: right === 1, level: task.level(item) });
    });
    progress.advance(judged.length);
  }
  progress.end();
  return { evaluation: summarise(environment, judged, scores), judged };
}

function summarise<Item, Config, Image extends Drawing>(
  { task, config }: ImageEnvironment<Item, Config, Image>,
  judged: readonly JudgedImage<Item, Image>[],
  scores: ReadonlyMap<string, readonly number[]>,
): ImageEvaluation {
  const levels = task.levels.flatMap((level) => {
    const outcomes = judged.filter((one) => one.level === level).map(({ isRight }) => isRight);
    return outcomes.length === 0 ? [] : [[level, accuracyOf(outcomes)] as const];
  });
  const errors: Record<string, number> = {};
  for (const { item, image, isRight } of judged) {
    if (isRight) continue;
    const name = task.errorClass(item, image, config) ?? "wrong";
    errors[name] = (errors[name] ?? 0) + 1;
  }
  const mean = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    count: judged.length,
    ...meanOverLevels(levels.map(([, one]) => one)),
    images: accuracyOf(judged.map(({ isRight }) => isRight)),
    levels: Object.fromEntries(levels),
    errors,
    scores: Object.fromEntries([...scores].map(([name, values]) => [name, mean(values)])),
    outcomes: judged.map(({ isRight }) => (isRight ? "1" : "0")).join(""),
  };
}
