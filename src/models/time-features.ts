// Sinusoids: of a time for the networks of flow models, and of the places in a grid of patches.

import {
  concat,
  constant,
  cos,
  mul,
  reshape,
  sin,
  type Shape,
  type Tensor,
} from "../tensor/index.ts";

const PERIOD = 10_000;

/** cos and sin of 1000 t · 10000^(-i / n), i = 0 … n - 1 (Peebles and Xie, arXiv:2212.09748); t [batch] gives [batch, 2 n]. */
export function timeFeatures(t: Tensor, size: number): Tensor {
  const half = size / 2;
  const rates = Float32Array.from({ length: half }, (_, index) => 1000 * PERIOD ** (-index / half));
  const angles = mul(reshape(t, [-1, 1]), constant(rates, [1, half])); // [batch, size / 2]
  return concat([cos(angles), sin(angles)], 1);
}

/**
 * Sinusoids of the places of a grid, row-major [places, width]. The width is shared by the axes; each has as many cosines as
 * sines of its index, columns that are left over are zero.
 */
export function gridFeatures(grid: Shape, width: number): Tensor {
  const half = Math.floor(width / (2 * grid.length));
  const places = grid.reduce((product, extent) => product * extent, 1);
  const values = new Float32Array(places * width);
  for (let place = 0; place < places; place++) {
    let rest = place;
    for (let axis = grid.length - 1; axis >= 0; axis--) {
      const at = rest % grid[axis]!;
      rest = Math.floor(rest / grid[axis]!);
      for (let index = 0; index < half; index++) {
        const angle = at * PERIOD ** (-index / half);
        const column = place * width + 2 * half * axis + index;
        values[column] = Math.cos(angle);
        values[column + half] = Math.sin(angle);
      }
    }
  }
  return constant(values, [places, width]);
}
