// Rows of an embedding or output matrix for tokens that a model has not seen: near the mean of those it has.
//
//   row = μ + sqrt(s / n) Σ_i g_i (x_i − μ),   g_i ~ N(0, 1),   s = 1e-5
//
// over the n known rows x_i with mean μ. Its covariance is (s / n) Σ_i (x_i − μ)(x_i − μ)ᵀ, s times that of the known
// rows: the distribution of the released script of AlphaMaze (menloresearch/visual-thinker, open_vocab.py), which
// factors a width x width matrix for it. Nothing is factored here; 271 rows over the 151,665 known ones of Qwen take about three
// minutes, once.

import type { Random } from "../core/random.ts";

/** How much of the known rows' covariance the new ones have. */
const SCALE = 1e-5;

/** @returns New rows [count, width]. */
export function drawRows(
  /** [rows, width]; the first `known` rows are looked at. */
  matrix: Float32Array,
  {
    width,
    known,
    count,
  }: { readonly width: number; readonly known: number; readonly count: number },
  random: Random,
): Float32Array {
  const mean = new Float64Array(width);
  for (let row = 0; row < known; row++) {
    for (let column = 0; column < width; column++) {
      mean[column]! += matrix[row * width + column]! / known;
    }
  }
  const result = new Float32Array(count * width);
  const sum = new Float64Array(width);
  const factor = Math.sqrt(SCALE / known);
  for (let index = 0; index < count; index++) {
    const stream = random.fork(index);
    sum.fill(0);
    let total = 0;
    for (let row = 0; row < known; row++) {
      const weight = stream.normal();
      total += weight;
      const start = row * width;
      for (let column = 0; column < width; column++)
        sum[column]! += weight * matrix[start + column]!;
    }
    for (let column = 0; column < width; column++) {
      result[index * width + column] =
        mean[column]! + factor * (sum[column]! - total * mean[column]!);
    }
  }
  return result;
}
