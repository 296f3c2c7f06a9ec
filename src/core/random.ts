// Counter-based random streams: every draw is a pure function of (key, counter), so the order of
// execution, the batch size and a resume never change a draw.
//
// Generator: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

/** One part of a stream's name. */
export type KeyPart = string | number;

/** A named stream of random numbers. Draws advance a counter; `at` reads any position without advancing. */
export interface Random {
  /** Uniform in [0, 1) with 53 bits. */
  uniform(): number;
  /** Uniform integer in [0, bound). */
  integer(bound: number): number;
  /** Standard normal. */
  normal(): number;
  /** One element, uniformly. Throws a RangeError on an empty list. */
  pick<T>(list: readonly T[]): T;
  /** A new array in uniformly random order. */
  shuffle<T>(list: readonly T[]): T[];
  /** Uniform in [0, 1) at a position of its own axis, independent of the draws above; the stream does not advance. */
  at(position: number): number;
  /** Fills an array with standard normals from an axis of its own: many at a time, the stream does not advance. */
  fillNormal(target: Float32Array): void;
  /** A stream of its own, named below this one. */
  fork(...key: readonly KeyPart[]): Random;
}

const multiplyHigh = (a: number, b: number): number => {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const cross = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(cross / 65536)) >>> 0;
};

/** Ten Philox rounds: four 32-bit counter words and two key words to four random 32-bit words, in place. */
export function philox4x32(counter: Uint32Array, key0: number, key1: number): void {
  let k0 = key0 >>> 0;
  let k1 = key1 >>> 0;
  for (let round = 0; round < 10; round++) {
    const c0 = counter[0]!;
    const c2 = counter[2]!;
    const high0 = multiplyHigh(0xd2511f53, c0);
    const low0 = Math.imul(0xd2511f53, c0);
    const high1 = multiplyHigh(0xcd9e8d57, c2);
    const low1 = Math.imul(0xcd9e8d57, c2);
    counter[0] = high1 ^ counter[1]! ^ k0;
    counter[1] = low1;
    counter[2] = high0 ^ counter[3]! ^ k1;
    counter[3] = low0;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
}

/** 64-bit hash of a name as two 32-bit words (two murmur-style lanes with a final avalanche). */
export function hashKey(
  parts: readonly KeyPart[],
  start: readonly [number, number] = [0, 0],
): [number, number] {
  let a = (start[0] ^ 0x9e3779b1) >>> 0;
  let b = (start[1] ^ 0x85ebca6b) >>> 0;
  for (const part of parts) {
    const text = typeof part === "number" ? `#${part}` : `$${part}`;
    for (let index = 0; index <= text.length; index++) {
      const code = index === text.length ? 0x1f : text.charCodeAt(index);
      a = Math.imul(a ^ code, 0x85ebca77);
      b = Math.imul(b ^ code, 0xc2b2ae3d);
    }
  }
  const avalanche = (word: number): number => {
    let h = word;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return (h ^ (h >>> 16)) >>> 0;
  };
  const mixed = avalanche(a ^ (b >>> 15));
  return [mixed, avalanche(b ^ Math.imul(mixed, 0x27d4eb2f))];
}

class PhiloxStream implements Random {
  readonly #key: readonly [number, number];
  readonly #block = new Uint32Array(4);
  #drawn = 0;

  constructor(key: readonly [number, number]) {
    this.#key = key;
  }

  #uniformAt(position: number, axis: number): number {
    const block = this.#block;
    block[0] = position >>> 0;
    block[1] = Math.floor(position / 4294967296);
    block[2] = axis;
    block[3] = 0;
    philox4x32(block, this.#key[0], this.#key[1]);
    return ((block[0] >>> 5) * 67108864 + (block[1] >>> 6)) / 9007199254740992;
  }

  uniform(): number {
    return this.#uniformAt(this.#drawn++, 0);
  }

  integer(bound: number): number {
    if (!Number.isInteger(bound) || bound < 1) {
      throw new RangeError(`random.integer: expected a whole bound of at least 1, got ${bound}`);
    }
    return Math.floor(this.uniform() * bound);
  }

  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  pick<T>(list: readonly T[]): T {
    if (list.length === 0)
      throw new RangeError("random.pick: expected a non-empty list, got an empty one");
    return list[this.integer(list.length)]!;
  }

  shuffle<T>(list: readonly T[]): T[] {
    const result = [...list];
    for (let index = result.length - 1; index > 0; index--) {
      const other = this.integer(index + 1);
      [result[index], result[other]] = [result[other]!, result[index]!];
    }
    return result;
  }

  at(position: number): number {
    return this.#uniformAt(position, 1);
  }

  fillNormal(target: Float32Array): void {
    // Four words give two pairs (Box and Muller, 1958), with 32 bits a uniform: values up to 6.7.
    const block = this.#block;
    for (let start = 0; start < target.length; start += 4) {
      block[0] = start >>> 2;
      block[1] = 0;
      block[2] = 2;
      block[3] = 0;
      philox4x32(block, this.#key[0], this.#key[1]);
      for (let pair = 0; pair < 4; pair += 2) {
        const radius = Math.sqrt(-2 * Math.log((block[pair]! + 0.5) / 4294967296));
        const angle = (2 * Math.PI * block[pair + 1]!) / 4294967296;
        target[start + pair] = radius * Math.cos(angle); // beyond the end: no effect
        target[start + pair + 1] = radius * Math.sin(angle);
      }
    }
  }

  fork(...key: readonly KeyPart[]): Random {
    return new PhiloxStream(hashKey(key, this.#key));
  }
}

/** The stream with this name, for example `randomStream(seed, "rollout", step, prompt, sample)`. */
export function randomStream(...key: readonly KeyPart[]): Random {
  return new PhiloxStream(hashKey(key));
}
