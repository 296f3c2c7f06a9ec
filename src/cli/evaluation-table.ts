import type { EvaluationRecord } from "../run/run-directory.ts";
import { formatTable } from "./output.ts";

function percent(value: unknown): string {
  return typeof value === "number" ? `${(value * 100).toFixed(1)} %` : "-";
}

/** Evaluations of a run as a table; every line after `indent`. */
export function evaluationTable(evaluations: readonly EvaluationRecord[], indent = ""): string {
  const rows = evaluations.map(({ step, stage, task, split, count, correct, ci95 }) => {
    const [low, high] = Array.isArray(ci95) ? (ci95 as unknown[]) : [];
    return [
      `${indent}${typeof stage === "string" ? stage : "-"}`,
      String(step),
      `${task} ${split}`,
      String(count),
      percent(correct),
      low === undefined ? "-" : `${percent(low)} to ${percent(high)}`,
    ];
  });
  const head = [`${indent}STAGE`, "STEP", "ITEMS", "COUNT", "CORRECT", "95 % INTERVAL"];
  return formatTable([head, ...rows]);
}
