// Before the first step of a new run: does its largest batch fit into memory, and how long does a step take when every sample has
// its full length? Early samples are short; without this a run that cannot fit would end when they have grown.
//
// Memory is computed from shapes first, so that a run that is too large is refused before anything large is allocated. Then the
// engine runs the worst case, as far as needed to tell its time. Neither changes a bit of what the run computes.

import type { Engine, MemoryPart, StepTime, Workload } from "../core/engine.ts";
import { DataError, EngineError, RunError } from "../core/errors.ts";
import type { Progress } from "../core/progress.ts";
import type { ItemSource, RunItems } from "../rollout/item-sources.ts";
import type { Environment } from "../rollout/single-turn.ts";
import { obtainableBytes, peakResidentBytes, residentBytes } from "../run/machine-memory.ts";
import { now, type RunDirectory } from "../run/run-directory.ts";
import { lossOf, stepsPerGeneration } from "./grpo-settings.ts";
import type { PostTrainSettings } from "./post-train.ts";
import { sftExample } from "./sft.ts";
import { supervisedLoss } from "../core/loss-spec.ts";
import { stepOptions } from "./stage.ts";

/** So many items of each stage are looked at for the longest prompt and the longest gold answer. */
const KNOWN_ITEMS = 64;
/** A token of a sample in JavaScript's memory: ids, log-probabilities, and its share of the lines that are written. */
const SAMPLE_TOKEN_BYTES = 200;
/** What JavaScript's memory grows by before it is cleared up. */
const GARBAGE_BYTES = 80e6;

export interface RehearsalContext<Item, Config> {
  readonly engine: Engine;
  readonly environment: Environment<Item, Config>;
  readonly items: RunItems<Item>;
  readonly run: RunDirectory;
  readonly progress: Progress;
  readonly seed: number;
  readonly settings: Pick<PostTrainSettings, "sft" | "sft2" | "grpo" | "evaluate">;
  /** Bytes that the process can have; default: what this machine has free. */
  readonly obtainable?: number;
}

interface StageLoad {
  readonly label: "SFT" | "SFT 2" | "GRPO" | "evaluation";
  /** Optimiser steps. */
  readonly steps: number;
  /** Those of them that one load feeds. */
  readonly perBatch: number;
  readonly load: Workload;
}

/** What was found before anything large was allocated. */
interface MemoryPlan {
  readonly obtainable: number;
  /** Empty when the engine cannot tell. */
  readonly parts: readonly MemoryPart[];
}

export interface Rehearsal {
  /** Measures, tells and records; the engine has its weights by now, and no step behind it. */
  readonly measure: () => Promise<void>;
}

/** Computes what the run needs. Throws a RunError when that is more than the process can have. */
export async function planRehearsal<Item, Config>(
  context: RehearsalContext<Item, Config>,
): Promise<Rehearsal> {
  const loads = await stageLoads(context);
  const need = context.engine.memoryNeed?.(loads.map(({ load }) => load));
  const before = residentBytes(); // the weights have no content yet, so they are not among these
  const samples = Math.max(...loads.map(({ load }) => sampleBytes(load)));
  const parts: MemoryPart[] =
    need === undefined
      ? []
      : [
          ...need,
          { what: "samples of a step", bytes: samples, remedy: "fewer grpo.prompts" },
          { what: "the program itself", bytes: before + GARBAGE_BYTES, remedy: "fewer data rows" },
        ];
  const plan = { obtainable: context.obtainable ?? obtainableBytes(), parts };
  refuseTooMuch(plan, bytesOf(parts));
  return { measure: () => measure(context, loads, plan) };
}

const bytesOf = (parts: readonly MemoryPart[]): number =>
  parts.reduce((total, { bytes }) => total + bytes, 0);

const sampleBytes = ({ prompts, group, promptTokens, completionTokens }: Workload): number =>
  prompts * group * (promptTokens + completionTokens) * SAMPLE_TOKEN_BYTES;

/** The largest batch of each stage that the settings ask for, and of the evaluation. */
async function stageLoads<Item, Config>({
  engine,
  environment,
  items,
  seed,
  settings,
}: RehearsalContext<Item, Config>): Promise<StageLoad[]> {
  const { grpo, evaluate } = settings;
  const { tokenizer, task, config } = environment;
  const promptOf = (item: Item): number => tokenizer.encodePrompt(task.prompt(item, config)).length;
  const loads: StageLoad[] = [];
  const add = (
    label: StageLoad["label"],
    [steps, perBatch]: readonly [number, number],
    load: Workload,
  ): void => {
    // A prompt that leaves no room for its completion is an error of its step, not of the rehearsal.
    const room = Math.max(1, engine.contextLength - load.completionTokens);
    const promptTokens = Math.min(Math.max(1, load.promptTokens), room);
    loads.push({ label, steps, perBatch, load: { ...load, promptTokens } });
  };
  for (const stage of ["sft", "sft2"] as const) {
    const { steps, batch, optimiser: optimiserSettings } = settings[stage];
    if (steps === 0) continue;
    const examples = await knownItems(items[stage], (item, index) =>
      sftExample(environment, item, seed, index),
    );
    const most = (pick: (example: (typeof examples)[number]) => number): number =>
      Math.max(1, ...examples.map(pick));
    const promptTokens = most(({ promptLength }) => promptLength);
    const completionTokens = most(({ tokens, promptLength }) => tokens.length - promptLength);
    const optimiser = stepOptions(optimiserSettings, 1, steps);
    const training = { loss: supervisedLoss, passes: 1, optimiser };
    const extents = { prompts: batch, group: 1, promptTokens, completionTokens };
    add(stage === "sft" ? "SFT" : "SFT 2", [steps, 1], { ...extents, sampling: null, training });
  }
  if (grpo.steps > 0) {
    const { prompts, group, temperature, topK, topP, iterations } = grpo;
    const promptTokens = Math.max(1, ...(await knownItems(items.grpo, promptOf)));
    const optimiser = stepOptions(grpo.optimiser, 1, grpo.steps);
    add("GRPO", [grpo.steps, stepsPerGeneration(grpo)], {
      prompts,
      group,
      promptTokens,
      completionTokens: grpo.maxTokens,
      sampling: { temperature, ...(topK !== null && { topK }), ...(topP !== null && { topP }) },
      training: { loss: lossOf(grpo), passes: iterations, optimiser },
    });
  }
  const promptTokens = Math.max(1, ...items.test.slice(0, KNOWN_ITEMS).map(promptOf));
  const { maxTokens, temperature } = evaluate;
  const extents = { prompts: items.test.length, group: 1, promptTokens };
  const sampling = { temperature };
  add("evaluation", [0, 1], { ...extents, completionTokens: maxTokens, sampling, training: null });
  return loads;
}

/** The first items of a source; a broken row counts when its step comes. */
async function knownItems<Item, T>(
  source: ItemSource<Item>,
  look: (item: Item, index: number) => T,
): Promise<T[]> {
  const found: T[] = [];
  for (let index = 0; index < KNOWN_ITEMS; index++) {
    try {
      found.push(look(await source(index), index));
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
    }
  }
  return found;
}

async function measure<Item, Config>(
  { engine, run, progress }: RehearsalContext<Item, Config>,
  loads: readonly StageLoad[],
  plan: MemoryPlan,
): Promise<void> {
  const peakBefore = peakResidentBytes();
  const times: (StageLoad & { readonly time: StepTime })[] = [];
  if (engine.rehearse !== undefined) {
    for (const stage of loads) {
      if (stage.load.training === null) continue;
      try {
        times.push({ ...stage, time: await engine.rehearse(stage.load, now) });
      } catch (error) {
        throw isOutOfMemory(error) ? tooMuch(plan, (error as Error).message, error) : error;
      }
    }
  }
  // A peak of something before the run is not of the run.
  const peak = peakResidentBytes() > peakBefore ? peakResidentBytes() : residentBytes();
  const computed = bytesOf(plan.parts);
  const most = Math.max(peak, computed);
  refuseTooMuch(plan, most);
  for (const time of times) progress.line(`rehearsal: ${describeTime(time)}`);
  if (computed > 0)
    progress.line(
      `rehearsal: memory at most ${showBytes(most)} of ${showBytes(plan.obtainable)}; all with every sample at its longest`,
    );
  run.writeResult("rehearsal", (timestamp) => ({
    timestamp,
    stages: times.map(({ label, steps, perBatch, load, time }) => ({
      stage: label.toLowerCase(),
      steps,
      stepsPerBatch: perBatch,
      promptTokens: load.promptTokens,
      completionTokens: load.completionTokens,
      ...time,
      totalMs: totalMs({ steps, perBatch, time }),
    })),
    memory: {
      obtainableBytes: plan.obtainable,
      computedBytes: computed,
      measuredBytes: peak,
      parts: plan.parts.map(({ what, bytes }) => ({ what, bytes })),
    },
  }));
}

const stepMs = ({ sampleMs, trainMs }: StepTime): number => sampleMs + trainMs;

type StageTime = Pick<StageLoad, "steps" | "perBatch"> & { readonly time: StepTime };
const totalMs = ({ steps, perBatch, time }: StageTime): number =>
  Math.ceil(steps / perBatch) * stepMs(time);

function describeTime({
  label,
  steps,
  perBatch,
  time,
}: StageLoad & { readonly time: StepTime }): string {
  const seconds = (ms: number): string => (ms / 1000).toPrecision(2);
  const parts =
    time.sampleMs > 0
      ? ` (sampling ${seconds(time.sampleMs)}, training ${seconds(time.trainMs)})`
      : "";
  const what = perBatch === 1 ? "step" : `generation batch of ${perBatch} steps`;
  return `${label} ${what} at most ${seconds(stepMs(time))} s${parts}, ${steps} steps ${showDuration(totalMs({ steps, perBatch, time }))}`;
}

/** 1:05 for minutes and seconds, 2:01:05 with hours. */
function showDuration(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  const two = (value: number): string => String(Math.floor(value)).padStart(2, "0");
  const minutes = `${two((seconds / 60) % 60)}:${two(seconds % 60)}`;
  return seconds < 3600 ? minutes.replace(/^0/, "") : `${Math.floor(seconds / 3600)}:${minutes}`;
}

function showBytes(bytes: number): string {
  return bytes < 1e9 ? `${Math.ceil(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

function refuseTooMuch(plan: MemoryPlan, bytes: number): void {
  if (bytes > plan.obtainable) throw tooMuch(plan, showBytes(bytes));
}

function tooMuch({ parts, obtainable }: MemoryPlan, got: string, cause?: unknown): RunError {
  const large = parts.toSorted((a, b) => b.bytes - a.bytes).slice(0, 4);
  const broken = large.map(({ what, bytes }) => `${what} ${showBytes(bytes)}`).join(", ");
  const remedies = [...new Set(large.slice(0, 2).map(({ remedy }) => remedy))];
  return new RunError({
    where: "rehearsal",
    expected: `a run that needs at most ${showBytes(obtainable)} of memory, what this process can have`,
    got: broken === "" ? got : `${got}: ${broken}`,
    hint: [...remedies, "rehearsal=false starts it all the same"].join("; "),
    cause,
  });
}

/** Errors of ONNX Runtime and of JavaScript when the system gives no memory. */
function isOutOfMemory(error: unknown): boolean {
  if (error instanceof RangeError) return /alloc|array (buffer )?length/i.test(error.message);
  return (
    error instanceof EngineError && /alloc|^memory: /i.test(error.message) // "Failed to allocate memory …", "bad_alloc"
  );
}
