// The engine on this machine: weights, gradient and optimiser state in flat blocks of memory, programs on ONNX Runtime.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { z } from "zod";
import type {
  AccumulateResult,
  Completion,
  Engine,
  Example,
  LogProbOptions,
  LossWindow,
  MemoryPart,
  SampleOptions,
  Sequence,
  StepOptions,
  StepResult,
  StepTime,
  TokenIds,
  Workload,
} from "../core/engine.ts";
import { DataError, EngineError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { LossSpec } from "../core/loss-spec.ts";
import { needsSequences, readsEntropy, readsReference } from "../losses/policy-loss.ts";
import {
  batchLoss,
  tokenDistribution,
  type LossInputs,
  type TokenDistribution,
} from "../losses/token-loss.ts";
import { completionLength } from "../losses/weights.ts";
import {
  adapterName,
  decoderHidden,
  decoderLogits,
  decoderParameters,
  type DecoderConfig,
  type DecoderParameters,
  type LoraConfig,
} from "../models/decoder.ts";
import { readWeights, writeModel, type ReadWeightsOptions } from "../models/hugging-face.ts";
import { writeAdapter } from "../models/peft.ts";
import { fillPack, packMemory, packInputs, type PackShape } from "../models/packing.ts";
import { Optimiser } from "../nn/optimiser.ts";
import {
  initialiseParameter,
  leaves,
  mapTree,
  ParameterLayout,
  type ParameterSpec,
} from "../nn/parameters.ts";
import { readSafetensors, writeSafetensors } from "../nn/safetensors.ts";
import {
  add,
  addInto,
  allocate,
  compile,
  gradients,
  input,
  matmul,
  sizeOf,
  type Binding,
  type Program,
  type Tensor,
  type TensorData,
} from "../tensor/index.ts";
import {
  batchWeights,
  fillLossInputs,
  readSpans,
  usedArrays,
  type LossArray,
} from "./loss-inputs.ts";
import { memoryParts } from "./memory-parts.ts";
import { microBatches, type MicroBatch } from "./micro-batch.ts";
import { MOST_PROGRAMS, ProgramCache } from "./program-cache.ts";
import { Sampler } from "./sampler.ts";
import { timed } from "./timed.ts";
import { worstBatch, worstPrompts } from "./worst-case.ts";

export interface LocalEngineOptions {
  /** About how many tokens a micro-batch holds; changes speed and memory, not what is computed. null: as many as the cache likes. */
  readonly microBatchTokens: number | null;
  /** Most completions that are sampled at once. */
  readonly maxSampleRows: number;
  /** Prefix of files for ONNX Runtime's profile of every program; null: none. */
  readonly profile: string | null;
}

export const defaultEngineOptions: LocalEngineOptions = {
  microBatchTokens: null,
  maxSampleRows: 256,
  profile: null,
};

type Policy = "current" | "reference";

const positionSchema = z.object({
  steps: z.int().nonnegative(),
  reference: z.boolean(),
  /** Whether a gradient is accumulated that no step has used yet. */
  gradient: z.boolean().default(false),
  /** CRC-32 of the weights below adapters. */
  base: z.int().optional(),
});

export class LocalEngine implements Engine {
  readonly config: DecoderConfig;
  readonly parameterCount: number;
  /** Parameters that are trained. */
  readonly trainedCount: number;
  /** What is trained: all parameters, or the adapters alone. */
  readonly #layout: ParameterLayout;
  readonly #weights: Float32Array;
  /** What adapters leave as it is. Each parameter has memory of its own: together they may be more than one array can hold. */
  readonly #frozen:
    | {
        readonly specs: readonly ParameterSpec[];
        readonly views: Readonly<Record<string, Float32Array>>;
      }
    | undefined;
  readonly #symbols: DecoderParameters<Tensor>;
  readonly #gradient: Float32Array;
  readonly #options: LocalEngineOptions;
  readonly #microBatchTokens: number;
  readonly #sampler: Sampler;
  readonly #programs = new ProgramCache(MOST_PROGRAMS.engine);
  readonly #optimiser: Optimiser;
  #reference: Float32Array | undefined;
  /** Something was accumulated since the last optimiser step. */
  #hasGradient = false;

  constructor(config: DecoderConfig, options: Partial<LocalEngineOptions> = {}) {
    this.config = config;
    this.#options = { ...defaultEngineOptions, ...options };
    this.#microBatchTokens = this.#options.microBatchTokens ?? cachedTokens(config);
    const specs = decoderParameters(config);
    const [adapters, base] = [true, false].map((isAdapter) =>
      leaves(specs).filter(({ name }) => name.includes(".lora_") === isAdapter),
    ) as [ParameterSpec[], ParameterSpec[]];
    this.#layout = new ParameterLayout(adapters.length > 0 ? adapters : base);
    this.#weights = this.#layout.allocate();
    if (adapters.length > 0) {
      const views = base.map(({ name, shape }) => [name, allocate("float32", shape)] as const);
      this.#frozen = { specs: base, views: Object.fromEntries(views) };
    }
    this.trainedCount = this.#layout.count;
    const frozen = this.#frozen?.specs ?? [];
    this.parameterCount = frozen.reduce(
      (count, { shape }) => count + sizeOf(shape),
      this.trainedCount,
    );
    this.#symbols = mapTree(specs, (spec) => input(spec.name, spec.shape));
    this.#gradient = this.#layout.allocate();
    this.#optimiser = new Optimiser(this.#layout, this.#weights, this.#gradient);
    this.#sampler = new Sampler({
      config,
      symbols: this.#symbols,
      weights: this.#views(this.#weights),
      maxRows: this.#options.maxSampleRows,
      prefillTokens: 2 * this.#microBatchTokens,
      compile: (graph, name) => this.#compile(graph, name),
    });
  }

  get vocabularySize(): number {
    return this.config.vocabularySize;
  }

  get contextLength(): number {
    return this.config.contextLength;
  }

  /**
   * Fresh weights; the optimiser and the reference start over. "adapters": of the adapters alone, because the rest is about to be
   * loaded.
   */
  initialise(random: Random, what: "all" | "adapters" = "all"): void {
    const frozen = this.#frozen;
    if (what === "all" || frozen !== undefined) this.#layout.initialise(this.#weights, random);
    if (what === "all")
      frozen?.specs.forEach((spec) => initialiseParameter(frozen.views[spec.name]!, spec, random));
    this.#optimiser.reset();
    this.#dropReference();
  }

  async resetOptimiser(): Promise<void> {
    this.#optimiser.reset();
    this.#hasGradient = false;
  }

  /** A parameter's values by its name in a checkpoint; no copy. */
  parameter(name: string): Float32Array {
    return this.#frozen?.views[name] ?? this.#layout.view(this.#weights, name);
  }

  /** The accumulated gradient of a parameter; no copy. */
  gradient(name: string): Float32Array {
    return this.#layout.view(this.#gradient, name);
  }

  /** Parameters that are trained. */
  get parameterNames(): readonly string[] {
    return this.#layout.specs.map(({ name }) => name);
  }

  /** Every parameter of the model by name, trained ones from this block. */
  #views(trained: Float32Array): Record<string, Float32Array> {
    return {
      ...this.#frozen?.views,
      ...this.#layout.views(trained),
    };
  }

  /** One call after the other: programs share their memory. */
  #queue: Promise<unknown> = Promise.resolve();
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  sample(prompts: readonly TokenIds[], options: SampleOptions): Promise<Completion[][]> {
    return this.#inTurn(() => this.#sample(prompts, options));
  }

  logProbs(sequences: readonly Sequence[], options: LogProbOptions): Promise<Float32Array[]> {
    return this.#inTurn(() => this.#logProbs(sequences, options));
  }

  accumulate(
    batch: readonly Example[],
    loss: LossSpec,
    window?: LossWindow,
  ): Promise<AccumulateResult> {
    return this.#inTurn(() => this.#accumulate(batch, loss, window));
  }

  step(options: StepOptions): Promise<StepResult> {
    return this.#inTurn(async () => {
      this.#hasGradient = false;
      return { gradientNorm: await this.#optimiser.step(options) };
    });
  }

  async #sample(prompts: readonly TokenIds[], options: SampleOptions): Promise<Completion[][]> {
    prompts.forEach((prompt, index) => {
      this.#checkTokens(prompt, `sample: prompt ${index}`, options.maxTokens);
    });
    return this.#sampler.sample(prompts, options);
  }

  async #logProbs(
    sequences: readonly Sequence[],
    options: LogProbOptions,
  ): Promise<Float32Array[]> {
    this.#checkSequences(sequences, "logProbs");
    const result: Float32Array[] = sequences.map(
      (sequence) => new Float32Array(completionLength(sequence)),
    );
    for (const piece of microBatches(sequences, this.#microBatchTokens)) {
      const binding = this.#forward(piece.shape, options);
      this.#fillTokens(binding, sequences, piece);
      await binding.run();
      readSpans(binding.floats("logProbs"), piece, result);
    }
    return result;
  }

  async #accumulate(
    batch: readonly Example[],
    loss: LossSpec,
    window: LossWindow | undefined,
  ): Promise<AccumulateResult> {
    this.#checkSequences(batch, "accumulate");
    const arrays = usedArrays(batch, loss);
    const weights = batchWeights(batch, loss, window);
    this.#hasGradient = true;
    const logProbs = batch.map((example) => new Float32Array(completionLength(example)));
    const entropy = batch.map((example) => new Float32Array(completionLength(example)));
    let total = 0;
    for (const piece of microBatches(batch, this.#microBatchTokens)) {
      const binding = this.#training(piece.shape, loss, arrays);
      this.#fillTokens(binding, batch, piece);
      fillLossInputs(binding, batch, piece, weights);
      await binding.run();
      total += binding.floats("loss")[0]!;
      readSpans(binding.floats("logProbs"), piece, logProbs);
      readSpans(binding.floats("entropy"), piece, entropy);
    }
    return { loss: total, logProbs, entropy };
  }

  memoryNeed(loads: readonly Workload[]): readonly MemoryPart[] {
    return memoryParts(loads, {
      config: this.config,
      trainedFloats: this.#layout.length,
      frozen: this.#frozen?.specs ?? [],
      microBatchTokens: this.#microBatchTokens,
      sampler: this.#sampler.memoryNeed(loads.filter(({ sampling }) => sampling !== null)),
      trainingGraph: (shape, loss, arrays) => this.#trainingGraph(shape, loss, arrays).outputs,
    });
  }

  rehearse(load: Workload, clock: () => number): Promise<StepTime> {
    return this.#inTurn(async () => {
      if (this.#optimiser.steps > 0) {
        throw new EngineError({
          where: "rehearse",
          expected: "an engine before its first step",
          got: `one after ${this.#optimiser.steps}`,
        });
      }
      try {
        return await this.#rehearse(load, clock);
      } finally {
        this.#optimiser.reset();
        this.#programs.clear();
      }
    });
  }

  async #rehearse(load: Workload, clock: () => number): Promise<StepTime> {
    const { sampling, training, group, completionTokens } = load;
    let [sampleMs, trainMs] = [0, 0];
    if (sampling !== null) {
      const prompts = worstPrompts(load, this.vocabularySize);
      const options = { ...sampling, group, maxTokens: completionTokens };
      sampleMs = await this.#sampler.rehearse(prompts, options, clock);
    }
    if (training !== null) {
      const batch = worstBatch(load, this.vocabularySize);
      const { loss, passes, optimiser } = training;
      const batchMs = await this.#rehearsePiece(batch, clock, (part) =>
        this.#accumulate(part, loss, undefined),
      );
      if (loss.type === "policy-gradient" && readsReference(loss)) {
        // The reference is not there yet; the policy costs the same.
        const { temperature } = loss;
        trainMs += await this.#rehearsePiece(batch, clock, (part) =>
          this.#logProbs(part, { policy: "current", temperature }),
        );
      }
      this.#optimiser.reset();
      this.#hasGradient = false;
      // Without gradient, moments and rate a step computes everything and changes no bit.
      const still = { ...optimiser, learningRate: 0, weightDecay: 0 };
      const stepMs = await timed(async () => this.#optimiser.step(still), clock);
      trainMs += passes * (batchMs + stepMs);
    }
    return { sampleMs, trainMs };
  }

  /** Milliseconds of the whole batch, from those of its largest piece. */
  async #rehearsePiece(
    batch: readonly Example[],
    clock: () => number,
    work: (part: readonly Example[]) => Promise<unknown>,
  ): Promise<number> {
    const pieces = microBatches(batch, this.#microBatchTokens);
    const tokens = ({ shape }: MicroBatch): number => shape.promptTokens + shape.rowTokens;
    const largest = pieces.reduce((most, piece) => (tokens(piece) > tokens(most) ? piece : most));
    const part = largest.spans.map(({ member }) => batch[member]!);
    const all = pieces.reduce((total, piece) => total + tokens(piece), 0);
    return ((await timed(() => work(part), clock)) * all) / tokens(largest);
  }

  async freezeReference(): Promise<void> {
    this.#reference ??= this.#layout.allocate();
    this.#reference.set(this.#weights);
  }

  async save(directory: string): Promise<void> {
    const optimiser = this.#optimiser;
    if (this.#frozen === undefined) await this.saveModel(directory);
    const flat = (data: Float32Array) => ({ shape: [data.length], data });
    await writeSafetensors(join(directory, "training.safetensors"), {
      ...(this.#frozen && { adapters: flat(this.#weights) }),
      first: flat(optimiser.first),
      second: flat(optimiser.second),
      ...(this.#reference && { reference: flat(this.#reference) }),
      ...(this.#hasGradient && { gradient: flat(this.#gradient) }),
    });
    const position = {
      steps: optimiser.steps,
      reference: this.#reference !== undefined,
      gradient: this.#hasGradient,
      ...(this.#frozen && { base: checksum(this.#frozen.views) }),
    };
    await writeFile(join(directory, "engine.json"), JSON.stringify(position));
  }

  async saveModel(directory: string): Promise<void> {
    const { lora: _adapters, ...config } = this.config;
    await writeModel(directory, config, this.#mergedViews());
  }

  /** Writes the adapters, and these tables beside them, into a new folder in the layout of PEFT; without adapters nothing. */
  async saveAdapter(
    directory: string,
    baseModel: string | null,
    tables: readonly string[] = [],
  ): Promise<void> {
    const { lora } = this.config;
    if (lora === undefined) return;
    await mkdir(directory, { recursive: true });
    const specs = this.#frozen!.specs.filter(({ name }) => tables.includes(name));
    const tensors = new Map(
      [...this.#layout.specs, ...specs].map(({ name, shape }) => [
        name,
        { shape, data: this.parameter(name) },
      ]),
    );
    await writeAdapter(directory, { ...lora, tensors, ...(baseModel !== null && { baseModel }) });
  }

  /** The parameters of a model without adapters: W + alpha / rank · B A where there is one. */
  #mergedViews(): Record<string, Float32Array> {
    if (this.#frozen === undefined) return this.#layout.views(this.#weights);
    const merged: Record<string, Float32Array> = { ...this.#frozen.views };
    for (const { name, shape } of this.#frozen.specs) {
      const path = name.replace(/\.weight$/, "");
      const half = (which: "A" | "B") => this.#layout.view(this.#weights, adapterName(path, which));
      if (!this.#layout.has(adapterName(path, "A"))) continue;
      const extents = shape as readonly [number, number];
      merged[name] = merge(merged[name]!, half("A"), half("B"), extents, this.config.lora!);
    }
    return merged;
  }

  async load(directory: string): Promise<void> {
    const position = await readPosition(join(directory, "engine.json"));
    if (this.#frozen === undefined) await this.loadWeights(directory);
    else if (position.base !== checksum(this.#frozen.views)) {
      throw new DataError({
        where: join(directory, "engine.json"),
        expected: "the weights that the adapters were trained on",
        got: "others",
        hint: "did the files of model.from change?",
      });
    }
    const path = join(directory, "training.safetensors");
    const state = await readSafetensors(path);
    const restore = (name: string, target: Float32Array): void => {
      const { data } = state.get(name) ?? { data: new Float32Array() };
      if (data.length !== target.length) {
        throw new DataError({
          where: path,
          expected: `${target.length} numbers of ${name}`,
          got: String(data.length),
        });
      }
      target.set(data);
    };
    this.#optimiser.reset();
    if (this.#frozen !== undefined) restore("adapters", this.#weights);
    restore("first", this.#optimiser.first);
    restore("second", this.#optimiser.second);
    this.#optimiser.steps = position.steps;
    this.#hasGradient = position.gradient;
    if (position.gradient) restore("gradient", this.#gradient);
    if (position.reference) {
      this.#reference ??= this.#layout.allocate();
      restore("reference", this.#reference);
    } else this.#dropReference();
  }

  /** Weights alone, from a folder in the Hugging Face layout; adapters stay as they are. */
  async loadWeights(directory: string, options: ReadWeightsOptions = {}): Promise<void> {
    const { lora: _adapters, ...config } = this.config;
    const views = this.#frozen?.views ?? this.#layout.views(this.#weights);
    await readWeights(directory, config, views, options);
  }

  dispose(): void {
    this.#sampler.dispose();
    this.#optimiser.dispose();
    this.#programs.clear();
  }

  /** Compiled programs so far, by name; a long list means that shapes vary more than they should. */
  get programs(): readonly string[] {
    return this.#programs.keys;
  }

  #dropReference(): void {
    this.#reference = undefined;
    this.#programs.clear("reference");
  }

  #checkTokens(tokens: TokenIds, where: string, room: number): void {
    if (tokens.length === 0 || tokens.length + room > this.contextLength) {
      throw new EngineError({
        where,
        expected: `1 to ${this.contextLength - room} tokens${room > 0 ? ` (context ${this.contextLength} less ${room} new ones)` : ""}`,
        got: String(tokens.length),
        hint: "raise model.contextLength",
      });
    }
    const stranger = tokens.find((token) => token < 0 || token >= this.vocabularySize);
    if (stranger !== undefined) {
      throw new EngineError({
        where,
        expected: `token ids in [0, ${this.vocabularySize})`,
        got: String(stranger),
      });
    }
  }

  #checkSequences(batch: readonly Sequence[], where: string): void {
    if (batch.length === 0)
      throw new EngineError({ where, expected: "at least one sequence", got: "none" });
    batch.forEach(({ tokens, promptLength }, index) => {
      this.#checkTokens(tokens, `${where}: sequence ${index}`, 0);
      if (promptLength < 1 || promptLength > tokens.length) {
        throw new EngineError({
          where: `${where}: sequence ${index}`,
          expected: `a prompt of 1 to ${tokens.length} tokens`,
          got: String(promptLength),
        });
      }
    });
  }

  #compile(
    graph: Readonly<Record<string, Tensor>>,
    name: string,
    inPlace: Readonly<Record<string, string>> = {},
  ): Program {
    const { profile } = this.#options;
    const prefix = `${profile}-${name.replaceAll(/[^a-z0-9]+/gi, "-").slice(0, 60)}`;
    return compile(graph, { name, inPlace, ...(profile !== null && { profile: prefix }) });
  }

  #weightsOf(policy: Policy): Float32Array {
    if (policy === "current") return this.#weights;
    if (this.#reference === undefined) {
      throw new EngineError({
        where: "logProbs",
        expected: "a frozen reference policy",
        got: "none",
        hint: "call freezeReference first",
      });
    }
    return this.#reference;
  }

  #distribution(shape: PackShape, temperature: number, entropyGradient = false): TokenDistribution {
    const hidden = decoderHidden(this.#symbols, packInputs(shape, this.config), this.config);
    return tokenDistribution(
      decoderLogits(this.#symbols, hidden),
      input("targets", [shape.rowTokens], "int32"),
      temperature,
      entropyGradient,
    );
  }

  #tokenMemory(shape: PackShape): Record<string, TensorData> {
    return {
      ...packMemory(shape, this.config),
      targets: allocate("int32", [shape.rowTokens]),
    };
  }

  /** Padding predicts token 0. */
  #fillTokens(binding: Binding, batch: readonly Sequence[], piece: MicroBatch): void {
    fillPack(binding.memory, piece.shape, this.config, piece.groups);
    const targets = binding.ints("targets").fill(0);
    for (const { member, start } of piece.spans) {
      const { tokens, promptLength } = batch[member]!;
      targets.set(tokens.subarray(promptLength), start);
    }
  }

  #forward(shape: PackShape, { policy, temperature }: LogProbOptions): Binding {
    const weights = this.#weightsOf(policy);
    const key = `logProbs ${policy} ${shapeKey(shape)} temperature ${temperature}`;
    return this.#programs.get(key, () => {
      const { logProbs } = this.#distribution(shape, temperature);
      return this.#compile({ logProbs }, key).bind({
        ...this.#views(weights),
        ...this.#tokenMemory(shape),
      });
    });
  }

  #training(shape: PackShape, loss: LossSpec, arrays: readonly LossArray[]): Binding {
    const key = `train ${shapeKey(shape)} ${JSON.stringify(loss)} ${arrays.join()}`;
    return this.#programs.get(key, () => {
      const { outputs, inPlace } = this.#trainingGraph(shape, loss, arrays);
      return this.#compile(outputs, key, inPlace).bind({
        ...this.#views(this.#weights),
        ...this.#layout.views(this.#gradient, "gradient "),
        ...this.#tokenMemory(shape),
        ...mapValues(lossExtents(shape, loss, arrays), (_name, extent) =>
          allocate("float32", extent),
        ),
      });
    });
  }

  #trainingGraph(
    shape: PackShape,
    loss: LossSpec,
    arrays: readonly LossArray[],
  ): { outputs: Record<string, Tensor>; inPlace: Record<string, string> } {
    const temperature = loss.type === "cross-entropy" ? 1 : loss.temperature;
    const hasBonus = loss.type === "policy-gradient" && readsEntropy(loss);
    const { logProbs, entropy } = this.#distribution(shape, temperature, hasBonus);
    const arrayExtents = lossExtents(shape, loss, arrays);
    const { membership, ...rows } = mapValues(arrayExtents, (name, extent) => input(name, extent));
    const sequences = membership && { membership };
    const inputs: LossInputs = { logProbs, entropy, ...rows, ...(sequences && { sequences }) };
    const total = batchLoss(loss, inputs);
    const { specs } = this.#layout;
    const inPlace: Record<string, string> = {};
    const outputs: Record<string, Tensor> = { loss: total, logProbs, entropy };
    const parameters = parameterTensors(this.#symbols);
    const slopes = gradients(
      total,
      specs.map(({ name }) => parameters.get(name)!),
    );
    specs.forEach(({ name, shape: extents }, index) => {
      outputs[`new gradient ${name}`] = addInto(input(`gradient ${name}`, extents), slopes[index]!);
      inPlace[`new gradient ${name}`] = `gradient ${name}`;
    });
    return { outputs, inPlace };
  }
}

const mapValues = <From, To>(
  record: Readonly<Record<string, From>>,
  change: (name: string, value: From) => To,
): Record<string, To> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(name, value)]));

/** Extents of what a loss reads beside the log-probabilities of a piece. */
function lossExtents(
  { groups, rows, rowTokens }: PackShape,
  loss: LossSpec,
  arrays: readonly LossArray[],
): Record<string, readonly number[]> {
  const tokens = [rowTokens];
  const policy = loss.type === "policy-gradient" ? loss : undefined;
  return {
    ...(loss.type !== "linear" && { weights: tokens }),
    ...Object.fromEntries(arrays.map((name) => [name, tokens])),
    ...(policy && readsEntropy(policy) && { entropyWeights: tokens }),
    ...(policy &&
      needsSequences(policy, arrays.includes("sampler")) && {
        membership: [groups * rows, rowTokens],
      }),
  };
}

/** W + alpha / rank · B A of one projection [rows, columns]. */
function merge(
  weight: Float32Array,
  a: Float32Array,
  b: Float32Array,
  [rows, columns]: readonly [number, number],
  { alpha, rank }: LoraConfig,
): Float32Array {
  const product = matmul(input("b", [rows, rank]), input("a", [rank, columns]), {
    scale: alpha / rank,
  });
  using program = compile({ merged: add(input("weight", [rows, columns]), product) });
  const binding = program.bind({ weight, a, b });
  binding.runNow();
  return binding.floats("merged");
}

/** CRC-32 of arrays one after the other, in pieces that zlib takes. */
function checksum(views: Readonly<Record<string, Float32Array>>): number {
  const size = 1 << 28;
  let value = 0;
  for (const { buffer, byteOffset, byteLength } of Object.values(views)) {
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    for (let start = 0; start < bytes.length; start += size)
      value = crc32(bytes.subarray(start, start + size), value);
  }
  return value;
}

/** Which step the optimiser is at, and whether there is a reference policy. */
async function readPosition(path: string): Promise<z.output<typeof positionSchema>> {
  try {
    return positionSchema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (cause) {
    throw new DataError({
      where: path,
      expected: "the position of an engine",
      got: (cause as Error).message,
      cause,
    });
  }
}

/** Tokens whose widest activation takes 4 MiB: passes over it stay in the cache (docs/log.md). */
function cachedTokens({ hiddenWidth }: DecoderConfig): number {
  return Math.min(4096, Math.max(256, 2 ** Math.round(Math.log2(2 ** 20 / hiddenWidth))));
}

const shapeKey = (shape: PackShape): string => {
  const { groups, rows, promptTime, rowTime, promptTokens, rowTokens } = shape;
  return `${promptTokens}+${rowTokens} tokens, ${groups} prompts of ${promptTime}, ${rows} rows of ${rowTime}`;
};

function parameterTensors(symbols: DecoderParameters<Tensor>): Map<string, Tensor> {
  const found = new Map<string, Tensor>();
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    if ("node" in value) {
      const tensor = value as Tensor;
      found.set(String(tensor.node.attributes["name"]), tensor);
    } else Object.values(value).forEach(visit);
  };
  visit(symbols);
  return found;
}
