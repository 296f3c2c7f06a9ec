// Times of a flow trajectory and which of its steps are stochastic: plain numbers, made before anything is sampled.

import { ConfigError } from "../core/errors.ts";
import type { FlowSampling, FlowSchedule, FlowWindow, WindowPace } from "../core/flow-spec.ts";
import type { StepTimes } from "../core/flow-transition.ts";
import type { Random } from "../core/random.ts";

/** k s / (1 + (k − 1) s): moves times towards noise where k > 1. Stable Diffusion 3, arXiv:2403.03206, equation 23. */
export const shiftTime = (shift: number, time: number): number =>
  (shift * time) / (1 + (shift - 1) * time);

/**
 * The T + 1 times of a trajectory, 1 first and 0 last.
 *
 * uniform: 1 − j / T;  shifted: shift(1 − j / T)
 * diffusers: s_j even from 1 to shift(1 / trainSteps) in T points, t_j = shift(s_j), then 0. The scheduler of diffusers keeps
 * its smallest time shifted and shifts it again, so the last step is tiny (0.0089 for k = 3, T = 10).
 *
 * @example flowTimes(2, { type: "uniform" }) // [1, 0.5, 0]
 */
export function flowTimes(steps: number, schedule: FlowSchedule): number[] {
  const even = (count: number, last: number): number[] =>
    Array.from({ length: count }, (_, index) =>
      index === 0 ? 1 : 1 - ((1 - last) * index) / (count - 1),
    );
  // Exact at the ends: there k s / (1 + (k − 1) s) may round beyond 1.
  const shifted = (times: number[], shift: number): number[] =>
    times.map((time) => (time === 1 ? 1 : shiftTime(shift, time)));
  switch (schedule.type) {
    case "uniform":
      return even(steps + 1, 0);
    case "shifted":
      return shifted(even(steps + 1, 0), schedule.shift);
    default: {
      // diffusers
      const smallest = shiftTime(schedule.shift, 1 / schedule.trainSteps);
      return [...shifted(even(steps, smallest), schedule.shift), 0];
    }
  }
}

/** Half-open range of steps. */
export interface StepRange {
  readonly start: number;
  readonly end: number;
}

/**
 * The stochastic steps of a sampling batch. `iteration` counts the batches of the run from 0 (sliding windows), `random` is the
 * stream of the batch (random windows).
 *
 * random: the start is uniform in [low, high − size], ends included (Flow-GRPO-Fast; MixGRPO's random is low 0, high T).
 * sliding: MixGRPO; a window that reaches over the last step is cut off there. Differs from its repository in: an iteration
 * looks its place up instead of carrying it along, so a resumed run needs no state.
 *
 * @throws ConfigError when the window does not lie within the T steps.
 */
export function stepWindow(
  window: FlowWindow,
  steps: number,
  iteration: number,
  random: Random,
): StepRange {
  switch (window.type) {
    case "all-but-last":
      return { start: 0, end: Math.max(steps - 1, 1) };
    case "fixed":
      return within({ start: window.start, end: window.start + window.size }, steps, window.size);
    case "random": {
      const last = (window.high ?? Math.max(Math.floor(steps / 2), window.size)) - window.size;
      const count = within({ start: window.low, end: last + window.size }, steps, window.size);
      return fromStart(count.start + random.integer(last - window.low + 1), window.size);
    }
    default: {
      // sliding
      const start = slidingStart(window, steps, iteration);
      return { start, end: Math.min(start + window.size, steps) };
    }
  }
}

const fromStart = (start: number, size: number): StepRange => ({ start, end: start + size });

function within(range: StepRange, steps: number, size: number): StepRange {
  if (range.end <= steps && range.end - range.start >= size) return range;
  throw new ConfigError({
    where: "window of stochastic steps",
    expected: `${size} or more of the steps 0 to ${steps - 1}`,
    got: `${range.start} to ${range.end - 1}`,
  });
}

/** Iterations that a sliding window stays at a step; at least 1. */
export function iterationsAt(pace: WindowPace, step: number, steps: number): number {
  switch (pace.type) {
    case "constant":
      return pace.iterations;
    case "linear": {
      const progress = step / steps;
      const even = Math.floor(pace.first * (1 - progress) + pace.last * progress);
      return Math.max(even, Math.min(pace.first, pace.last));
    }
    default: // exponential
      return Math.ceil(pace.iterations * Math.exp(-pace.rate * Math.max(0, step - pace.after)));
  }
}

function slidingStart(
  { stride, pace, end }: Extract<FlowWindow, { type: "sliding" }>,
  steps: number,
  iteration: number,
): number {
  const places = Array.from({ length: Math.ceil(steps / stride) }, (_, place) => place * stride);
  const round = places.reduce((total, step) => total + iterationsAt(pace, step, steps), 0);
  if (end === "stay" && iteration >= round) return steps - 1;
  let left = iteration % round;
  for (const step of places) {
    left -= iterationsAt(pace, step, steps);
    if (left < 0) return step;
  }
  return steps - 1;
}

/** One step of a trajectory. */
export interface FlowStep extends StepTimes {
  readonly isStochastic: boolean;
  readonly isTrained: boolean;
}

/**
 * The steps of a sampling batch: times, which are stochastic and which of those are trained (`trainedShare` of them, rounded,
 * at least one). The noise of flow-sde at t = 1 is taken at the second time of the schedule. The last step of cps has no noise:
 * it is never stochastic, and a sliding window turns round before it.
 */
export function flowSteps(sampling: FlowSampling, iteration: number, random: Random): FlowStep[] {
  const { steps, trainedShare, window } = sampling;
  const times = flowTimes(steps, sampling.schedule);
  const noisy = sampling.noise.type === "cps" ? steps - 1 : steps;
  const places = window.type === "sliding" ? Math.max(noisy, 1) : steps;
  const { start, end } = stepWindow(window, places, iteration, random.fork("window"));
  const inside = Array.from({ length: Math.min(end, noisy) - start }, (_, index) => start + index);
  const count = Math.max(1, Math.round(trainedShare * inside.length));
  const trained = new Set(random.fork("trained").shuffle(inside).slice(0, count));
  return Array.from({ length: steps }, (_, index) => ({
    time: times[index]!,
    next: times[index + 1]!,
    ...(index === 0 && { noiseTime: times[1]! }),
    isStochastic: inside.includes(index),
    isTrained: trained.has(index),
  }));
}
