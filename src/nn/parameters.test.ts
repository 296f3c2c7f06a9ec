import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { randomStream } from "../core/random.ts";
import { mean, standardDeviation } from "../core/statistics.ts";
import { sizeOf } from "../tensor/index.ts";
import { leaves, mapTree, ParameterLayout, type ParameterSpec } from "./parameters.ts";

const spec = (
  name: string,
  shape: readonly number[],
  init: ParameterSpec["init"] = "zeros",
  decay = true,
): ParameterSpec => ({ name, shape, init, decay });

const tree = {
  embedding: spec("embedding", [30, 20], { deviation: 0.3 }),
  layers: [
    {
      matrix: spec("layer0", [20, 20], { deviation: 1 }),
      norm: spec("norm0", [20], "ones", false),
    },
    {
      matrix: spec("layer1", [20, 20], { deviation: 1 }),
      bias: spec("bias1", [7], "zeros", false),
    },
  ],
};

describe("a tree of parameters", () => {
  it("is read in order and mapped leaf by leaf", () => {
    expect(leaves(tree).map(({ name }) => name)).toEqual([
      "embedding",
      "layer0",
      "norm0",
      "layer1",
      "bias1",
    ]);
    expect(mapTree(tree, ({ shape }) => sizeOf(shape))).toEqual({
      embedding: 600,
      layers: [
        { matrix: 400, norm: 20 },
        { matrix: 400, bias: 7 },
      ],
    });
  });
});

describe("a layout", () => {
  it("gives every parameter its own place at a cache line, decayed ones first", () => {
    const anySpecs = fc.array(
      fc.record({
        shape: fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 3 }),
        decay: fc.boolean(),
      }),
      { minLength: 1, maxLength: 12 },
    );
    fc.assert(
      fc.property(anySpecs, (list) => {
        const specs = list.map(({ shape, decay }, index) =>
          spec(`p${index}`, shape, "zeros", decay),
        );
        const layout = new ParameterLayout(specs);
        const block = new Float32Array(layout.length);
        expect(layout.length % layout.chunk).toBe(0);
        expect(layout.decayedLength % layout.chunk).toBe(0);
        expect(layout.count).toBe(specs.reduce((sum, { shape }) => sum + sizeOf(shape), 0));
        for (const { name, shape, decay } of specs) {
          const view = layout.view(block, name);
          expect(view.length).toBe(sizeOf(shape));
          const start = view.byteOffset / 4;
          expect(start % 16).toBe(0);
          expect(start + view.length <= layout.decayedLength).toBe(decay);
          expect(start >= layout.decayedLength).toBe(!decay);
          expect(view.every((value) => value === 0)).toBe(true); // nobody else's
          view.fill(1);
        }
        expect(block.reduce((sum, value) => sum + value, 0)).toBe(layout.count);
      }),
      { numRuns: 50 },
    );
  });

  it("names views, with a prefix", () => {
    const layout = new ParameterLayout(tree);
    const block = layout.allocate();
    const views = layout.views(block, "gradient ");
    expect(Object.keys(views)).toContain("gradient norm0");
    views["gradient norm0"]!.fill(2);
    expect(layout.view(block, "norm0")[19]).toBe(2);
  });

  it("refuses two parameters of one name, and a name that is not there", () => {
    expect(() => new ParameterLayout([spec("a", [1]), spec("a", [2])])).toThrow("two are named a");
    const layout = new ParameterLayout(tree);
    expect(() => layout.view(layout.allocate(), "b")).toThrow("there is none named b");
  });

  it("fills in initial values, each from a stream of its own name", () => {
    const layout = new ParameterLayout(tree);
    const block = layout.allocate();
    layout.initialise(block, randomStream(1, "weights"));
    const view = (name: string) => layout.view(block, name);
    expect(Math.abs(mean(view("embedding")))).toBeLessThan(0.05);
    expect(standardDeviation(view("embedding"), "sample")).toBeCloseTo(0.3, 1);
    expect(standardDeviation(view("layer0"), "sample")).toBeCloseTo(1, 0);
    expect(view("layer0")).not.toEqual(view("layer1"));
    expect(view("norm0").every((value) => value === 1)).toBe(true);
    expect(view("bias1").every((value) => value === 0)).toBe(true);
    // The same parameter in another model starts with the same values.
    const other = new ParameterLayout([spec("first", [5], "ones"), tree.layers[1]!.matrix]);
    const otherBlock = other.allocate();
    other.initialise(otherBlock, randomStream(1, "weights"));
    expect(other.view(otherBlock, "layer1")).toEqual(view("layer1"));
    const used = layout.specs.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    expect(block.filter((value) => value !== 0).length).toBe(used - 7);
  });
});
