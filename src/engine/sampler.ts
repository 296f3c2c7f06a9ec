// Sampling with a KV cache that never moves through JavaScript: prompts run once, their cache rows are copied for every
// sample of the group, and rows that have ended leave the batch.

import type { Completion, SampleOptions, TokenIds } from "../core/engine.ts";
import type { Random } from "../core/random.ts";
import type { StopReason } from "../core/task.ts";
import {
  decoderCached,
  decoderLogits,
  type DecoderConfig,
  type DecoderParameters,
} from "../models/decoder.ts";
import {
  allocate,
  gatherRows,
  input,
  mul,
  reshape,
  softmax,
  type Binding,
  type Program,
  type Tensor,
} from "../tensor/index.ts";
import { drawToken } from "./draw.ts";
import { powerAbove } from "./micro-batch.ts";

/** Where the sampler finds programs and weights. */
export interface SamplerHost {
  readonly config: DecoderConfig;
  /** Symbolic parameters, and the memory they are bound to. */
  readonly symbols: DecoderParameters<Tensor>;
  readonly weights: Readonly<Record<string, Float32Array>>;
  /** Most rows of a decode step. */
  readonly maxRows: number;
  readonly compile: (
    graph: Readonly<Record<string, Tensor>>,
    name: string,
    inPlace: Readonly<Record<string, string>>,
  ) => Program;
}

interface Row {
  readonly prompt: number;
  readonly sample: number;
  readonly random: Random;
  readonly tokens: number[];
  readonly logProbs: number[];
  /** Tokens in the cache. */
  length: number;
}

/** Keys and values of every layer: `rows` rows of [kvHeads, capacity, headSize]. */
interface Cache {
  readonly rows: number;
  readonly capacity: number;
  readonly rowSize: number;
  readonly blocks: readonly Float32Array[];
}

const CAPACITY_STEP = 32;
/** ONNX Runtime multiplies a single row by another algorithm, with other last bits: a batch has at least two. */
const MIN_ROWS = 2;

export class Sampler {
  readonly #host: SamplerHost;
  readonly #bindings = new Map<string, Binding>();
  #cache: Cache | undefined;

  constructor(host: SamplerHost) {
    this.#host = host;
  }

  async sample(prompts: readonly TokenIds[], options: SampleOptions): Promise<Completion[][]> {
    const result: Completion[][] = prompts.map(() => []);
    const atOnce = Math.max(1, Math.floor(this.#host.maxRows / options.group));
    for (let start = 0; start < prompts.length; start += atOnce) {
      const rows = await this.#sampleSome(
        prompts,
        start,
        Math.min(prompts.length, start + atOnce),
        options,
      );
      for (const { row, stopReason } of rows) {
        result[row.prompt]![row.sample] = {
          tokens: Int32Array.from(row.tokens),
          logProbs: Float32Array.from(row.logProbs),
          stopReason,
        };
      }
    }
    return result;
  }

  dispose(): void {
    for (const binding of this.#bindings.values()) binding.program.dispose();
    this.#bindings.clear();
    this.#cache = undefined;
  }

  /** All samples of prompts `from` to `to`. */
  async #sampleSome(
    prompts: readonly TokenIds[],
    from: number,
    to: number,
    options: SampleOptions,
  ): Promise<{ row: Row; stopReason: StopReason }[]> {
    const { group } = options;
    const part = prompts.slice(from, to);
    const longest = Math.max(...part.map((prompt) => prompt.length));
    const cache = this.#reserve((to - from) * group, longest + options.maxTokens);
    const finished: { row: Row; stopReason: StopReason }[] = [];

    const prefill = this.#binding("prefill", cache, part.length, longest);
    const time = prefill.ints("tokens").length / prefill.ints("lastPosition").length;
    prefill.ints("tokens").fill(0);
    prefill.ints("lastPosition").fill(0);
    prefill.ints("lastRow").fill(0);
    part.forEach((prompt, index) => {
      prefill.ints("tokens").set(prompt, index * time);
      prefill.ints("lastPosition")[index] = prompt.length - 1;
      prefill.ints("lastRow")[index] = index * time + prompt.length - 1;
    });
    prefill.ints("totalLength")[0] = time;
    setTemperature(prefill, options.temperature);
    await prefill.run();
    spreadRows(cache, part.length, group);

    let rows: Row[] = part.flatMap((prompt, index) =>
      Array.from({ length: group }, (_, sample) => ({
        prompt: from + index,
        sample,
        random: options.random(from + index, sample),
        tokens: [],
        logProbs: [],
        length: prompt.length,
      })),
    );
    rows = this.#draw(
      rows,
      prefill.floats("probabilities"),
      (row) => row.prompt - from,
      cache,
      options,
      finished,
    );
    while (rows.length > 0) {
      const decode = this.#binding("decode", cache, rows.length, 1);
      const [tokens, lastPosition] = [decode.ints("tokens"), decode.ints("lastPosition")];
      tokens.fill(0);
      lastPosition.fill(0);
      let total = 0;
      rows.forEach((row, index) => {
        tokens[index] = row.tokens.at(-1)!;
        lastPosition[index] = row.length;
        row.length++;
        total = Math.max(total, row.length);
      });
      decode.ints("totalLength")[0] = total;
      setTemperature(decode, options.temperature);
      await decode.run();
      rows = this.#draw(
        rows,
        decode.floats("probabilities"),
        (_row, index) => index,
        cache,
        options,
        finished,
      );
    }
    return finished;
  }

  /** Draws the next token of every row; rows that end move to `finished`, and the others close ranks in the cache. */
  #draw(
    rows: readonly Row[],
    probabilities: Float32Array,
    source: (row: Row, index: number) => number,
    cache: Cache,
    options: SampleOptions,
    finished: { row: Row; stopReason: StopReason }[],
  ): Row[] {
    const size = this.#host.config.vocabularySize;
    const going: (Row | undefined)[] = rows.map((row, index) => {
      const from = source(row, index);
      const position = row.tokens.length;
      const token = drawToken(probabilities, from, size, () => row.random.at(position), options);
      row.tokens.push(token);
      row.logProbs.push(Math.log(probabilities[from * size + token]!));
      const stopped = options.stop.includes(token);
      if (!stopped && row.tokens.length < options.maxTokens) return row;
      finished.push({ row, stopReason: stopped ? "stop" : "length" });
      return undefined;
    });
    return this.#closeRanks(going, cache);
  }

  /** The last rows move into the gaps, in the cache too. */
  #closeRanks(rows: (Row | undefined)[], cache: Cache): Row[] {
    for (let index = 0; index < rows.length; index++) {
      while (rows.length > index && rows.at(-1) === undefined) rows.pop();
      if (index >= rows.length || rows[index] !== undefined) continue;
      const row = rows.pop()!;
      copyRow(cache, rows.length, index, row.length, this.#host.config);
      rows[index] = row;
    }
    return rows as Row[];
  }

  #reserve(rows: number, length: number): Cache {
    const { config } = this.#host;
    const wanted = rowBucket(rows);
    const capacity = Math.ceil(length / CAPACITY_STEP) * CAPACITY_STEP;
    const old = this.#cache;
    if (old !== undefined && old.rows >= wanted && old.capacity >= capacity) return old;
    this.dispose();
    const grown = {
      rows: Math.max(wanted, old?.rows ?? 0),
      capacity: Math.max(capacity, old?.capacity ?? 0),
    };
    const rowSize = config.kvHeads * grown.capacity * config.headSize;
    const blocks = Array.from({ length: config.layers * 2 }, () =>
      allocate("float32", [grown.rows, rowSize]),
    );
    this.#cache = { ...grown, rowSize, blocks };
    return this.#cache;
  }

  #binding(kind: "prefill" | "decode", cache: Cache, wanted: number, longest: number): Binding {
    const rows = rowBucket(wanted);
    const time = kind === "decode" ? 1 : Math.max(2, Math.ceil(longest / 16) * 16);
    const key = `${kind} ${rows}x${time}`;
    let binding = this.#bindings.get(key);
    if (binding === undefined) {
      binding = this.#compile(key, cache, rows, time);
      this.#bindings.set(key, binding);
    }
    return binding;
  }

  /** Program of `time` new tokens for the first `rows` rows of the cache; gives the distribution after each row's last one. */
  #compile(name: string, cache: Cache, rows: number, time: number): Binding {
    const { config, symbols, weights } = this.#host;
    const shape = [rows, config.kvHeads, cache.capacity, config.headSize];
    const cacheInputs = Array.from({ length: config.layers }, (_, layer) => ({
      keys: input(`keys${layer}`, shape),
      values: input(`values${layer}`, shape),
    }));
    const { hidden, caches } = decoderCached(
      symbols,
      input("tokens", [rows, time], "int32"),
      {
        caches: cacheInputs,
        lastPosition: input("lastPosition", [rows], "int32"),
        totalLength: input("totalLength", [1], "int32"),
      },
      config,
    );
    const last = time === 1 ? hidden : gatherRows(hidden, input("lastRow", [rows], "int32"));
    const logits = mul(
      decoderLogits(symbols, last),
      reshape(input("inverseTemperature", [1]), [1, 1]),
    );
    const outputs: Record<string, Tensor> = { probabilities: softmax(logits) };
    const inPlace: Record<string, string> = {};
    const memory: Record<string, Float32Array | Int32Array> = {
      ...weights,
      tokens: allocate("int32", [rows, time]),
      lastPosition: allocate("int32", [rows]),
      totalLength: allocate("int32", [1]),
      inverseTemperature: allocate("float32", [1]),
      ...(time > 1 && { lastRow: allocate("int32", [rows]) }),
    };
    caches.forEach(({ keys, values }, layer) => {
      outputs[`newKeys${layer}`] = keys;
      outputs[`newValues${layer}`] = values;
      inPlace[`newKeys${layer}`] = `keys${layer}`;
      inPlace[`newValues${layer}`] = `values${layer}`;
      memory[`keys${layer}`] = cache.blocks[layer * 2]!.subarray(0, rows * cache.rowSize);
      memory[`values${layer}`] = cache.blocks[layer * 2 + 1]!.subarray(0, rows * cache.rowSize);
    });
    return this.#host.compile(outputs, name, inPlace).bind(memory);
  }
}

/** Row counts that get a program: 2, 3, 4, 6, 8, 12, … */
function rowBucket(rows: number): number {
  const power = powerAbove(Math.max(MIN_ROWS, rows));
  return power >= 4 && rows <= power * 0.75 ? power * 0.75 : power;
}

function setTemperature(binding: Binding, temperature: number): void {
  binding.floats("inverseTemperature")[0] = temperature === 0 ? 1 : 1 / temperature;
}

/** Row p (of `prompts` rows) becomes rows p · group … p · group + group − 1; from the last, so that none is overwritten too early. */
function spreadRows(cache: Cache, prompts: number, group: number): void {
  for (const block of cache.blocks) {
    for (let prompt = prompts - 1; prompt >= 0; prompt--) {
      const start = prompt * cache.rowSize;
      for (let sample = group - 1; sample >= 0; sample--) {
        const target = (prompt * group + sample) * cache.rowSize;
        if (target !== start) block.copyWithin(target, start, start + cache.rowSize);
      }
    }
  }
}

/** Copies the first `length` positions of a row. */
function copyRow(
  cache: Cache,
  from: number,
  to: number,
  length: number,
  config: DecoderConfig,
): void {
  const headSize = cache.capacity * config.headSize;
  for (const block of cache.blocks) {
    for (let head = 0; head < config.kvHeads; head++) {
      const start = from * cache.rowSize + head * headSize;
      block.copyWithin(
        to * cache.rowSize + head * headSize,
        start,
        start + length * config.headSize,
      );
    }
  }
}
