// Muon: the momentum of a hidden matrix is made orthogonal before it is applied, so that every direction learns at one rate.
//
//   M ← μ M + g      U = g + μ M      O ≈ (U Uᵀ)^(-1/2) U      W ← W − lr · (0.2 sqrt(max(rows, columns)) O + λ W)
//
// O comes from five Newton-Schulz steps X ← a X + (b X Xᵀ + c (X Xᵀ)²) X, (a, b, c) = (3.4445, −4.7750, 2.0315), from U / ‖U‖.
// Sources: Keller Jordan, "Muon" (kellerjordan.github.io/posts/muon, coefficients and Nesterov momentum); Muon is Scalable for
// LLM Training, arXiv:2502.16982, section 2.2 (the factor 0.2 sqrt(max), which gives updates the size of AdamW's, and decay).

import {
  add,
  allocate,
  compile,
  div,
  input,
  matmul,
  mul,
  sqrt,
  sub,
  sum,
  type Binding,
  type Program,
  type Tensor,
} from "../tensor/index.ts";
import type { ParameterLayout } from "./parameters.ts";

const [A, B, C] = [3.4445, -4.775, 2.0315];
const NEWTON_SCHULZ_STEPS = 5;

const SCALARS = ["clip", "rate", "decay", "momentum"] as const;
type Scalar = (typeof SCALARS)[number];

export interface MuonRates {
  /** Factor on the gradient. */
  readonly clip: number;
  readonly rate: number;
  /** rate · λ. */
  readonly decay: number;
  readonly momentum: number;
}

/** Updates the hidden matrices of a layout in place; `momentum` is a block like the parameters. */
export class Muon {
  readonly #updates: Binding[] = [];
  readonly #programs = new Map<string, Program>();
  readonly #scalars = Object.fromEntries(
    SCALARS.map((name) => [name, allocate("float32", [1])]),
  ) as Record<Scalar, Float32Array>;

  constructor(
    layout: ParameterLayout,
    parameters: Float32Array,
    gradient: Float32Array,
    momentum: Float32Array,
  ) {
    for (const { name, shape, hidden } of layout.specs) {
      if (hidden !== true) continue;
      const [rows, columns] = shape as readonly [number, number];
      const key = shape.join();
      const program = this.#programs.get(key) ?? updateProgram(rows, columns);
      this.#programs.set(key, program);
      this.#updates.push(
        program.bind({
          parameter: layout.view(parameters, name),
          gradient: layout.view(gradient, name),
          first: layout.view(momentum, name),
          ...this.#scalars,
        }),
      );
    }
  }

  /** Matrices are updated at the same time, by as many threads as there are for programs. */
  async step(rates: MuonRates): Promise<void> {
    for (const name of SCALARS) this.#scalars[name][0] = rates[name];
    await Promise.all(this.#updates.map((update) => update.run()));
  }

  dispose(): void {
    for (const program of this.#programs.values()) program.dispose();
  }
}

/** Nearly orthogonal matrix of the row and column space of x [rows, columns]: all singular values lie near 1. */
export function orthogonalise(x: Tensor): Tensor {
  const [rows, columns] = x.shape as readonly [number, number];
  let y = div(x, add(sqrt(sum(mul(x, x))), 1e-7));
  for (let step = 0; step < NEWTON_SCHULZ_STEPS; step++) {
    const isTall = rows > columns; // the smaller of the two square matrices
    const square = matmul(y, y, isTall ? { transposeA: true } : { transposeB: true });
    const polynomial = add(mul(square, B), matmul(square, square, { scale: C }));
    y = add(mul(y, A), isTall ? matmul(y, polynomial) : matmul(polynomial, y));
  }
  return y;
}

function updateProgram(rows: number, columns: number): Program {
  const matrix = (name: string): Tensor => input(name, [rows, columns]);
  const [clip, rate, decay, keep] = SCALARS.map((name) => input(name, [1])) as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
  ];
  const p = matrix("parameter");
  const g = mul(matrix("gradient"), clip);
  // μ M + g as M + (g − (1 − μ) M): its last operation reads M itself and may write there.
  const first = matrix("first");
  const newFirst = add(first, sub(g, mul(first, sub(1, keep))));
  const direction = orthogonalise(add(g, mul(newFirst, keep)));
  const size = 0.2 * Math.sqrt(Math.max(rows, columns));
  const update = add(mul(direction, mul(rate, size)), mul(p, decay));
  return compile(
    { newParameter: sub(p, update), newFirst },
    { name: "muon", inPlace: { newParameter: "parameter", newFirst: "first" } },
  );
}
