// Principal components of the rows of a small matrix, by cyclic Jacobi rotations of its covariance: short, and always the same
// bits. At most some hundred rows or columns, so speed does not matter.
//
// Golub and Van Loan, Matrix Computations, section 8.5.

export interface PrincipalComponents {
  /** Scores of each component, largest variance first `[component][row]`; zeros where no variance is left. */
  readonly scores: readonly Float64Array[];
  /** Share of each in the variance of those that are kept; their sum is 1, or 0 when there is no variance at all. */
  readonly shares: readonly number[];
}

/** Variance below this part of what it is compared with is rounding. */
const NEGLIGIBLE = 1e-12;

/**
 * The first `count` components of `values` [rows, columns], row-major, centred over the rows. Signs are arbitrary. Features that
 * are constant but for rounding have no component.
 */
export function principalComponents(
  values: ArrayLike<number>,
  columns: number,
  count: number,
): PrincipalComponents {
  const rows = values.length / columns;
  const { centred, squares } = centre(values, rows, columns);
  // Of AᵀA or AAᵀ the smaller one; with A = U S Vᵀ the scores are A V = U S.
  const isWide = columns > rows;
  const size = isWide ? rows : columns;
  const { values: variances, vectors } = eigenvectors(products(centred, rows, columns), size);
  const total = variances.reduce((sum, value) => sum + Math.max(value, 0), 0);
  const kept = Array.from({ length: count }, (_, component) => {
    const variance = variances[component] ?? 0;
    const isRounding = variance <= NEGLIGIBLE * total || total <= NEGLIGIBLE * squares;
    return isRounding ? 0 : variance;
  });
  const keptTotal = kept.reduce((sum, value) => sum + value, 0);
  const scores = kept.map((variance, component) => {
    const score = new Float64Array(rows);
    if (variance === 0) return score;
    const vector = vectors[component]!;
    return score.map((_, row) => {
      if (isWide) return vector[row]! * Math.sqrt(variance);
      let sum = 0;
      for (let column = 0; column < columns; column++)
        sum += centred[row * columns + column]! * vector[column]!;
      return sum;
    });
  });
  return { scores, shares: kept.map((variance) => (keptTotal === 0 ? 0 : variance / keptTotal)) };
}

function centre(values: ArrayLike<number>, rows: number, columns: number) {
  const centred = Float64Array.from(values);
  const squares = centred.reduce((sum, value) => sum + value * value, 0);
  for (let column = 0; column < columns; column++) {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += centred[row * columns + column]!;
    for (let row = 0; row < rows; row++) centred[row * columns + column]! -= sum / rows;
  }
  return { centred, squares };
}

/** Inner products of the columns, or of the rows where those are fewer; symmetric, row-major. */
function products(centred: Float64Array, rows: number, columns: number): Float64Array {
  const isWide = columns > rows;
  const [size, length] = isWide ? [rows, columns] : [columns, rows];
  const [across, along] = isWide ? [columns, 1] : [1, columns];
  const result = new Float64Array(size * size);
  for (let a = 0; a < size; a++) {
    for (let b = a; b < size; b++) {
      let sum = 0;
      for (let index = 0; index < length; index++)
        sum += centred[a * across + index * along]! * centred[b * across + index * along]!;
      result[a * size + b] = result[b * size + a] = sum;
    }
  }
  return result;
}

/** Eigenvalues of a symmetric matrix [size, size], largest first, and their unit vectors. */
export function eigenvectors(
  matrix: Float64Array,
  size: number,
): { readonly values: number[]; readonly vectors: Float64Array[] } {
  const a = matrix.slice();
  const v = Float64Array.from({ length: size * size }, (_, index) =>
    index % (size + 1) === 0 ? 1 : 0,
  );
  const scale = a.reduce((sum, value) => sum + value * value, 0);
  const offDiagonal = (): number =>
    a.reduce((sum, value, index) => (index % (size + 1) === 0 ? sum : sum + value * value), 0);
  // Convergence is quadratic: a dozen sweeps are never reached.
  for (let sweep = 0; sweep < 30 && offDiagonal() > 1e-24 * scale; sweep++) {
    for (let p = 0; p < size - 1; p++) {
      for (let q = p + 1; q < size; q++) rotate(a, v, size, p, q);
    }
  }
  const order = Array.from({ length: size }, (_, index) => index).sort(
    (x, y) => a[y * (size + 1)]! - a[x * (size + 1)]! || x - y,
  );
  return {
    values: order.map((index) => a[index * (size + 1)]!),
    vectors: order.map((index) => v.slice(index * size, (index + 1) * size)),
  };
}

/** Makes element (p, q) of `a` zero; the rows of `v` turn along. */
function rotate(a: Float64Array, v: Float64Array, size: number, p: number, q: number): void {
  const apq = a[p * size + q]!;
  if (apq === 0) return;
  const theta = (a[q * (size + 1)]! - a[p * (size + 1)]!) / (2 * apq);
  const tangent = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const cosine = 1 / Math.sqrt(tangent * tangent + 1);
  const sine = tangent * cosine;
  const [rowP, rowQ] = [p * size, q * size];
  for (let index = 0; index < size; index++) {
    turn(a, rowP + index, rowQ + index, cosine, sine);
    turn(v, rowP + index, rowQ + index, cosine, sine);
  }
  for (let row = 0; row < size * size; row += size) turn(a, row + p, row + q, cosine, sine);
}

function turn(list: Float64Array, i: number, j: number, cosine: number, sine: number): void {
  const x = list[i]!;
  const y = list[j]!;
  list[i] = cosine * x - sine * y;
  list[j] = sine * x + cosine * y;
}
