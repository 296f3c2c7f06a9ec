import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ConfigError, DataError } from "../core/errors.ts";
import { silentProgress } from "../core/progress.ts";
import { randomStream } from "../core/random.ts";
import type { Backbone } from "../image/allocation-map.ts";
import { lowLevelBackbone } from "../image/low-level-features.ts";
import { Interrupted } from "../run/interrupted.ts";
import { configureRuntime } from "../tensor/index.ts";
import { changes, mapQuality, miniImages } from "../../tests/map-quality.ts";
import { backboneSettings, frozenBackbone, trainBackbone } from "./frozen-backbone.ts";

configureRuntime({ threads: 1 });
const few = backboneSettings.parse({ steps: 2, batch: 4, channels: [4, 6] });
const context = { seed: 1, progress: silentProgress };

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-backbone-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const weightsIn = (path: string): string =>
  readFileSync(join(path, "model.safetensors")).toString("hex");

const probe = Array.from({ length: 3 }, (_, key) => miniImages.draw(randomStream("probe", key)));

describe("maps of GenEval-mini", () => {
  const count = 200;
  const kinds = Object.keys(changes) as (keyof typeof changes)[];
  let ssl: Backbone;
  beforeAll(async () => {
    // Half of the steps that runs train.
    const settings = backboneSettings.parse({ steps: 300 });
    const engine = await trainBackbone("ssl", miniImages, settings, context);
    ssl = (images) => engine!.features(images);
  });

  it.each(kinds)("agree with the objects, found without labels (images: %s)", async (change) => {
    const spec = { count, change, structuring: { smoothing: 0.5 } };
    const { correlation, inward } = await mapQuality(ssl, spec);
    expect(correlation.mean).toBeGreaterThan(0.6);
    expect(inward.share).toBeGreaterThanOrEqual(0.95);
  });

  it("have the objects' side everywhere if the smaller area is the object", async () => {
    const structuring = { smoothing: 0.5, sign: "area" as const };
    const { correlation, inverted } = await mapQuality(ssl, { count, structuring });
    expect(correlation.low).toBeGreaterThan(0.7);
    expect(inverted).toBe(0);
  });

  it("agree with the objects less where nothing was learned", async () => {
    const settings = backboneSettings.parse({ steps: 1 });
    const engine = await trainBackbone("ssl", miniImages, settings, context);
    const spec = { count, structuring: { smoothing: 0.5, sign: "area" as const } };
    const fresh = await mapQuality((images) => engine!.features(images), spec);
    const learned = await mapQuality(ssl, spec);
    expect(fresh.correlation.high).toBeLessThan(learned.correlation.low);
  });

  it("of colours and edges alone agree too", async () => {
    const spec = { count, structuring: { smoothing: 0.5 } };
    const { correlation, inward } = await mapQuality(lowLevelBackbone, spec);
    expect(correlation.mean).toBeGreaterThan(0.5);
    expect(inward.share).toBeGreaterThanOrEqual(0.95);
  });
});

describe("a trained backbone", () => {
  it.each(["ssl", "sup"] as const)("%s has the same bits for the same seed", async (name) => {
    const bits = async (seed: number): Promise<string> => {
      const engine = await trainBackbone(name, miniImages, few, { ...context, seed });
      const path = join(root, `${name}-${seed}`);
      await engine!.save(path);
      engine!.dispose();
      return weightsIn(path);
    };
    const first = await bits(1);
    expect(await bits(1)).toBe(first);
    expect(await bits(2)).not.toBe(first);
  });

  it("sup learns its labels", async () => {
    const losses: number[] = [];
    const advance = (_done: number, note = ""): void =>
      void losses.push(Number(note.slice("loss ".length)));
    const settings = backboneSettings.parse({ steps: 80, hidden: 0, colorShift: 0, noise: 0 });
    const progress = { ...silentProgress, advance };
    const engine = await trainBackbone("sup", miniImages, settings, { seed: 1, progress });
    engine!.dispose();
    const first = losses[0]!;
    const last = losses.slice(-10).reduce((sum, loss) => sum + loss, 0) / 10;
    expect(last).toBeLessThan(0.8 * first); // ln 16 = 2.77 without any knowledge
  });

  it("needs labels to be supervised", async () => {
    const { labelled: _labelled, ...unlabelled } = miniImages;
    const train = trainBackbone("sup", unlabelled, few, context);
    await expect(train).rejects.toThrow(ConfigError);
  });
});

describe("the backbone of a run", () => {
  const inRun = (name: string) => ({ ...context, run: { path: join(root, name) } });

  it("is trained once and then read", async () => {
    const run = inRun("once");
    const trained = await frozenBackbone("ssl", miniImages, few, run);
    const directory = join(run.run.path, "backbone-ssl");
    expect(readdirSync(directory).sort()).toEqual(["backbone.json", "model.safetensors"]);
    const before = weightsIn(directory);
    let steps = 0;
    const progress = { ...silentProgress, advance: () => void steps++ };
    const read = await frozenBackbone("ssl", miniImages, few, { ...run, progress });
    expect(steps).toBe(0);
    expect(weightsIn(directory)).toBe(before);
    expect(await read(probe)).toEqual(await trained(probe));
  });

  it("is refused when it has other sizes", async () => {
    const run = inRun("once");
    const other = { ...few, channels: [4, 8] };
    await expect(frozenBackbone("ssl", miniImages, other, run)).rejects.toThrow(DataError);
  });

  it("is not there after a stop, and the same after another start", async () => {
    const run = inRun("stopped");
    const controller = new AbortController();
    const progress = { ...silentProgress, advance: () => controller.abort() };
    const stopped = { ...run, progress, signal: controller.signal };
    await expect(frozenBackbone("ssl", miniImages, few, stopped)).rejects.toThrow(Interrupted);
    expect(existsSync(join(run.run.path, "backbone-ssl"))).toBe(false);
    await frozenBackbone("ssl", miniImages, few, run);
    const [again, once] = ["stopped", "once"].map((name) =>
      weightsIn(join(root, name, "backbone-ssl")),
    );
    expect(again).toBe(once);
  });

  it("low needs no files", async () => {
    const run = inRun("low");
    expect(await frozenBackbone("low", miniImages, few, run)).toBe(lowLevelBackbone);
    expect(existsSync(run.run.path)).toBe(false);
  });
});
