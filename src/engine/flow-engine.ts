// The flow engine on this machine: a velocity model, its weights, programs on ONNX Runtime.
//
// Rows are worked on in micro-batches of one fixed size (the last is filled up), by every call: so a velocity has the same bits
// when a sample is drawn and when it is trained on, and few programs are compiled. Micro-batches go to lanes in turn, and lanes work
// at the same time: operators of a small model are too short to be shared by threads, whole micro-batches are not.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { StepOptions, StepResult } from "../core/engine.ts";
import { EngineError } from "../core/errors.ts";
import type {
  Denoised,
  DenoiseOptions,
  FlowAccumulateOptions,
  FlowAccumulateResult,
  FlowBatch,
  FlowCopy,
  FlowEngine,
  FlowPrompt,
  FlowWeights,
  StochasticStep,
  VelocityOptions,
} from "../core/flow-engine.ts";
import type { Random } from "../core/random.ts";
import type { FlowLoss, FlowRule } from "../losses/flow-loss.ts";
import { checkFlowConfig, writeFlowConfig } from "../models/flow-config.ts";
import { flowModel, type FlowConfig, type FlowModel } from "../models/flow-model.ts";
import { NO_PROMPT, promptSize } from "../models/prompt-encoder.ts";
import { compile, sizeOf, type Binding, type Program, type TensorData } from "../tensor/index.ts";
import { bindKnown } from "./bind-known.ts";
import {
  promptGraph,
  rowShape,
  stepGraph,
  trainingGraph,
  velocityGraph,
  type TrainingShape,
} from "./flow-graphs.ts";
import { FlowWeightStore, type AverageOptions } from "./flow-weights.ts";
import {
  dpm2Step,
  eulerStep,
  heunCorrection,
  predictedSample,
  type Prediction,
} from "./ode-step.ts";
import { MOST_PROGRAMS, ProgramCache } from "./program-cache.ts";
import { checkPrompts, fillPrompts, promptRows } from "./prompt-rows.ts";

export interface LocalFlowEngineOptions {
  /** Rows of a micro-batch; null: as many as the cache likes. */
  readonly microBatch: number | null;
  /** Micro-batches that are worked on at the same time, 1 to 4; another number changes gradients in their last bits. */
  readonly lanes: number;
  /** Moving average of the weights; null: none is kept. */
  readonly average: AverageOptions | null;
  /** Prefix of files for ONNX Runtime's profile of every program; null: none. */
  readonly profile: string | null;
}

/** Prompts that are encoded at once before samples are drawn. */
const PROMPTS_AT_ONCE = 32;

export class LocalFlowEngine implements FlowEngine<FlowLoss, FlowRule> {
  readonly config: FlowConfig;
  readonly microBatch: number;
  readonly lanes: number;
  readonly sampleSize: number;
  readonly parameterCount: number;
  readonly #model: FlowModel;
  readonly #store: FlowWeightStore;
  readonly #profile: string | null;
  /** Programs on the memory of the first lane. */
  readonly #programs = new ProgramCache(MOST_PROGRAMS.engine);
  /** The same programs on the memory of other lanes. */
  readonly #others = new WeakMap<Binding, Binding[]>();

  constructor(config: FlowConfig, options: Partial<LocalFlowEngineOptions> = {}) {
    const { microBatch = null, lanes = DEFAULT_LANES, average = null, profile = null } = options;
    this.config = config;
    this.#model = flowModel(config);
    this.microBatch = microBatch ?? cachedRows(config);
    this.lanes = lanes;
    this.sampleSize = sizeOf(config.sample);
    this.parameterCount = this.#model.specs.reduce((all, { shape }) => all + sizeOf(shape), 0);
    this.#store = new FlowWeightStore(this.#model.specs, average);
    this.#profile = profile;
  }

  /** Fresh weights; optimiser and copies start over. "adapters": of the adapters alone, because the rest is about to be loaded. */
  initialise(random: Random, what: "all" | "adapters" = "all"): void {
    this.#store.initialise(random, what);
    this.#programs.clear();
  }

  /** A parameter's values by its name; no copy. */
  parameter(name: string, which: FlowWeights = "current"): Float32Array {
    return this.#store.views(which)[name]!;
  }

  /** The accumulated gradient of a parameter; no copy. */
  gradient(name: string): Float32Array {
    return this.#store.gradients()[name]!;
  }

  /** Parameters that are trained. */
  get parameterNames(): readonly string[] {
    return this.#store.layout.specs.map(({ name }) => name);
  }

  /** Compiled programs so far, by name. */
  get programs(): readonly string[] {
    return this.#programs.keys;
  }

  /** One call after the other: programs share their memory. */
  #queue: Promise<unknown> = Promise.resolve();
  #inTurn<T>(work: () => T | Promise<T>): Promise<T> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  velocity(batch: FlowBatch, options: VelocityOptions): Promise<Float32Array> {
    return this.#inTurn(() => this.#velocity(batch, options));
  }

  denoise(prompts: readonly FlowPrompt[], options: DenoiseOptions<FlowRule>): Promise<Denoised> {
    return this.#inTurn(() => this.#denoise(prompts, options));
  }

  accumulate(
    batch: FlowBatch,
    loss: FlowLoss,
    options: FlowAccumulateOptions,
  ): Promise<FlowAccumulateResult> {
    return this.#inTurn(() => this.#accumulate(batch, loss, options));
  }

  step(options: StepOptions): Promise<StepResult> {
    return this.#inTurn(() => this.#store.step(options));
  }

  resetOptimiser(): Promise<void> {
    return this.#inTurn(() => this.#store.resetOptimiser());
  }

  copyWeights(copy: FlowCopy): Promise<void> {
    return this.#inTurn(() => this.#store.copy(copy));
  }

  blendWeights(copy: FlowCopy, decay: number): Promise<void> {
    return this.#inTurn(() => this.#store.blend(copy, decay));
  }

  adoptWeights(copy: FlowCopy): Promise<void> {
    return this.#inTurn(() => this.#store.adopt(copy));
  }

  save(directory: string): Promise<void> {
    return this.#inTurn(async () => {
      await this.#store.save(directory);
      await writeFlowConfig(directory, this.config);
    });
  }

  /** The model alone. */
  saveModel(directory: string, which: FlowWeights = "current"): Promise<void> {
    return this.#inTurn(async () => {
      await mkdir(directory, { recursive: true });
      await this.#store.saveWeights(join(directory, "model.safetensors"), which);
      await writeFlowConfig(directory, this.config);
    });
  }

  load(directory: string): Promise<void> {
    return this.#inTurn(async () => {
      await checkFlowConfig(directory, this.config);
      this.#programs.clear(); // copies may have other memory
      await this.#store.load(directory);
    });
  }

  /** Weights alone; optimiser and copies start over. */
  loadWeights(directory: string): Promise<void> {
    return this.#inTurn(async () => {
      await checkFlowConfig(directory, this.config);
      this.#programs.clear();
      await this.#store.loadWeights(join(directory, "model.safetensors"));
      this.#store.startOver();
    });
  }

  dispose(): void {
    this.#store.dispose();
    this.#programs.clear();
  }

  async #velocity(batch: FlowBatch, options: VelocityOptions): Promise<Float32Array> {
    this.#checkBatch(batch, "velocity");
    const { sampleSize: size } = this;
    const vectors = await this.#promptVectors(batch.prompts, options.weights);
    const result = new Float32Array(batch.x.length);
    await this.#inLanes(batch.t.length, async ({ start, count, lane }) => {
      const binding = this.#velocityBinding(options, lane);
      fillRows(binding.floats("x"), batch.x, start, count, size);
      fillRows(binding.floats("t"), batch.t, start, count, 1);
      this.#fillVectors(binding, vectors, start, count);
      await binding.run();
      result.set(binding.floats("velocity").subarray(0, count * size), start * size);
    });
    return result;
  }

  async #denoise(
    prompts: readonly FlowPrompt[],
    options: DenoiseOptions<FlowRule>,
  ): Promise<Denoised> {
    checkPrompts(prompts, this.config.prompt, "denoise");
    checkTimes(options);
    const count = prompts.length;
    const size = this.sampleSize;
    if (options.noise !== undefined && options.noise.length !== count * size)
      throw wrongLength("denoise: noise", count * size, options.noise.length);
    const vectors = await this.#promptVectors(prompts, options.weights);
    const samples = new Float32Array(count * size);
    const whole = (): Float32Array => new Float32Array(count * size);
    const states = options.keep ? options.times.map(whole) : [];
    const draws = options.steps.map((rule) =>
      typeof rule === "string" || !options.keep
        ? null
        : { means: whole(), logProbs: new Float32Array(count * this.#logProbSize(rule.rule)) },
    );
    await this.#inLanes(count, (piece) =>
      this.#denoisePiece(vectors, piece, options, { samples, states, draws }),
    );
    return { samples, states, draws };
  }

  /** All steps of one micro-batch. */
  async #denoisePiece(
    vectors: readonly Float32Array[],
    { start, count, lane }: Piece,
    options: DenoiseOptions<FlowRule>,
    { samples, states, draws }: Denoised,
  ): Promise<void> {
    const { times, steps, random } = options;
    const size = this.sampleSize;
    const binding = this.#velocityBinding(options, lane);
    const [x, v, t] = ["x", "velocity", "t"].map((name) => binding.floats(name)) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    this.#fillVectors(binding, vectors, start, count);
    if (options.noise === undefined)
      drawRows(x, count, size, (row) => random(start + row).fork("noise"));
    else fillRows(x, options.noise, start, count, size);
    const keepState = (step: number): void =>
      states[step]?.set(x.subarray(0, count * size), start * size);
    keepState(0);
    let before: Prediction | null = null;
    for (const [index, rule] of steps.entries()) {
      const [from, next] = [times[index]!, times[index + 1]!];
      const drawing = typeof rule === "string" ? null : this.#stepBinding(rule, binding, lane);
      t.fill(from);
      const running = binding.run();
      if (drawing !== null) {
        // Drawn while the model runs.
        drawRows(drawing.floats("noise"), count, size, (row) =>
          random(start + row).fork("step", index),
        );
      }
      await running;
      if (rule === "dpm2") {
        const now: Prediction = { sample: predictedSample(x, v, from), t: from };
        dpm2Step(x, now, before, next);
        before = now;
      } else before = null;
      if (rule === "euler") eulerStep(x, v, from, next);
      if (rule === "heun") await this.#heun(binding, from, next);
      if (drawing !== null) {
        readBy(drawing, "next")?.fill(next);
        await drawing.run();
        const draw = draws[index];
        if (draw != null) {
          draw.means.set(drawing.floats("mean").subarray(0, count * size), start * size);
          const each = draw.logProbs.length / (samples.length / size);
          const logProb = drawing.floats("logProb").subarray(0, count * each);
          draw.logProbs.set(logProb, start * each);
        }
        x.set(drawing.floats("sample"));
      }
      keepState(index + 1);
    }
    samples.set(x.subarray(0, count * size), start * size);
  }

  /** A step of Heun from a velocity that was computed; Euler where the next time is 0. */
  async #heun(binding: Binding, from: number, next: number): Promise<void> {
    const [x, v] = [binding.floats("x"), binding.floats("velocity")];
    const first = v.slice();
    eulerStep(x, first, from, next);
    if (next === 0) return;
    binding.floats("t").fill(next);
    await binding.run();
    heunCorrection(x, first, v, from, next);
  }

  async #accumulate(
    batch: FlowBatch,
    loss: FlowLoss,
    { arrays, guidance }: FlowAccumulateOptions,
  ): Promise<FlowAccumulateResult> {
    this.#checkBatch(batch, "accumulate");
    const { microBatch: rows, config, sampleSize: size } = this;
    const count = batch.t.length;
    this.#checkLoss(loss, arrays, count);
    const extents = Object.entries(loss.arrays);
    this.#store.hasGradient = true;
    const outputs: Record<string, Float32Array> = {};
    const losses: number[] = [];
    await this.#inLanes(count, async ({ start, count: part, lane }) => {
      const { distinct, rows: places } = promptRows(batch.prompts.slice(start, start + part));
      const prompts = 2 ** Math.ceil(Math.log2(Math.max(1, distinct.length)));
      const binding = this.#training(loss, { rows, prompts, guidance }, lane);
      fillPrompts(binding.ints("tokens"), binding.floats("mask"), distinct, config.prompt);
      const index = places.map((place) => (place < 0 ? prompts : place));
      binding.ints("promptRows").fill(index[0]!).set(index);
      fillRows(binding.floats("x"), batch.x, start, part, size);
      fillRows(binding.floats("t"), batch.t, start, part, 1);
      for (const [name, extent] of extents) {
        const width = sizeOf(rowShape(1, extent, config.sample));
        const memory = readBy(binding, `array ${name}`);
        if (memory === undefined) continue;
        fillRows(memory, arrays[name]!, start, part, width);
        if (extent === "weight") memory.fill(0, part);
      }
      await binding.run();
      losses[start / rows] = binding.floats("loss")[0]!;
      collectOutputs(binding, outputs, { rows, start, part, count });
    });
    this.#store.joinGradients();
    return { loss: losses.reduce((sum, one) => sum + one, 0), outputs };
  }

  /** Vector of each row's prompt; equal prompts share one. */
  async #promptVectors(
    prompts: readonly FlowPrompt[],
    which: FlowWeights,
  ): Promise<readonly Float32Array[]> {
    const { distinct, rows } = promptRows(prompts);
    const width = promptSize(this.config.prompt);
    const vectors: Float32Array[] = [];
    for (let start = 0; start < distinct.length; start += PROMPTS_AT_ONCE) {
      const part = distinct.slice(start, start + PROMPTS_AT_ONCE);
      const binding = this.#promptBinding(which);
      fillPrompts(binding.ints("tokens"), binding.floats("mask"), part, this.config.prompt);
      await binding.run();
      part.forEach((_, row) =>
        vectors.push(binding.floats("vectors").slice(row * width, (row + 1) * width)),
      );
    }
    const none = this.#store.views(which)[NO_PROMPT]!.slice();
    return rows.map((row) => (row < 0 ? none : vectors[row]!));
  }

  /** Rows beyond `count` get the first one's. */
  #fillVectors(
    binding: Binding,
    vectors: readonly Float32Array[],
    start: number,
    count: number,
  ): void {
    const memory = binding.floats("prompt");
    const width = promptSize(this.config.prompt);
    for (let row = 0; row < this.microBatch; row++)
      memory.set(vectors[start + (row < count ? row : 0)]!, row * width);
  }

  #checkBatch({ x, t, prompts }: FlowBatch, where: string): void {
    if (t.length === 0) throw new EngineError({ where, expected: "at least one row", got: "none" });
    if (x.length !== t.length * this.sampleSize)
      throw wrongLength(`${where}: x`, t.length * this.sampleSize, x.length);
    if (prompts.length !== t.length)
      throw wrongLength(`${where}: prompts`, t.length, prompts.length);
    checkPrompts(prompts, this.config.prompt, where);
  }

  #checkLoss(loss: FlowLoss, arrays: FlowAccumulateOptions["arrays"], count: number): void {
    const where = `accumulate: ${loss.key}`;
    const extents = Object.entries(loss.arrays);
    for (const [name, extent] of extents) {
      const expected = count * sizeOf(rowShape(1, extent, this.config.sample));
      const got = arrays[name]?.length;
      if (got !== expected) throw wrongLength(`${where}: ${name}`, expected, got);
    }
    if (!extents.some(([, extent]) => extent === "weight")) {
      throw new EngineError({
        where,
        expected: "an array of weights",
        got: "none",
        hint: "rows that fill up a micro-batch would count",
      });
    }
    const { together = 1 } = loss;
    if (this.microBatch % together !== 0 || count % together !== 0) {
      throw new EngineError({
        where,
        expected: `rows and micro-batches in multiples of ${together}`,
        got: `${count} and ${this.microBatch}`,
      });
    }
  }

  /** All rows in micro-batches, each on the lane of its turn. */
  async #inLanes(count: number, work: (piece: Piece) => Promise<void>): Promise<void> {
    const { lanes, microBatch } = this;
    const pieces = Array.from({ length: Math.ceil(count / microBatch) }, (_, index): Piece => {
      const start = index * microBatch;
      return { start, count: Math.min(microBatch, count - start), lane: index % lanes };
    });
    const walk = async (lane: number): Promise<void> => {
      for (const piece of pieces) if (piece.lane === lane) await work(piece);
    };
    // All of them end before an error is thrown: none may still write to shared memory then.
    const ends = await Promise.allSettled(Array.from({ length: lanes }, (_, lane) => walk(lane)));
    for (const end of ends) if (end.status === "rejected") throw end.reason;
  }

  /** A program on a lane's memory. The one that is kept is that of the first lane, whichever lane needs it first. */
  #bound(
    name: string,
    lane: number,
    make: () => Program,
    memory: (lane: number) => Readonly<Record<string, TensorData>>,
  ): Binding {
    const first = this.#programs.get(name, () => bindKnown(make(), memory(0)));
    if (lane === 0) return first;
    const others = this.#others.get(first) ?? [];
    this.#others.set(first, others);
    return (others[lane] ??= bindKnown(first.program, memory(lane)));
  }

  #compile(graph: ReturnType<typeof velocityGraph>, name: string, inPlace = {}): Program {
    const prefix = `${this.#profile}-${name.replaceAll(/[^a-z0-9]+/gi, "-").slice(0, 60)}`;
    return compile(graph, { name, inPlace, ...(this.#profile !== null && { profile: prefix }) });
  }

  #promptBinding(which: FlowWeights): Binding {
    const name = `prompts ${which}`;
    const graph = () => promptGraph(this.#model, this.config, PROMPTS_AT_ONCE);
    return this.#programs.get(name, () =>
      bindKnown(this.#compile(graph(), name), this.#store.views(which)),
    );
  }

  #velocityBinding({ weights, guidance }: VelocityOptions, lane: number): Binding {
    const name = `velocity ${weights} guidance ${guidance}`;
    const graph = () => velocityGraph(this.#model, this.config, this.microBatch, guidance);
    const memory = () => {
      const views = this.#store.views(weights);
      return { ...views, none: views[NO_PROMPT]! };
    };
    return this.#bound(name, lane, () => this.#compile(graph(), name), memory);
  }

  /** Numbers that a rule reports as the log-probability of a sample. */
  #logProbSize(rule: FlowRule): number {
    const { logProb } = stepGraph(rule, this.config.sample, this.microBatch);
    return sizeOf(logProb!.shape) / this.microBatch;
  }

  /** A step on the memory of a velocity program. */
  #stepBinding(
    { rule, values = {} }: StochasticStep<FlowRule>,
    velocity: Binding,
    lane: number,
  ): Binding {
    const name = `step ${rule.key} on ${velocity.program.name}, lane ${lane}`;
    const isStale = this.#programs.peek(name)?.memory["x"] !== velocity.memory["x"];
    if (isStale) this.#programs.clear(name);
    const binding = this.#programs.get(name, () => {
      const graph = stepGraph(rule, this.config.sample, this.microBatch);
      return bindKnown(this.#compile(graph, name), velocity.memory);
    });
    for (const key of rule.values) {
      const value = values[key];
      if (value === undefined) {
        throw new EngineError({
          where: `denoise: step ${rule.key}`,
          expected: `a value of ${key}`,
          got: "none",
        });
      }
      readBy(binding, key)?.fill(value);
    }
    return binding;
  }

  #training(loss: FlowLoss, shape: TrainingShape, lane: number): Binding {
    const name = `train ${loss.key}, ${shape.prompts} prompts, guidance ${shape.guidance}`;
    const make = (): Program => {
      const { specs } = this.#store.layout;
      const graph = trainingGraph(this.#model, this.config, loss, specs, shape);
      return this.#compile(graph.outputs, name, graph.inPlace);
    };
    const memory = (of: number) => ({
      ...this.#store.views("current"),
      ...this.#store.gradients("gradient ", of),
    });
    return this.#bound(name, lane, make, memory);
  }
}

/** A micro-batch: its rows of the whole, and who works on it. */
interface Piece {
  readonly start: number;
  readonly count: number;
  readonly lane: number;
}

/** Memory of an input that a rule or a loss may not have read, and that the program then does not have. */
const readBy = (binding: Binding, name: string): Float32Array | undefined =>
  binding.memory[name] as Float32Array | undefined;

/** Rows of a whole array into a micro-batch; what is left over gets the first of them, whose numbers are sound. */
function fillRows(
  target: Float32Array,
  source: Float32Array,
  start: number,
  count: number,
  width: number,
): void {
  target.set(source.subarray(start * width, (start + count) * width));
  for (let at = count * width; at < target.length; at += width) target.copyWithin(at, 0, width);
}

/** Standard normals of each row from a stream of its own; rows beyond `count` are zero. */
function drawRows(
  target: Float32Array,
  count: number,
  width: number,
  stream: (row: number) => Random,
): void {
  target.fill(0);
  for (let row = 0; row < count; row++)
    stream(row).fillNormal(target.subarray(row * width, (row + 1) * width));
}

function collectOutputs(
  binding: Binding,
  outputs: Record<string, Float32Array>,
  { rows, start, part, count }: { rows: number; start: number; part: number; count: number },
): void {
  for (const key of Object.keys(binding.memory)) {
    if (!key.startsWith("output ")) continue;
    const name = key.slice("output ".length);
    const values = binding.floats(key);
    const width = values.length / rows;
    outputs[name] ??= new Float32Array(count * width);
    outputs[name].set(values.subarray(0, part * width), start * width);
  }
}

function checkTimes({ times, steps }: DenoiseOptions<FlowRule>): void {
  if (times.length !== steps.length + 1)
    throw wrongLength("denoise: times", steps.length + 1, times.length);
  const odd = times.findIndex(
    (time, index) => !(time >= 0 && time <= 1) || (index > 0 && time >= times[index - 1]!),
  );
  if (odd < 0) return;
  throw new EngineError({
    where: `denoise: time ${odd}`,
    expected: "times that fall from 1 to 0",
    got: String(times[odd]),
  });
}

const wrongLength = (where: string, expected: number, got: number | undefined): EngineError =>
  new EngineError({ where, expected: `${expected} numbers`, got: String(got ?? "none") });

const DEFAULT_LANES = 2;
/** Points: many at once, for few calls. */
const POINT_ROWS = 512;
/** More images a program are no faster (docs/log.md), and a batch that is no multiple of them is filled up. */
const MOST_IMAGE_ROWS = 64;

/** Rows whose widest activation takes 4 MiB, a power of two: passes over it stay in the cache. */
function cachedRows(config: FlowConfig): number {
  if (config.type === "mlp") return POINT_ROWS;
  const tokens = sizeOf(config.sample.slice(0, -1)) / config.patch ** 2;
  const rows = 2 ** Math.round(Math.log2(2 ** 20 / (tokens * config.hiddenWidth)));
  return Math.min(MOST_IMAGE_ROWS, Math.max(8, rows));
}
