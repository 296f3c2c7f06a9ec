// AdamW on one flat block of parameters, in place.
//
//   m ← β1 m + (1 − β1) g      v ← β2 v + (1 − β2) g²
//   p ← p − lr · (m / (1 − β1^t) / (sqrt(v / (1 − β2^t)) + ε) + λ p)
//
// Paper: Decoupled Weight Decay Regularization, arXiv:1711.05101, algorithm 2. λ acts on matrices only.
// The gradient is first scaled to a global L2 norm of at most `clipNorm` (arXiv:1211.5063, section 3.2).

import { EngineError } from "../core/errors.ts";
import { add, allocate, compile, div, input, mul, sqrt, sub, sum, type Binding, type Program } from "../tensor/index.ts";
import type { ParameterLayout } from "./parameters.ts";

export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Largest global norm of the gradient; Infinity: no clipping. */
  readonly clipNorm: number;
}

interface Chunk {
  readonly update: Binding;
  readonly norm: Binding;
}

export class AdamW {
  readonly options: AdamWOptions;
  /** First and second moments, laid out like the parameters. */
  readonly first: Float32Array;
  readonly second: Float32Array;
  /** Updates made so far. */
  steps = 0;
  readonly #gradient: Float32Array;
  readonly #chunks: Chunk[] = [];
  readonly #programs: Program[];
  readonly #scalars = {
    clip: allocate("float32", [1]),
    rate: allocate("float32", [1]),
    second: allocate("float32", [1]),
    decay: allocate("float32", [1]),
    noDecay: allocate("float32", [1]),
  };

  constructor(layout: ParameterLayout, parameters: Float32Array, gradient: Float32Array, options: AdamWOptions) {
    this.options = options;
    this.first = layout.allocate();
    this.second = layout.allocate();
    this.#gradient = gradient;
    const update = updateProgram(layout.chunk, options);
    const norm = normProgram(layout.chunk);
    this.#programs = [update, norm];
    for (let start = 0; start < layout.length; start += layout.chunk) {
      const part = (block: Float32Array): Float32Array => block.subarray(start, start + layout.chunk);
      const decay = start < layout.decayedLength ? this.#scalars.decay : this.#scalars.noDecay;
      this.#chunks.push({
        update: update.bind({
          parameter: part(parameters),
          gradient: part(gradient),
          first: part(this.first),
          second: part(this.second),
          clip: this.#scalars.clip,
          rate: this.#scalars.rate,
          secondCorrection: this.#scalars.second,
          decay,
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
  step(learningRate: number): number {
    const norm = this.gradientNorm();
    if (!Number.isFinite(norm)) {
      throw new EngineError({ where: "optimiser step", expected: "a finite gradient", got: `a gradient norm of ${norm}` });
    }
    const { beta1, beta2, weightDecay, clipNorm } = this.options;
    this.steps++;
    this.#scalars.clip[0] = norm > clipNorm ? clipNorm / norm : 1;
    this.#scalars.rate[0] = learningRate / (1 - beta1 ** this.steps);
    this.#scalars.second[0] = 1 / Math.sqrt(1 - beta2 ** this.steps);
    this.#scalars.decay[0] = learningRate * weightDecay;
    for (const { update } of this.#chunks) update.runNow();
    this.#gradient.fill(0);
    return norm;
  }

  dispose(): void {
    for (const program of this.#programs) program.dispose();
  }
}

function updateProgram(chunk: number, { beta1, beta2, epsilon }: AdamWOptions): Program {
  const vector = (name: string) => input(name, [chunk]);
  const scalar = (name: string) => input(name, [1]);
  const [p, m, v] = [vector("parameter"), vector("first"), vector("second")];
  const g = mul(vector("gradient"), scalar("clip"));
  const newFirst = add(m, mul(sub(g, m), 1 - beta1));
  const newSecond = add(v, mul(sub(mul(g, g), v), 1 - beta2));
  const denominator = add(mul(sqrt(newSecond), scalar("secondCorrection")), epsilon);
  const update = add(mul(div(newFirst, denominator), scalar("rate")), mul(p, scalar("decay")));
  return compile(
    { newParameter: sub(p, update), newFirst, newSecond },
    { name: "adamw", inPlace: { newParameter: "parameter", newFirst: "first", newSecond: "second" } },
  );
}

function normProgram(chunk: number): Program {
  const g = input("gradient", [chunk]);
  return compile({ squares: sum(mul(g, g)) }, { name: "gradient norm" });
}
