// Runs every workload (workloads.ts) in turn, ours and theirs alternately, each measurement in a fresh process, and prints one
// table (results.ts). run.sh starts it at the root of the repository.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { parseArgs } from "node:util";
import { document, isWrong, makeRow, type Row } from "./results.ts";
import { workloads, type Job, type Measurement, type Peer, type Workload } from "./workloads.ts";

const HERE = "bench/peers";
const BUILD = `${HERE}/.build`;
const OURS = `${BUILD}/js/${HERE}/ours.js`;
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
  workload: Workload,
  peers: readonly Peer[],
  python: string,
  rounds: number,
  quick: boolean,
): Promise<Row[]> {
  const model = `${BUILD}/models/${workload.width}`;
  const job = workload.job(model, quick);
  const ours: Measurement[] = [];
  const theirs = peers.map((): Measurement[] => []);
  const failures = new Map<Peer, string>();
  for (let round = 1; round <= rounds; round++) {
    const say = (who: string): void =>
      console.error(`${workload.name}, round ${round}/${rounds}: ${who}`);
    say("alidade");
    ours.push(await measured("node", OURS, job));
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
    only: { type: "string", multiple: true },
    rounds: { type: "string" },
    busy: { type: "boolean", default: false },
    python: { type: "string", default: "python3" },
  },
});
const { quick, python } = options;
const rounds = Number(options.rounds ?? (quick ? 1 : 3));
if (!Number.isInteger(rounds) || rounds < 1) fail(`--rounds ${options.rounds}: not a count`);

/** Workloads with the peers that were asked for, by the name of the workload or of the peer's program. */
const chosen = workloads
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
if (chosen.length === 0) {
  const names = workloads.flatMap(({ name, peers }) => [
    name,
    ...peers.map(({ program }) => program.split(".")[0]!),
  ]);
  fail(`--only: expected one of ${[...new Set(names)].join(", ")}`);
}

// A part of the measurements never replaces the whole.
const whole = !quick && options.only === undefined;
const watchBefore = watchProcessors();
await setTimeout(2000);
const busyBefore = watchBefore();
if (busyBefore > 0.1) {
  const message = `others take ${percent(busyBefore)} of the processors: times mean little`;
  if (whole && !options.busy) fail(`${message} (--busy measures all the same)`);
  console.error(message);
}
const watch = watchProcessors();
for (const width of new Set(chosen.map(({ workload }) => workload.width))) {
  await output("node", [OURS, "prepare", String(width), `${BUILD}/models/${width}`]);
}
const rows: Row[] = [];
for (const { workload, peers } of chosen) {
  rows.push(...(await runWorkload(workload, peers, python, rounds, quick)));
}

const versions = Object.assign(
  {},
  ...rows.flatMap(({ ours, theirs }) => [...ours, ...theirs]).map((one) => one.versions),
) as Record<string, string>;
const facts = {
  command: ["bash bench/peers/run.sh", ...process.argv.slice(2)]
    .join(" ")
    .replace(/ --python \S+/, ""),
  date: new Date().toISOString().slice(0, 10),
  machine: `${cpus()[0]?.model.trim()}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB; others took ${percent(watch())} of the processors meanwhile`,
  versions: Object.entries(versions)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, version]) => `${name} ${version}`)
    .join(", "),
  revision: (await output("git", ["describe", "--always", "--dirty", "--exclude=*"])).trim(),
  rounds: `${rounds}, 2 threads everywhere`,
};
const text = document(rows, facts);
console.log(`\n${text}`);
const folder = whole ? HERE : BUILD;
await writeFile(join(folder, "RESULTS.md"), text);
await writeFile(join(folder, "results.json"), `${JSON.stringify({ facts, rows }, null, 2)}\n`);
console.error(`written: ${folder}/RESULTS.md and results.json`);
if (rows.some(isWrong)) process.exitCode = 1;
