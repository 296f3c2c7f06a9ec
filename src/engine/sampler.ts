// Sampling with key-value caches. A prompt runs once, and its keys and values exist once, however many completions continue it;
// what the completions add lies in a cache of their own, one row each. Rows that have ended leave the batch.

import type { Completion, SampleOptions, TokenIds, Workload } from "../core/engine.ts";
import { EngineError } from "../core/errors.ts";
import { randomStream, type Random } from "../core/random.ts";
import type { StopReason } from "../core/task.ts";
import {
  decoderHidden,
  decoderLogits,
  decoderStep,
  type DecoderConfig,
  type DecoderParameters,
  type LayerCache,
} from "../models/decoder.ts";
import { fillPack, packInputs, packMemory, type PackShape } from "../models/packing.ts";
import {
  allocate,
  input,
  mul,
  reshape,
  sizeOf,
  softmax,
  type Binding,
  type Program,
  type Tensor,
  type TensorData,
} from "../tensor/index.ts";
import { drawToken } from "./draw.ts";
import { powerAbove } from "./micro-batch.ts";
import { MOST_PROGRAMS, ProgramCache } from "./program-cache.ts";
import { cacheBytes, PromptCache, RowCache, timeBucket } from "./sampler-cache.ts";
import { Scratch } from "./scratch.ts";
import { timed } from "./timed.ts";

/** Where the sampler finds programs and weights. */
export interface SamplerHost {
  readonly config: DecoderConfig;
  /** Symbolic parameters, and the memory they are bound to. */
  readonly symbols: DecoderParameters<Tensor>;
  readonly weights: Readonly<Record<string, Float32Array>>;
  /** Most rows of a decode step. */
  readonly maxRows: number;
  /** About how many prompt tokens run at once. */
  readonly prefillTokens: number;
  readonly compile: (graph: Readonly<Record<string, Tensor>>, name: string) => Program;
}

interface Row {
  readonly prompt: number;
  readonly sample: number;
  readonly random: Random;
  readonly tokens: number[];
  readonly logProbs: number[];
  readonly promptLength: number;
}

interface Finished {
  readonly row: Row;
  readonly stopReason: StopReason;
}

/** ONNX Runtime multiplies a single row by another algorithm, with other last bits: a batch has at least two. */
const MIN_ROWS = 2;
/** So many calls with prompts of less than half the cache, and it becomes shorter. */
const SHORT_CALLS = 16;

/** What was there before, if it is enough and not far more: a larger cache should not shrink at once. */
const near = (wanted: number, old = 0): number =>
  old > 2 * wanted ? wanted : Math.max(wanted, old);

function checkOptions({ group, maxTokens, temperature, topK = 1, topP = 1 }: SampleOptions): void {
  const fail = (expected: string, got: number): never => {
    throw new EngineError({ where: "sample", expected, got: String(got) });
  };
  const isCount = (value: number): boolean => Number.isInteger(value) && value >= 1;
  if (!isCount(group)) fail("a group of 1 or more", group);
  if (!isCount(maxTokens)) fail("maxTokens of 1 or more", maxTokens);
  if (!(temperature >= 0 && temperature < Infinity))
    fail("a temperature of 0 or more", temperature);
  if (!isCount(topK)) fail("topK of 1 or more", topK);
  if (!(topP > 0 && topP <= 1)) fail("topP in (0, 1]", topP);
}

export class Sampler {
  readonly #host: SamplerHost;
  readonly #programs = new ProgramCache(MOST_PROGRAMS.sampler);
  /** Results of the programs. */
  readonly #scratch = new Scratch();
  #prompts: PromptCache | undefined;
  #rows: RowCache | undefined;
  /** Calls in a row whose prompts would have fitted into half of the cache. */
  #shortCalls = 0;

  constructor(host: SamplerHost) {
    this.#host = host;
  }

  async sample(prompts: readonly TokenIds[], options: SampleOptions): Promise<Completion[][]> {
    checkOptions(options);
    const result: Completion[][] = prompts.map(() => []);
    const group = Math.min(options.group, this.#host.maxRows);
    const atOnce = Math.max(1, Math.floor(this.#host.maxRows / group));
    for (let start = 0; start < prompts.length; start += atOnce) {
      for (let first = 0; first < options.group; first += group) {
        const rows = await this.#sampleSome(prompts.slice(start, start + atOnce), {
          ...options,
          group: Math.min(group, options.group - first),
          random: (prompt, sample) => options.random(start + prompt, first + sample),
        });
        for (const { row, stopReason } of rows) {
          result[start + row.prompt]![first + row.sample] = {
            tokens: Int32Array.from(row.tokens),
            logProbs: Float32Array.from(row.logProbs),
            stopReason,
          };
        }
      }
    }
    return result;
  }

  /**
   * Milliseconds of a call whose completions all have `maxTokens` tokens: the prompts, and two steps, with caches empty and full;
   * a step between them takes as much more than the first as its cache is longer. Then the sampler is as if it were new.
   */
  async rehearse(
    prompts: readonly TokenIds[],
    options: Omit<SampleOptions, "random" | "stop">,
    clock: () => number,
  ): Promise<number> {
    const { maxTokens, temperature } = options;
    const group = Math.min(options.group, this.#host.maxRows);
    const part = prompts.slice(0, Math.max(1, Math.floor(this.#host.maxRows / group)));
    const calls = Math.ceil(prompts.length / part.length) * Math.ceil(options.group / group);
    const longest = Math.max(...part.map(({ length }) => length));
    const [, cache] = this.#reserve(part.length, group, longest, maxTokens);
    try {
      cache.touch();
      const prefill = await timed(() => this.#prefill(part, group, temperature), clock);
      const stepMs = (length: number): Promise<number> =>
        this.#rehearseStep(part, { ...options, group }, length, clock);
      if (maxTokens === 1) return calls * prefill;
      const [first, last] = [timeBucket(2), timeBucket(maxTokens)];
      const full = await stepMs(maxTokens - 1);
      const empty = first === last ? full : await stepMs(1);
      let total = prefill;
      for (let length = 1; length < maxTokens; length++) {
        const share = first === last ? 1 : (timeBucket(length + 1) - first) / (last - first);
        total += empty + share * Math.max(0, full - empty);
      }
      return calls * total;
    } finally {
      this.dispose();
      this.#shortCalls = 0;
    }
  }

  /** Milliseconds of a step of all rows when each has drawn `length` tokens. */
  #rehearseStep(
    part: readonly TokenIds[],
    options: Omit<SampleOptions, "random" | "stop">,
    length: number,
    clock: () => number,
  ): Promise<number> {
    const [prompts, cache] = [this.#prompts!, this.#rows!];
    const rows = part.flatMap((prompt, index) =>
      Array.from({ length: options.group }, (_, sample) =>
        rehearsedRow(prompt, index, sample, length),
      ),
    );
    const endless = { ...options, maxTokens: Infinity, stop: [], random: rehearsalRandom };
    return timed(async () => {
      cache.standAt(length);
      const step = this.#step(rows.length, prompts, cache);
      this.#fillStep(step, rows, prompts, cache, options.temperature);
      await step.run();
      cache.append((name) => step.floats(name), rows.length);
      this.#draw(rows, step.floats("probabilities"), (_row, index) => index, endless, []);
    }, clock);
  }

  /** Most bytes that calls with these prompts and rows need: of the caches, and of everything else while a program runs. */
  memoryNeed(loads: readonly Workload[]): { readonly caches: number; readonly work: number } {
    const { config, maxRows, prefillTokens } = this.#host;
    const extents = loads.map(({ prompts, group, promptTokens, completionTokens }) => {
      const rows = Math.min(group, maxRows);
      const atOnce = Math.min(prompts, Math.max(1, Math.floor(maxRows / rows)));
      return { prompts: atOnce, rows: atOnce * rows, promptTokens, completionTokens };
    });
    // A cache keeps the larger extent of two calls.
    const most = (pick: (extent: (typeof extents)[number]) => number): number =>
      Math.max(0, ...extents.map(pick));
    if (extents.length === 0) return { caches: 0, work: 0 };
    const time = Math.ceil(most(({ promptTokens }) => promptTokens) / 8) * 8;
    const prompts = rowBucket(most((extent) => extent.prompts));
    const rows = rowBucket(most((extent) => extent.rows));
    const mostTime = most(({ completionTokens }) => completionTokens);
    const caches = cacheBytes(config, { capacity: prompts, time }, { capacity: rows, mostTime });
    const { heads, headSize, kvHeads, width, hiddenWidth, layers, vocabularySize } = config;
    // Decode: logits and probabilities, the weights of attention in four forms, keys and values as they are gathered.
    const attended = time + timeBucket(mostTime) + 1;
    const decode = rows * (2 * vocabularySize + 4 * heads * attended + 6 * width + 3 * hiddenWidth);
    // Prefill: the same for whole prompts, whose keys and values are results.
    const atOnce = Math.min(prompts, Math.max(1, Math.floor(prefillTokens / Math.max(8, time))));
    const tokens = atOnce * (time + 16);
    const wide = 6 * width + 3 * hiddenWidth + 6 * heads * headSize;
    const results = 2 * layers * kvHeads * headSize * tokens;
    const prefill =
      tokens * wide + 3 * atOnce * heads * time * time + results + 3 * atOnce * vocabularySize;
    return { caches, work: 4 * Math.max(decode, prefill) };
  }

  dispose(): void {
    this.#programs.clear();
    this.#scratch.clear();
    this.#prompts = undefined;
    this.#rows = undefined;
  }

  /** All samples of prompts that fit into the caches together. */
  async #sampleSome(part: readonly TokenIds[], options: SampleOptions): Promise<Finished[]> {
    const { group, maxTokens } = options;
    const finished: Finished[] = [];
    const longest = Math.max(...part.map((prompt) => prompt.length));
    const [prompts, cache] = this.#reserve(part.length, group, longest, maxTokens);
    const first = await this.#prefill(part, group, options.temperature);
    const all = part.flatMap((prompt, index) =>
      Array.from({ length: group }, (_, sample): Row => ({
        prompt: index,
        sample,
        random: options.random(index, sample),
        tokens: [],
        logProbs: [],
        promptLength: prompt.length,
      })),
    );
    let rows = this.#draw(all, first, (row) => row.prompt, options, finished);
    while (rows.length > 0) {
      cache.makeRoom(rows.length);
      const step = this.#step(rows.length, prompts, cache);
      this.#fillStep(step, rows, prompts, cache, options.temperature);
      await step.run();
      cache.append((name) => step.floats(name), rows.length);
      rows = this.#draw(
        rows,
        step.floats("probabilities"),
        (_row, index) => index,
        options,
        finished,
      );
    }
    return finished;
  }

  /** Runs the prompts and fills the caches; the distribution after each prompt [prompts, vocabulary]. */
  async #prefill(
    part: readonly TokenIds[],
    group: number,
    temperature: number,
  ): Promise<Float32Array> {
    const [prompts, cache] = [this.#prompts!, this.#rows!];
    const size = this.#host.config.vocabularySize;
    const probabilities = new Float32Array(part.length * size);
    const atOnce = Math.max(1, Math.floor(this.#host.prefillTokens / prompts.time));
    for (let start = 0; start < part.length; start += atOnce) {
      const some = part.slice(start, start + atOnce);
      const shape: PackShape = {
        groups: some.length,
        rows: 1,
        promptTime: prompts.time,
        rowTime: 1,
        promptTokens: Math.ceil(Math.max(1, sum(some.map(({ length }) => length - 1))) / 64) * 64,
        rowTokens: Math.ceil((some.length + 1) / 16) * 16,
      };
      const key = `prefill ${JSON.stringify(shape)}`;
      const binding = this.#programs.get(key, () => this.#compilePrefill(key, shape));
      const groups = some.map((prompt) => ({
        prompt: prompt.subarray(0, -1),
        rows: [prompt.subarray(-1)],
      }));
      fillPack(binding.memory, shape, this.#host.config, groups);
      setTemperature(binding, temperature);
      await binding.run();
      prompts.fill((name) => binding.floats(name), start, groups);
      cache.begin((name) => binding.floats(name), start, some.length, group);
      probabilities.set(
        binding.floats("probabilities").subarray(0, some.length * size),
        start * size,
      );
    }
    return probabilities;
  }

  /** Draws the next token of every row; rows that end move to `finished`, and the others close ranks in the caches. */
  #draw(
    rows: readonly Row[],
    probabilities: Float32Array,
    source: (row: Row, index: number) => number,
    options: SampleOptions,
    finished: Finished[],
  ): Row[] {
    const size = this.#host.config.vocabularySize;
    const going: (Row | undefined)[] = rows.map((row, index) => {
      const from = source(row, index);
      const position = row.tokens.length;
      const token = drawToken(probabilities, from, size, () => row.random.at(position), options);
      if (Number.isNaN(probabilities[from * size + token])) {
        this.dispose(); // what the caches hold would reach later calls
        throw new EngineError({
          where: "sample",
          expected: "finite probabilities",
          got: `NaN for token ${position + 1} after prompt ${row.prompt}`,
          hint: "are the weights finite?",
        });
      }
      row.tokens.push(token);
      row.logProbs.push(Math.log(probabilities[from * size + token]!));
      const stopped = options.stop.includes(token);
      if (!stopped && row.tokens.length < options.maxTokens) return row;
      finished.push({ row, stopReason: stopped ? "stop" : "length" });
      return undefined;
    });
    return this.#closeRanks(going);
  }

  /** The last rows move into the gaps, and so do the last prompts where no row is left. */
  #closeRanks(rows: (Row | undefined)[]): Row[] {
    const [prompts, cache] = [this.#prompts!, this.#rows!];
    for (const [index, row] of rows.entries())
      if (row === undefined) prompts.release(cache.slots[index]!);
    for (let index = 0; index < rows.length; index++) {
      while (rows.length > index && rows.at(-1) === undefined) rows.pop();
      if (index >= rows.length || rows[index] !== undefined) continue;
      rows[index] = rows.pop()!;
      cache.move(rows.length, index);
    }
    prompts.closeRanks(cache.slots, rows.length);
    return rows as Row[];
  }

  /** Caches that are large enough. Programs are bound to their memory, so larger ones start with none. */
  #reserve(
    prompts: number,
    group: number,
    longest: number,
    maxTokens: number,
  ): readonly [PromptCache, RowCache] {
    const { config } = this.#host;
    const time = Math.max(8, Math.ceil((longest - 1) / 8) * 8);
    const [most, rows] = [rowBucket(prompts), rowBucket(prompts * group)];
    let [promptCache, rowCache] = [this.#prompts, this.#rows];
    // Short prompts read the padding of a long cache at every step; but one short call is no reason to begin anew.
    this.#shortCalls =
      promptCache !== undefined && promptCache.time > 2 * time ? this.#shortCalls + 1 : 0;
    const isTooLong = this.#shortCalls > SHORT_CALLS;
    if (!promptCache || promptCache.time < time || promptCache.capacity < most || isTooLong) {
      const longer = isTooLong ? time : Math.max(time, promptCache?.time ?? 0);
      promptCache = new PromptCache(config, near(most, promptCache?.capacity), longer);
      this.#shortCalls = 0;
    }
    if (!rowCache || rowCache.capacity < rows || rowCache.mostTime < maxTokens) {
      const mostTime = near(maxTokens, rowCache?.mostTime);
      rowCache = new RowCache(config, near(rows, rowCache?.capacity), mostTime);
    }
    if (promptCache !== this.#prompts || rowCache !== this.#rows) {
      this.dispose();
      [this.#prompts, this.#rows] = [promptCache, rowCache];
    }
    promptCache.begin(prompts, group);
    rowCache.reset();
    return [promptCache, rowCache];
  }

  #compilePrefill(name: string, shape: PackShape): Binding {
    const { config, symbols, weights, compile } = this.#host;
    const layers: LayerCache[] = [];
    const hidden = decoderHidden(symbols, packInputs(shape, config), config, (layer) =>
      layers.push(layer),
    );
    const outputs: Record<string, Tensor> = { probabilities: distribution(symbols, hidden) };
    layers.forEach(({ promptKeys, promptValues, keys, values }, layer) => {
      outputs[`promptKeys${layer}`] = promptKeys;
      outputs[`promptValues${layer}`] = promptValues;
      outputs[`keys${layer}`] = keys;
      outputs[`values${layer}`] = values;
    });
    return compile(outputs, name).bind({
      ...weights,
      ...packMemory(shape, config),
      ...this.#results(outputs),
      inverseTemperature: allocate("float32", [1]),
    });
  }

  /** The program of a decode step for these numbers of rows, prompts and tokens. */
  #step(rowCount: number, prompts: PromptCache, cache: RowCache): Binding {
    const rows = rowBucket(rowCount);
    const aligned = prompts.count === rowCount && isAligned(cache.slots, rowCount);
    const groups = aligned ? rows : rowBucket(prompts.count);
    const slots = aligned ? 0 : rowBucket(prompts.mostRows());
    const key = `decode ${rows} rows, ${groups} prompts x ${slots}, ${cache.time} tokens`;
    return this.#programs.get(key, () => this.#compileStep(key, rows, groups, slots));
  }

  /** slots 0: row i continues prompt i. */
  #compileStep(name: string, rows: number, groups: number, slots: number): Binding {
    const { config, symbols, weights, compile } = this.#host;
    const [prompts, cache] = [this.#prompts!, this.#rows!];
    const memory: Record<string, TensorData> = {
      ...weights,
      ...prompts.memory(groups),
      ...cache.memory(rows),
      tokens: allocate("int32", [rows]),
      positions: allocate("int32", [rows]),
      inverseTemperature: allocate("float32", [1]),
      ...(slots > 0 && {
        slotRows: allocate("int32", [groups * config.kvHeads * slots]),
        slotPlaces: allocate("int32", [rows * config.kvHeads]),
      }),
    };
    const of = (part: string, shape: readonly number[]): Tensor => input(part, shape);
    const caches = Array.from({ length: config.layers }, (_, layer) => ({
      ...prompts.inputs(layer, groups, of),
      ...cache.inputs(layer, rows, of),
    }));
    const { hidden, added } = decoderStep(
      symbols,
      {
        tokens: input("tokens", [rows], "int32"),
        positions: input("positions", [rows], "int32"),
        caches,
        promptMask: input("promptMask", [groups, 1, 1, prompts.time]),
        mask: input("mask", [1, 1, cache.time]),
        slots:
          slots === 0
            ? null
            : {
                rows: input("slotRows", [groups * config.kvHeads * slots], "int32"),
                places: input("slotPlaces", [rows * config.kvHeads], "int32"),
              },
      },
      config,
    );
    const outputs: Record<string, Tensor> = { probabilities: distribution(symbols, hidden) };
    added.forEach(({ key, value }, layer) => {
      outputs[`newKeys${layer}`] = key;
      outputs[`newValues${layer}`] = value;
    });
    return compile(outputs, name).bind({ ...memory, ...this.#results(outputs) });
  }

  /** Programs run one after the other and their results are copied before the next runs, so these have one place. */
  #results(outputs: Readonly<Record<string, Tensor>>): Record<string, Float32Array> {
    return Object.fromEntries(
      Object.entries(outputs).map(([name, { shape }]) => [
        name,
        this.#scratch.floats(name, sizeOf(shape)),
      ]),
    );
  }

  #fillStep(
    step: Binding,
    rows: readonly Row[],
    prompts: PromptCache,
    cache: RowCache,
    temperature: number,
  ): void {
    const [tokens, positions] = [step.ints("tokens").fill(0), step.ints("positions").fill(0)];
    rows.forEach((row, index) => {
      tokens[index] = row.tokens.at(-1)!;
      positions[index] = row.promptLength + row.tokens.length - 1;
    });
    setTemperature(step, temperature);
    if (!("slotRows" in step.memory)) return;
    const { kvHeads } = this.#host.config;
    const [slotRows, places] = [step.ints("slotRows").fill(0), step.ints("slotPlaces").fill(0)];
    const slots = rowBucket(prompts.mostRows());
    const taken = new Int32Array(prompts.count);
    rows.forEach((_, row) => {
      const prompt = cache.slots[row]!;
      const slot = taken[prompt]!++;
      for (let head = 0; head < kvHeads; head++) {
        const place = (prompt * kvHeads + head) * slots + slot;
        slotRows[place] = row * kvHeads + head;
        places[row * kvHeads + head] = place;
      }
    });
  }
}

const sum = (list: readonly number[]): number => list.reduce((total, value) => total + value, 0);

/** Distribution over the vocabulary after each row. */
function distribution(symbols: DecoderParameters<Tensor>, hidden: Tensor): Tensor {
  const scale = reshape(input("inverseTemperature", [1]), [1, 1]);
  return softmax(mul(decoderLogits(symbols, hidden), scale));
}

const rehearsalRandom = (prompt: number, sample: number): Random =>
  randomStream(0, "rehearsal", prompt, sample);

/** A row that has drawn `length` tokens. */
const rehearsedRow = (prompt: TokenIds, index: number, sample: number, length: number): Row => ({
  prompt: index,
  sample,
  random: rehearsalRandom(index, sample),
  tokens: Array.from({ length }, () => 0),
  logProbs: [],
  promptLength: prompt.length,
});

function isAligned(slots: Int32Array, rows: number): boolean {
  for (let row = 0; row < rows; row++) if (slots[row] !== row) return false;
  return true;
}

/** Row counts that get a program: 2, 3, 4, 6, 8, 12, … */
function rowBucket(rows: number): number {
  const power = powerAbove(Math.max(MIN_ROWS, rows));
  return power >= 4 && rows <= power * 0.75 ? power * 0.75 : power;
}

function setTemperature(binding: Binding, temperature: number): void {
  binding.floats("inverseTemperature")[0] = temperature === 0 ? 1 : 1 / temperature;
}
