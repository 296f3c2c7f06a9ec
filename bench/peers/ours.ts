// Alidade's side: measures one job (workloads.ts) and prints one line of JSON. Compiled to JavaScript by the same compiler
// settings as dist/ and run by plain node, as its users run it. Threads spin as in `alidade bench`; PyTorch's spin too.
// `ours.js prepare <width> <folder>` writes the initial weights and the batch that the peers read; ours draws them from the
// same named streams, so both sides start alike.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { groupAdvantages } from "../../src/algorithms/advantages.ts";
import { benchmarkModel } from "../../src/cli/benchmarks.ts";
import type { TokenIds } from "../../src/core/engine.ts";
import { policySettings, supervisedLoss, type LossSpec } from "../../src/core/loss-spec.ts";
import { randomStream } from "../../src/core/random.ts";
import { mean } from "../../src/core/statistics.ts";
import { LocalEngine } from "../../src/engine/local-engine.ts";
import { configureRuntime } from "../../src/tensor/index.ts";
import { memoryBytes, versions } from "./process-facts.ts";
import {
  PROMPT_LENGTH,
  PROMPT_TOKENS,
  PROMPTS,
  trainingShapes,
  type DecoderJob,
  type Evidence,
  type GrpoJob,
  type Measurement,
  type SampleJob,
  type TrainJob,
} from "./workloads.ts";

type Measured = Pick<Measurement, "timesMs" | "evidence">;

function randomRows(name: string, rows: number, time: number, bound: number): TokenIds[] {
  const random = randomStream("peers", name);
  return Array.from({ length: rows }, () =>
    Int32Array.from({ length: time }, () => random.integer(bound)),
  );
}

const trainingRows = (width: number): TokenIds[] =>
  randomRows("tokens", ...trainingShapes[width]!, 128);
const prompts = (): TokenIds[] => randomRows("prompts", PROMPTS, PROMPT_LENGTH, PROMPT_TOKENS);

function makeEngine(width: number): LocalEngine {
  const engine = new LocalEngine(benchmarkModel(width));
  engine.initialise(randomStream("peers", "weights"));
  return engine;
}

async function prepare(width: number, folder: string): Promise<void> {
  const engine = makeEngine(width);
  await mkdir(folder, { recursive: true });
  await engine.saveModel(folder);
  engine.dispose();
  const lists = (rows: readonly TokenIds[]): number[][] => rows.map((row) => Array.from(row));
  const batch = { tokens: lists(trainingRows(width)), prompts: lists(prompts()) };
  await writeFile(join(folder, "batch.json"), JSON.stringify(batch));
}

/** Times of the repetitions after the warm-up. */
async function timed(job: DecoderJob, work: () => Promise<void>): Promise<number[]> {
  const times: number[] = [];
  for (let run = 0; run < job.warmUp + job.repetitions; run++) {
    const start = performance.now();
    await work();
    times.push(performance.now() - start);
  }
  return times.slice(job.warmUp);
}

async function train(engine: LocalEngine, job: TrainJob): Promise<Measured> {
  const batch = trainingRows(job.width).map((tokens) => ({ tokens, promptLength: 1 }));
  const losses: number[] = [];
  const gradientNorms: number[] = [];
  const timesMs = await timed(job, async () => {
    const { loss } = await engine.accumulate(batch, supervisedLoss);
    const { gradientNorm } = await engine.step(job.optimiser);
    losses.push(loss);
    gradientNorms.push(gradientNorm);
  });
  return { timesMs, evidence: { losses, gradientNorms } };
}

async function sample(engine: LocalEngine, job: SampleJob): Promise<Measured> {
  const rows = prompts().slice(0, job.rows / job.group);
  let round = 0;
  const timesMs = await timed(job, async () => {
    round++;
    const completions = await engine.sample(rows, {
      group: job.group,
      maxTokens: job.newTokens,
      temperature: 1,
      stop: [],
      random: (prompt, index) => randomStream("peers", "draw", round, prompt, index),
    });
    const short = completions.flat().find(({ tokens }) => tokens.length !== job.newTokens);
    if (short !== undefined) throw new Error("a completion ended early");
  });
  const greedy = await engine.sample(prompts().slice(0, 4), {
    group: 1,
    maxTokens: 16,
    temperature: 0,
    stop: [],
    random: () => randomStream("peers"),
  });
  const greedyLogProbs = greedy.map(([one]) => Array.from(one!.logProbs));
  return { timesMs, evidence: { greedyLogProbs } };
}

/** Costs nothing, and varies within a group. */
const reward = (tokens: TokenIds): number =>
  (tokens.reduce((total, token) => total + token, 0) % 17) / 17;

/** The loop of src/algorithms/grpo.ts without its records. */
async function grpo(engine: LocalEngine, job: GrpoJob): Promise<Measured> {
  const pool = prompts();
  const loss: LossSpec = {
    type: "policy-gradient",
    temperature: 1,
    ...policySettings.parse({
      surrogate: { type: "unclipped" }, // one optimiser step a rollout: the ratio is 1
      aggregation: { type: "sequence-mean" },
    }),
  };
  const evidence: Evidence[] = [];
  let step = 0;
  const timesMs = await timed(job, async () => {
    const first = (step * job.prompts) % pool.length;
    const chosen = pool.slice(first, first + job.prompts);
    step++;
    const groups = await engine.sample(chosen, {
      group: job.group,
      maxTokens: job.newTokens,
      temperature: 1,
      stop: [],
      random: (prompt, member) => randomStream("peers", "rollout", step, prompt, member),
    });
    const batch = groups.flatMap((completions, prompt) => {
      const { advantages } = groupAdvantages(completions.map(({ tokens }) => reward(tokens)));
      return completions.map(({ tokens }, member) => ({
        tokens: Int32Array.from([...chosen[prompt]!, ...tokens]),
        promptLength: PROMPT_LENGTH,
        advantage: advantages[member]!,
      }));
    });
    const result = await engine.accumulate(batch, loss);
    const { gradientNorm } = await engine.step(job.optimiser);
    evidence.push({
      gradientNorm,
      entropy: mean(result.entropy.map((row) => mean(Array.from(row)))),
      completionTokens: mean(groups.flat().map(({ tokens }) => tokens.length)),
    });
  });
  return { timesMs, evidence: evidence[0]! };
}

async function measure(job: DecoderJob): Promise<Measurement> {
  configureRuntime({ threads: job.threads, spinning: true });
  const engine = makeEngine(job.width);
  const startMemoryBytes = memoryBytes("VmRSS");
  const measured =
    job.kind === "train"
      ? await train(engine, job)
      : job.kind === "sample"
        ? await sample(engine, job)
        : await grpo(engine, job);
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
if (first === "prepare") await prepare(Number(rest[0]), rest[1]!);
else console.log(JSON.stringify(await measure(JSON.parse(first) as DecoderJob)));
