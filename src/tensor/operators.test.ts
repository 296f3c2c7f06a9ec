// Every operator against a plain computation (values) and against finite differences (gradients).

import { describe, expect, it } from "vitest";
import { randomStream } from "../core/random.ts";
import * as tensor from "./index.ts";
import {
  abs,
  add,
  addInto,
  allocate,
  broadcastTo,
  cast,
  clamp,
  compile,
  concat,
  constant,
  cos,
  detachedExp,
  div,
  equal,
  erf,
  exp,
  gatherRows,
  gelu,
  gradients,
  greater,
  greaterOrEqual,
  input,
  less,
  lessOrEqual,
  log,
  logSoftmax,
  matmul,
  max,
  maximum,
  mean,
  minimum,
  mul,
  neg,
  not,
  and,
  or,
  pad,
  reciprocal,
  relu,
  reshape,
  rmsNorm,
  rotary,
  scatterAddRows,
  scatterLast,
  sigmoid,
  sign,
  silu,
  sin,
  sizeOf,
  slice,
  softmax,
  sqrt,
  stopGradient,
  sub,
  sum,
  sumTo,
  swiglu,
  takeLast,
  tanh,
  transpose,
  where,
  type Shape,
  type Tensor,
  attention,
  assembleRows,
  partitionRows,
  sharedAttention,
} from "./index.ts";

/** Values of one input: floats are differentiated, int32 ones are not. */
interface Source {
  readonly shape: Shape;
  readonly data: Float32Array | Int32Array;
}

interface Case {
  readonly name: string;
  readonly sources: readonly Source[];
  readonly build: (...inputs: Tensor[]) => Tensor;
  /** The same in plain numbers; absent where another case has it. */
  readonly plain?: (...inputs: (readonly number[])[]) => readonly number[];
}

const stream = randomStream(1, "operators");

const uniform = (shape: Shape, low = -1.5, high = 1.5): Source => ({
  shape,
  data: Float32Array.from({ length: sizeOf(shape) }, () => low + (high - low) * stream.uniform()),
});

/** Values offset + gap · whole number in random order, for operators with kinks. */
const spread = (shape: Shape, gap = 0.25, offset = 0.1): Source => {
  const count = sizeOf(shape);
  const grid = Array.from(
    { length: count },
    (_, index) => (index - Math.floor(count / 2)) * gap + offset,
  );
  return { shape, data: Float32Array.from(stream.shuffle(grid)) };
};

const ints = (shape: Shape, ...values: number[]): Source => ({
  shape,
  data: Int32Array.from(values),
});

const isFloat = (source: Source): boolean => source.data instanceof Float32Array;

function inputsOf(sources: readonly Source[]): Tensor[] {
  return sources.map((source, index) =>
    input(`x${index}`, source.shape, isFloat(source) ? "float32" : "int32"),
  );
}

/** Copies that ONNX Runtime may hold on to. */
function memoryOf(sources: readonly Source[]): Record<string, Float32Array | Int32Array> {
  return Object.fromEntries(
    sources.map((source, index) => {
      const data = isFloat(source)
        ? allocate("float32", source.shape)
        : allocate("int32", source.shape);
      data.set(source.data);
      return [`x${index}`, data];
    }),
  );
}

function valueOf(y: Tensor, sources: readonly Source[]): number[] {
  const program = compile({ y });
  const names = new Set(program.inputs.map(({ name }) => name));
  const memory = Object.entries(memoryOf(sources)).filter(([name]) => names.has(name));
  const binding = program.bind(Object.fromEntries(memory));
  binding.runNow();
  const result = Array.from(binding.memory["y"] as Iterable<number>);
  program.dispose();
  return result;
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let total = 0;
  for (let index = 0; index < a.length; index++) total += a[index]! * b[index]!;
  return total;
};

/** y and the gradients of weights · y, for whatever the memory holds at the time. */
function prepare({ sources, build }: Case) {
  const inputs = inputsOf(sources);
  const y = build(...inputs);
  const weights = uniform(y.shape);
  const floats = inputs.filter((_, index) => isFloat(sources[index]!));
  const slopes = gradients(sum(mul(y, constant(weights.data, y.shape))), floats);
  const names = floats.map((one) => String(one.node.attributes["name"]));
  const memory = memoryOf(sources);
  const forward = compile({ y }).bind(memory);
  const backward = compile({
    y,
    ...Object.fromEntries(slopes.map((slope, index) => [`slope ${names[index]}`, slope])),
  });
  const known = new Set(backward.inputs.map(({ name }) => name));
  const bound = backward.bind(
    Object.fromEntries(Object.entries(memory).filter(([name]) => known.has(name))),
  );
  bound.runNow();
  return {
    names,
    memory: memory as Record<string, Float32Array>,
    slopes: names.map((name) => Float32Array.from(bound.floats(`slope ${name}`))),
    loss: (): number => {
      forward.runNow();
      return dot(forward.floats("y"), weights.data);
    },
    dispose: (): void => {
      forward.program.dispose();
      backward.dispose();
    },
  };
}

const STEP = 0.02;

/** Derivative along `move(t)` at t = 0, fourth order: the error is about STEP⁴ / 30. */
function derivative(move: (distance: number) => void, loss: () => number): number {
  const at = (distance: number): number => {
    move(distance);
    return loss();
  };
  const value = (8 * (at(STEP) - at(-STEP)) - (at(2 * STEP) - at(-2 * STEP))) / (12 * STEP);
  move(0);
  return value;
}

/** Coordinates of a flat index, and back with broadcasting. */
function coordinates(flat: number, shape: Shape): number[] {
  const result: number[] = [];
  for (let axis = shape.length - 1, rest = flat; axis >= 0; axis--) {
    result.unshift(rest % shape[axis]!);
    rest = Math.floor(rest / shape[axis]!);
  }
  return result;
}

function flatIndex(position: readonly number[], shape: Shape): number {
  const own = position.slice(position.length - shape.length);
  return shape.reduce((flat, extent, axis) => flat * extent + (extent === 1 ? 0 : own[axis]!), 0);
}

/** Every element of `shape` by its coordinates. */
const fill = (shape: Shape, value: (position: number[]) => number): number[] =>
  Array.from({ length: sizeOf(shape) }, (_, flat) => value(coordinates(flat, shape)));

/** An element-wise function of operands that broadcast to `result`. */
const each =
  (result: Shape, shapes: readonly Shape[], f: (...values: number[]) => number) =>
  (...inputs: (readonly number[])[]): number[] =>
    fill(result, (position) =>
      f(...inputs.map((values, index) => values[flatIndex(position, shapes[index]!)]!)),
    );

function unary(
  name: string,
  build: (x: Tensor) => Tensor,
  f: (x: number) => number,
  source: Source = uniform([3, 4]),
): Case {
  return { name, sources: [source], build, plain: (x) => x.map(f) };
}

const rows = (x: readonly number[], width: number): number[][] =>
  Array.from({ length: x.length / width }, (_, row) => x.slice(row * width, (row + 1) * width));

const plainSoftmax = (row: readonly number[]): number[] => {
  const top = Math.max(...row);
  const powers = row.map((value) => Math.exp(value - top));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((value) => value / total);
};

/** erf by its series: exact to 1e-15 for |x| < 3. */
function plainErf(x: number): number {
  let [term, total] = [x, x];
  for (let n = 1; n < 60; n++) {
    term *= (-x * x) / n;
    total += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * total;
}

const binaryShapes: readonly (readonly [Shape, Shape, Shape])[] = [
  [
    [2, 3],
    [2, 3],
    [2, 3],
  ],
  [[2, 3, 4], [4], [2, 3, 4]],
  [
    [3, 1],
    [2, 1, 4],
    [2, 3, 4],
  ],
  [[], [2, 2], [2, 2]],
  [[1], [1, 1], [1, 1]],
];

function binary(
  name: string,
  build: (a: Tensor, b: Tensor) => Tensor,
  f: (a: number, b: number) => number,
  make: (shape: Shape, operand: number) => Source = (shape) => uniform(shape),
): Case[] {
  return binaryShapes.map(([a, b, result]) => ({
    name,
    sources: [make(a, 0), make(b, 1)],
    build,
    plain: each(result, [a, b], f),
  }));
}

/** Operands that are never closer than 0.25 to one another, whichever is the larger. */
const apart = (shape: Shape, operand: number): Source => spread(shape, 0.5, 0.25 * operand);

function matmulCase(
  a: Shape,
  b: Shape,
  result: Shape,
  options: Parameters<typeof matmul>[2] = {},
): Case {
  const { transposeA = false, transposeB = false, scale = 1 } = options;
  const inner = a.at(transposeA ? -2 : -1)!;
  return {
    name: "matmul",
    sources: [uniform(a), uniform(b)],
    build: (x, y) => matmul(x, y, options),
    plain: (x, y) =>
      fill(result, (position) => {
        const [batch, [row, column]] = [position.slice(0, -2), position.slice(-2)];
        let total = 0;
        for (let index = 0; index < inner; index++) {
          const at = transposeA ? [index, row!] : [row!, index];
          const bt = transposeB ? [column!, index] : [index, column!];
          total += x[flatIndex([...batch, ...at], a)]! * y[flatIndex([...batch, ...bt], b)]!;
        }
        return scale * total;
      }),
  };
}

function reduceCase(
  name: string,
  build: typeof sum,
  join: (values: number[]) => number,
  axes: readonly number[] | undefined,
  keepAxes: boolean,
): Case {
  const shape = [2, 3, 4];
  const gone = new Set((axes ?? [0, 1, 2]).map((axis) => (axis + 3) % 3));
  const result = shape.map((extent, axis) => (gone.has(axis) ? 1 : extent));
  return {
    name,
    sources: [spread(shape, 0.15)],
    build: (x) => build(x, { ...(axes && { axes }), keepAxes }),
    plain: (x) =>
      fill(result, (position) =>
        join(
          x.filter((_, flat) =>
            coordinates(flat, shape).every((at, axis) => gone.has(axis) || at === position[axis]),
          ),
        ),
      ),
  };
}

const reductions = (name: string, build: typeof sum, join: (values: number[]) => number): Case[] =>
  [[0], [1], [-1], [0, 2], [1, 2], undefined].flatMap((axes) =>
    [true, false].map((keep) => reduceCase(name, build, join, axes, keep)),
  );

const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** Gathers with duplicates; `rowCount` below and above the limit of the one-hot product. */
function gatherCase(rowCount: number): Case {
  const indices = [1, rowCount - 1, 1, 0, 1, rowCount - 1];
  return {
    name: "gatherRows",
    sources: [uniform([rowCount, 2]), ints([3, 2], ...indices)],
    build: gatherRows,
    plain: (table) => indices.flatMap((row) => [table[2 * row]!, table[2 * row + 1]!]),
  };
}

function scatterCase(rowCount: number): Case {
  const indices = [2, 0, 2, rowCount - 1, 2];
  return {
    name: "scatterAddRows",
    sources: [ints([5], ...indices), uniform([5, 3])],
    build: (at, updates) => scatterAddRows(at, updates, [rowCount, 3]),
    plain: (_at, updates) =>
      fill([rowCount, 3], ([row, column]) =>
        total(
          updates.filter((_, flat) => indices[Math.floor(flat / 3)] === row && flat % 3 === column),
        ),
      ),
  };
}

const [waveCos, waveSin] = [uniform([5, 2]), uniform([5, 2])];

const cases: readonly Case[] = [
  ...binary("add", add, (a, b) => a + b),
  ...binary("sub", sub, (a, b) => a - b),
  ...binary("mul", mul, (a, b) => a * b),
  ...binary(
    "div",
    div,
    (a, b) => a / b,
    (shape) => uniform(shape, 0.8, 2),
  ),
  ...binary("minimum", minimum, Math.min, apart),
  ...binary("maximum", maximum, Math.max, apart),
  unary("neg", neg, (x) => -x),
  unary("exp", exp, Math.exp),
  unary("log", log, Math.log, uniform([3, 4], 0.5, 3)),
  unary("sqrt", sqrt, Math.sqrt, uniform([3, 4], 0.5, 3)),
  unary("reciprocal", reciprocal, (x) => 1 / x, uniform([3, 4], 0.7, 3)),
  unary("tanh", tanh, Math.tanh),
  unary("sigmoid", sigmoid, (x) => 1 / (1 + Math.exp(-x))),
  unary("relu", relu, (x) => Math.max(x, 0), spread([3, 4])),
  unary("sin", sin, Math.sin),
  unary("cos", cos, Math.cos),
  unary("abs", abs, Math.abs, spread([3, 4])),
  unary("silu", silu, (x) => x / (1 + Math.exp(-x)), uniform([3, 4], -4, 4)),
  unary("gelu", gelu, (x) => (x * (1 + plainErf(x / Math.SQRT2))) / 2, uniform([3, 4], -3, 3)),
  unary("erf", erf, plainErf, uniform([3, 4], -2, 2)),
  unary(
    "clamp",
    (x) => clamp(x, -0.52, 0.73),
    (x) => Math.min(0.73, Math.max(-0.52, x)),
    spread([3, 4]),
  ),
  ...(
    [
      [
        [3, 4],
        [3, 4],
        [3, 4],
        [3, 4],
      ],
      [[4], [3, 1], [2, 1, 1], [2, 3, 4]],
      [[2, 1, 1], [], [4], [2, 1, 4]],
    ] as const
  ).map(([condition, a, b, result]): Case => ({
    name: "where",
    sources: [spread(condition), uniform(a), uniform(b)],
    build: (c, x, y) => add(where(greater(c, 0.02), x, y), mul(c, 0)),
    plain: each(result, [condition, a, b], (c, x, y) => (c > 0.02 ? x : y)),
  })),
  {
    name: "cast",
    sources: [spread([3, 4], 0.5, 0.2), ints([4], 3, -1, 0, 7)],
    build: (x, n) => add(mul(x, cast(n, "float32")), cast(cast(x, "int32"), "float32")),
    plain: each([3, 4], [[3, 4], [4]], (x, n) => x * n + Math.trunc(x)),
  },
  ...(
    [
      [[4], [3, 4]],
      [
        [3, 1],
        [2, 3, 4],
      ],
      [[], [2, 2]],
      [
        [1, 1],
        [1, 3],
      ],
    ] as const
  ).map(([from, to]): Case => ({
    name: "broadcastTo",
    sources: [uniform(from)],
    build: (x) => broadcastTo(x, to),
    plain: each(to, [from], (x) => x),
  })),
  ...(
    [
      [[2, 3, 4], [4]],
      [
        [2, 3, 4],
        [3, 1],
      ],
      [
        [2, 3, 4],
        [2, 1, 4],
      ],
      [[2, 2], []],
      [
        [1, 3],
        [2, 3],
      ],
    ] as const
  ).map(([from, to]): Case => ({
    name: "sumTo",
    sources: [uniform(from)],
    build: (x) => sumTo(x, to),
    plain: (x) =>
      sizeOf(from) < sizeOf(to)
        ? each(to, [from], (value) => value)(x)
        : fill(to, (position) =>
            total(
              x.filter(
                (_, flat) =>
                  flatIndex(coordinates(flat, from), to) ===
                  flatIndex([...from.map(() => 0), ...position], to),
              ),
            ),
          ),
  })),
  ...[4, 512, 513].map(gatherCase),
  ...[4, 512, 513].map(scatterCase),
  {
    name: "partitionRows",
    sources: [
      uniform([5, 3]),
      ints([5], 1, 3, 4, 0, 2), // row 2 goes nowhere
      ints([2], 3, 0),
      ints([2], 4, 1),
    ],
    build: (table, places, first, second) =>
      concat(partitionRows(table, places, [first, second]), 0),
    plain: (table) => [3, 0, 4, 1].flatMap((row) => table.slice(row * 3, row * 3 + 3)),
  },
  {
    name: "assembleRows",
    sources: [
      uniform([2, 3]),
      uniform([2, 3]),
      ints([5], 1, 3, 4, 0, 2),
      ints([2], 3, 0),
      ints([2], 4, 1),
    ],
    build: (a, b, places, first, second) => assembleRows([a, b], places, [first, second]),
    plain: (a, b) => [a.slice(3), b.slice(3), [0, 0, 0], a.slice(0, 3), b.slice(0, 3)].flat(),
  },
  {
    name: "takeLast",
    sources: [uniform([2, 3, 4]), ints([2, 3], 0, 3, 3, 1, 2, 0)],
    build: takeLast,
    plain: (x, at) => at.map((column, row) => x[row * 4 + column]!),
  },
  {
    name: "scatterLast",
    sources: [ints([2, 3], 0, 3, 3, 1, 2, 0), uniform([2, 3])],
    build: (at, updates) => scatterLast(at, updates, [2, 3, 4]),
    plain: (at, updates) =>
      fill([6, 4], ([row, column]) => (at[row!] === column ? updates[row!]! : 0)),
  },
  matmulCase([2, 3], [3, 4], [2, 4]),
  matmulCase([2, 3], [3, 4], [2, 4], { scale: -0.7 }),
  ...[false, true].flatMap((transposeA) =>
    [false, true].flatMap((transposeB) => [
      matmulCase(transposeA ? [3, 2] : [2, 3], transposeB ? [4, 3] : [3, 4], [2, 4], {
        transposeA,
        transposeB,
      }),
      matmulCase(
        [2, 2, ...(transposeA ? [3, 2] : [2, 3])],
        [2, 2, ...(transposeB ? [2, 3] : [3, 2])],
        [2, 2, 2, 2],
        { transposeA, transposeB, scale: 0.5 },
      ),
    ]),
  ),
  ...[false, true].map((transposeB): Case => ({
    name: "addInto",
    sources: [uniform([2, 4]), uniform([2, 3]), uniform(transposeB ? [4, 3] : [3, 4])],
    build: (into, a, b) => addInto(into, matmul(a, b, { transposeB, scale: 0.5 })),
    plain: (into, a, b) =>
      fill([2, 4], ([row, column]) => {
        const terms = [0, 1, 2].map(
          (at) => a[row! * 3 + at]! * b[transposeB ? column! * 3 + at : at * 4 + column!]!,
        );
        return into[row! * 4 + column!]! + 0.5 * total(terms);
      }),
  })),
  {
    name: "addInto",
    sources: [uniform([2, 3]), uniform([2, 3])],
    build: (into, x) => addInto(into, mul(x, x)),
    plain: (into, x) => into.map((value, at) => value + x[at]! ** 2),
  },
  {
    name: "attention",
    sources: [uniform([2, 3, 4]), uniform([2, 3, 4]), uniform([2, 3, 4])],
    build: (query, key, value) =>
      attention(query, key, value, constant([0, -1e9, -1e9, 0, 0, -1e9, 0, 0, 0], [3, 3])),
    plain: (query, key, value) => {
      const head = (x: readonly number[], batch: number, row: number): readonly number[] =>
        x.slice((batch * 3 + row) * 4, (batch * 3 + row + 1) * 4);
      return [0, 1].flatMap((batch) =>
        [0, 1, 2].flatMap((row) => {
          const seen = [0, 1, 2].slice(0, row + 1);
          const scores = seen.map(
            (other) => dot(head(query, batch, row), head(key, batch, other)) / 2,
          );
          const weights = plainSoftmax(scores);
          return [0, 1, 2, 3].map((at) =>
            total(seen.map((other) => weights[other]! * head(value, batch, other)[at]!)),
          );
        }),
      );
    },
  },
  {
    name: "sharedAttention",
    // Two prompts of at most 2 tokens (the second has 1), one head, two rows of 3 tokens each.
    sources: [
      ...[1, 2, 3].map(() => uniform([4, 3, 4])),
      uniform([2, 1, 2, 4]),
      uniform([2, 1, 2, 4]),
    ],
    build: (query, key, value, promptKey, promptValue) =>
      sharedAttention({
        query: query,
        key: key,
        value: value,
        promptKey: promptKey,
        promptValue: promptValue,
        promptMask: constant([0, 0, 0, -1e9], [2, 1, 1, 2]),
        mask: constant([0, -1e9, -1e9, 0, 0, -1e9, 0, 0, 0], [3, 3]),
      }),
    plain: (query, key, value, promptKey, promptValue) => {
      const vector = (x: readonly number[], at: number): readonly number[] =>
        x.slice(at * 4, at * 4 + 4);
      return [0, 1, 2, 3].flatMap((row) =>
        [0, 1, 2].flatMap((time) => {
          const group = Math.floor(row / 2);
          const prompt = (group === 0 ? [0, 1] : [0]).map((at) => group * 2 + at);
          const own = [0, 1, 2].slice(0, time + 1).map((at) => row * 3 + at);
          const keys = [
            ...prompt.map((at) => vector(promptKey, at)),
            ...own.map((at) => vector(key, at)),
          ];
          const values = [
            ...prompt.map((at) => vector(promptValue, at)),
            ...own.map((at) => vector(value, at)),
          ];
          const weights = plainSoftmax(
            keys.map((one) => dot(vector(query, row * 3 + time), one) / 2),
          );
          return [0, 1, 2, 3].map((at) =>
            total(values.map((one, index) => weights[index]! * one[at]!)),
          );
        }),
      );
    },
  },
  {
    name: "swiglu",
    sources: [uniform([3, 4], -4, 4), uniform([3, 4])],
    build: swiglu,
    plain: (gate, up) => gate.map((value, at) => (value * up[at]!) / (1 + Math.exp(-value))),
  },
  {
    name: "softmax",
    sources: [uniform([2, 3, 4])],
    build: softmax,
    plain: (x) => rows(x, 4).flatMap(plainSoftmax),
  },
  {
    name: "logSoftmax",
    sources: [uniform([2, 3, 4])],
    build: logSoftmax,
    plain: (x) => rows(x, 4).flatMap((row) => plainSoftmax(row).map(Math.log)),
  },
  ...[[5], [3, 5], [2, 2, 5]].map((shape): Case => ({
    name: "rmsNorm",
    sources: [uniform(shape), uniform([5])],
    build: (x, scale) => rmsNorm(x, scale, 0.1),
    plain: (x, scale) =>
      rows(x, 5).flatMap((row) => {
        const size = Math.sqrt(total(row.map((value) => value * value)) / 5 + 0.1);
        return row.map((value, index) => (value / size) * scale[index]!);
      }),
  })),
  {
    name: "rotary",
    sources: [uniform([6, 8]), ints([6], 0, 1, 4, 2, 0, 1)],
    build: (x, positions) =>
      rotary(x, positions, constant(waveCos.data, [5, 2]), constant(waveSin.data, [5, 2])),
    plain: (x, positions) =>
      fill([6, 2, 4], ([token, head, index]) => {
        const at = (half: number) => x[(token! * 2 + head!) * 4 + half * 2 + (index! % 2)]!;
        const row = positions[token!]! * 2 + (index! % 2);
        const [c, s] = [waveCos, waveSin].map(({ data }) => data[row]!);
        return index! < 2 ? at(0) * c! - at(1) * s! : at(0) * s! + at(1) * c!;
      }),
  },
  ...reductions("sum", sum, total),
  ...reductions("mean", mean, (values) => total(values) / values.length),
  ...reductions("max", max, (values) => Math.max(...values)),
  {
    name: "reshape",
    sources: [uniform([2, 3, 2])],
    build: (x) => reshape(x, [3, -1]),
    plain: (x) => x,
  },
  ...[
    [1, 0, 2],
    [2, 0, 1],
    [0, 2, 1],
  ].map((order): Case => {
    const shape = [2, 3, 4];
    const result = order.map((axis) => shape[axis]!);
    return {
      name: "transpose",
      sources: [uniform(shape)],
      build: (x) => transpose(x, order),
      plain: (x) =>
        fill(result, (position) => {
          const from = shape.map((_, axis) => position[order.indexOf(axis)]!);
          return x[flatIndex(from, shape)]!;
        }),
    };
  }),
  {
    name: "slice",
    sources: [uniform([3, 4, 2])],
    build: (x) => slice(x, -2, 1, 3),
    plain: (x) => fill([3, 2, 2], ([a, b, c]) => x[(a! * 4 + b! + 1) * 2 + c!]!),
  },
  {
    name: "pad",
    sources: [uniform([2, 3])],
    build: (x) => pad(x, -1, 1, 2),
    plain: (x) =>
      fill([2, 6], ([row, column]) =>
        column! < 1 || column! > 3 ? 0 : x[row! * 3 + column! - 1]!,
      ),
  },
  {
    name: "concat",
    sources: [uniform([2, 1]), uniform([2, 3]), uniform([2, 2])],
    build: (...parts) => concat(parts, 1),
    plain: (a, b, c) =>
      [0, 1].flatMap((row) => [
        ...a.slice(row, row + 1),
        ...b.slice(3 * row, 3 * row + 3),
        ...c.slice(2 * row, 2 * row + 2),
      ]),
  },
];

/** Without a gradient, on purpose: two inputs, and the values to expect. */
const notDifferentiable: Readonly<
  Record<string, readonly [(a: Tensor, b: Tensor) => Tensor, (a: number, b: number) => number]>
> = {
  greater: [greater, (a, b) => Number(a > b)],
  greaterOrEqual: [greaterOrEqual, (a, b) => Number(a >= b)],
  less: [less, (a, b) => Number(a < b)],
  lessOrEqual: [lessOrEqual, (a, b) => Number(a <= b)],
  equal: [equal, (a, b) => Number(a === b)],
  and: [(a, b) => and(greater(a, 0), greater(b, 0)), (a, b) => Number(a > 0 && b > 0)],
  or: [(a, b) => or(greater(a, 0), greater(b, 0)), (a, b) => Number(a > 0 || b > 0)],
  not: [(a) => not(greater(a, 0)), (a) => Number(!(a > 0))],
  sign: [(a) => sign(a), (a) => Math.sign(a)],
};

/** Tested by name below. */
const special = ["stopGradient", "detachedExp"];
const notOperators = new Set([
  "scope",
  "sizeOf",
  "input",
  "constant",
  "gradients",
  "allocate",
  "compile",
  "Program",
  "OnnxWriter",
  "configureRuntime",
  "ortLibrary",
  "liveMemory",
]);

it("has a case for every operator that src/tensor/index.ts exports", () => {
  const exported = Object.entries(tensor)
    .filter(([, value]) => typeof value === "function")
    .map(([name]) => name);
  const known = [...cases.map(({ name }) => name), ...Object.keys(notDifferentiable), ...special];
  const missing = exported.filter((name) => !known.includes(name) && !notOperators.has(name));
  expect(missing).toEqual([]);
  expect(known.filter((name) => !exported.includes(name))).toEqual([]);
});

const titled = cases.map((one) => {
  const shapes = one.sources.map(({ shape }) => `[${shape.join(", ")}]`).join(" ");
  return [`${one.name} ${shapes}`, one] as const;
});

describe("values", () => {
  it.each(titled)("%s", (_title, { sources, build, plain }) => {
    const inputs = sources.map(({ data }) => Array.from<number>(data));
    const expected = plain!(...inputs);
    const y = build(...inputsOf(sources));
    const values = valueOf(y, sources);
    expect(values.length).toBe(sizeOf(y.shape));
    expect(values.length).toBe(expected.length);
    values.forEach((value, index) => {
      expect(Math.abs(value - expected[index]!), `element ${index}`).toBeLessThan(
        2e-6 * Math.max(1, Math.abs(expected[index]!)),
      );
    });
  });

  it.each(Object.entries(notDifferentiable))("%s", (_name, [build, plain]) => {
    const [a, b] = [
      { shape: [2, 3], data: Float32Array.of(-1, 0, 1, 2, -2, 3) },
      { shape: [3], data: Float32Array.of(-1, 1, 1) },
    ];
    const y = build(...(inputsOf([a, b]) as [Tensor, Tensor]));
    const expected = each(y.shape, [a.shape, b.shape], plain);
    expect(valueOf(y, [a, b])).toEqual(expected(Array.from(a.data), Array.from(b.data)));
  });
});

describe("gradients", () => {
  it.each(titled)("%s", (_title, one) => {
    const { names, memory, slopes, loss, dispose } = prepare(one);
    names.forEach((name, index) => {
      const [values, slope] = [memory[name]!, slopes[index]!];
      const size = Math.max(1, ...slope.map(Math.abs));
      // Of a long table only what some index reaches, and its neighbours, can move.
      const elements = values.length > 100 ? [0, 1, 2, 3, 4, 5, values.length - 1] : values.keys();
      for (const element of elements) {
        const start = values[element]!;
        const move = (distance: number): void => void (values[element] = start + distance);
        const difference = Math.abs(slope[element]! - derivative(move, loss));
        expect(difference, `${name}[${element}]`).toBeLessThan(3e-4 * size);
      }
    });
    dispose();
  });

  // Large enough for ONNX Runtime to split each operator over its threads.
  const large: readonly Case[] = [
    { name: "mul", sources: [uniform([600, 256]), uniform([256])], build: mul },
    { name: "silu", sources: [uniform([600, 256])], build: silu },
    { name: "softmax", sources: [uniform([600, 300])], build: softmax },
    { name: "logSoftmax", sources: [uniform([600, 300])], build: logSoftmax },
    {
      name: "rmsNorm",
      sources: [uniform([600, 256]), uniform([256])],
      build: (x, scale) => rmsNorm(x, scale, 1e-6),
    },
    {
      name: "matmul",
      sources: [uniform([300, 200]), uniform([200, 300])],
      build: (a, b) => matmul(a, b),
    },
    {
      name: "matmul, batched",
      sources: [uniform([8, 100, 32]), uniform([8, 100, 32])],
      build: (a, b) => matmul(a, b, { transposeB: true, scale: 0.2 }),
    },
    { name: "sum", sources: [uniform([600, 256])], build: (x) => sum(x, { axes: [0] }) },
    { name: "max", sources: [spread([60, 20], 0.5)], build: (x) => max(x, { axes: [1] }) },
    ...[300, 2000].map((count) => ({
      name: `gatherRows of ${count}`,
      sources: [
        uniform([count, 64]),
        ints([3000], ...Array.from({ length: 3000 }, () => stream.integer(count))),
      ],
      build: gatherRows,
    })),
    {
      name: "takeLast",
      sources: [
        uniform([2000, 100]),
        ints([2000], ...Array.from({ length: 2000 }, () => stream.integer(100))),
      ],
      build: takeLast,
    },
  ];
  it.each(large.map((one) => [one.name, one] as const))("of a large %s", (_name, one) => {
    const { names, memory, slopes, loss, dispose } = prepare(one);
    names.forEach((name, index) => {
      const [values, slope] = [memory[name]!, slopes[index]!];
      const start = Float32Array.from(values);
      for (let attempt = 0; attempt < 3; attempt++) {
        // Along the gradient itself (every element counts), then along random directions.
        const along = attempt === 0 ? slope : Float32Array.from(slope, () => stream.normal());
        const size = Math.sqrt(dot(along, along) / along.length);
        const move = (distance: number): void =>
          along.forEach((part, element) => {
            values[element] = start[element]! + (distance * part) / size;
          });
        const numeric = derivative(move, loss);
        const scale = Math.sqrt(dot(slope, slope) * along.length) / (attempt === 0 ? 1 : 30);
        expect(Math.abs(numeric - dot(slope, along) / size), name).toBeLessThan(1e-3 * scale);
      }
    });
    dispose();
  });

  const slopeAt = (build: (x: Tensor) => Tensor, ...values: number[]): number[] => {
    const source = { shape: [values.length], data: Float32Array.from(values) };
    const [x] = inputsOf([source]);
    return valueOf(gradients(sum(build(x!)), [x!])[0]!, [source]);
  };

  it("go to the first of equal operands, and to equal maxima evenly", () => {
    expect(slopeAt((x) => minimum(x, mul(x, 1)), 1, 2)).toEqual([1, 1]);
    expect(slopeAt((x) => minimum(mul(x, 2), add(x, 1)), 1, 5)).toEqual([2, 1]);
    expect(slopeAt((x) => maximum(mul(x, 2), add(x, 1)), 1, -5)).toEqual([2, 1]);
    expect(slopeAt((x) => max(x), 3, 1, 3, 2)).toEqual([0.5, 0, 0.5, 0]);
    expect(slopeAt(relu, 0, 1, -1)).toEqual([0, 1, 0]);
  });

  it("stop at stopGradient and detachedExp", () => {
    expect(slopeAt((x) => mul(stopGradient(x), x), 2, 3)).toEqual([2, 3]);
    slopeAt((x) => mul(detachedExp(x), x), 0.5, 1).forEach((slope, index) => {
      expect(slope).toBeCloseTo(Math.exp([0.5, 1][index]!), 5);
    });
    const x = input("x", [2]);
    expect(() => gradients(sum(stopGradient(x)), [x])).toThrow(
      "gradients: expected a loss that depends on every parameter, got none on x",
    );
  });

  it("add up over every use of a tensor", () => {
    expect(slopeAt((x) => add(mul(x, x), mul(mul(x, 3), x)), 1, 2)).toEqual([8, 16]);
  });

  it("refuse operators that have none, by name", () => {
    const a = input("a", [2]);
    expect(() => gradients(sum(sign(a)), [a])).toThrow(
      "gradients: expected operators with a gradient between the loss and the parameters, got sign",
    );
    expect(() => gradients(sum(where(greater(a, 0), 1, 2)), [a])).toThrow("got none on a");
  });

  it("need a loss of one element", () => {
    const x = input("x", [2, 3]);
    expect(() => gradients(x, [x])).toThrow(
      "gradients: expected a loss of one element, got [2, 3]",
    );
  });
});
