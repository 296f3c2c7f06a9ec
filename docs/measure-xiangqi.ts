// Prints the tables of src/systems/xiangqi-r1/README.md:
//
//   npm run build && npx tsx docs/measure-xiangqi.ts stages     [folder for the runs]   scale small, stage by stage; 40 minutes
//   npm run build && npx tsx docs/measure-xiangqi.ts ablations  [folder] [name …]       scale tiny, one row a setting; 30 minutes
//
// Every row is one command with three seeds. Runs that are done in the folder are not repeated, interrupted ones go on.

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { mean } from "../src/core/statistics.ts";
import { readRunRecord } from "../src/run/run-record.ts";
import type { Share, XiangqiResult } from "../src/systems/xiangqi-r1/result.ts";

const seeds = [1, 2, 3];

/** What a row changes of scale `tiny`. Without stage 1, stage 2 gets its steps too. */
const ablations: Readonly<Record<string, readonly string[]>> = {
  "as it is": [],
  "no stage 1": ["sft.steps=0", "sft2.steps=950"],
  "no stage 2, no gate": ["sft2.steps=0", "reward.gate=false"], // with the gate every reward is 0
  "no reward for the situation": ["reward.analysis=0"],
  "no reward for good and best": ["reward.good=0", "reward.best=0"],
  "no gate": ["reward.gate=false"],
  "no gate, no reward for the format": ["reward.gate=false", "reward.format=0"],
};

const [what = "stages", folder = "runs/xiangqi", ...wanted] = process.argv.slice(2);

function train(scale: string, name: string, seed: number, settings: readonly string[]): string {
  const path = join(folder, `${scale}-${name.replaceAll(/[^a-z0-9.]+/gi, "-")}-${seed}`);
  if (existsSync(path) && readRunRecord(path).status === "done") return path;
  const sets = settings.flatMap((one) => ["--set", one]);
  const fixed = ["train", "xiangqi-r1", "--scale", scale, "--seed", `${seed}`, "--out", path];
  const command = existsSync(path) ? ["resume", path] : [...fixed, ...sets];
  execFileSync(process.execPath, ["bin/alidade.js", ...command], { stdio: ["ignore", 2, 2] });
  return path;
}

/** What was measured at the end of a stage; null: the run has no such stage. */
function resultOf(path: string, stage: string): XiangqiResult | null {
  const file = join(path, `xiangqi-${stage}.json`);
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as XiangqiResult) : null;
}

const row = (texts: readonly string[]): string => `| ${texts.join(" | ")} |`;
const percent = (value: number): string => (100 * value).toFixed(1);
const metrics = ["legal", "good", "best", "class3", "class5"] as const;

/** Mean of the seeds, and each of them. */
function acrossSeeds(values: readonly (number | null | undefined)[]): string {
  const known = values.filter((value): value is number => typeof value === "number");
  if (known.length === 0) return "";
  const each = known.length === 1 ? "" : ` (${known.map(percent).join(", ")})`;
  return `${percent(mean(known))}${each}`;
}
const valueOf = (share: Share | null | undefined): number | undefined => share?.value;

const columns = [
  "legal@1",
  "good@1",
  "best@1",
  "3-class@1",
  "5-class@1",
  "well-formed",
  "3-class, balanced",
  "loss, cp",
];

function cells(results: readonly (XiangqiResult | null)[]): string[] {
  const losses = results.flatMap((one) => (one?.centipawnLoss ? [one.centipawnLoss.mean] : []));
  return [
    ...metrics.map((metric) => acrossSeeds(results.map((one) => valueOf(one?.at1[metric])))),
    acrossSeeds(results.map((one) => valueOf(one?.format))),
    acrossSeeds(results.map((one) => one?.balancedAccuracy3)),
    losses.length === 0 ? "" : mean(losses).toFixed(0),
  ];
}

function describeFloors({ floors, positions, engine, at1 }: XiangqiResult): string {
  const { alwaysBalanced3, randomLegal } = floors;
  const widths = Object.values(at1).map((one) => (one === null ? 0 : one.ci95[1] - one.ci95[0]));
  const half = Math.max(...widths) / 2;
  return [
    `n = ${positions} positions, seeds ${seeds.join(", ")} of the training; mean (each seed); 95 % intervals of one seed are ±${percent(half)} points or less.`,
    `Labels: ${engine}. Floors: always "Balanced" 3-class ${percent(alwaysBalanced3!.value)}; random legal moves good ${percent(randomLegal!.good)}, best ${percent(randomLegal!.best)}.`,
  ].join("\n");
}

const table: string[][] = [];
let floors = "";
if (what === "stages") {
  const scale = wanted[0] ?? "small";
  const runs = seeds.map((seed) => train(scale, "stages", seed, []));
  table.push(
    ["after", ...columns],
    ["after", ...columns].map(() => "---"),
  );
  for (const stage of ["untrained", "sft", "sft2", "grpo"]) {
    table.push([stage, ...cells(runs.map((path) => resultOf(path, stage)))]);
  }
  floors = describeFloors(resultOf(runs[0]!, "grpo")!);
} else {
  const names = wanted.length === 0 ? Object.keys(ablations) : wanted;
  table.push(
    ["setting", "after", ...columns],
    ["setting", "after", ...columns].map(() => "---"),
  );
  for (const name of names) {
    const runs = seeds.map((seed) => train("tiny", name, seed, ablations[name]!));
    const stages = name === "as it is" ? ["sft", "sft2", "grpo"] : ["grpo"];
    for (const stage of stages) {
      table.push([name, stage, ...cells(runs.map((path) => resultOf(path, stage)))]);
    }
    floors ||= describeFloors(resultOf(runs[0]!, "grpo")!);
  }
}
process.stdout.write(`${table.map(row).join("\n")}\n\n${floors}\n`);
