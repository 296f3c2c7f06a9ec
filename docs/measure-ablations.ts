// Prints the table of ablations in src/systems/flow-grpo/README.md; half an hour on two cores, or a part of it:
//
//   npm run build && npx tsx docs/measure-ablations.ts [folder for the runs] [name …]
//
// Every row is one command with three seeds. A base model is trained once a seed; runs that exist in the folder are not repeated.

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { mean, pairedDifference } from "../src/core/statistics.ts";
import { readEvaluations, readMetrics } from "../src/run/run-directory.ts";
import { readRunRecord } from "../src/run/run-record.ts";

const seeds = [1, 2, 3];
const baseline = "baseline";
const grpo = "quadrant.grpo";
const window3 = '{"type":"random","size":3,"high":9}';

/** What a row changes of scale `ablation`. */
const variants: Readonly<Record<string, readonly string[]>> = {
  [baseline]: [],
  "noise 0.1": [`${grpo}.sampling.noise.level=0.1`],
  "noise 1.4": [`${grpo}.sampling.noise.level=1.4`],
  "40 steps": [`${grpo}.sampling.steps=40`],
  "5 steps": [`${grpo}.sampling.steps=5`],
  "groups of 16, 2 prompts": [`${grpo}.prompts=2`, `${grpo}.epochs=240`],
  "groups of 4, 8 prompts": [`${grpo}.group=4`, `${grpo}.epochs=240`],
  "same initial noise": [`${grpo}.sampling.initialNoise=same`],
  "window of 3": [`${grpo}.sampling.window=${window3}`, `${grpo}.epochs=105`],
  "noise of CPS": [
    `${grpo}.sampling.noise={"type":"cps"}`,
    `${grpo}.objective.ratio={"type":"sample","low":1.2e-4,"high":1.2e-4}`,
  ],
  "KL, weight 0.04": [`${grpo}.objective.kl={"type":"repository","weight":0.04}`],
  "KL, weight 0.4": [`${grpo}.objective.kl={"type":"repository","weight":0.4}`],
};

const [folder = "runs/ablations", ...wanted] = process.argv.slice(2);
const chosen = wanted.length === 0 ? Object.keys(variants) : [baseline, ...wanted];

function train(name: string, seed: number, settings: readonly string[]): string {
  const path = join(folder, `${name.replaceAll(/[^a-z0-9.]+/gi, "-")}-${seed}`);
  if (existsSync(path) && readRunRecord(path).status === "done") return path;
  const sets = settings.flatMap((one) => ["--set", one]);
  const fixed = ["train", "flow-grpo", "--scale", "ablation", "--seed", `${seed}`, "--out", path];
  const command = existsSync(path) ? ["resume", path] : [...fixed, ...sets];
  execFileSync(process.execPath, ["bin/alidade.js", ...command], { stdio: ["ignore", 2, 2] });
  return path;
}

const outcomesOf = (path: string, split: string): number[] =>
  Array.from(
    readEvaluations(path).findLast((one) => one.split === split)!["outcomes"] as string,
    Number,
  );
const training = (path: string) =>
  readMetrics(path).filter(({ stage }) => stage === "quadrant-grpo");
const numbers = (path: string, name: string): number[] =>
  training(path).map((record) => record[name] as number);

const percent = (value: number): string => (100 * value).toFixed(1);
const signed = (value: number): string => `${value < 0 ? "−" : "+"}${percent(Math.abs(value))}`;
const row = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
const range = (values: readonly number[], digits: number): string => {
  const [low, high] = [Math.min(...values), Math.max(...values)].map((one) => one.toFixed(digits));
  return `${mean(values).toFixed(digits)} (${low} to ${high})`;
};

const bases = new Map(
  seeds.map((seed) => [seed, train("base", seed, [`${grpo}.epochs=0`])] as const),
);
const runs = new Map(
  chosen.map((name) => [
    name,
    seeds.map((seed) =>
      train(name, seed, [
        `quadrant.base.from=${join(bases.get(seed)!, "quadrant-base")}`,
        ...variants[name]!,
      ]),
    ),
  ]),
);

const all = (paths: readonly string[], split: string): number[] =>
  paths.flatMap((path) => outcomesOf(path, split));
const head = [
  "setting",
  "right, %",
  "less the baseline, points",
  "held out, %",
  "reward while training",
  "background's deviation",
  "layout entropy",
  "s an epoch",
  "s in all",
];
const table = [head, head.map(() => "---")];
table.push([
  "base model",
  percent(mean(all([...bases.values()], "train"))),
  "",
  percent(mean(all([...bases.values()], "test"))),
]);
for (const [name, paths] of runs) {
  const own = all(paths, "train");
  const gap = pairedDifference(all(runs.get(baseline)!, "train"), own);
  const ofSeeds = (pick: (path: string) => number): number[] => paths.map(pick);
  const seconds = (path: string): number[] =>
    numbers(path, "time/stepMs").map((milliseconds) => milliseconds / 1000);
  table.push([
    name,
    percent(mean(own)),
    name === baseline ? "" : `${signed(gap.mean)} [${signed(gap.low)}, ${signed(gap.high)}]`,
    percent(mean(all(paths, "test"))),
    range(
      ofSeeds((path) => mean(numbers(path, "reward/mean"))),
      3,
    ),
    range(
      ofSeeds((path) => mean(numbers(path, "score/backgroundDeviation").slice(-10))),
      3,
    ),
    range(
      ofSeeds((path) => {
        const last = readEvaluations(path).findLast(({ split }) => split === "train")!;
        return (last["scores"] as Record<string, number>)["layoutEntropy"]!;
      }),
      2,
    ),
    mean(paths.flatMap(seconds)).toFixed(2),
    mean(ofSeeds((path) => seconds(path).reduce((sum, one) => sum + one, 0))).toFixed(0),
  ]);
}
const [large, small] = ["groups of 16, 2 prompts", "groups of 4, 8 prompts"].map((name) =>
  runs.get(name),
);
if (large !== undefined && small !== undefined) {
  const { mean: gap, low, high } = pairedDifference(all(small, "train"), all(large, "train"));
  table.push([`groups of 16 less groups of 4: ${signed(gap)} [${signed(low)}, ${signed(high)}]`]);
}
const sizes = ["train", "test"].map((split) => all(runs.get(baseline)!, split).length);
process.stdout.write(
  `${table.map(row).join("\n")}\n\nn = ${sizes[0]} (held out ${sizes[1]}), seeds ${seeds.join(", ")}\n`,
);
