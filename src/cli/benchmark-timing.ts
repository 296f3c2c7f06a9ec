// What all benchmarks share: the clock, the ceiling, the result. A speed is a ratio to the fastest matrix product of the same
// run, so that it means the same on another machine; the best of many repetitions is taken for both, since noise only ever
// slows down.

import { quantile } from "../core/statistics.ts";
import { now } from "../run/run-directory.ts";
import { allocate, compile, input, matmul } from "../tensor/index.ts";

export interface BenchmarkResult {
  /** As `--only` takes it; stable. */
  readonly name: string;
  /** For people. */
  readonly title: string;
  /** Share of the matmul ceiling of this run, from the best repetition of each. */
  readonly ratio: number;
  readonly bestMs: number;
  readonly medianMs: number;
  readonly gigaflopsPerSecond: number;
  readonly ceilingGigaflopsPerSecond: number;
  /** Of decoders. */
  readonly tokensPerSecond?: number;
  /** Of flow models: samples drawn, or samples trained on, however many of their steps are. */
  readonly imagesPerSecond?: number;
  readonly repetitions: number;
  /** Largest resident memory of the process so far. */
  readonly peakMemoryBytes: number;
}

/** A result that does not know its name yet. */
export type Measured = Omit<BenchmarkResult, "name">;

export interface Timing {
  readonly bestMs: number;
  readonly medianMs: number;
}

export async function timed(
  repetitions: number,
  work: () => Promise<void> | void,
): Promise<Timing> {
  const times: number[] = [];
  for (let repetition = 0; repetition < repetitions; repetition++) {
    const startMs = now();
    await work();
    times.push(now() - startMs);
  }
  return { bestMs: Math.min(...times), medianMs: quantile(times, 0.5) };
}

export type Product = readonly [rows: number, inner: number, columns: number];

/** What the ceiling is measured on. */
export interface Ceiling {
  readonly products: readonly Product[];
  /** How many of a product are worked on at the same time, each by the threads of one operator. */
  readonly lanes: number;
}

/** Rate of the fastest of these products, in GFLOP/s. */
export async function matmulCeiling({ products, lanes }: Ceiling): Promise<number> {
  let best = 0;
  for (const [rows, inner, columns] of products) {
    using program = compile({ y: matmul(input("a", [rows, inner]), input("b", [inner, columns])) });
    const bindings = Array.from({ length: lanes }, () =>
      program.bind({
        a: allocate("float32", [rows, inner]).fill(0.5),
        b: allocate("float32", [inner, columns]).fill(0.25),
      }),
    );
    const work =
      lanes === 1
        ? () => bindings[0]!.runNow()
        : async () => void (await Promise.all(bindings.map((binding) => binding.run())));
    const { bestMs } = await timed(12, work);
    best = Math.max(best, (2 * lanes * rows * inner * columns) / bestMs / 1e6);
  }
  return best;
}

/** What one repetition is, before it is measured. */
export interface Repetition {
  readonly title: string;
  readonly repetitions: number;
  /** Products and attention. */
  readonly flops: number;
  /** Tokens of a decoder or images of a flow model that it deals with. */
  readonly count: { readonly tokens: number } | { readonly images: number };
}

export function result(
  { title, repetitions, flops, count }: Repetition,
  timing: Timing,
  ceiling: number,
): Measured {
  const rate = flops / timing.bestMs / 1e6;
  const perSecond = (amount: number): number => (1000 * amount) / timing.bestMs;
  return {
    title,
    ratio: rate / ceiling,
    ...timing,
    gigaflopsPerSecond: rate,
    ceilingGigaflopsPerSecond: ceiling,
    ...("tokens" in count
      ? { tokensPerSecond: perSecond(count.tokens) }
      : { imagesPerSecond: perSecond(count.images) }),
    repetitions,
    peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
  };
}

/** Twice to warm up, the ceiling, the repetitions, the ceiling again: its better half counts. */
export async function measured(
  what: Repetition,
  ceiling: Ceiling,
  work: () => Promise<void>,
): Promise<Measured> {
  await timed(2, work);
  const before = await matmulCeiling(ceiling);
  const timing = await timed(what.repetitions, work);
  return result(what, timing, Math.max(before, await matmulCeiling(ceiling)));
}
