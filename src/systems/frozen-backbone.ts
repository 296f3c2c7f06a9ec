// The frozen backbones of ViPO's maps at the size of GenEval-mini, where the paper (arXiv:2511.18719) has published ones:
//
//   ssl   plays DINOv2   without labels: the image comes in other colours, with noise and missing patches; what is predicted
//                        are the colours that its pixels had
//   sup   plays ResNet   the same network, and of the same corrupted images the label (shape and colour)
//   low   plays SAM      colours, edges, contrast; not trained
//
// A network has 18,000 or 15,000 parameters and trains in ten seconds; a run does it once and keeps it in backbone-ssl/ or
// backbone-sup/. How well maps of each agree with where objects are: docs/flows.md.

import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { optimiserSettings, stepOptions } from "../algorithms/stage.ts";
import { ConfigError, DataError, RunError } from "../core/errors.ts";
import type { BackboneName } from "../core/flow-spec.ts";
import type { Progress } from "../core/progress.ts";
import { randomStream, type Random } from "../core/random.ts";
import { PatchNetworkEngine, type PatchBatch } from "../engine/patch-network-engine.ts";
import type { Backbone } from "../image/allocation-map.ts";
import { COLOR_CLASSES, colorClasses, corruptImage } from "../image/corrupt-image.ts";
import { lowLevelBackbone } from "../image/low-level-features.ts";
import type { Raster } from "../image/raster.ts";
import type { PatchNetworkConfig } from "../models/patch-network.ts";
import { writeFolder } from "../run/checkpoints.ts";
import { Interrupted } from "../run/interrupted.ts";

const share = (value: number, help: string) =>
  z.number().min(0).max(1).default(value).describe(help);

export const backboneSettings = z.object({
  patch: z.int().min(1).default(2).describe("pixels along the edge of a patch"),
  channels: z
    .array(z.int().min(1))
    .min(1)
    .default([16, 32, 32])
    .describe("of every layer: one of patches, then 3x3 convolutions over them"),
  steps: z.int().min(1).default(600).describe("optimiser steps"),
  batch: z.int().min(1).default(32).describe("images a step"),
  hidden: share(0.15, "share of the patches that are not shown"),
  colorShift: share(0.4, "largest shift of each channel"),
  noise: share(0.05, "largest deviation of the noise on every value"),
  optimiser: optimiserSettings
    .refine(({ method }) => method === "adamw", { path: ["method"], error: "adamw" })
    .prefault({ learningRate: 1e-2, warmup: 0.05, weightDecay: 0.01 })
    .describe("AdamW; the network has no matrices for Muon"),
});
export type BackboneSettings = z.output<typeof backboneSettings>;

/** What backbones are trained on. */
export interface BackboneImages {
  /** Shape of all images. */
  readonly shape: Raster["shape"];
  readonly draw: (random: Random) => Raster;
  /** Absent: there can be no `sup`. */
  readonly labelled?: {
    readonly labels: number;
    readonly draw: (random: Random) => { readonly image: Raster; readonly label: number };
  };
}

type TrainedName = Exclude<BackboneName, "low">;

interface TrainingContext {
  readonly seed: number;
  readonly progress: Progress;
  readonly signal?: AbortSignal;
}

function networkConfig(
  name: TrainedName,
  { shape: [height, width], labelled }: BackboneImages,
  { patch, channels }: BackboneSettings,
): PatchNetworkConfig {
  const sizes = { height, width, patch, channels };
  if (name === "ssl") return { ...sizes, head: { of: "pixel", classes: COLOR_CLASSES } };
  if (labelled !== undefined) return { ...sizes, head: { of: "image", classes: labelled.labels } };
  throw new ConfigError({
    where: "backbone sup",
    expected: "a task with labelled images",
    got: "one without",
    hint: "use ssl",
  });
}

/** The images of a step, each from a stream of its own. */
function trainingBatch(
  name: TrainedName,
  images: BackboneImages,
  { batch, patch, ...corruption }: BackboneSettings,
  random: Random,
): PatchBatch {
  const [height, width] = images.shape;
  const patches = (height / patch) * (width / patch);
  const perImage = name === "ssl" ? height * width : 1;
  const pixels = new Float32Array(batch * height * width * 3);
  const hidden = new Float32Array(batch * patches);
  const classes = new Int32Array(batch * perImage);
  for (let row = 0; row < batch; row++) {
    const stream = random.fork(row);
    const labelled = name === "sup" ? images.labelled!.draw(stream) : null;
    const image = labelled?.image ?? images.draw(stream);
    const corrupt = corruptImage(image, patch, corruption, stream.fork("corruption"));
    pixels.set(corrupt.pixels, row * height * width * 3);
    hidden.set(corrupt.hidden, row * patches);
    classes.set(labelled === null ? colorClasses(image, patch) : [labelled.label], row * perImage);
  }
  return { pixels, hidden, classes };
}

/** A network trained from its beginning; the same seed gives the same bits. null: `signal` stopped it. */
export async function trainBackbone(
  name: TrainedName,
  images: BackboneImages,
  settings: BackboneSettings,
  { seed, progress, signal }: TrainingContext,
): Promise<PatchNetworkEngine | null> {
  const engine = new PatchNetworkEngine(networkConfig(name, images, settings));
  const { steps, optimiser } = settings;
  const random = randomStream(seed, "backbone", name);
  engine.initialise(random.fork("weights"));
  progress.begin(`backbone ${name}`, steps);
  try {
    for (let step = 1; step <= steps; step++) {
      if (signal?.aborted === true) {
        engine.dispose();
        return null;
      }
      const batch = trainingBatch(name, images, settings, random.fork("step", step));
      const { loss } = await engine.train(batch, stepOptions(optimiser, step, steps));
      if (!Number.isFinite(loss)) {
        throw new RunError({
          where: `backbone ${name} step ${step}`,
          expected: "a finite loss",
          got: String(loss),
          hint: "a smaller optimiser.learningRate",
        });
      }
      progress.advance(step, `loss ${loss.toFixed(3)}`);
    }
  } catch (error) {
    engine.dispose();
    throw error;
  } finally {
    progress.end();
  }
  return engine;
}

/** Beside what training needs: the run that keeps the network. */
interface BackboneContext extends TrainingContext {
  readonly run: { readonly path: string };
}

/**
 * The backbone of a run: read from its directory, or trained and written there. A run that was stopped in between trains it
 * again, to the same bits. Makes programs, so `configureRuntime` comes before it.
 * @throws DataError when the network in the directory has other sizes than the settings say.
 */
export async function frozenBackbone(
  name: BackboneName,
  images: BackboneImages,
  settings: BackboneSettings,
  context: BackboneContext,
): Promise<Backbone> {
  if (name === "low") return lowLevelBackbone;
  const { path } = context.run;
  const directory = join(path, `backbone-${name}`);
  const expected = networkConfig(name, images, settings);
  if (!existsSync(directory)) {
    const trained = await trainBackbone(name, images, settings, context);
    if (trained === null) throw new Interrupted(path);
    await writeFolder(dirname(directory), basename(directory), (partial) => trained.save(partial));
    return (list) => trained.features(list);
  }
  const engine = await PatchNetworkEngine.read(directory);
  const [got, wanted] = [engine.config, expected].map((config) => JSON.stringify(config));
  if (got === wanted) return (list) => engine.features(list);
  engine.dispose();
  throw new DataError({ where: directory, expected: wanted!, got: got! });
}
