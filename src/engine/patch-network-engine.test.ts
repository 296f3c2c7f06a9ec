import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ConfigError, DataError, ShapeError } from "../core/errors.ts";
import { structuringSettings } from "../core/flow-spec.ts";
import { randomStream } from "../core/random.ts";
import { allocationMap } from "../image/allocation-map.ts";
import { blankRaster, type Raster } from "../image/raster.ts";
import type { PatchNetworkConfig } from "../models/patch-network.ts";
import { readSafetensors } from "../nn/safetensors.ts";
import { configureRuntime } from "../tensor/index.ts";
import { PatchNetworkEngine, type PatchBatch } from "./patch-network-engine.ts";

configureRuntime({ threads: 1 });

const config: PatchNetworkConfig = {
  height: 6,
  width: 8,
  patch: 2,
  channels: [5, 4, 6],
  head: { of: "pixel", classes: 3 },
};
const options = {
  learningRate: 0.01,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0,
  clipNorm: 1,
};

const stream = (...key: (string | number)[]) => randomStream("patch network", ...key);

function noisy(key: number, height = 6, width = 8): Raster {
  const image = blankRaster(height, width, [0, 0, 0]);
  stream("image", key).fillNormal(image.data);
  return { ...image, data: image.data.map((value) => 0.4 * value) };
}

function batchOf(size: number, { head }: PatchNetworkConfig): PatchBatch {
  const random = stream("batch", size);
  const images = Array.from({ length: size }, (_, row) => [...noisy(row).data]);
  const count = head.of === "pixel" ? size * 48 : size;
  return {
    pixels: Float32Array.from(images.flat()),
    hidden: Float32Array.from({ length: size * 12 }, () => Number(random.uniform() < 0.3)),
    classes: Int32Array.from({ length: count }, () => random.integer(head.classes)),
  };
}

function fresh(of: PatchNetworkConfig = config, seed = 1): PatchNetworkEngine {
  const engine = new PatchNetworkEngine(of);
  engine.initialise(stream("weights", seed));
  return engine;
}

type Weights = Awaited<ReturnType<typeof readSafetensors>>;

/** The network in plain loops, on images that are all shown. */
function plainFeatures(image: Raster, weights: Weights): number[][][] {
  const of = (name: string): Float32Array => weights.get(name)!.data;
  const [rows, columns] = [3, 4];
  let h: number[][][] = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_unused, column) => {
      const pixels: number[] = [];
      for (const dy of [0, 1]) {
        for (const dx of [0, 1]) {
          const at = ((2 * row + dy) * 8 + 2 * column + dx) * 3;
          pixels.push(...image.data.subarray(at, at + 3));
        }
      }
      return [...pixels, 0];
    }),
  );
  const inside = (at: number, extent: number): number => Math.min(Math.max(at, 0), extent - 1);
  config.channels.forEach((width, layer) => {
    const before = h;
    h = before.map((line, row) =>
      line.map((own, column) => {
        const seen: number[] = layer === 0 ? [...own] : [];
        for (const dy of layer === 0 ? [] : [-1, 0, 1]) {
          for (const dx of [-1, 0, 1])
            seen.push(...before[inside(row + dy, rows)]![inside(column + dx, columns)]!);
        }
        const [matrix, bias] = [of(`layers.${layer}.weight`), of(`layers.${layer}.bias`)];
        const flat = Array.from({ length: width }, (_, out) =>
          seen.reduce((sum, x, index) => sum + x * matrix[out * seen.length + index]!, bias[out]!),
        );
        const isLast = layer === config.channels.length - 1;
        const active = isLast ? flat : flat.map((x) => x / (1 + Math.exp(-x)));
        const rms = Math.sqrt(active.reduce((sum, x) => sum + x * x, 0) / width + 1e-6);
        const scale = of(`layers.${layer}.norm.weight`);
        return active.map((x, index) => (x / rms) * scale[index]!);
      }),
    );
  });
  return h;
}

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-patch-network-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe("a patch network", () => {
  it("computes what its formula says", async () => {
    const engine = fresh();
    for (let step = 0; step < 3; step++) await engine.train(batchOf(4, config), options); // no ones and zeros
    await engine.save(join(root, "plain"));
    const weights = await readSafetensors(join(root, "plain", "model.safetensors"));
    const image = noisy(7);
    const [features] = await engine.features([image]);
    expect(features).toMatchObject({ height: 3, width: 4 });
    const expected = plainFeatures({ ...image, data: image.data.map(clamp) }, weights).flat(2);
    expect([...(features!.values as Float32Array)]).toEqual(
      expected.map((x) => expect.closeTo(x, 4)),
    );
    engine.dispose();
  });

  it("gives an image the same bits in any company and order", async () => {
    const engine = fresh();
    const images = Array.from({ length: 40 }, (_, key) => noisy(key));
    const all = await engine.features(images);
    const order = stream("order").shuffle(images.map((_, index) => index));
    const shuffled = await engine.features(order.map((index) => images[index]!));
    expect(shuffled).toEqual(order.map((index) => all[index]));
    expect(await engine.features([images[39]!])).toEqual([all[39]]);
    expect(await engine.features([])).toEqual([]);
    const [one, two] = await Promise.all([
      engine.features([images[0]!]),
      engine.features([images[1]!]),
    ]);
    expect([...one, ...two]).toEqual(all.slice(0, 2));
    engine.dispose();
  });

  it("finds nothing in an image of one colour: its map is ones", async () => {
    const engine = fresh();
    await engine.train(batchOf(4, config), options);
    const image = blankRaster(6, 8, [0.3, -0.2, 0.7]);
    const [features] = await engine.features([image]);
    const map = allocationMap(features!, structuringSettings.parse({}), { height: 6, width: 8 });
    expect(map.values.every((weight) => weight === 1)).toBe(true);
    engine.dispose();
  });

  it("learns classes of pixels and of images", async () => {
    for (const of of ["pixel", "image"] as const) {
      const use: PatchNetworkConfig = { ...config, head: { of, classes: 3 } };
      const engine = fresh(use);
      const batch = batchOf(4, use);
      const losses: number[] = [];
      for (let step = 0; step < 150; step++)
        losses.push((await engine.train(batch, { ...options, learningRate: 0.03 })).loss);
      expect(losses[0]).toBeLessThan(2);
      expect(losses.at(-1)!).toBeLessThan(0.5 * losses[0]!);
      engine.dispose();
    }
  });

  it("does not see what is hidden", async () => {
    const engine = [fresh(), fresh()] as const;
    const batch = batchOf(2, config);
    const hidden = new Float32Array(24).fill(1);
    const other = batch.pixels.map((value) => -value);
    const [one, two] = await Promise.all([
      engine[0].train({ ...batch, hidden }, options),
      engine[1].train({ ...batch, hidden, pixels: other }, options),
    ]);
    expect(one).toEqual(two);
    engine.forEach((each) => each.dispose());
  });

  it("comes back from its folder bit for bit", async () => {
    const engine = fresh();
    for (let step = 0; step < 3; step++) await engine.train(batchOf(4, config), options);
    const directory = join(root, "saved");
    await engine.save(directory);
    const back = await PatchNetworkEngine.read(directory);
    expect(back.config).toEqual(config);
    const images = [noisy(1), noisy(2)];
    expect(await back.features(images)).toEqual(await engine.features(images));
    await back.save(join(root, "again"));
    for (const name of ["model.safetensors", "backbone.json"]) {
      expect(readFileSync(join(root, "again", name))).toEqual(readFileSync(join(directory, name)));
    }
    engine.dispose();
    back.dispose();
  });

  it("refuses folders and arrays that do not fit", async () => {
    expect(() => new PatchNetworkEngine({ ...config, patch: 4 })).toThrow(ConfigError);
    await expect(PatchNetworkEngine.read(join(root, "nowhere"))).rejects.toThrow(DataError);
    const engine = fresh();
    const directory = join(root, "broken");
    await engine.save(directory);
    const path = join(directory, "backbone.json");
    writeFileSync(path, JSON.stringify({ ...config, channels: [5, 4, 7] }));
    await expect(PatchNetworkEngine.read(directory)).rejects.toThrow(DataError);
    writeFileSync(path, JSON.stringify({ ...config, patch: 5 }));
    await expect(PatchNetworkEngine.read(directory)).rejects.toThrow(DataError);
    await expect(engine.features([noisy(1, 8, 6)])).rejects.toThrow(ShapeError);
    const batch = batchOf(2, config);
    const short = { ...batch, classes: batch.classes.slice(1) };
    await expect(engine.train(short, options)).rejects.toThrow(ShapeError);
    engine.dispose();
  });
});

const clamp = (value: number): number => Math.min(Math.max(value, -1), 1);
