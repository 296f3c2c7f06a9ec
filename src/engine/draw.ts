// Choosing a token from a distribution. All arithmetic is per row, so batch composition never changes a draw.

export interface DrawOptions {
  /** 0 is greedy. */
  readonly temperature: number;
  readonly topK?: number;
  readonly topP?: number;
}

/** Index of the largest probability of row `row`; the first of equals. */
function greedy(probabilities: Float32Array, start: number, size: number): number {
  let best = 0;
  for (let token = 1; token < size; token++) {
    if (probabilities[start + token]! > probabilities[start + best]!) best = token;
  }
  return best;
}

/** Inverse of the distribution function at `uniform`, over tokens in id order. */
function inverseSample(
  probabilities: Float32Array,
  start: number,
  size: number,
  uniform: number,
): number {
  let total = 0;
  for (let token = 0; token < size; token++) total += probabilities[start + token]!;
  let remaining = uniform * total;
  let last = 0;
  for (let token = 0; token < size; token++) {
    const probability = probabilities[start + token]!;
    if (probability === 0) continue;
    last = token;
    remaining -= probability;
    if (remaining < 0) return token;
  }
  return last;
}

/** The same over the most likely tokens only: at most `topK`, and no more than it takes to reach `topP`. */
function truncatedSample(
  probabilities: Float32Array,
  start: number,
  size: number,
  uniform: number,
  { topK = size, topP = 1 }: DrawOptions,
): number {
  const row = probabilities.subarray(start, start + size);
  const order = Array.from(row.keys()).sort((a, b) => row[b]! - row[a]! || a - b);
  const kept: number[] = [];
  let mass = 0;
  for (const token of order.slice(0, Math.max(1, topK))) {
    if (row[token] === 0) break;
    kept.push(token);
    mass += row[token]!;
    if (mass >= topP) break;
  }
  let remaining = uniform * mass;
  for (const token of kept) {
    remaining -= row[token]!;
    if (remaining < 0) return token;
  }
  return kept.at(-1)!;
}

/** Draws a token from row `row` of `probabilities` [rows, size] with one uniform number in [0, 1). */
export function drawToken(
  probabilities: Float32Array,
  row: number,
  size: number,
  uniform: () => number,
  options: DrawOptions,
): number {
  const start = row * size;
  if (options.temperature === 0) return greedy(probabilities, start, size);
  if (options.topK === undefined && options.topP === undefined) {
    return inverseSample(probabilities, start, size, uniform());
  }
  return truncatedSample(probabilities, start, size, uniform(), options);
}
