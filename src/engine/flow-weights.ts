// What a flow engine holds: present weights, their copies, gradient and optimiser, and how they are written and read.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { StepOptions, StepResult } from "../core/engine.ts";
import { DataError, EngineError } from "../core/errors.ts";
import type { FlowCopy, FlowWeights } from "../core/flow-engine.ts";
import type { Random } from "../core/random.ts";
import { Optimiser } from "../nn/optimiser.ts";
import { initialiseParameter, ParameterLayout, type ParameterSpec } from "../nn/parameters.ts";
import { readSafetensors, writeSafetensors, type NamedArray } from "../nn/safetensors.ts";
import { allocate } from "../tensor/index.ts";

/** Moving average of the weights: after every `every` optimiser steps, average ← d average + (1 - d) weights. */
export interface AverageOptions {
  /** d at most; at optimiser step k it is min(decay, (1 + k) / (10 + k)). */
  readonly decay: number;
  readonly every: number;
}

const COPIES = ["average", "reference", "old"] as const satisfies readonly FlowCopy[];

const positionSchema = z.object({
  steps: z.int().nonnegative(),
  copies: z.array(z.enum(COPIES)),
  /** Whether a gradient is accumulated that no step has used yet. */
  gradient: z.boolean(),
});

export class FlowWeightStore {
  /** What is trained: all parameters, or the adapters alone. */
  readonly layout: ParameterLayout;
  readonly #weights: Float32Array;
  /** What adapters leave as it is, by name. */
  readonly #frozen: ReadonlyMap<string, { spec: ParameterSpec; data: Float32Array }>;
  readonly #copies = new Map<FlowCopy, Float32Array>();
  readonly #gradient: Float32Array;
  /** Gradients of lanes but the first, until they are joined. */
  readonly #laneGradients: Float32Array[] = [];
  readonly #optimiser: Optimiser;
  readonly #average: AverageOptions | null;
  /** Something was accumulated since the last optimiser step. */
  hasGradient = false;

  constructor(specs: readonly ParameterSpec[], average: AverageOptions | null) {
    const isAdapter = ({ name }: ParameterSpec): boolean => name.includes(".lora_");
    const adapters = specs.filter(isAdapter);
    this.layout = new ParameterLayout(adapters.length > 0 ? adapters : [...specs]);
    const frozen = adapters.length > 0 ? specs.filter((spec) => !isAdapter(spec)) : [];
    this.#frozen = new Map(
      frozen.map((spec) => [spec.name, { spec, data: allocate("float32", spec.shape) }]),
    );
    this.#weights = this.layout.allocate();
    this.#gradient = this.layout.allocate();
    this.#optimiser = new Optimiser(this.layout, this.#weights, this.#gradient);
    this.#average = average;
    this.#restartAverage();
  }

  get steps(): number {
    return this.#optimiser.steps;
  }

  /** Fresh weights; optimiser and copies start over. "adapters": of the adapters alone. */
  initialise(random: Random, what: "all" | "adapters"): void {
    if (what === "all" || this.#frozen.size > 0) this.layout.initialise(this.#weights, random);
    if (what === "all")
      for (const { spec, data } of this.#frozen.values()) initialiseParameter(data, spec, random);
    this.startOver();
  }

  /** Optimiser and copies begin at the present weights. */
  startOver(): void {
    this.#copies.clear();
    this.resetOptimiser();
  }

  resetOptimiser(): void {
    this.#optimiser.reset();
    for (const lane of this.#laneGradients) lane.fill(0);
    this.hasGradient = false;
    this.#restartAverage();
  }

  #restartAverage(): void {
    if (this.#average !== null) this.copy("average");
  }

  /** Values of every parameter by name; no copy. */
  views(which: FlowWeights): Record<string, Float32Array> {
    const frozen = [...this.#frozen].map(([name, { data }]) => [name, data] as const);
    return { ...Object.fromEntries(frozen), ...this.layout.views(this.#block(which)) };
  }

  /** Memory of a lane's gradients by name after a prefix. */
  gradients(prefix = "", lane = 0): Record<string, Float32Array> {
    if (lane === 0) return this.layout.views(this.#gradient, prefix);
    return this.layout.views((this.#laneGradients[lane - 1] ??= this.layout.allocate()), prefix);
  }

  /** Adds the gradients of the other lanes to that of the first, in order. */
  joinGradients(): void {
    const sum = this.#gradient;
    for (const lane of this.#laneGradients) {
      for (let index = 0; index < sum.length; index++) sum[index] = sum[index]! + lane[index]!;
      lane.fill(0);
    }
  }

  #block(which: FlowWeights): Float32Array {
    const block = which === "current" ? this.#weights : this.#copies.get(which);
    if (block !== undefined) return block;
    throw new EngineError({
      where: "flow weights",
      expected: `a copy named ${which}`,
      got: "none",
      hint: which === "average" ? "the engine keeps no average" : `call copyWeights("${which}")`,
    });
  }

  copy(copy: FlowCopy): void {
    if (!this.#copies.has(copy)) this.#copies.set(copy, this.layout.allocate());
    this.#copies.get(copy)!.set(this.#weights);
  }

  /** copy ← decay · copy + (1 - decay) · weights, as copy + (1 - decay) (weights - copy). */
  blend(copy: FlowCopy, decay: number): void {
    const block = this.#block(copy);
    const weights = this.#weights;
    const share = 1 - decay;
    for (let index = 0; index < block.length; index++)
      block[index] = block[index]! + share * (weights[index]! - block[index]!);
  }

  adopt(copy: FlowCopy): void {
    this.#weights.set(this.#block(copy));
  }

  async step(options: StepOptions): Promise<StepResult> {
    const gradientNorm = await this.#optimiser.step(options);
    this.hasGradient = false;
    if (this.#average !== null) {
      const { decay, every } = this.#average;
      const k = this.#optimiser.steps;
      if (k % every === 0) this.blend("average", Math.min(decay, (1 + k) / (10 + k)));
    }
    return { gradientNorm };
  }

  async save(directory: string): Promise<void> {
    await mkdir(directory, { recursive: true });
    const flat = (data: Float32Array): NamedArray => ({ shape: [data.length], data });
    await this.saveWeights(join(directory, "model.safetensors"), "current");
    await writeSafetensors(join(directory, "training.safetensors"), {
      first: flat(this.#optimiser.first),
      second: flat(this.#optimiser.second),
      ...Object.fromEntries([...this.#copies].map(([name, block]) => [name, flat(block)])),
      ...(this.hasGradient && { gradient: flat(this.#gradient) }),
    });
    const position = {
      steps: this.steps,
      copies: [...this.#copies.keys()],
      gradient: this.hasGradient,
    };
    await writeFile(join(directory, "engine.json"), JSON.stringify(position));
  }

  /** Every parameter by name. */
  async saveWeights(path: string, which: FlowWeights): Promise<void> {
    const shapes = new Map<string, ParameterSpec>(
      [...this.layout.specs, ...[...this.#frozen.values()].map(({ spec }) => spec)].map((spec) => [
        spec.name,
        spec,
      ]),
    );
    const tensors = Object.entries(this.views(which)).map(
      ([name, data]) => [name, { shape: shapes.get(name)!.shape, data }] as const,
    );
    await writeSafetensors(path, Object.fromEntries(tensors));
  }

  /** Every parameter by name; adapters may be missing and then stay as they are. */
  async loadWeights(path: string): Promise<void> {
    const tensors = await readSafetensors(path);
    const views = this.views("current");
    for (const [name, target] of Object.entries(views)) {
      const found = tensors.get(name);
      if (found === undefined && name.includes(".lora_")) continue;
      restore(path, name, found, target);
    }
    const stranger = [...tensors.keys()].find((name) => !(name in views));
    if (stranger !== undefined) {
      throw new DataError({
        where: path,
        expected: "the parameters of this model",
        got: `one more, ${stranger}`,
        hint: "was it trained with adapters (lora)?",
      });
    }
  }

  async load(directory: string): Promise<void> {
    const position = await readPosition(join(directory, "engine.json"));
    await this.loadWeights(join(directory, "model.safetensors"));
    const path = join(directory, "training.safetensors");
    const state = await readSafetensors(path);
    const read = (name: string, target: Float32Array): void =>
      restore(path, name, state.get(name), target);
    this.startOver();
    read("first", this.#optimiser.first);
    read("second", this.#optimiser.second);
    this.#optimiser.steps = position.steps;
    this.hasGradient = position.gradient;
    if (position.gradient) read("gradient", this.#gradient);
    for (const name of position.copies) {
      this.copy(name);
      read(name, this.#copies.get(name)!);
    }
  }

  dispose(): void {
    this.#optimiser.dispose();
  }
}

function restore(
  path: string,
  name: string,
  found: NamedArray | undefined,
  target: Float32Array,
): void {
  if (found?.data.length !== target.length) {
    throw new DataError({
      where: path,
      expected: `${target.length} numbers of ${name}`,
      got: found === undefined ? "none" : String(found.data.length),
    });
  }
  target.set(found.data);
}

async function readPosition(path: string): Promise<z.output<typeof positionSchema>> {
  try {
    return positionSchema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (cause) {
    throw new DataError({
      where: path,
      expected: "the position of a flow engine",
      got: (cause as Error).message,
      cause,
    });
  }
}
