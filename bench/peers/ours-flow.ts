// Alidade's side of the image model: measures one job (workloads.ts) and prints one line of JSON; compiled and run like ours.ts.
// `ours-flow.js prepare flow <folder>` writes what the peer begins with: weights, prompts, noisy images with their velocities, and
// the noise, window, order and samples of the first epoch.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  flowBenchmarkBatch,
  flowBenchmarkModel,
  flowBenchmarkOptimiser,
  flowBenchmarkOrder,
  flowBenchmarkPrompts,
  flowBenchmarkSettings,
  flowBenchmarkSteps,
  flowBenchmarkStream,
  matchVelocities,
  openFlowBenchmarkEngine,
  rollOutEpoch,
  trainEpoch,
} from "../../src/cli/flow-benchmarks.ts";
import type { FlowPrompt } from "../../src/core/flow-engine.ts";
import { LocalFlowEngine } from "../../src/engine/flow-engine.ts";
import { writeSafetensors, type NamedArray } from "../../src/nn/safetensors.ts";
import { configureRuntime } from "../../src/tensor/index.ts";
import { memoryBytes, versions } from "./process-facts.ts";
import type { Evidence, FlowJob, Measurement } from "./workloads.ts";

/** Rows whose velocities are compared. */
const CHECKED = 24;

const lists = (prompts: readonly FlowPrompt[]): (number[] | null)[] =>
  prompts.map((prompt) => prompt && Array.from(prompt));

/** Arrays of rows of the shape of a sample. */
function imageArrays(arrays: Readonly<Record<string, Float32Array>>): Record<string, NamedArray> {
  const { sample } = flowBenchmarkModel;
  const size = sample.reduce((product, extent) => product * extent, 1);
  const entries = Object.entries(arrays).map(
    ([name, data]) => [name, { shape: [data.length / size, ...sample], data }] as const,
  );
  return Object.fromEntries(entries);
}

/** Noise of the first epoch: where its trajectories begin [image · sample], and of its drawn steps [step · image · sample]. */
function epochNoise(
  engine: LocalFlowEngine,
  images: number,
): { noise: Float32Array; draws: Float32Array } {
  const size = engine.sampleSize;
  const drawn = flowBenchmarkSteps(1).flatMap((step, index) => (step.isStochastic ? [index] : []));
  const noise = new Float32Array(images * size);
  const draws = new Float32Array(drawn.length * images * size);
  for (let image = 0; image < images; image++) {
    const stream = flowBenchmarkStream(1, image);
    stream.fork("noise").fillNormal(noise.subarray(image * size, (image + 1) * size));
    drawn.forEach((step, place) => {
      const start = (place * images + image) * size;
      stream.fork("step", step).fillNormal(draws.subarray(start, start + size));
    });
  }
  return { noise, draws };
}

/** The settings of the epoch, as the peer reads them. */
function peerSettings() {
  const { sampling, objective, advantages, group, updates } = flowBenchmarkSettings;
  const { noise, window, steps, schedule } = sampling;
  if (objective.type !== "policy" || window.type !== "random" || schedule.type !== "uniform")
    throw new Error("the peer computes clipped policies on random windows of uniform steps");
  if (window.low !== 0) throw new Error("the peer's windows begin at step 0 at the earliest");
  if (
    noise.type !== "cps" ||
    advantages.scale !== "epoch" ||
    objective.ratio.low !== objective.ratio.high
  )
    throw new Error("the peer computes cps, one deviation of rewards, one clip range");
  return {
    group,
    updates,
    steps,
    noiseLevel: noise.level,
    window: window.size,
    lastStart: (window.high ?? Math.floor(steps / 2)) - window.size,
    clip: objective.ratio.low,
    advantageClip: advantages.clip,
    optimiser: flowBenchmarkOptimiser,
  };
}

async function prepare(folder: string): Promise<void> {
  const engine = openFlowBenchmarkEngine(1);
  await mkdir(folder, { recursive: true });
  await engine.saveModel(folder);
  const prompts = flowBenchmarkPrompts();
  const { target, ...matching } = flowBenchmarkBatch();
  const check = {
    x: matching.x.slice(0, CHECKED * engine.sampleSize),
    t: matching.t.slice(0, CHECKED),
    prompts: matching.prompts.slice(0, CHECKED),
  };
  check.t.set([0, 0.02, 1]); // the ends of the time, and below its least
  const checkVelocity = await engine.velocity(check, { weights: "current", guidance: 1 });
  const { samples } = await rollOutEpoch(engine, prompts, 1);
  const { noise, draws } = epochNoise(engine, prompts.length);
  const images = imageArrays({
    checkX: check.x,
    checkVelocity,
    matchingX: matching.x,
    matchingTarget: target,
    noise,
    samples,
  });
  await writeSafetensors(join(folder, "batch.safetensors"), {
    ...images,
    draws: {
      shape: [draws.length / noise.length, prompts.length, ...flowBenchmarkModel.sample],
      data: draws,
    },
    checkT: { shape: [CHECKED], data: check.t },
    matchingT: { shape: [matching.t.length], data: matching.t },
  });
  const batch = {
    settings: peerSettings(),
    prompts: lists(prompts),
    checkPrompts: lists(check.prompts),
    matchingPrompts: lists(matching.prompts),
    start: flowBenchmarkSteps(1).findIndex(({ isStochastic }) => isStochastic),
    order: flowBenchmarkOrder(1),
  };
  await writeFile(join(folder, "batch.json"), JSON.stringify(batch));
  engine.dispose();
}

/** Runs a job; `timesMs` of the repetitions after the warm-up. */
async function run(
  engine: LocalFlowEngine,
  job: FlowJob,
): Promise<Pick<Measurement, "timesMs" | "evidence">> {
  const [losses, gradientNorms, times]: [number[], number[], number[]] = [[], [], []];
  const prompts = flowBenchmarkPrompts();
  const batch = flowBenchmarkBatch();
  for (let repetition = 1; repetition <= job.warmUp + job.repetitions; repetition++) {
    const startMs = performance.now();
    if (job.part === "matching") {
      const { loss, gradientNorm } = await matchVelocities(engine, batch);
      times.push(performance.now() - startMs);
      losses.push(loss);
      gradientNorms.push(gradientNorm);
      continue;
    }
    const trajectories = await rollOutEpoch(engine, prompts, repetition);
    const sampledMs = performance.now();
    const updates = await trainEpoch(engine, prompts, trajectories, repetition);
    const endMs = performance.now();
    const parts = {
      sample: sampledMs - startMs,
      update: endMs - sampledMs,
      epoch: endMs - startMs,
    };
    times.push(parts[job.part]);
    losses.push(...updates.losses);
    gradientNorms.push(...updates.gradientNorms);
  }
  const evidence: Evidence = { losses, gradientNorms };
  return { timesMs: times.slice(job.warmUp), evidence };
}

async function measure(job: FlowJob): Promise<Measurement> {
  configureRuntime({ threads: 1, spinning: false }); // a lane a core, as a run has it
  const engine = openFlowBenchmarkEngine(job.threads);
  const startMemoryBytes = memoryBytes("VmRSS");
  const measured = await run(engine, job);
  const parameters = engine.parameterCount;
  engine.dispose();
  return {
    ...measured,
    parameters,
    startMemoryBytes,
    peakMemoryBytes: memoryBytes("VmHWM"),
    versions: versions(),
  };
}

const [first = "", ...rest] = process.argv.slice(2);
if (first === "prepare") await prepare(rest[1]!);
else console.log(JSON.stringify(await measure(JSON.parse(first) as FlowJob)));
