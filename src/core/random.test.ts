import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hashKey, philox4x32, randomStream } from "./random.ts";
import { mean } from "./statistics.ts";

const draws = (count: number, draw: (index: number) => number): Float64Array =>
  Float64Array.from({ length: count }, (_, index) => draw(index));

function correlation(a: Float64Array, b: Float64Array): number {
  const [meanA, meanB] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  a.forEach((value, index) => {
    const [x, y] = [value - meanA, b[index]! - meanB];
    ab += x * y;
    aa += x * x;
    bb += y * y;
  });
  return ab / Math.sqrt(aa * bb);
}

/** Pearson's statistic of counts that should be equal; its expectation is cells - 1. */
function chiSquare(cells: readonly number[]): number {
  const expected = cells.reduce((sum, count) => sum + count, 0) / cells.length;
  return cells.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

function histogram(values: ArrayLike<number>, cells: number): number[] {
  const counts = Array.from({ length: cells }, () => 0);
  for (const value of Array.from(values)) counts[Math.floor(value * cells)]!++;
  return counts;
}

describe("philox4x32", () => {
  // kat_vectors of Random123 (github.com/DEShawResearch/random123), philox4x32 10.
  it.each([
    [
      "00000000 00000000 00000000 00000000",
      "00000000 00000000",
      "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ],
    [
      "ffffffff ffffffff ffffffff ffffffff",
      "ffffffff ffffffff",
      "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ],
    [
      "243f6a88 85a308d3 13198a2e 03707344",
      "a4093822 299f31d0",
      "d16cfe09 94fdcceb 5001e420 24126ea1",
    ],
  ])("counter %s, key %s gives %s", (counter, key, expected) => {
    const words = (text: string) => text.split(" ").map((word) => Number.parseInt(word, 16));
    const block = Uint32Array.from(words(counter));
    const [key0, key1] = words(key);
    philox4x32(block, key0!, key1!);
    const hex = Array.from(block, (word) => word.toString(16).padStart(8, "0"));
    expect(hex.join(" ")).toBe(expected);
  });
});

describe("a stream", () => {
  it("is uniform in [0, 1): cells, mean, variance, neighbours", () => {
    const stream = randomStream(1, "uniform");
    const values = draws(100_000, () => stream.uniform());
    expect(values.every((value) => value >= 0 && value < 1)).toBe(true);
    expect(chiSquare(histogram(values, 64))).toBeLessThan(63 + 4 * Math.sqrt(2 * 63));
    expect(Math.abs(mean(values) - 0.5)).toBeLessThan(4 * Math.sqrt(1 / 12 / values.length));
    expect(mean(values.map((value) => (value - 0.5) ** 2))).toBeCloseTo(1 / 12, 3);
    expect(Math.abs(correlation(values.subarray(1), values.subarray(0, -1)))).toBeLessThan(0.013);
  });

  it("uses all 53 bits", () => {
    const stream = randomStream(1, "bits");
    const values = draws(2000, () => stream.uniform() * 2 ** 53);
    expect(values.every(Number.isInteger)).toBe(true);
    for (const bit of [0, 1, 25, 26, 27, 31, 52]) {
      const set = values.filter((value) => Math.floor(value / 2 ** bit) % 2 === 1).length;
      expect(Math.abs(set - 1000), `bit ${bit}`).toBeLessThan(4 * Math.sqrt(500));
    }
  });

  it("has normal draws with the moments of the normal distribution", () => {
    const stream = randomStream(2, "normal");
    const values = draws(100_000, () => stream.normal());
    const moment = (power: number) => mean(values.map((value) => value ** power));
    expect(Math.abs(moment(1))).toBeLessThan(0.013);
    expect(Math.abs(moment(2) - 1)).toBeLessThan(0.018);
    expect(Math.abs(moment(3))).toBeLessThan(0.05);
    expect(Math.abs(moment(4) - 3)).toBeLessThan(0.13);
    const beyond = values.filter((value) => Math.abs(value) > 1.959964).length;
    expect(Math.abs(beyond / values.length - 0.05)).toBeLessThan(0.003);
  });

  it("draws integers and picks without bias, and refuses an empty range", () => {
    const stream = randomStream(3, "integer");
    const counts = Array.from({ length: 7 }, () => 0);
    for (let index = 0; index < 70_000; index++) counts[stream.integer(7)]!++;
    expect(chiSquare(counts)).toBeLessThan(6 + 4 * Math.sqrt(12));
    for (const bound of [0, -1, 1.5, Number.NaN]) {
      expect(() => stream.integer(bound)).toThrow(RangeError);
    }
    expect(() => stream.pick([])).toThrow("expected a non-empty list");
    expect(new Set(Array.from({ length: 50 }, () => stream.pick(["a", "b"])))).toEqual(
      new Set(["a", "b"]),
    );
  });

  it("shuffles into every order alike, and leaves the list alone", () => {
    const stream = randomStream(4, "shuffle");
    const list = ["a", "b", "c", "d"];
    const orders = new Map<string, number>();
    for (let index = 0; index < 24_000; index++) {
      const order = stream.shuffle(list).join("");
      orders.set(order, (orders.get(order) ?? 0) + 1);
    }
    expect(orders.size).toBe(24);
    expect(chiSquare([...orders.values()])).toBeLessThan(23 + 4 * Math.sqrt(46));
    expect(list.join("")).toBe("abcd");
  });

  it("reads positions without advancing, whatever was drawn before", () => {
    const [fresh, used] = [randomStream(5, "at"), randomStream(5, "at")];
    for (let index = 0; index < 10; index++) used.uniform();
    used.shuffle([1, 2, 3]);
    fc.assert(
      fc.property(fc.nat(2 ** 31), (position) => {
        expect(used.at(position)).toBe(fresh.at(position));
      }),
    );
    expect(fresh.uniform()).toBe(randomStream(5, "at").uniform());
  });

  it("has positions that are independent of its draws and uniform", () => {
    const stream = randomStream(6, "axis");
    const positions = draws(20_000, (index) => stream.at(index));
    const drawn = draws(20_000, () => stream.uniform());
    expect(Math.abs(correlation(positions, drawn))).toBeLessThan(0.03);
    expect(chiSquare(histogram(positions, 32))).toBeLessThan(31 + 4 * Math.sqrt(62));
    expect(new Set([...positions, ...drawn]).size).toBe(40_000);
    // Beyond 32 bits the position goes on into the next counter word.
    expect(stream.at(2 ** 32)).not.toBe(stream.at(0));
    expect(stream.at(2 ** 32 + 1)).not.toBe(stream.at(1));
  });
});

describe("keys", () => {
  it("of neighbours give unrelated streams", () => {
    const first = (key: readonly (string | number)[]) => randomStream(...key).uniform();
    const bySeed = draws(20_000, (seed) => first([seed, "rollout", 0]));
    const byStep = draws(20_000, (step) => first([7, "rollout", step]));
    const bySample = draws(20_000, (sample) => first([7, "rollout", 3, 5, sample]));
    for (const values of [bySeed, byStep, bySample]) {
      expect(chiSquare(histogram(values, 64))).toBeLessThan(63 + 4 * Math.sqrt(126));
      expect(Math.abs(correlation(values.subarray(1), values.subarray(0, -1)))).toBeLessThan(0.03);
    }
    expect(Math.abs(correlation(bySeed, byStep))).toBeLessThan(0.03);
    expect(Math.abs(correlation(byStep, bySample))).toBeLessThan(0.03);
    // No shift of one stream is the next one: neighbouring seeds do not overlap.
    const [one, two] = [randomStream(1), randomStream(2)];
    const overlap = new Set(draws(5000, () => one.uniform()));
    expect(draws(5000, () => two.uniform()).some((value) => overlap.has(value))).toBe(false);
  });

  it("tell numbers from texts and keep their parts apart", () => {
    const keys = [[1], ["1"], [1, 1], [11], ["1", "1"], ["11"], ["#1"], [], [""], ["", ""], [-1]];
    const hashes = keys.map((key) => hashKey(key).join());
    expect(new Set(hashes).size).toBe(keys.length);
    expect(hashKey(["a", 1])).toEqual(hashKey(["a", 1]));
  });

  it("do not collide over a hundred thousand names", () => {
    const hashes = new Set<string>();
    for (let step = 0; step < 100; step++) {
      for (let prompt = 0; prompt < 100; prompt++) {
        for (let sample = 0; sample < 10; sample++) {
          hashes.add(hashKey([1, "rollout", step, prompt, sample]).join());
        }
      }
    }
    expect(hashes.size).toBe(100_000);
  });
});

describe("fork", () => {
  it("is a function of both names, and of nothing drawn", () => {
    const parent = randomStream(8, "parent");
    const before = parent.fork("child", 1).uniform();
    parent.uniform();
    expect(parent.fork("child", 1).uniform()).toBe(before);
    expect(randomStream(9, "parent").fork("child", 1).uniform()).not.toBe(before);
    const children = draws(5000, (index) => parent.fork(index).uniform());
    expect(new Set(children).size).toBe(5000);
    expect(chiSquare(histogram(children, 32))).toBeLessThan(31 + 4 * Math.sqrt(62));
    const own = randomStream(8, "parent");
    expect(
      Math.abs(
        correlation(
          children,
          draws(5000, () => own.uniform()),
        ),
      ),
    ).toBeLessThan(0.06);
  });
});

describe("fillNormal", () => {
  it("fills with independent standard normals, a prefix the same for any length, and leaves the stream alone", () => {
    const stream = randomStream(4, "fill");
    const values = new Float32Array(100_001);
    stream.fillNormal(values);
    const moment = (power: number): number => mean(Array.from(values, (value) => value ** power));
    expect(Math.abs(moment(1))).toBeLessThan(0.015);
    expect(Math.abs(moment(2) - 1)).toBeLessThan(0.02);
    expect(Math.abs(moment(3))).toBeLessThan(0.05);
    expect(Math.abs(moment(4) - 3)).toBeLessThan(0.15);
    const at = (shift: number) => Float64Array.from(values.subarray(shift, shift + 99_000));
    for (const shift of [1, 2, 3, 4])
      expect(Math.abs(correlation(at(0), at(shift)))).toBeLessThan(0.015);
    const short = new Float32Array(7);
    stream.fillNormal(short);
    expect(short).toEqual(values.slice(0, 7));
    expect(stream.uniform()).toBe(randomStream(4, "fill").uniform());
    const other = new Float32Array(7);
    stream.fork(1).fillNormal(other);
    expect(other).not.toEqual(short);
  });
});
