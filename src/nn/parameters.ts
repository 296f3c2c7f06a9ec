// Parameters: plain nested objects of specifications, laid out in one flat block of memory. One block makes the
// optimiser, the gradient norm, a checkpoint and a frozen copy each a single operation, whatever the model.

import { EngineError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { allocate, sizeOf, type Shape } from "../tensor/index.ts";

export interface ParameterSpec {
  /** Name in a checkpoint file. */
  readonly name: string;
  readonly shape: Shape;
  /** Normal with this deviation, or filled with zeros or ones. */
  readonly init: { readonly deviation: number } | "zeros" | "ones";
  /** Whether weight decay applies: matrices yes; norms and biases no. */
  readonly decay: boolean;
  /** A matrix between hidden layers, which Muon may update; it is decayed. */
  readonly hidden?: true;
}

/** A nested plain object of specifications, and the same object with other leaves. */
export type Mapped<T, Leaf> = T extends ParameterSpec
  ? Leaf
  : { readonly [Key in keyof T]: Mapped<T[Key], Leaf> };

const isSpec = (value: unknown): value is ParameterSpec =>
  typeof value === "object" && value !== null && "shape" in value && "init" in value;

/** The specifications of a nested object in order. */
export function leaves(tree: object): ParameterSpec[] {
  return isSpec(tree) ? [tree] : Object.values(tree).flatMap((child: object) => leaves(child));
}

/** The same nested object with every specification replaced. */
export function mapTree<T extends object, Leaf>(
  tree: T,
  replace: (spec: ParameterSpec) => Leaf,
): Mapped<T, Leaf> {
  const visit = (value: unknown): unknown => {
    if (isSpec(value)) return replace(value);
    if (Array.isArray(value)) return value.map(visit);
    return Object.fromEntries(
      Object.entries(value as object).map(([key, child]) => [key, visit(child)]),
    );
  };
  return visit(tree) as Mapped<T, Leaf>;
}

interface Placed {
  readonly spec: ParameterSpec;
  readonly start: number;
}

/** Where each parameter lives in a flat block: hidden matrices, other decayed ones, the rest; each part padded to whole chunks. */
export class ParameterLayout {
  readonly specs: readonly ParameterSpec[];
  readonly #places = new Map<string, Placed>();
  /** Elements of the block. */
  readonly length: number;
  /** Elements before this index are hidden matrices. */
  readonly hiddenLength: number;
  /** Elements before this index are decayed. */
  readonly decayedLength: number;
  /** Elements of a chunk, the piece that the optimiser works on at a time. */
  readonly chunk: number;
  /** Number of parameters of the model. */
  readonly count: number;

  constructor(tree: object) {
    this.specs = leaves(tree);
    this.count = this.specs.reduce((total, spec) => total + sizeOf(spec.shape), 0);
    this.chunk = chunkFor(this.count);
    let start = 0;
    const place = (belongs: (spec: ParameterSpec) => boolean): number => {
      for (const spec of this.specs.filter(belongs)) {
        if (this.#places.has(spec.name))
          throw new EngineError(`parameters: two are named ${spec.name}`);
        this.#places.set(spec.name, { spec, start });
        start += Math.ceil(sizeOf(spec.shape) / 16) * 16; // each starts at a cache line
      }
      start = Math.ceil(start / this.chunk) * this.chunk;
      return start;
    };
    this.hiddenLength = place(({ hidden }) => hidden === true);
    this.decayedLength = place(({ hidden, decay }) => hidden !== true && decay);
    this.length = place(({ hidden, decay }) => hidden !== true && !decay);
  }

  allocate(): Float32Array {
    return allocate("float32", [this.length]);
  }

  has(name: string): boolean {
    return this.#places.has(name);
  }

  /** The part of a block that belongs to a parameter; no copy. */
  view(block: Float32Array, name: string): Float32Array {
    const placed = this.#places.get(name);
    if (placed === undefined) throw new EngineError(`parameters: there is none named ${name}`);
    return block.subarray(placed.start, placed.start + sizeOf(placed.spec.shape));
  }

  /** Every parameter of a block by name. */
  views(block: Float32Array, prefix = ""): Record<string, Float32Array> {
    return Object.fromEntries(
      this.specs.map(({ name }) => [prefix + name, this.view(block, name)]),
    );
  }

  /** Fills a block with initial values. */
  initialise(block: Float32Array, random: Random): void {
    for (const spec of this.specs) initialiseParameter(this.view(block, spec.name), spec, random);
  }
}

/** Fills the memory of a parameter with initial values, from a stream of its own name. */
export function initialiseParameter(
  view: Float32Array,
  { name, init }: ParameterSpec,
  random: Random,
): void {
  if (init === "zeros") view.fill(0);
  else if (init === "ones") view.fill(1);
  else {
    const stream = random.fork(name);
    for (let index = 0; index < view.length; index++)
      view[index] = stream.normal() * init.deviation;
  }
}

/** Small enough that the optimiser's temporaries stay in the cache, large enough for few calls. */
function chunkFor(count: number): number {
  const smallest = 16_384;
  const largest = 131_072;
  return Math.min(largest, Math.max(smallest, Math.ceil(count / 32 / smallest) * smallest));
}
