// From measurements to the table: what has to agree, ratios with their spread, memory, and whether a requirement was met.

import { quantile } from "../../src/core/statistics.ts";
import {
  COMPARED_STEPS,
  FLOW_IMAGES,
  FLOW_UPDATES,
  type Evidence,
  type FlowJob,
  type Job,
  type Measurement,
  type Peer,
  type Workload,
} from "./workloads.ts";

const median = (values: readonly number[]): number => quantile(values, 0.5);

/** Largest difference of two lists; Infinity when their lengths differ. */
function difference(ours: readonly number[] = [], theirs: readonly number[] = []): number {
  if (ours.length === 0 || ours.length !== theirs.length) return Number.POSITIVE_INFINITY;
  return Math.max(...ours.map((value, index) => Math.abs(value - theirs[index]!)));
}

/** The same over the steps that both made; slow peers make fewer, two at least. */
function stepDifference(ours: readonly number[] = [], theirs: readonly number[] = []): number {
  const steps = Math.min(ours.length, theirs.length);
  return steps < 2
    ? Number.POSITIVE_INFINITY
    : difference(ours.slice(0, steps), theirs.slice(0, steps));
}

const relative = (x = Number.NaN, y = Number.NaN): number => Math.abs(x / y - 1);

interface Comparison {
  readonly what: string;
  readonly value: number;
  readonly limit: number;
}

/** Velocities; samples of the first epoch, for which the peer has our noise; losses and gradient norms of the first updates. */
function flowComparisons({ part }: FlowJob, ours: Evidence, theirs: Evidence): Comparison[] {
  const updates = part === "matching" ? COMPARED_STEPS : FLOW_UPDATES;
  const losses = difference(ours.losses?.slice(0, updates), theirs.losses?.slice(0, updates));
  const norms = Array.from({ length: updates }, (_, index) =>
    relative(ours.gradientNorms?.[index], theirs.gradientNorms?.[index]),
  );
  const samples = { what: "samples", value: theirs.sampleDifference ?? Number.NaN, limit: 1e-4 };
  return [
    { what: "velocity", value: theirs.velocityDifference ?? Number.NaN, limit: 1e-4 },
    ...(part === "matching" ? [] : [samples]),
    { what: "loss", value: losses, limit: part === "matching" ? 1e-4 : 1e-5 },
    { what: "gradient norm (relative)", value: Math.max(...norms), limit: 1e-3 },
  ];
}

/**
 * What both sides computed, compared: number of parameters and, by kind, losses and gradient norms of the first steps,
 * log-probabilities of greedy continuations, or figures of the first rollout. A value above its limit means that they did not do the
 * same work.
 */
function comparisons(job: Job, ours: Measurement, theirs: Measurement): Comparison[] {
  const [a, b]: [Evidence, Evidence] = [ours.evidence, theirs.evidence];
  const parameters = {
    what: "parameters",
    value: Math.abs(ours.parameters - theirs.parameters),
    limit: 0,
  };
  if (job.kind === "flow") return [parameters, ...flowComparisons(job, a, b)];
  if (job.kind === "train") {
    const first = (list: readonly number[] = []): readonly number[] =>
      list.slice(0, COMPARED_STEPS);
    return [
      parameters,
      { what: "loss", value: stepDifference(first(a.losses), first(b.losses)), limit: 1e-4 },
      {
        what: "gradient norm",
        value: stepDifference(first(a.gradientNorms), first(b.gradientNorms)),
        limit: 1e-4,
      },
    ];
  }
  if (job.kind === "sample") {
    const value = difference(a.greedyLogProbs?.flat(), b.greedyLogProbs?.flat());
    return [parameters, { what: "log-probability", value, limit: 1e-4 }];
  }
  // Both sides sample with their own random numbers: equal only up to the noise of 64 completions.
  return [
    parameters,
    {
      what: "completion tokens",
      value: difference([a.completionTokens ?? 0], [b.completionTokens ?? -1]),
      limit: 0,
    },
    { what: "entropy", value: relative(a.entropy, b.entropy), limit: 0.02 },
    {
      what: "gradient norm (relative)",
      value: relative(a.gradientNorm, b.gradientNorm),
      limit: 0.5,
    },
  ];
}

const agrees = ({ value, limit }: Comparison): boolean => value <= limit;

export interface Row {
  readonly workload: string;
  readonly job: Job;
  readonly title: string;
  readonly peer: string;
  readonly required: number | null;
  readonly optional: boolean;
  readonly parameters: number;
  /** One a round. */
  readonly ours: readonly Measurement[];
  readonly theirs: readonly Measurement[];
  readonly comparisons: readonly Comparison[];
  /** Why there is no measurement. */
  readonly failure?: string;
  readonly ratio: number;
  readonly ratioRange: readonly [least: number, most: number];
}

/** What a time is shown as: tokens or images per second for sampling, else milliseconds. */
function unitOf(job: Job): { readonly name: string; readonly of: (ms: number) => string } {
  const rate = (what: string, count: number) => ({
    name: `${what}/s`,
    of: (ms: number) => Math.round((1000 * count) / ms).toLocaleString("en"),
  });
  if (job.kind === "sample") return rate("tokens", job.rows * job.newTokens);
  if (job.kind === "flow" && job.part === "sample") return rate("images", FLOW_IMAGES);
  return { name: "ms", of: (ms) => ms.toFixed(ms < 100 ? 1 : 0) };
}

const middle = ({ timesMs }: Measurement): number => median(timesMs);
const overall = (rounds: readonly Measurement[]): number => median(rounds.map(middle));
const best = (rounds: readonly Measurement[]): number =>
  Math.min(...rounds.flatMap(({ timesMs }) => timesMs));
const peak = (rounds: readonly Measurement[]): number =>
  Math.max(...rounds.map(({ peakMemoryBytes }) => peakMemoryBytes));
/** Beyond what was resident once libraries and weights were there. */
const growth = (rounds: readonly Measurement[]): number =>
  Math.max(...rounds.map((one) => one.peakMemoryBytes - one.startMemoryBytes));
const mebibytes = (bytes: number): string => Math.round(bytes / 2 ** 20).toLocaleString("en");

export function makeRow(
  workload: Workload,
  peer: Peer,
  job: Job,
  ours: readonly Measurement[],
  theirs: readonly Measurement[],
  failure: string | undefined,
): Row {
  const ratios = theirs.map((one, round) => middle(one) / middle(ours[round]!));
  return {
    workload: workload.name,
    job,
    title: workload.title,
    peer: peer.label,
    required: peer.required,
    optional: peer.optional ?? false,
    parameters: ours[0]!.parameters,
    ours,
    theirs,
    comparisons: theirs.length === 0 ? [] : comparisons(job, ours[0]!, theirs[0]!),
    ...(failure !== undefined && { failure }),
    ratio: overall(theirs) / overall(ours),
    ratioRange: [Math.min(...ratios), Math.max(...ratios)],
  };
}

/** Not measured although it should be, or not the same work. */
export const isWrong = (row: Row): boolean =>
  (row.failure !== undefined && !row.optional) || !row.comparisons.every(agrees);

function cells(row: Row): string[] {
  const unit = unitOf(row.job);
  const title = `${row.title} [${unit.name}]`;
  const peer = row.optional ? `${row.peer} (optional)` : row.peer;
  const shown = (rounds: readonly Measurement[]): string =>
    `${unit.of(overall(rounds))} (${unit.of(best(rounds))})`;
  const memory = (rounds: readonly Measurement[]): string =>
    `${mebibytes(peak(rounds))} (${mebibytes(growth(rounds))})`;
  if (row.theirs.length === 0) {
    return [title, peer, shown(row.ours), "failed", "", "", "", memory(row.ours), "", "", ""];
  }
  const [least, most] = row.ratioRange.map((ratio) => ratio.toFixed(2));
  const stray = row.comparisons.filter((one) => !agrees(one));
  return [
    title,
    peer,
    shown(row.ours),
    shown(row.theirs),
    `${row.ratio.toFixed(2)} (${least} to ${most})`,
    row.required === null ? "-" : row.required.toFixed(1),
    row.required === null ? "-" : row.ratio >= row.required ? "yes" : "NO",
    memory(row.ours),
    memory(row.theirs),
    peak(row.ours) <= peak(row.theirs) ? "yes" : "NO",
    stray.length === 0 ? "yes" : `NO: ${stray.map(({ what }) => what).join(", ")}`,
  ];
}

const HEAD = [
  "workload",
  "peer",
  "ours",
  "theirs",
  "ratio",
  "required",
  "met",
  "our MiB",
  "their MiB",
  "not above",
  "same result",
];

/** A Markdown table, padded so that it reads well on a terminal too. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = HEAD.map((head, column) =>
    Math.max(head.length, ...rows.map((row) => row[column]!.length)),
  );
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`;
  return [line(HEAD), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}

function agreementLines(rows: readonly Row[]): string[] {
  return rows
    .filter(({ theirs }) => theirs.length > 0)
    .map((row) => {
      const parts = row.comparisons.map(
        ({ what, value, limit }) => `${what} ${value.toPrecision(2)} (limit ${limit})`,
      );
      return `- ${row.workload}, ${row.peer}: ${row.parameters.toLocaleString("en")} parameters; differences: ${parts.join(", ")}`;
    });
}

const NOTES = `Times are medians, of each process and then of the rounds; in brackets the best repetition of all. The ratio is their median time over
ours, in brackets its least and greatest value over the rounds. Memory is the peak resident memory of the process (VmHWM); in brackets
what came on top of libraries and weights.`;

export function document(
  title: string,
  rows: readonly Row[],
  facts: Readonly<Record<string, string>>,
): string {
  return [
    `# ${title}`,
    "",
    ...Object.entries(facts).map(([name, value]) => `- ${name}: ${value}`),
    "",
    table(rows.map(cells)),
    "",
    NOTES,
    "",
    "What both sides computed was compared first:",
    "",
    ...agreementLines(rows),
    "",
  ].join("\n");
}
