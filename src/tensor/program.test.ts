import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { EngineError, ShapeError } from "../core/errors.ts";
import {
  add,
  addInto,
  allocate,
  compile,
  exp,
  gradients,
  input,
  matmul,
  mul,
  ortLibrary,
  reshape,
  scope,
  silu,
  softmax,
  stopGradient,
  sub,
  sum,
  transpose,
  type Tensor,
} from "./index.ts";

const x = input("x", [2, 2]);

describe("an output in place of an input", () => {
  const detached = stopGradient(x);
  const view = reshape(x, [4]);
  const product = matmul(input("a", [2, 2]), input("b", [2, 2]));

  // Graph, output → input, and why it would be a race.
  const races: readonly (readonly [
    string,
    Record<string, Tensor>,
    Record<string, string>,
    string,
  ])[] = [
    ["a later reader", { y: add(x, 1), z: exp(x) }, { y: "x" }, "exp"],
    [
      "a maker two steps away from the input",
      { y: mul(add(x, 1), 2), z: sum(mul(x, x)) },
      { y: "x" },
      "does not read the input itself",
    ],
    ["the input as an output", { y: add(x, 1), z: x }, { y: "x" }, "z"],
    [
      "a reader of the input behind stopGradient",
      { y: add(x, detached), z: exp(detached) },
      { y: "x" },
      "exp",
    ],
    [
      "a reader of the input behind reshape",
      { y: add(x, reshape(view, [2, 2])), z: exp(view) },
      { y: "x" },
      "exp",
    ],
    [
      "a view of the input as an output",
      { y: add(x, reshape(view, [2, 2])), z: view },
      { y: "x" },
      "z",
    ],
    [
      "two outputs over one input",
      { y: add(x, 1), z: mul(x, 2) },
      { y: "x", z: "x" },
      "may read it later",
    ],
    ["a matrix product", { y: matmul(x, input("b", [2, 2])) }, { y: "x" }, "not element-wise"],
    ["a transpose", { y: transpose(x, [1, 0]) }, { y: "x" }, "not element-wise"],
    ["a softmax", { y: softmax(x) }, { y: "x" }, "not element-wise"],
    [
      "a factor of the product that is added",
      { y: addInto(input("c", [2, 2]), product) },
      { y: "a" },
      "not element-wise",
    ],
    [
      "an addend that is a factor too",
      { y: addInto(x, matmul(x, input("b", [2, 2]))) },
      { y: "x" },
      "not element-wise",
    ],
    [
      "an addend whose view is a factor too",
      { y: addInto(x, matmul(detached, input("b", [2, 2]))) },
      { y: "x" },
      "not element-wise",
    ],
    ["another shape", { y: sum(x) }, { y: "x" }, "float32[] over float32[2, 2]"],
    ["another dtype", { y: add(input("n", [2, 2]), 1), z: sum(x) }, { y: "m" }, "no such input"],
    ["nothing", { y: add(x, 1) }, { z: "x" }, "no such output"],
  ];
  it.each(races)("is refused for %s", (_title, graph, inPlace, reason) => {
    const build = () => compile(graph, { name: "race", inPlace });
    expect(build).toThrow(EngineError);
    expect(build).toThrow(/race: \w+ in place of \w+: expected a safe overwrite, got /);
    expect(build).toThrow(reason);
  });

  it("is allowed when every other reader comes first, and then right", () => {
    const squares = mul(x, x);
    const program = compile({ y: sub(x, squares), total: sum(squares) }, { inPlace: { y: "x" } });
    const memory = allocate("float32", [2, 2]);
    const binding = program.bind({ x: memory });
    memory.set([1, 2, 3, 4]);
    binding.runNow();
    expect(Array.from(memory)).toEqual([0, -2, -6, -12]);
    expect(binding.floats("y")).toBe(memory);
    expect(binding.floats("total")[0]).toBe(30);
    binding.runNow();
    expect(Array.from(memory)).toEqual([0, -6, -42, -156]);
    program.dispose();
  });

  it("is allowed for the addend of a product, and then right", () => {
    const into = input("into", [64, 48]);
    const [a, b] = [input("a", [64, 32]), input("b", [32, 48])];
    const program = compile({ y: addInto(into, matmul(a, b)) }, { inPlace: { y: "into" } });
    const memory = {
      into: allocate("float32", [64, 48]).fill(3),
      a: allocate("float32", [64, 32]).fill(2),
      b: allocate("float32", [32, 48]).fill(0.5),
    };
    const binding = program.bind(memory);
    binding.runNow();
    binding.runNow();
    expect(memory.into.every((value) => value === 3 + 2 * 32)).toBe(true);
    program.dispose();
  });
});

describe("bind", () => {
  const program = compile({ y: add(x, input("b", [2])) }, { name: "sums" });
  const good = { x: allocate("float32", [2, 2]), b: allocate("float32", [2]) };

  it("wants every input with its dtype and its number of elements", () => {
    expect(() => program.bind({ x: good.x })).toThrow(
      "sums.bind: b: expected Float32Array of 2 for float32[2], got nothing",
    );
    expect(() => program.bind({ ...good, b: allocate("int32", [2]) })).toThrow(
      "got Int32Array of 2",
    );
    expect(() => program.bind({ ...good, b: allocate("float32", [3]) })).toThrow(ShapeError);
    expect(() => program.bind({ ...good, y: allocate("float32", [3]) })).toThrow(
      "sums.bind: y: expected Float32Array of 4 for float32[2, 2], got Float32Array of 3",
    );
  });

  it("knows every name", () => {
    expect(() => program.bind({ ...good, z: good.b })).toThrow(
      "sums.bind: expected names among x, b, y, got z",
    );
  });

  it("sees later changes of the memory, and works on several bindings at once", () => {
    const other = program.bind({ x: allocate("float32", [2, 2]), b: allocate("float32", [2]) });
    const binding = program.bind(good);
    good.x.set([1, 2, 3, 4]);
    binding.runNow();
    good.b.set([10, 20]);
    binding.runNow();
    other.runNow();
    expect(Array.from(binding.floats("y"))).toEqual([11, 22, 13, 24]);
    expect(Array.from(other.floats("y"))).toEqual([0, 0, 0, 0]);
  });

  it("refuses a disposed program, and so does a run", async () => {
    const gone = compile({ y: exp(x) }, { name: "gone" });
    const binding = gone.bind({ x: good.x });
    gone.dispose();
    gone.dispose();
    const message = "gone: expected a program that is still alive, got a disposed one";
    expect(() => gone.bind({ x: good.x })).toThrow(message);
    expect(() => binding.runNow()).toThrow(message);
    await expect(binding.run()).rejects.toThrow(message);
  });
});

describe("compile", () => {
  it("refuses two things of one name", () => {
    expect(() => compile({ y: add(input("a", [2]), input("a", [2])) })).toThrow(
      'compile: expected inputs and outputs of different names, got "a" twice',
    );
    expect(() => compile({ x: exp(x) })).toThrow('got "x" twice');
  });

  it("hands on what ONNX Runtime did not like", () => {
    const garbled = () =>
      ortLibrary().createSession(Uint8Array.of(1, 2, 3, 4), {
        optimise: true,
        profilePrefix: undefined,
      });
    expect(garbled).toThrow(EngineError);
    expect(garbled).toThrow(/^ONNX Runtime CreateSessionFromArray: .*(protobuf|model)/i);
  });
});

describe("allocate", () => {
  it("gives zeroed memory at a cache line, however small", async () => {
    const { addressOf } = await import("./ort.ts");
    for (const count of [0, 1, 3, 1000]) {
      const memory = allocate("float32", [count]);
      expect(memory.length).toBe(count);
      expect(memory.every((value) => value === 0)).toBe(true);
      if (count > 0) expect(Number(addressOf(memory) % 64n)).toBe(0);
    }
  });
});

it("runs on a worker thread: the event loop keeps turning", async () => {
  const size = 900;
  let y: Tensor = input("x", [size, size]);
  for (let layer = 0; layer < 12; layer++) y = matmul(y, y, { scale: 1e-3 });
  const program = compile({ y });
  const binding = program.bind({ x: allocate("float32", [size, size]) });
  binding.runNow();
  let turns = 0;
  let isRunning = true;
  const turn = (): void => {
    if (!isRunning) return;
    turns++;
    setImmediate(turn);
  };
  setImmediate(turn);
  await binding.run();
  isRunning = false;
  expect(turns).toBeGreaterThan(20);
  program.dispose();
});

it("writes ONNX Runtime's profile on request, with the labels of our layers", () => {
  const directory = mkdtempSync(join(tmpdir(), "alidade-profile-"));
  try {
    const y = scope("layer3", () => scope("mlp", () => silu(matmul(x, x))));
    const program = compile({ y }, { profile: join(directory, "trace") });
    program.bind({ x: allocate("float32", [2, 2]) }).runNow();
    program.dispose();
    const [file, ...others] = readdirSync(directory);
    expect(others).toEqual([]);
    expect(file).toMatch(/^trace.*\.json$/);
    const events = JSON.parse(readFileSync(join(directory, file!), "utf8")) as { name: string }[];
    const names = events.map(({ name }) => name).join("\n");
    expect(names).toMatch(/layer3\/mlp\/\w+_kernel_time/);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

describe("double precision", () => {
  it("computes the same graph in float64, constants included", () => {
    const wide = input("x", [2, 3]);
    const y = mul(matmul(mul(wide, 0.1), transpose(wide, [1, 0])), 0.3);
    const slope = gradients(sum(exp(y)), [wide])[0]!;
    const values = [0.1, -0.7, 1.3, 2.1, 0.01, -0.4];
    using program = compile({ y, slope }, { precision: "float64" });
    const memory = Object.assign(allocate("float64", [2, 3]), values);
    const binding = program.bind({ x: memory });
    binding.runNow();
    const rows = [values.slice(0, 3), values.slice(3)];
    const product = (a: number, b: number): number =>
      0.03 * rows[a]!.reduce((sum_, value, index) => sum_ + value * rows[b]![index]!, 0);
    [0, 1].forEach((a) =>
      [0, 1].forEach((b) => {
        expect(binding.doubles("y")[2 * a + b]).toBeCloseTo(product(a, b), 15);
      }),
    );
    // d/dx_00 of Σ exp(y): 2 · 0.03 (x_00 exp(y_00) + x_10 exp(y_01))
    const expected =
      0.06 * (rows[0]![0]! * Math.exp(product(0, 0)) + rows[1]![0]! * Math.exp(product(0, 1)));
    expect(binding.doubles("slope")[0]).toBeCloseTo(expected, 15);
    expect(() => program.bind({ x: allocate("float32", [2, 3]) })).toThrow("Float64Array of 6");
  });
});
