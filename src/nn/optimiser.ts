// The optimiser on one flat block of parameters, in place: AdamW, or Muon for the hidden matrices and AdamW for the rest.
//
//   m ← β1 m + (1 − β1) g      v ← β2 v + (1 − β2) g²
//   p ← p − lr · (m / (1 − β1^t) / (sqrt(v / (1 − β2^t)) + ε) + λ p)
//
// Paper: Decoupled Weight Decay Regularization, arXiv:1711.05101, algorithm 2. λ acts on matrices only.
// The gradient is first scaled to a global L2 norm of at most `clipNorm` (arXiv:1211.5063, section 3.2).

import type { StepOptions } from "../core/engine.ts";
import { EngineError } from "../core/errors.ts";
import {
  add,
  allocate,
  compile,
  div,
  input,
  mul,
  sqrt,
  sub,
  sum,
  type Binding,
  type Program,
  type Tensor,
} from "../tensor/index.ts";
import { Muon } from "./muon.ts";
import type { ParameterLayout } from "./parameters.ts";

const SCALARS = [
  "clip",
  "rate",
  "decay",
  "firstRate",
  "secondRate",
  "secondCorrection",
  "epsilon",
] as const;

interface Chunk {
  readonly start: number;
  readonly update: Binding;
  readonly norm: Binding;
}

export class Optimiser {
  /** First and second moments, laid out like the parameters; Muon keeps its momentum in the first. */
  readonly first: Float32Array;
  readonly second: Float32Array;
  /** Updates made so far. */
  steps = 0;
  readonly #layout: ParameterLayout;
  readonly #parameters: Float32Array;
  readonly #gradient: Float32Array;
  /** Made when it is first asked for. */
  #muon: Muon | undefined;
  readonly #chunks: Chunk[] = [];
  readonly #programs: Program[];
  /** One number each, shared by all chunks. */
  readonly #scalars = Object.fromEntries(
    SCALARS.map((name) => [name, allocate("float32", [1])]),
  ) as Record<(typeof SCALARS)[number], Float32Array>;
  readonly #noDecay = allocate("float32", [1]);

  constructor(layout: ParameterLayout, parameters: Float32Array, gradient: Float32Array) {
    this.first = layout.allocate();
    this.second = layout.allocate();
    this.#layout = layout;
    this.#parameters = parameters;
    this.#gradient = gradient;
    const update = updateProgram(layout.chunk);
    const norm = normProgram(layout.chunk);
    this.#programs = [update, norm];
    for (let start = 0; start < layout.length; start += layout.chunk) {
      const part = (block: Float32Array): Float32Array =>
        block.subarray(start, start + layout.chunk);
      this.#chunks.push({
        start,
        update: update.bind({
          parameter: part(parameters),
          gradient: part(gradient),
          first: part(this.first),
          second: part(this.second),
          ...this.#scalars,
          ...(start >= layout.decayedLength && { decay: this.#noDecay }),
        }),
        norm: norm.bind({ gradient: part(gradient) }),
      });
    }
  }

  /** Global L2 norm of the gradient. */
  gradientNorm(): number {
    let squares = 0;
    for (const { norm } of this.#chunks) {
      norm.runNow();
      squares += norm.floats("squares")[0]!;
    }
    return Math.sqrt(squares);
  }

  /** One update, then the gradient is zero again. Returns the norm before clipping; a norm that is not finite throws and changes nothing. */
  async step(options: StepOptions): Promise<number> {
    const { learningRate, beta1, beta2, epsilon, weightDecay, clipNorm } = options;
    const norm = this.gradientNorm();
    if (!Number.isFinite(norm)) {
      throw new EngineError({
        where: "optimiser step",
        expected: "a finite gradient",
        got: `a gradient norm of ${norm}`,
      });
    }
    this.steps++;
    const set = (name: (typeof SCALARS)[number], value: number): void => {
      this.#scalars[name][0] = value;
    };
    const clip = norm > clipNorm ? clipNorm / norm : 1;
    set("clip", clip);
    set("rate", learningRate / (1 - beta1 ** this.steps));
    set("secondCorrection", 1 / Math.sqrt(1 - beta2 ** this.steps));
    set("decay", learningRate * weightDecay);
    set("firstRate", 1 - beta1);
    set("secondRate", 1 - beta2);
    set("epsilon", epsilon);
    const isMuon = options.method === "muon";
    if (isMuon) {
      this.#muon ??= new Muon(this.#layout, this.#parameters, this.#gradient, this.first);
      const { momentum = 0.95 } = options;
      await this.#muon.step({
        clip,
        rate: learningRate,
        decay: learningRate * weightDecay,
        momentum,
      });
    }
    for (const { start, update } of this.#chunks) {
      if (!isMuon || start >= this.#layout.hiddenLength) update.runNow();
    }
    this.#gradient.fill(0);
    return norm;
  }

  /** Moments, step count and gradient are zero again. */
  reset(): void {
    this.first.fill(0);
    this.second.fill(0);
    this.#gradient.fill(0);
    this.steps = 0;
  }

  dispose(): void {
    this.#muon?.dispose();
    for (const program of this.#programs) program.dispose();
  }
}

const scalar = (name: string): Tensor => input(name, [1]);

function updateProgram(chunk: number): Program {
  const vector = (name: string) => input(name, [chunk]);
  const [p, m, v] = [vector("parameter"), vector("first"), vector("second")];
  const g = mul(vector("gradient"), scalar("clip"));
  const newFirst = add(m, mul(sub(g, m), scalar("firstRate")));
  const newSecond = add(v, mul(sub(mul(g, g), v), scalar("secondRate")));
  const denominator = add(mul(sqrt(newSecond), scalar("secondCorrection")), scalar("epsilon"));
  const update = add(mul(div(newFirst, denominator), scalar("rate")), mul(p, scalar("decay")));
  return compile(
    { newParameter: sub(p, update), newFirst, newSecond },
    {
      name: "adamw",
      inPlace: { newParameter: "parameter", newFirst: "first", newSecond: "second" },
    },
  );
}

function normProgram(chunk: number): Program {
  const g = input("gradient", [chunk]);
  return compile({ squares: sum(mul(g, g)) }, { name: "gradient norm" });
}
