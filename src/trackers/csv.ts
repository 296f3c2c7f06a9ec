// The metrics of a run as a table: a row a point, a column a name. RFC 4180.

import type { RunPoints } from "./run-points.ts";

const quoted = (text: string): string =>
  /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;

/** Metrics and evaluations; what a point lacks is an empty cell, what is not finite reads NaN or Infinity. */
export function pointsCsv({ points }: RunPoints): string {
  const rows = points.map(({ metrics, evaluations }) => ({ ...metrics, ...evaluations }));
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const header = ["globalStep", "stage", "step", ...names];
  const lines = points.map(({ globalStep, stage, step }, index) => {
    const values = rows[index]! as Readonly<Record<string, number>>;
    const cells = names.map((name) => (name in values ? String(values[name]) : ""));
    return [String(globalStep), stage, String(step), ...cells];
  });
  return `${[header, ...lines].map((line) => line.map(quoted).join(",")).join("\n")}\n`;
}
