// Parameters of the flow models: matrices [out, in], biases, norms, all under the names of their modules.

import type { ParameterSpec } from "../nn/parameters.ts";
import { adapter, type Linear, type LoraConfig } from "./decoder.ts";

export interface MatrixOptions {
  /** Where it begins; default normal with variance 1 / in. */
  readonly init?: ParameterSpec["init"];
  /** A matrix between hidden layers, which Muon may update. */
  readonly hidden?: true;
  readonly lora?: LoraConfig | undefined;
  /** Default true. */
  readonly bias?: boolean;
}

/** W [rows, columns] and, unless left out, bias [rows] of the module at `path`. */
export function projection(
  path: string,
  rows: number,
  columns: number,
  { init = { deviation: 1 / Math.sqrt(columns) }, hidden, lora, bias = true }: MatrixOptions = {},
): Linear<ParameterSpec> {
  const kind = hidden === true ? { hidden } : {};
  return {
    weight: { name: `${path}.weight`, shape: [rows, columns], init, decay: true, ...kind },
    ...(bias && { bias: { name: `${path}.bias`, shape: [rows], init: "zeros", decay: false } }),
    ...adapter(path, rows, columns, lora),
  };
}

/** Scale [width] of a norm. */
export const normScale = (path: string, width: number): ParameterSpec => ({
  name: `${path}.weight`,
  shape: [width],
  init: "ones",
  decay: false,
});

/** A table [rows, width] of learned vectors. */
export const vectors = (
  path: string,
  rows: number,
  width: number,
  deviation: number,
): ParameterSpec => ({
  name: `${path}.weight`,
  shape: [rows, width],
  init: { deviation },
  decay: false,
});
