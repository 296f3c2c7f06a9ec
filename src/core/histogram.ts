// How numbers spread, in a fixed number of bins.

export interface Histogram {
  /** Finite values that were counted. */
  readonly count: number;
  readonly min: number;
  readonly max: number;
  readonly sum: number;
  readonly sumSquares: number;
  /** Rising `[bins + 1]`. A bin holds its lower edge but not its upper one; the last bin holds both. */
  readonly edges: readonly number[];
  /** `[bins]` */
  readonly counts: readonly number[];
}

/** Bin of a value: the last one whose lower edge it reaches (by halving). */
function binOf(value: number, edges: readonly number[]): number {
  let [low, high] = [0, edges.length - 2];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (value >= edges[middle]!) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * Counts values between given edges. The outermost edges move out as far as the values reach, so nothing is lost; values
 * that are not finite are left out. Null when no value is left.
 *
 * @example histogram([0, 1, 5], [0, 1, 2])?.counts // [1, 2], edges [0, 1, 5]
 */
export function histogram(values: Iterable<number>, edges: readonly number[]): Histogram | null {
  if (edges.length < 2 || edges.some((edge, index) => index > 0 && !(edge > edges[index - 1]!))) {
    throw new RangeError(`histogram: expected rising edges, got ${edges.join(", ")}`);
  }
  const counts = new Array<number>(edges.length - 1).fill(0);
  let [count, min, max, sum, sumSquares] = [0, Infinity, -Infinity, 0, 0];
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    const bin = binOf(value, edges);
    counts[bin] = counts[bin]! + 1;
    count++;
    min = Math.min(min, value);
    max = Math.max(max, value);
    sum += value;
    sumSquares += value * value;
  }
  if (count === 0) return null;
  const reached = [...edges];
  reached[0] = Math.min(edges[0]!, min);
  reached[reached.length - 1] = Math.max(edges.at(-1)!, max);
  return { count, min, max, sum, sumSquares, edges: reached, counts };
}
