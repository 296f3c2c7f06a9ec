// A patch network on this machine: trained by cross-entropy, then frozen, a backbone for ViPO's maps.
//
// A folder holds backbone.json (the sizes) and model.safetensors (every parameter by name). Images are worked on in groups of
// one fixed size, so a feature has the same bits whatever stands beside its image.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { StepOptions } from "../core/engine.ts";
import { ConfigError, DataError, ShapeError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { PatchFeatures } from "../image/allocation-map.ts";
import { clampUnit, type Raster } from "../image/raster.ts";
import {
  patchNetworkFeatures,
  patchNetworkParameters,
  patchNetworkScores,
  type PatchNetworkConfig,
} from "../models/patch-network.ts";
import { leaves, mapTree } from "../nn/parameters.ts";
import {
  addInto,
  compile,
  gradients,
  input,
  logSoftmax,
  mean,
  mul,
  sizeOf,
  takeLast,
  type Binding,
  type Tensor,
} from "../tensor/index.ts";
import { bindKnown } from "./bind-known.ts";
import { FlowWeightStore } from "./flow-weights.ts";

export interface PatchBatch {
  /** [batch, height, width, 3], in [-1, 1]. */
  readonly pixels: Float32Array;
  /** 1 for patches that are not shown [batch, height / patch, width / patch]. */
  readonly hidden: Float32Array;
  /** Class of every pixel, patch after patch [batch · height · width], or of every image [batch]. */
  readonly classes: Int32Array;
}

export interface PatchStep {
  /** Mean cross-entropy, nats. */
  readonly loss: number;
  readonly gradientNorm: number;
}

const CONFIG_FILE = "backbone.json";
const WEIGHTS_FILE = "model.safetensors";
/** Images of a feature program. */
const IMAGES_AT_ONCE = 32;

const size = z.int().positive();
const configSchema = z.strictObject({
  height: size,
  width: size,
  patch: size,
  channels: z.array(size).min(1),
  head: z.strictObject({ of: z.enum(["pixel", "image"]), classes: z.int().min(2) }),
});

export class PatchNetworkEngine {
  readonly config: PatchNetworkConfig;
  readonly parameterCount: number;
  readonly #symbols = new Map<string, Tensor>();
  readonly #parameters;
  readonly #store: FlowWeightStore;
  #featureBinding: Binding | undefined;
  #training: { readonly batch: number; readonly binding: Binding } | undefined;

  /** @throws ConfigError where patches do not tile the image. */
  constructor(config: PatchNetworkConfig) {
    const { height, width, patch } = config;
    if (height % patch !== 0 || width % patch !== 0) {
      throw new ConfigError({
        where: "patch network: patch",
        expected: `a divisor of ${height} and ${width}`,
        got: String(patch),
      });
    }
    this.config = config;
    const specs = patchNetworkParameters(config);
    this.#parameters = mapTree(specs, ({ name, shape }) => {
      const symbol = input(name, shape);
      this.#symbols.set(name, symbol);
      return symbol;
    });
    this.#store = new FlowWeightStore(leaves(specs), null);
    this.parameterCount = this.#store.layout.count;
  }

  /** Fresh weights; the optimiser starts over. */
  initialise(random: Random): void {
    this.#store.initialise(random, "all");
  }

  /** One call after the other: they share the memory of their programs. */
  #queue: Promise<unknown> = Promise.resolve();
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  /** One optimiser step on a batch. */
  train(batch: PatchBatch, options: StepOptions): Promise<PatchStep> {
    return this.#inTurn(() => this.#train(batch, options));
  }

  /** Features [height / patch, width / patch, last of channels] of each image, clamped to [-1, 1]. */
  features(images: readonly Raster[]): Promise<PatchFeatures[]> {
    return this.#inTurn(() => this.#features(images));
  }

  async #train(batch: PatchBatch, options: StepOptions): Promise<PatchStep> {
    const binding = this.#trainingBinding(this.#checkBatch(batch));
    binding.floats("pixels").set(batch.pixels);
    binding.floats("hidden").set(batch.hidden);
    binding.ints("classes").set(batch.classes);
    await binding.run();
    const { gradientNorm } = await this.#store.step(options);
    return { loss: binding.floats("loss")[0]!, gradientNorm };
  }

  async #features(images: readonly Raster[]): Promise<PatchFeatures[]> {
    images.forEach((image, index) => this.#checkImage(image, index));
    const binding = (this.#featureBinding ??= this.#makeFeatureBinding());
    const [pixels, features] = [binding.floats("pixels"), binding.floats("features")];
    const [inputs, outputs] = [pixels.length, features.length].map((all) => all / IMAGES_AT_ONCE);
    const { height, width, patch } = this.config;
    const result: PatchFeatures[] = [];
    for (let start = 0; start < images.length; start += IMAGES_AT_ONCE) {
      const part = images.slice(start, start + IMAGES_AT_ONCE);
      part.forEach(({ data }, row) => pixels.set(data.map(clampUnit), row * inputs!));
      await binding.run();
      part.forEach((_, row) =>
        result.push({
          values: features.slice(row * outputs!, (row + 1) * outputs!),
          height: height / patch,
          width: width / patch,
        }),
      );
    }
    return result;
  }

  /** Writes sizes and weights. */
  async save(directory: string): Promise<void> {
    await mkdir(directory, { recursive: true });
    await this.#store.saveWeights(join(directory, WEIGHTS_FILE), "current");
    const text = `${JSON.stringify(this.config, null, 2)}\n`;
    await writeFile(join(directory, CONFIG_FILE), text);
  }

  /** What `save` wrote. @throws DataError for a folder without a network, or with a broken one. */
  static async read(directory: string): Promise<PatchNetworkEngine> {
    const engine = await open(join(directory, CONFIG_FILE));
    try {
      await engine.#store.loadWeights(join(directory, WEIGHTS_FILE));
    } catch (error) {
      engine.dispose();
      throw error;
    }
    return engine;
  }

  dispose(): void {
    this.#featureBinding?.program.dispose();
    this.#training?.binding.program.dispose();
    this.#store.dispose();
  }

  #inputs(batch: number) {
    const { height, width, patch } = this.config;
    return {
      pixels: input("pixels", [batch, height, width, 3]),
      hidden: input("hidden", [batch, height / patch, width / patch, 1]),
    };
  }

  #makeFeatureBinding(): Binding {
    const { pixels } = this.#inputs(IMAGES_AT_ONCE);
    const features = patchNetworkFeatures(this.#parameters, { pixels }, this.config);
    const program = compile({ features }, { name: "patch features" });
    return bindKnown(program, this.#store.views("current"));
  }

  /** pixels, hidden, classes → loss, new gradient … */
  #trainingBinding(batch: number): Binding {
    if (this.#training?.batch === batch) return this.#training.binding;
    this.#training?.binding.program.dispose();
    const { head } = this.config;
    const inputs = this.#inputs(batch);
    const features = patchNetworkFeatures(this.#parameters, inputs, this.config);
    const scores = patchNetworkScores(this.#parameters, features, head); // [rows, classes]
    const classes = input("classes", [scores.shape[0]!], "int32");
    const loss = mul(mean(takeLast(logSoftmax(scores), classes)), -1);
    const { specs } = this.#store.layout;
    const slopes = gradients(
      loss,
      specs.map(({ name }) => this.#symbols.get(name)!),
    );
    const graph: Record<string, Tensor> = { loss };
    const inPlace: Record<string, string> = {};
    specs.forEach(({ name, shape }, index) => {
      graph[`new gradient ${name}`] = addInto(input(`gradient ${name}`, shape), slopes[index]!);
      inPlace[`new gradient ${name}`] = `gradient ${name}`;
    });
    const program = compile(graph, { name: "patch training", inPlace });
    const memory = { ...this.#store.views("current"), ...this.#store.gradients("gradient ") };
    const binding = bindKnown(program, memory);
    this.#training = { batch, binding };
    return binding;
  }

  /** Images of a batch. */
  #checkBatch({ pixels, hidden, classes }: PatchBatch): number {
    const { height, width, patch, head } = this.config;
    const batch = pixels.length / (height * width * 3);
    const patches = batch * (height / patch) * (width / patch);
    const targets = head.of === "pixel" ? batch * height * width : batch;
    if (Number.isInteger(batch) && hidden.length === patches && classes.length === targets)
      return batch;
    throw new ShapeError({
      where: "patch network: batch",
      expected: `${height} x ${width} images, ${patches} patches and ${targets} classes`,
      got: `${pixels.length} values, ${hidden.length} and ${classes.length}`,
    });
  }

  #checkImage({ shape, data }: Raster, index: number): void {
    const expected = [this.config.height, this.config.width, 3];
    const fits = shape.every((extent, axis) => extent === expected[axis]);
    if (fits && data.length === sizeOf(expected)) return;
    throw new ShapeError({
      where: `patch network: image ${index}`,
      expected: `[${expected.join(", ")}]`,
      got: `[${shape.join(", ")}] with ${data.length} values`,
    });
  }
}

async function open(path: string): Promise<PatchNetworkEngine> {
  try {
    return new PatchNetworkEngine(configSchema.parse(JSON.parse(await readFile(path, "utf8"))));
  } catch (cause) {
    const got = (cause as Error).message;
    throw new DataError({ where: path, expected: "the sizes of a patch network", got, cause });
  }
}
