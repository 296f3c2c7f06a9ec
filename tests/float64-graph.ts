// Symbolic tensors computed in double precision, and gradients of a scalar held to finite differences.

import { expect } from "vitest";
import {
  allocate,
  compile,
  gradients,
  input,
  type Shape,
  type Tensor,
} from "../src/tensor/index.ts";

/** A tensor of numbers. */
export interface Value {
  readonly shape: Shape;
  readonly data: readonly number[];
}

type Values = Readonly<Record<string, Value>>;
type Inputs<V extends Values> = { readonly [name in keyof V]: Tensor };

export const value = (shape: Shape, ...data: number[]): Value => ({ shape, data });

/** Outputs may have the names of inputs, so inputs get others. */
const inputName = (name: string): string => `given ${name}`;

const inputsOf = <V extends Values>(values: V): Inputs<V> =>
  Object.fromEntries(
    Object.entries(values).map(([name, { shape }]) => [name, input(inputName(name), shape)]),
  ) as Inputs<V>;

function run(outputs: Readonly<Record<string, Tensor>>, values: Values): Record<string, number[]> {
  using program = compile(outputs, { precision: "float64" });
  const known = Object.entries(values).map(([name, one]) => [inputName(name), one] as const);
  const read = new Set(program.inputs.map(({ name }) => name));
  const memory = known
    .filter(([name]) => read.has(name))
    .map(([name, { shape, data }]) => [name, Object.assign(allocate("float64", shape), data)]);
  const binding = program.bind(Object.fromEntries(memory));
  binding.runNow();
  return Object.fromEntries(
    Object.keys(outputs).map((name) => [name, Array.from(binding.doubles(name), (x) => x + 0)]),
  );
}

/** Values of the tensors that `build` makes of the inputs. */
export function evaluate<V extends Values, K extends string>(
  values: V,
  build: (inputs: Inputs<V>) => Readonly<Record<K, Tensor>>,
): Record<K, number[]> {
  return run(build(inputsOf(values)), values);
}

/** d scalar / d inputs, by name. */
export function slopes<V extends Values, K extends keyof V & string>(
  values: V,
  build: (inputs: Inputs<V>) => Tensor,
  names: readonly K[],
): Record<K, number[]> {
  const inputs = inputsOf(values);
  const result = gradients(
    build(inputs),
    names.map((name) => inputs[name]),
  );
  const outputs = Object.fromEntries(names.map((name, index) => [name, result[index]!]));
  return run(outputs, values);
}

/** Holds the gradient of a scalar with respect to these inputs to central differences; returns it. */
export function expectSlopes<V extends Values, K extends keyof V & string>(
  values: V,
  build: (inputs: Inputs<V>) => Tensor,
  names: readonly K[],
): Record<K, number[]> {
  const found = slopes(values, build, names);
  const step = 1e-5;
  for (const name of names) {
    const { shape, data } = values[name]!;
    const numeric = data.map((_, index) => {
      const [above, below] = [step, -step].map((change) => {
        const moved = data.map((x, other) => (other === index ? x + change : x));
        const at = { ...values, [name]: { shape, data: moved } };
        return evaluate(at, (inputs) => ({ loss: build(inputs) })).loss[0]!;
      });
      return (above! - below!) / (2 * step);
    });
    found[name].forEach((slope, index) => {
      const off = Math.abs(slope - numeric[index]!);
      expect(off, `${name}[${index}]`).toBeLessThan(1e-7 * (1 + Math.abs(slope)));
    });
  }
  return found;
}
