import { describe, expect, it } from "vitest";
import type { StepOptions } from "../core/engine.ts";
import { randomStream } from "../core/random.ts";
import { allocate, compile, input } from "../tensor/index.ts";
import { orthogonalise } from "./muon.ts";
import { Optimiser } from "./optimiser.ts";
import { ParameterLayout, type ParameterSpec } from "./parameters.ts";

type Matrix = readonly (readonly number[])[];

const product = (a: Matrix, b: Matrix): number[][] =>
  a.map((row) =>
    b[0]!.map((_, column) => row.reduce((sum, x, at) => sum + x * b[at]![column]!, 0)),
  );
const transposed = (a: Matrix): number[][] =>
  a[0]!.map((_, column) => a.map((row) => row[column]!));
const combined = (a: Matrix, p: number, b: Matrix, q: number): number[][] =>
  a.map((row, at) => row.map((x, column) => p * x + q * b[at]![column]!));
const norm = (a: Matrix): number => Math.sqrt(a.flat().reduce((sum, x) => sum + x * x, 0));

/** The iteration of the source, in float64, always on the wide form. */
function plainOrthogonal(g: Matrix): Matrix {
  if (g.length > g[0]!.length) return transposed(plainOrthogonal(transposed(g)));
  let x: Matrix = combined(g, 1 / (norm(g) + 1e-7), g, 0);
  for (let step = 0; step < 5; step++) {
    const square = product(x, transposed(x));
    const polynomial = combined(square, -4.775, product(square, square), 2.0315);
    x = combined(x, 3.4445, product(polynomial, x), 1);
  }
  return x;
}

const random = randomStream(1, "muon test");
const normalMatrix = (rows: number, columns: number): number[][] =>
  Array.from({ length: rows }, () => Array.from({ length: columns }, () => random.normal()));

describe("orthogonalise", () => {
  it.each([
    [12, 30],
    [30, 12],
    [16, 16],
  ])("of [%i, %i] is the iteration, and brings singular values near 1", (rows, columns) => {
    const g = normalMatrix(rows, columns);
    const program = compile({ y: orthogonalise(input("x", [rows, columns])) });
    const memory = allocate("float32", [rows, columns]);
    memory.set(g.flat());
    const binding = program.bind({ x: memory });
    binding.runNow();
    const ours = Array.from(binding.floats("y"));
    plainOrthogonal(g)
      .flat()
      .forEach((value, at) => expect(ours[at]).toBeCloseTo(value, 4));
    // ‖O‖² is the sum of the squared singular values; the iteration leaves each between 0.7 and 1.2, but for tiny ones.
    const mean = ours.reduce((sum, x) => sum + x * x, 0) / Math.min(rows, columns);
    expect(mean).toBeGreaterThan(0.55);
    expect(mean).toBeLessThan(1.3);
    program.dispose();
  });
});

describe("Muon", () => {
  const hidden = (name: string, shape: readonly number[]): ParameterSpec => ({
    name,
    shape,
    decay: true,
    hidden: true,
    init: { deviation: 0.3 },
  });
  const tree = {
    table: { name: "table", shape: [40, 8], decay: true, init: { deviation: 0.3 } } as const,
    norm: { name: "norm", shape: [9], decay: false, init: "ones" } as const,
    wide: hidden("wide", [6, 10]),
    tall: hidden("tall", [10, 6]),
  };
  const options: StepOptions = {
    method: "muon",
    momentum: 0.9,
    learningRate: 0.02,
    beta1: 0.9,
    beta2: 0.99,
    epsilon: 1e-8,
    weightDecay: 0.1,
    clipNorm: 0.5,
  };

  it("updates hidden matrices by orthogonal momentum and all others by AdamW", async () => {
    const layout = new ParameterLayout(tree);
    const blocks = [0, 1].map(() => ({
      parameters: layout.allocate(),
      gradient: layout.allocate(),
    }));
    const [muon, adam] = blocks.map(({ parameters, gradient }) => {
      layout.initialise(parameters, randomStream(1, "weights"));
      return new Optimiser(layout, parameters, gradient);
    });
    const shaped = (block: Float32Array, name: "wide" | "tall"): number[][] => {
      const [rows, columns] = tree[name].shape as readonly [number, number];
      const view = layout.view(block, name);
      return Array.from({ length: rows }, (_, row) =>
        Array.from(view.subarray(row * columns, (row + 1) * columns)),
      );
    };
    const expected = {
      wide: shaped(blocks[0]!.parameters, "wide"),
      tall: shaped(blocks[0]!.parameters, "tall"),
    };
    const momentum: Record<string, Matrix> = {};
    for (let step = 0; step < 3; step++) {
      for (const { gradient } of blocks) {
        const stream = randomStream(step, "gradient");
        for (const { name } of layout.specs)
          layout.view(gradient, name).forEach((_, at, view) => (view[at] = stream.normal()));
      }
      const norms = blocks[0]!.gradient.reduce((sum, x) => sum + x * x, 0);
      const clip = 0.5 / Math.sqrt(norms);
      for (const name of ["wide", "tall"] as const) {
        const g = combined(
          shaped(blocks[0]!.gradient, name),
          clip,
          shaped(blocks[0]!.gradient, name),
          0,
        );
        momentum[name] = combined(g, 1, momentum[name] ?? combined(g, 0, g, 0), 0.9);
        const direction = plainOrthogonal(combined(g, 1, momentum[name], 0.9));
        const size = 0.02 * 0.2 * Math.sqrt(10);
        expected[name] = combined(expected[name], 1 - 0.02 * 0.1, direction, -size);
      }
      await muon!.step(options);
      await adam!.step({ ...options, method: "adamw" });
    }
    for (const name of ["wide", "tall"] as const) {
      const ours = Array.from(layout.view(blocks[0]!.parameters, name));
      expected[name].flat().forEach((value, at) => expect(ours[at]).toBeCloseTo(value, 5));
    }
    for (const name of ["table", "norm"])
      expect(layout.view(blocks[0]!.parameters, name)).toEqual(
        layout.view(blocks[1]!.parameters, name),
      );
    muon!.dispose();
    adam!.dispose();
  });
});
