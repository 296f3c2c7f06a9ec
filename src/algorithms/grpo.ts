// Group Relative Policy Optimization and its relatives.
//
//   L = Σ_i Σ_t w_it [ c · surrogate(ρ_it, A_i) + β KL_it ],   ρ = π / π_old
//   A_i = (r_i − baseline) / scale within the group of one prompt
//
// Surrogate, KL, corrections and the weights w are data (core/loss-spec.ts), and so are the advantages (core/advantage-spec.ts);
// a profile names what a trainer or a paper chose (losses/profiles). With minibatches = iterations = 1 every generation batch
// feeds one optimiser step, ρ is 1 and nothing is clipped.
//
// Paper: DeepSeekMath, arXiv:2402.03300, section 4.1.
// Differs from TRL in: a step whose gradient is known to be 0 (no advantage, no KL, no entropy) is not taken, so that neither
// momentum nor weight decay moves the weights; the buffer is dealt out in nearly equal parts where it does not divide.

import type { AccumulateResult, Example, LossWindow, StepOptions } from "../core/engine.ts";
import type { PolicyLoss } from "../core/loss-spec.ts";
import { readsEntropy, readsReference } from "../losses/policy-loss.ts";
import { Interrupted } from "../run/interrupted.ts";
import { now } from "../run/run-directory.ts";
import { generate, trainingOrder, type Generation, type RewardWeights } from "./generation.ts";
import { generationHistograms, updateHistograms } from "./grpo-histograms.ts";
import { generationMetrics, updateMetrics } from "./grpo-metrics.ts";
import { lossOf, stepsPerGeneration, type GrpoSettings } from "./grpo-settings.ts";
import { RewardMonitor } from "./reward-monitor.ts";
import { sampleRecords } from "./sample-records.ts";
import {
  checkFinite,
  finishStep,
  guardedStep,
  itemsOrCheckpoint,
  stepOptions,
  type StageContext,
  type StageState,
} from "./stage.ts";
import { explainStep, stepNote } from "./step-hints.ts";
import { batchesOf, readBuffer, writeBuffer, type Pending } from "./training-buffer.ts";

/** What one optimiser step was made of. */
export interface Update {
  readonly examples: readonly Example[];
  /** One an accumulated batch. */
  readonly results: readonly AccumulateResult[];
  /** Nothing in the batch had a gradient, so the weights stayed. */
  readonly isSkipped: boolean;
}

/** Trains from `context.done` to the last step. */
export async function grpo<Item, Config>(
  context: StageContext<Item, Config>,
  settings: GrpoSettings,
  weights: RewardWeights,
): Promise<void> {
  if (context.done >= settings.steps) return;
  const stage = new GrpoStage(context, settings, weights);
  context.progress.begin("GRPO", settings.steps);
  for (let step = context.done + 1; step <= settings.steps; step++) await stage.step(step);
  context.progress.end();
}

/** The stage between its steps: what it has sampled and not yet trained on, and what it watches. */
class GrpoStage<Item, Config> {
  readonly #context: StageContext<Item, Config>;
  readonly #settings: GrpoSettings;
  readonly #weights: RewardWeights;
  readonly #monitor: RewardMonitor;
  readonly #loss: PolicyLoss;
  /** Examples of the generation batch in hand. */
  #buffer: readonly Example[] = [];
  /** Items of the next generation batch, being read. */
  #reading: Promise<Item[]> | undefined;
  /** Index of the next item. */
  #next: number;
  /** Results of the batches of the present optimiser step that are accumulated already. */
  #results: AccumulateResult[] = [];
  /** What the generation batch in hand says in the record of its first step. */
  #pending: Pending | undefined;

  constructor(context: StageContext<Item, Config>, settings: GrpoSettings, weights: RewardWeights) {
    this.#context = context;
    this.#settings = settings;
    this.#weights = weights;
    const { state, done, run, progress, environment } = context;
    this.#monitor = new RewardMonitor(
      settings.rewards,
      {
        rewards: Object.keys(weights),
        accuracy: environment.task.accuracy,
        run,
        tell: (line) => progress.line(line),
      },
      state["rewards"],
    );
    this.#loss = lossOf(settings);
    const perGeneration = stepsPerGeneration(settings);
    this.#next = Number(state["nextItem"] ?? Math.ceil(done / perGeneration) * settings.prompts);
    if (state["inBuffer"] === true) {
      const { examples, results, pending } = readBuffer(context.directory!);
      this.#buffer = examples;
      this.#results = results;
      this.#pending = pending;
    }
  }

  /** One optimiser step, counted from 1; the first one of a generation batch samples it. */
  async step(step: number): Promise<void> {
    const { environment, run, progress } = this.#context;
    const startMs = now();
    const { rollout, index } = this.#place(step);
    const isFirst = index === 0 && this.#results.length === 0;
    const generation = isFirst ? await this.#generate(step, rollout) : undefined;
    const trainMs = now();
    const { update, gradientNorm } = await this.#update(step, index);
    const doneMs = now();

    if (generation && !generation.trainer) this.#describe(rollout, generation, update);
    const metrics = { ...this.#pending?.metrics, ...updateMetrics(update, this.#loss) };
    const reported = { metrics, groups: this.#settings.prompts };
    progress.advance(step, stepNote(reported, environment.task.accuracy));
    explainStep(this.#monitor, reported, gradientNorm);
    const histograms = { ...this.#pending?.histograms, ...updateHistograms(update) };
    run.logHistograms({ step, stage: "grpo", ...histograms });
    this.#pending = undefined;
    const { learningRate } = this.#options(step);
    const record = {
      step,
      stage: "grpo",
      ...metrics,
      gradientNorm,
      learningRate,
      ...(generation && { "time/sampleMs": trainMs - startMs }),
      "time/trainMs": doneMs - trainMs,
      "time/stepMs": doneMs - startMs,
    };
    const isOpen = step % stepsPerGeneration(this.#settings) > 0;
    await finishStep(this.#context, record, {
      label: "GRPO",
      steps: this.#settings.steps,
      state: this.#state(isOpen),
      write: (directory) => isOpen && this.#writeBuffer(directory),
    });
  }

  /** Gradient and optimiser step over the examples of a step, counted from 0 within its generation batch. */
  async #update(step: number, index: number): Promise<{ update: Update; gradientNorm: number }> {
    const { engine, run } = this.#context;
    const { minibatches } = this.#settings;
    const { batches, window } = batchesOf(this.#buffer, this.#settings, index % minibatches);
    const examples = batches.flat();
    if (!examples.some((example) => this.#hasGradient(example))) {
      return { update: { examples, results: [], isSkipped: true }, gradientNorm: 0 };
    }
    await this.#accumulate(step, batches, window);
    const results = this.#results;
    const { gradientNorm } = await guardedStep(engine, this.#options(step), "grpo", step, run);
    this.#results = [];
    return { update: { examples, results, isSkipped: false }, gradientNorm };
  }

  #options(step: number): StepOptions {
    return stepOptions(this.#settings.optimiser, step, this.#settings.steps);
  }

  /** The generation batch of a step, counted from 1, and the step within it, counted from 0. */
  #place(step: number): { readonly rollout: number; readonly index: number } {
    const perGeneration = stepsPerGeneration(this.#settings);
    return {
      rollout: Math.ceil(step / perGeneration),
      index: (step - 1) % perGeneration,
    };
  }

  #state(inBuffer: boolean): StageState {
    return { rewards: this.#monitor.toJSON(), nextItem: this.#next, inBuffer };
  }

  #writeBuffer(directory: string): void {
    const pending = this.#pending;
    writeBuffer(directory, { examples: this.#buffer, results: this.#results, pending });
  }

  async #generate(step: number, rollout: number): Promise<Generation> {
    const { prompts, withoutSpread } = this.#settings;
    const { seed } = this.#context;
    const start = this.#state(false);
    const items = await this.#take(step, prompts, start);
    const generation = await generate(
      {
        ...this.#context,
        settings: this.#settings,
        weights: this.#weights,
        monitor: this.#monitor,
      },
      items,
      { rollout, step },
      (count) => this.#take(step, count, start),
    );
    const isLast = rollout * stepsPerGeneration(this.#settings) >= this.#settings.steps;
    // Refilled groups take items that are not known before, so the next ones are not read ahead.
    if (!isLast && withoutSpread.type !== "refill") {
      this.#reading = this.#read(prompts);
      this.#reading.catch(() => {}); // the next generation tells of it
    }
    this.#buffer = trainingOrder(generation, this.#settings, seed, rollout);
    if (generation.trainer) this.#describe(rollout, generation);
    return generation;
  }

  #read(count: number): Promise<Item[]> {
    const indices = Array.from({ length: count }, (_, index) => this.#next + index);
    return Promise.all(indices.map((index) => this.#context.items(index)));
  }

  /** The next items; what was trained until then is kept when one of them is bad. */
  async #take(step: number, count: number, start: StageState): Promise<Item[]> {
    const reading = this.#reading ?? this.#read(count);
    this.#reading = undefined;
    const items = await itemsOrCheckpoint(this.#context, "grpo", step, reading, start);
    this.#next += count;
    return items;
  }

  #hasGradient({ advantage, mask }: Example): boolean {
    const isAlive = mask === undefined || mask.some((value) => value !== 0);
    return isAlive && (advantage !== 0 || readsReference(this.#loss) || readsEntropy(this.#loss));
  }

  /** Forward and backward over the batches that are left of a step; stops between them when asked to. */
  async #accumulate(
    step: number,
    batches: readonly Example[][],
    window: LossWindow,
  ): Promise<void> {
    const { engine, run, signal } = this.#context;
    for (const batch of batches.slice(this.#results.length)) {
      const result = await engine.accumulate(batch, this.#loss, window);
      checkFinite(result, "grpo", step, run);
      this.#results.push(result);
      if (!signal.aborted || this.#results.length === batches.length) continue;
      const position = { ...this.#state(true), stage: "grpo", step: step - 1 };
      await run.saveCheckpoint(position, async (directory) => {
        await engine.save(directory);
        this.#writeBuffer(directory);
      });
      throw new Interrupted(run.path);
    }
  }

  /** Stores the samples of a generation batch and keeps its numbers for the record of its first step. */
  #describe(rollout: number, generation: Generation, update?: Update): void {
    const { environment, run } = this.#context;
    const trainer = trainerLogProbs(generation, update);
    const described = { ...generation, trainer, weights: this.#weights, settings: this.#settings };
    if (rollout % this.#settings.samplesEvery === 0) {
      const records = sampleRecords(this.#recordStep(rollout), described, environment);
      run.logSamples("grpo", records);
    }
    this.#pending = {
      metrics: generationMetrics(described),
      histograms: generationHistograms(generation, this.#settings),
    };
  }

  /** The optimiser step that first uses a generation batch. */
  #recordStep(rollout: number): number {
    return (rollout - 1) * stepsPerGeneration(this.#settings) + 1;
  }
}

/** Trainer log-probabilities of every completion, where they are known. */
function trainerLogProbs(
  { trainer, examples }: Generation,
  update: Update | undefined,
): readonly (Float32Array | undefined)[] {
  if (trainer !== undefined) return trainer;
  const trained = update!.results.flatMap(({ logProbs }) => logProbs);
  let next = 0;
  return examples.map((example) => (example === null ? undefined : trained[next++]));
}
