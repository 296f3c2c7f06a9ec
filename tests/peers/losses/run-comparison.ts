// Compares with TRL and verl on random batches and writes the table of tests/peers/LOSSES.md:
//
//   ALIDADE_PEERS_VENV=.venv npx tsx tests/peers/losses/run-comparison.ts

import { readFileSync, writeFileSync } from "node:fs";
import {
  advantageTolerance,
  compareAdvantages,
  compareLosses,
  TOLERANCE,
} from "./compare-losses.ts";
import { peersPython, referenceCases } from "./reference-cases.ts";

const BATCHES = 100;
const SEED = 1;
const document = new URL("../LOSSES.md", import.meta.url);

const number = (value: number): string => (value === 0 ? "0" : value.toExponential(1));

/** Columns of text, the last one as long as it likes. */
function columns(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    cells.map((cell, index) => (index < cells.length - 1 ? cell.padEnd(11) : cell)).join("");
  return ["```", line(head), ...rows.map(line), "```"].join("\n");
}

const python = peersPython();
if (python === undefined) throw new Error("ALIDADE_PEERS_VENV: expected a Python environment");
const cases = referenceCases(python, BATCHES, SEED);
const losses = cases.losses.map((one) => ({ ...one, found: compareLosses(one, cases) }));
const advantages = cases.advantages.map((one) => ({
  ...one,
  found: compareAdvantages(one, cases),
}));
const worst = {
  loss: Math.max(...losses.map(({ found }) => found.loss)),
  gradient: Math.max(...losses.map(({ found }) => found.gradient)),
};
const agree =
  worst.loss < TOLERANCE &&
  worst.gradient < TOLERANCE &&
  advantages.every((one) => one.found.advantages < advantageTolerance(one));
const total = losses.reduce((sum, { found }) => sum + found.cases, 0);

const lossTable = columns(
  ["loss", "gradient", "batches", "trainer, settings that differ from its defaults"],
  losses.map(({ name, found }) => [
    number(found.loss),
    number(found.gradient),
    String(found.cases),
    name,
  ]),
);
const advantageTable = columns(
  ["advantage", "tables", "trainer, settings"],
  advantages.map(({ name, found }) => [number(found.advantages), String(found.cases), name]),
);
const wheels = [
  "```",
  ...Object.entries(cases.wheels).map(([name, digest]) => `${digest}  ${name}`),
  "```",
].join("\n");
const summary = `torch ${cases.torch}, seed ${SEED}, ${losses.length} configurations, ${total} losses with their gradients; largest difference ${number(worst.loss)} in a loss, ${number(worst.gradient)} in a gradient.`;
const parts = [summary, "### Losses", lossTable, "### Advantages", advantageTable];
const body = ["", ...parts, "### Files compared with, SHA-256", wheels, ""].join("\n\n");
const [before, , after] = readFileSync(document, "utf8").split(
  /(?<=numbers:begin -->)|(?=<!-- numbers:end)/,
);
writeFileSync(document, `${before}${body}${after ?? ""}`);
console.log(summary);
if (!agree) process.exitCode = 1;
