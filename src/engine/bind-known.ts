import { allocate, type Binding, type Program, type TensorData } from "../tensor/index.ts";

/** Binds what the program has a name for; other inputs get memory of their own. */
export function bindKnown(program: Program, memory: Readonly<Record<string, TensorData>>): Binding {
  const inputs = program.inputs.map(
    ({ name, tensor }) => [name, memory[name] ?? allocate(tensor.dtype, tensor.shape)] as const,
  );
  return program.bind(Object.fromEntries(inputs));
}
