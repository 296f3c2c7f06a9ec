// The two caches of a sampler: keys and values of prompts, shared by their completions, and those of the completions.

import type { DecoderConfig } from "../models/decoder.ts";
import type { PackedGroup } from "../models/packing.ts";
import { allocate, type Tensor } from "../tensor/index.ts";

type Floats = (name: string) => Float32Array;
type MakeInput = (name: string, shape: readonly number[]) => Tensor;
type Heads = Pick<DecoderConfig, "kvHeads" | "headSize" | "layers">;

const PADDING = -1e9;

const blocksOf = (layers: number, length: number): Float32Array[] =>
  Array.from({ length: layers }, () => allocate("float32", [length]));

/** Keys (transposed) and values of up to `capacity` prompts of at most `time` tokens, the last token of each excepted. */
export class PromptCache {
  readonly capacity: number;
  readonly time: number;
  /** Prompts that still have a row. */
  count = 0;
  readonly #heads: Heads;
  /** Floats of one prompt, in keys and in values. */
  readonly #size: number;
  readonly #keys: readonly Float32Array[];
  readonly #values: readonly Float32Array[];
  readonly #mask: Float32Array;
  readonly #live: Int32Array;

  constructor(heads: Heads, capacity: number, time: number) {
    this.capacity = capacity;
    this.time = time;
    this.#heads = heads;
    this.#size = heads.kvHeads * heads.headSize * time;
    this.#keys = blocksOf(heads.layers, capacity * this.#size);
    this.#values = blocksOf(heads.layers, capacity * this.#size);
    this.#mask = allocate("float32", [capacity * time]);
    this.#live = new Int32Array(capacity);
  }

  /** Empty, for `prompts` prompts of `group` rows each. */
  begin(prompts: number, group: number): void {
    this.count = prompts;
    this.#live.fill(0).fill(group, 0, prompts);
    this.#mask.fill(PADDING);
  }

  /** Takes over what a prefill of `groups` computed, for the prompts from `start` on. */
  fill(from: Floats, start: number, groups: readonly PackedGroup[]): void {
    const length = groups.length * this.#size;
    for (let layer = 0; layer < this.#heads.layers; layer++) {
      this.#keys[layer]!.set(from(`promptKeys${layer}`).subarray(0, length), start * this.#size);
      this.#values[layer]!.set(
        from(`promptValues${layer}`).subarray(0, length),
        start * this.#size,
      );
    }
    groups.forEach(({ prompt }, index) => {
      const at = (start + index) * this.time;
      this.#mask.fill(0, at, at + prompt.length);
    });
  }

  /** Memory of the inputs of the first `groups` prompts, by name. */
  memory(groups: number): Record<string, Float32Array> {
    const parts = (name: string, blocks: readonly Float32Array[]) =>
      blocks.map((block, layer) => [name + layer, block.subarray(0, groups * this.#size)] as const);
    return {
      ...Object.fromEntries([
        ...parts("promptKeys", this.#keys),
        ...parts("promptValues", this.#values),
      ]),
      promptMask: this.#mask.subarray(0, groups * this.time),
    };
  }

  inputs(layer: number, groups: number, of: MakeInput) {
    const { kvHeads, headSize } = this.#heads;
    return {
      promptKeys: of(`promptKeys${layer}`, [groups, kvHeads, headSize, this.time]),
      promptValues: of(`promptValues${layer}`, [groups, kvHeads, this.time, headSize]),
    };
  }

  /** A row of a prompt has ended. */
  release(prompt: number): void {
    this.#live[prompt]!--;
  }

  /** Rows of the prompt that has most. */
  mostRows(): number {
    return this.#live.subarray(0, this.count).reduce((most, rows) => Math.max(most, rows), 0);
  }

  /** The last prompts move into the places of those without rows; `slots` says which prompt each row continues. */
  closeRanks(slots: Int32Array, rows: number): void {
    for (let prompt = 0; prompt < this.count; prompt++) {
      while (this.count > prompt && this.#live[this.count - 1] === 0) this.count--;
      if (prompt >= this.count || this.#live[prompt] !== 0) continue;
      const last = --this.count;
      for (const block of [...this.#keys, ...this.#values])
        block.copyWithin(prompt * this.#size, last * this.#size, (last + 1) * this.#size);
      this.#mask.copyWithin(prompt * this.time, last * this.time, (last + 1) * this.time);
      this.#live[prompt] = this.#live[last]!;
      this.#live[last] = 0;
      for (let row = 0; row < rows; row++) if (slots[row] === last) slots[row] = prompt;
    }
  }
}

/** Keys and values of what rows added to their prompts. All rows are equally long, so a step writes one place of each. */
export class RowCache {
  readonly capacity: number;
  readonly mostTime: number;
  /** Tokens that the programs of now see; grows in steps. */
  time = 0;
  /** Which prompt each row continues. */
  readonly slots: Int32Array;
  #length = 0;
  readonly #heads: Heads;
  readonly #keys: readonly Float32Array[];
  readonly #values: readonly Float32Array[];
  readonly #mask: Float32Array;

  constructor(heads: Heads, capacity: number, mostTime: number) {
    this.capacity = capacity;
    this.mostTime = mostTime;
    this.#heads = heads;
    const length = capacity * heads.kvHeads * timeBucket(mostTime) * heads.headSize;
    this.#keys = blocksOf(heads.layers, length);
    this.#values = blocksOf(heads.layers, length);
    this.#mask = allocate("float32", [timeBucket(mostTime)]);
    this.slots = new Int32Array(capacity);
  }

  /** As if every row had `length` tokens; what they are stays open. */
  standAt(length: number): void {
    this.#length = length;
    this.time = timeBucket(length + 1);
    this.#mask.fill(PADDING).fill(0, 0, length);
  }

  /** Writes all memory once: the system gives it only then. */
  touch(): void {
    for (const block of [...this.#keys, ...this.#values]) block.fill(0);
  }

  reset(): void {
    this.#length = 1;
    this.time = timeBucket(1);
    this.#mask.fill(PADDING).fill(0, 0, 1);
  }

  /** Each prompt's last token, from a prefill that had one row a prompt, becomes the first token of its `group` rows. */
  begin(from: Floats, start: number, prompts: number, group: number): void {
    const { kvHeads, headSize, layers } = this.#heads;
    for (let layer = 0; layer < layers; layer++) {
      for (const [name, block] of [
        [`keys${layer}`, this.#keys[layer]!],
        [`values${layer}`, this.#values[layer]!],
      ] as const) {
        const source = from(name);
        for (let index = 0; index < prompts * kvHeads; index++) {
          const [prompt, head] = [Math.floor(index / kvHeads), index % kvHeads];
          const values = source.subarray(index * headSize, (index + 1) * headSize);
          for (let sample = 0; sample < group; sample++) {
            const row = (start + prompt) * group + sample;
            block.set(values, (row * kvHeads + head) * this.time * headSize);
          }
        }
      }
    }
    for (let row = 0; row < prompts * group; row++)
      this.slots[start * group + row] = start + Math.floor(row / group);
  }

  /** Room for one more token of the first `rows` rows: at the end of a step of capacity each moves to a longer place. */
  makeRoom(rows: number): void {
    if (this.#length < this.time) return;
    const { kvHeads, headSize } = this.#heads;
    const [old, grown] = [this.time * headSize, timeBucket(this.#length + 1) * headSize];
    const filled = this.#length * headSize;
    for (const block of [...this.#keys, ...this.#values]) {
      for (let index = rows * kvHeads - 1; index > 0; index--)
        block.copyWithin(index * grown, index * old, index * old + filled);
    }
    this.time = timeBucket(this.#length + 1);
  }

  /** Writes the keys and values [rows, kvHeads · headSize] of the newest token. */
  append(from: Floats, rows: number): void {
    const { kvHeads, headSize, layers } = this.#heads;
    for (let layer = 0; layer < layers; layer++) {
      for (const [name, block] of [
        [`newKeys${layer}`, this.#keys[layer]!],
        [`newValues${layer}`, this.#values[layer]!],
      ] as const) {
        const source = from(name);
        for (let index = 0; index < rows * kvHeads; index++) {
          const at = (index * this.time + this.#length) * headSize;
          const begin = index * headSize;
          for (let item = 0; item < headSize; item++) block[at + item] = source[begin + item]!;
        }
      }
    }
    this.#mask[this.#length++] = 0;
  }

  /** Row `from` takes the place of row `to`. */
  move(from: number, to: number): void {
    const { kvHeads, headSize } = this.#heads;
    const size = this.time * headSize;
    for (const block of [...this.#keys, ...this.#values]) {
      for (let head = 0; head < kvHeads; head++) {
        const start = (from * kvHeads + head) * size;
        const target = (to * kvHeads + head) * size;
        block.copyWithin(target, start, start + this.#length * headSize);
      }
    }
    this.slots[to] = this.slots[from]!;
  }

  /** Memory of the inputs of the first `rows` rows, by name. */
  memory(rows: number): Record<string, Float32Array> {
    const { kvHeads, headSize } = this.#heads;
    const length = rows * kvHeads * this.time * headSize;
    const parts = (name: string, blocks: readonly Float32Array[]) =>
      blocks.map((block, layer) => [name + layer, block.subarray(0, length)] as const);
    return {
      ...Object.fromEntries([...parts("keys", this.#keys), ...parts("values", this.#values)]),
      mask: this.#mask.subarray(0, this.time),
    };
  }

  inputs(layer: number, rows: number, of: MakeInput) {
    const { kvHeads, headSize } = this.#heads;
    const shape = [rows * kvHeads, this.time, headSize];
    return { keys: of(`keys${layer}`, shape), values: of(`values${layer}`, shape) };
  }
}

/** Bytes of both caches together. */
export function cacheBytes(
  { kvHeads, headSize, layers }: Heads,
  prompts: { readonly capacity: number; readonly time: number },
  rows: { readonly capacity: number; readonly mostTime: number },
): number {
  const tokens = prompts.capacity * prompts.time + rows.capacity * timeBucket(rows.mostTime);
  return 4 * (2 * layers * kvHeads * headSize * tokens + prompts.capacity * prompts.time);
}

/** Lengths that get a program: 16, 32, 48, 64, 96, 128, 192, … */
export function timeBucket(time: number): number {
  if (time <= 64) return Math.max(16, Math.ceil(time / 16) * 16);
  const power = 2 ** Math.ceil(Math.log2(time));
  return time <= power * 0.75 ? power * 0.75 : power;
}
