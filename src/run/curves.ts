// The curves of a run as one SVG of small multiples (`curves.svg`), and as sparklines in a terminal.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { readEvaluations, readMetrics } from "./run-directory.ts";
import type { EvaluationRecord, MetricsRecord } from "./run-directory.ts";

interface Point {
  readonly x: number;
  readonly y: number;
  /** Ends of an interval around y. */
  readonly ci95?: readonly [number, number];
}

interface Panel {
  readonly title: string;
  readonly points: readonly Point[];
  /** Measured now and then (dots with intervals) rather than at every step (a noisy line). */
  readonly isSparse: boolean;
  readonly range?: readonly [number, number];
  /** Where a stage begins, on the x axis. */
  readonly marks: readonly { readonly x: number; readonly label: string }[];
}

/** What is drawn of each stage, in this order: a title and the metric that carries it. */
const curves: readonly (readonly [string, RegExp])[] = [
  ["reward", /^reward\/mean$/],
  ["loss", /^loss$/],
  ["samples that pass", /^round\/passing$/],
  ["pairs in the right order", /^margin\/right$/],
  ["log-ratio of chosen, nats", /^logRatio\/chosen$/],
  ["log-ratio of rejected, nats", /^logRatio\/rejected$/],
  ["KL to the reference, nats", /^kl($|\/mean$)/i],
  ["entropy, nats", /^entropy($|\/mean$)/i],
  ["completion length, tokens", /length(\/mean)?$/i],
];

const size = { width: 300, height: 190, left: 46, right: 14, top: 34, bottom: 36, columns: 3 };
const colors = { line: "#2458a6", faint: "#a9c3e8", text: "#333", soft: "#777", grid: "#e6e6e6" };

/** Metric series worth a look, by stage: the numbers a person checks first. */
export function mainSeries(
  metrics: readonly MetricsRecord[],
): { stage: string; title: string; metric: string; points: Point[] }[] {
  const stages = [...new Set(metrics.map((record) => record.stage))];
  return stages.flatMap((stage) => {
    const records = metrics.filter((record) => record.stage === stage);
    const names = [...new Set(records.flatMap((record) => Object.keys(record)))];
    return curves.flatMap(([title, pattern]) => {
      const metric = names.find((name) => pattern.test(name));
      if (metric === undefined) return [];
      const points = records
        .map((record) => ({ x: record.step, y: Number(record[metric] ?? Number.NaN) }))
        .filter(({ y }) => Number.isFinite(y));
      return points.length === 0 ? [] : [{ stage, title, metric, points }];
    });
  });
}

/** Last step of each stage, in order, as the place where the next one begins. */
function stageOffsets(metrics: readonly MetricsRecord[]): Map<string, number> {
  const last = new Map<string, number>();
  for (const { stage, step } of metrics) last.set(stage, Math.max(step, last.get(stage) ?? 0));
  let sum = 0;
  return new Map([...last].map(([stage, steps]) => [stage, (sum += steps) - steps]));
}

/** Accuracy over the whole run, stages laid end to end. */
function accuracyPanel(
  metrics: readonly MetricsRecord[],
  evaluations: readonly EvaluationRecord[],
): Panel[] {
  const offsets = stageOffsets(metrics);
  // The first set of items that a stage is measured on is the main one.
  const main = new Map<unknown, string>();
  for (const { stage, split } of evaluations) {
    if (!main.has(stage)) main.set(stage, split);
  }
  const points = evaluations
    .filter(({ correct, stage, split }) => typeof correct === "number" && main.get(stage) === split)
    .map(({ step, stage, correct, ci95 }) => ({
      x: step + (typeof stage === "string" ? (offsets.get(stage) ?? 0) : 0),
      y: correct as number,
      ...(Array.isArray(ci95) ? { ci95: ci95 as unknown as [number, number] } : {}),
    }));
  const marks = [...offsets].map(([label, x]) => ({ x, label }));
  const title = "accuracy, held-out items";
  return points.length === 0 ? [] : [{ title, points, isSparse: true, range: [0, 1], marks }];
}

/** Round tick positions that cover a range: 1, 2 or 5 times a power of ten apart. */
function ticks(low: number, high: number, most: number): number[] {
  const raw = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= raw) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, index) => (first + index) * step);
}

const label = (value: number): string =>
  Math.abs(value) >= 10_000 ? value.toExponential(0) : String(Number(value.toPrecision(4)));

/** Mean over a window of about a twentieth of the points, centered. */
function smooth(points: readonly Point[]): Point[] {
  const half = Math.floor(points.length / 40);
  return points.map(({ x }, index) => {
    const near = points.slice(Math.max(0, index - half), index + half + 1);
    return { x, y: near.reduce((sum, point) => sum + point.y, 0) / near.length };
  });
}

function extent(values: readonly number[]): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  const margin = low === high ? Math.abs(low) / 2 || 1 : (high - low) * 0.05;
  return [low - margin, high + margin];
}

const escape = (content: string): string =>
  content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function text(x: number, y: number, content: string, attributes: string): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escape(content)}</text>`;
}

const line = (x1: number, y1: number, x2: number, y2: number, style: string): string =>
  `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" ${style}/>`;

/** The value of a dot, to its upper left: a rising curve leaves that side free. */
function pointLabel(x: number, y: number, value: string, left: number): string {
  const anchor = x < left + 30 ? "start" : "end";
  return text(
    x + (anchor === "end" ? -2 : 3),
    y - 8,
    value,
    `fill="${colors.text}" font-size="10" text-anchor="${anchor}"`,
  );
}

function drawPanel(panel: Panel, left: number, top: number): string {
  const [low, high] = panel.range ?? extent(panel.points.map(({ y }) => y));
  const lastX = panel.points.reduce((last, { x }) => Math.max(last, x), 1);
  const right = left + size.width - size.right;
  const bottom = top + size.height - size.bottom;
  const toX = (x: number): number => left + size.left + (x / lastX) * (right - left - size.left);
  const toY = (y: number): number =>
    bottom - ((y - low) / (high - low)) * (bottom - top - size.top);
  const path = (points: readonly Point[], color: string, width: number): string => {
    const corners = points.map(({ x, y }) => `${toX(x).toFixed(1)},${toY(y).toFixed(1)}`);
    return `<polyline points="${corners.join(" ")}" fill="none" stroke="${color}" stroke-width="${width}" stroke-linejoin="round"/>`;
  };
  const soft = `fill="${colors.soft}" font-size="10"`;
  const parts = [
    text(
      left + size.left,
      top + 18,
      panel.title,
      `fill="${colors.text}" font-size="12" font-weight="600"`,
    ),
    text((left + size.left + right) / 2, bottom + 30, "step", `${soft} text-anchor="middle"`),
  ];
  for (const y of ticks(low, high, 5)) {
    parts.push(line(left + size.left, toY(y), right, toY(y), `stroke="${colors.grid}"`));
    parts.push(text(left + size.left - 6, toY(y) + 3.5, label(y), `${soft} text-anchor="end"`));
  }
  for (const x of ticks(0, lastX, 4)) {
    if (!Number.isInteger(x)) continue;
    parts.push(text(toX(x), bottom + 15, label(x), `${soft} text-anchor="middle"`));
  }
  for (const { x, label: stage } of panel.marks) {
    const style = `stroke="${colors.soft}" stroke-dasharray="2 3"`;
    parts.push(line(toX(x), top + size.top, toX(x), bottom, style));
    parts.push(text(toX(x) + 4, top + size.top + 9, stage, `${soft} font-style="italic"`));
  }
  if (panel.isSparse) {
    parts.push(path(panel.points, colors.faint, 1.5));
    for (const [index, { x, y, ci95 }] of panel.points.entries()) {
      if (ci95 !== undefined)
        parts.push(
          line(
            toX(x),
            toY(ci95[0]),
            toX(x),
            toY(ci95[1]),
            `stroke="${colors.line}" stroke-width="1.5"`,
          ),
        );
      parts.push(
        `<circle cx="${toX(x).toFixed(1)}" cy="${toY(y).toFixed(1)}" r="3" fill="${colors.line}"/>`,
      );
      const isLast = index === panel.points.length - 1;
      const isNamed =
        panel.points.length <= 4 || isLast || panel.marks.some((mark) => mark.x === x);
      if (isNamed)
        parts.push(pointLabel(toX(x), toY(y), label(Number(y.toFixed(3))), left + size.left));
    }
  } else {
    parts.push(path(panel.points, colors.faint, 1), path(smooth(panel.points), colors.line, 1.8));
  }
  return parts.join("\n");
}

/** Small multiples of a run; null when it has no numbers yet. */
export function drawCurves(
  metrics: readonly MetricsRecord[],
  evaluations: readonly EvaluationRecord[],
): string | null {
  const panels: Panel[] = [
    ...accuracyPanel(metrics, evaluations),
    ...mainSeries(metrics).map(({ stage, title, points }) => ({
      title: `${stage}: ${title}`,
      points,
      isSparse: false,
      marks: [],
    })),
  ];
  if (panels.length === 0) return null;
  const width = size.width * Math.min(size.columns, panels.length);
  const height = size.height * Math.ceil(panels.length / size.columns);
  const drawn = panels.map((panel, index) => {
    const [row, column] = [Math.floor(index / size.columns), index % size.columns];
    return drawPanel(panel, column * size.width, row * size.height);
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, Helvetica, Arial, sans-serif">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    ...drawn,
    "</svg>\n",
  ].join("\n");
}

/** Writes `curves.svg` into a run; returns its path, or null when there is nothing to draw. */
export function writeCurves(directory: string): string | null {
  const svg = drawCurves(readMetrics(directory), readEvaluations(directory));
  if (svg === null) return null;
  const path = join(directory, "curves.svg");
  writeFileSync(path, svg);
  return path;
}

/** One line of block characters: the values in `width` buckets, each drawn by its mean. */
export function sparkline(values: readonly number[], width = 40): string {
  const finite = values.filter((value) => Number.isFinite(value));
  const buckets = Math.min(width, finite.length);
  const means = Array.from({ length: buckets }, (_, bucket) => {
    const start = Math.floor((bucket * finite.length) / buckets);
    const part = finite.slice(start, Math.floor(((bucket + 1) * finite.length) / buckets));
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
  const low = Math.min(...means);
  const span = Math.max(...means) - low || 1;
  return means.map((value) => "▁▂▃▄▅▆▇█"[Math.round(((value - low) / span) * 7)]).join("");
}
