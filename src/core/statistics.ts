// Numbers with their intervals. All intervals are 95 %, two-sided.

export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** A mean, its standard error and its interval. */
export interface Estimate extends Interval {
  readonly mean: number;
  readonly standardError: number;
  readonly count: number;
}

/** 0.975 quantile of the standard normal. */
const z95 = 1.959963984540054;

/** Sum divided by count; NaN for an empty list. */
export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let index = 0; index < values.length; index++) sum += values[index]!;
  return sum / values.length;
}

/**
 * Square root of the mean squared distance from the mean. "sample" divides by n - 1 (NaN below two
 * values), "population" by n. GRPO's papers divide by the one or the other; the caller has to say.
 */
export function standardDeviation(
  values: ArrayLike<number>,
  kind: "sample" | "population",
): number {
  const center = mean(values);
  let sum = 0;
  for (let index = 0; index < values.length; index++) sum += (values[index]! - center) ** 2;
  return Math.sqrt(sum / (kind === "sample" ? values.length - 1 : values.length));
}

/** Quantile with linear interpolation between order statistics (type 7, the default of NumPy and R); NaN for an empty list. */
export function quantile(values: Iterable<number>, fraction: number): number {
  if (!(fraction >= 0 && fraction <= 1)) {
    throw new RangeError(`quantile: expected a fraction in [0, 1], got ${fraction}`);
  }
  const sorted = Float64Array.from(values).sort();
  if (sorted.length === 0) return Number.NaN;
  const position = fraction * (sorted.length - 1);
  const below = Math.floor(position);
  const low = sorted[below]!;
  const high = sorted[below + 1] ?? low;
  // Between two infinities, or exactly at one, a difference would be NaN.
  return position === below || low === high ? low : low + (position - below) * (high - low);
}

/**
 * Interval of a proportion: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n).
 * Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
 * Stays in [0, 1] and is sensible at 0 and n successes. Without trials: [0, 1].
 */
export function wilsonInterval(successes: number, count: number): Interval {
  if (!(count >= 0 && successes >= 0 && successes <= count)) {
    throw new RangeError(
      `wilsonInterval: expected 0 <= successes <= count, got ${successes} of ${count}`,
    );
  }
  if (count === 0) return { low: 0, high: 1 };
  const share = successes / count;
  const z2 = (z95 * z95) / count;
  const center = (share + z2 / 2) / (1 + z2);
  const half = (z95 * Math.sqrt((share * (1 - share)) / count + z2 / (4 * count))) / (1 + z2);
  // At the ends the formula is exactly 0 or 1; rounding must not move it.
  return {
    low: successes === 0 ? 0 : center - half,
    high: successes === count ? 1 : center + half,
  };
}

/**
 * 0.975 quantile of Student's t: exact for one and two degrees of freedom, then the expansion in
 * 1/degrees of Abramowitz and Stegun, 26.7.5 (off by less than 0.004 at three degrees, 1e-4 from six).
 */
function studentQuantile(degrees: number): number {
  if (degrees === 1) return 12.706204736432095;
  if (degrees === 2) return 4.302652729911275;
  const z = z95;
  const terms = [
    z,
    (z ** 3 + z) / 4,
    (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96,
    (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384,
    (79 * z ** 9 + 776 * z ** 7 + 1482 * z ** 5 - 1920 * z ** 3 - 945 * z) / 92160,
  ];
  return terms.reduce((sum, term, power) => sum + term / degrees ** power, 0);
}

/** Mean with Student's t interval of its standard error; the interval is NaN below two values. */
export function meanEstimate(values: ArrayLike<number>): Estimate {
  const count = values.length;
  const center = mean(values);
  const standardError = standardDeviation(values, "sample") / Math.sqrt(count);
  const half = count < 2 ? Number.NaN : studentQuantile(count - 1) * standardError;
  return { mean: center, standardError, count, low: center - half, high: center + half };
}

/**
 * Mean of `after - before` over the same items, with its interval: the t interval of the paired
 * differences, d̄ ± t s_d / √n, which for outcomes of 0 and 1 is Wald's interval of McNemar's table.
 * Pairing removes the spread between easy and hard items, so it is narrower than two separate intervals.
 */
export function pairedDifference(
  before: readonly (number | boolean)[],
  after: readonly (number | boolean)[],
): Estimate {
  if (before.length !== after.length) {
    throw new RangeError(
      `pairedDifference: expected lists of one length, got ${before.length} and ${after.length}`,
    );
  }
  return meanEstimate(after.map((value, index) => Number(value) - Number(before[index])));
}
