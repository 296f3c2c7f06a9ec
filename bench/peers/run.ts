// Runs every workload (workloads.ts) in turn, ours and theirs alternately, each measurement in a fresh process, and prints a
// table of each suite (results.ts). run.sh starts it at the root of the repository.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { basename, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { parseArgs } from "node:util";
import { document, isWrong, makeRow, type Row } from "./results.ts";
import {
  suites,
  type Job,
  type Measurement,
  type Peer,
  type Suite,
  type Workload,
} from "./workloads.ts";

const HERE = "bench/peers";
const BUILD = `${HERE}/.build`;
const OURS = `${BUILD}/js/${HERE}`;
const PROCESS_LIMIT_MS = 15 * 60_000;

/** Standard output of a process; throws with the end of its standard error when it fails. */
function output(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ["ignore", "pipe", "pipe"],
      timeout: PROCESS_LIMIT_MS,
      env: {
        ...process.env,
        OMP_NUM_THREADS: "2",
        MKL_NUM_THREADS: "2",
        TOKENIZERS_PARALLELISM: "false",
        HF_HUB_OFFLINE: "1",
        PYTHONDONTWRITEBYTECODE: "1",
      },
    });
    let [text, errors] = ["", ""];
    child.stdout.on("data", (chunk: Buffer) => void (text += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => void (errors += chunk.toString()));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) resolve(text);
      else
        reject(
          new Error(`${command} ${args[0]} ended with ${signal ?? code}\n${errors.slice(-1500)}`),
        );
    });
  });
}

async function measured(command: string, program: string, job: Job): Promise<Measurement> {
  const text = await output(command, [program, JSON.stringify(job)]);
  return JSON.parse(text.trim().split("\n").at(-1)!) as Measurement;
}

/** What others took of the processors since this was called; both numbers of Linux count in hundredths of a second. */
function watchProcessors(): () => number {
  const read = (): { all: number; others: number } => {
    const times = /^cpu +(.*)$/m
      .exec(readFileSync("/proc/stat", "utf8"))![1]!
      .split(" ")
      .map(Number);
    const [user, nice, system, idle, wait, hard, soft, steal] = times as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    const busy = user + nice + system + hard + soft + steal;
    const own = readFileSync("/proc/self/stat", "utf8")
      .split(") ")
      .at(-1)!
      .split(" ")
      .slice(11, 15);
    return {
      all: busy + idle + wait,
      others: own.reduce((rest, ticks) => rest - Number(ticks), busy), // ours and that of our children
    };
  };
  const before = read();
  return () => {
    const after = read();
    return (after.others - before.others) / (after.all - before.all);
  };
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

/** Ours, every peer, ours, every peer, … */
async function runWorkload(
  program: string,
  workload: Workload,
  peers: readonly Peer[],
  python: string,
  rounds: number,
  quick: boolean,
): Promise<Row[]> {
  const model = `${BUILD}/models/${workload.model}`;
  const job = workload.job(model, quick);
  const ours: Measurement[] = [];
  const theirs = peers.map((): Measurement[] => []);
  const failures = new Map<Peer, string>();
  for (let round = 1; round <= rounds; round++) {
    const say = (who: string): void =>
      console.error(`${workload.name}, round ${round}/${rounds}: ${who}`);
    say("alidade");
    ours.push(await measured("node", program, job));
    for (const [index, peer] of peers.entries()) {
      if (failures.has(peer) || round > (peer.rounds ?? rounds)) continue;
      say(peer.label);
      const command = peer.program.endsWith(".py") ? python : "node";
      const theirJob: Job = {
        ...job,
        ...(peer.variant !== undefined && { variant: peer.variant }),
        ...(peer.warmUp !== undefined && { warmUp: peer.warmUp }),
        ...(peer.repetitions !== undefined && { repetitions: peer.repetitions }),
      };
      try {
        theirs[index]!.push(await measured(command, `${HERE}/${peer.program}`, theirJob));
      } catch (error) {
        failures.set(peer, (error as Error).message);
        console.error((error as Error).message);
      }
    }
  }
  return peers.map((peer, index) =>
    makeRow(workload, peer, job, ours, theirs[index]!, failures.get(peer)),
  );
}

/** The caller's mistake, not ours: no stack. */
function fail(message: string): never {
  console.error(`bench:peers: ${message}`);
  process.exit(1);
}

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    suite: { type: "string", multiple: true },
    only: { type: "string", multiple: true },
    rounds: { type: "string" },
    busy: { type: "boolean", default: false },
    python: { type: "string", default: "python3" },
  },
});
const { quick, python } = options;

/** Rounds of a suite. */
function roundsOf(suite: Suite): number {
  const rounds = Number(options.rounds ?? (quick ? 1 : suite.rounds));
  if (!Number.isInteger(rounds) || rounds < 1) fail(`--rounds ${options.rounds}: not a count`);
  return rounds;
}

interface Choice {
  readonly workload: Workload;
  readonly peers: readonly Peer[];
}

/** Workloads with the peers that were asked for, by the name of the workload or of the peer's program. */
const choicesOf = (suite: Suite): Choice[] =>
  suite.workloads
    .map((workload) => ({
      workload,
      peers: workload.peers.filter(
        ({ program }) =>
          options.only === undefined ||
          options.only.includes(workload.name) ||
          options.only.includes(program.split(".")[0]!),
      ),
    }))
    .filter(({ peers }) => peers.length > 0);

const wanted = suites.filter(
  ({ name }) => options.suite === undefined || options.suite.includes(name),
);
if (wanted.length === 0)
  fail(`--suite: expected one of ${suites.map(({ name }) => name).join(", ")}`);
const chosen = wanted
  .map((suite) => ({ suite, choices: choicesOf(suite) }))
  .filter(({ choices }) => choices.length > 0);
if (chosen.length === 0) {
  const names = wanted
    .flatMap(({ workloads }) => workloads)
    .flatMap(({ name, peers }) => [name, ...peers.map(({ program }) => program.split(".")[0]!)]);
  fail(`--only: expected one of ${[...new Set(names)].join(", ")}`);
}

/** Libraries that replace what both sides come with: another allocator, another choice of kernels. */
const preloaded = (process.env["LD_PRELOAD"] ?? "").split(":").map((path) => basename(path));
const isPreloaded = preloaded.some((name) => name !== "");
// Neither a part of the measurements nor one with other libraries replaces the whole.
const whole = !quick && options.only === undefined && !isPreloaded;
const watchBefore = watchProcessors();
await setTimeout(2000);
const busyBefore = watchBefore();
if (busyBefore > 0.1) {
  const message = `others take ${percent(busyBefore)} of the processors: times mean little`;
  if (whole && !options.busy) fail(`${message} (--busy measures all the same)`);
  console.error(message);
}

/** Everything that a table says beside its rows. */
async function factsOf(
  rows: readonly Row[],
  suite: Suite,
  busy: number,
): Promise<Record<string, string>> {
  const versions = Object.assign(
    {},
    ...rows.flatMap(({ ours, theirs }) => [...ours, ...theirs]).map((one) => one.versions),
  ) as Record<string, string>;
  return {
    command: [
      ...(isPreloaded ? [`LD_PRELOAD=${preloaded.join(":")}`] : []),
      "bash bench/peers/run.sh",
      ...process.argv.slice(2),
    ]
      .join(" ")
      .replace(/ --python \S+/, ""),
    date: new Date().toISOString().slice(0, 10),
    machine: `${cpus()[0]?.model.trim()}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB; others took ${percent(busy)} of the processors meanwhile`,
    versions: Object.entries(versions)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, version]) => `${name} ${version}`)
      .join(", "),
    revision: (await output("git", ["describe", "--always", "--dirty", "--exclude=*"])).trim(),
    rounds: String(roundsOf(suite)),
    threads: suite.threads,
  };
}

for (const { suite, choices } of chosen) {
  const rounds = roundsOf(suite);
  const program = join(OURS, suite.program);
  const watch = watchProcessors();
  for (const model of new Set(choices.map(({ workload }) => workload.model))) {
    await output("node", [program, "prepare", model, `${BUILD}/models/${model}`]);
  }
  const rows: Row[] = [];
  for (const { workload, peers } of choices) {
    rows.push(...(await runWorkload(program, workload, peers, python, rounds, quick)));
  }
  const facts = await factsOf(rows, suite, watch());
  const text = document(suite.title, rows, facts);
  console.log(`\n${text}`);
  const folder = whole ? HERE : BUILD;
  await writeFile(join(folder, suite.table), text);
  await writeFile(join(folder, suite.data), `${JSON.stringify({ facts, rows }, null, 2)}\n`);
  console.error(`written: ${folder}/${suite.table} and ${suite.data}`);
  if (rows.some(isWrong)) process.exitCode = 1;
}
