import { describe, expect, it } from "vitest";
import { drawCurves, mainSeries, sparkline } from "./curves.ts";

const metrics = [
  ...[1, 2, 3].map((step) => ({ step, stage: "sft", loss: 1 / step })),
  ...[1, 2].map((step) => ({ step, stage: "a<b", "reward/mean": step, kl: Number.NaN })),
];
const evaluation = { task: "maze", split: "test", count: 9, ci95: [0.4, 0.6] };
const evaluations = [
  { ...evaluation, step: 0, stage: "sft", correct: 0.5 },
  { ...evaluation, step: 2, stage: "a<b", correct: 0.75 },
];

describe("drawCurves", () => {
  it("draws accuracy over all stages, then the main metrics of each", () => {
    const svg = drawCurves(metrics, evaluations) ?? "";
    expect(svg).toMatch(/accuracy, held-out items[^]*sft: loss[^]*a&lt;b: reward/);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    expect(svg.match(/<circle/g)).toHaveLength(2);
  });

  it("copes with one point, with no spread and with nothing", () => {
    expect(drawCurves([{ step: 0, stage: "sft", loss: 0 }], [])).not.toMatch(/NaN|Infinity/);
    expect(drawCurves([], [])).toBeNull();
  });

  it("leaves out what has no finite value", () => {
    expect(mainSeries(metrics).map(({ stage, metric }) => `${stage} ${metric}`)).toEqual([
      "sft loss",
      "a<b reward/mean",
    ]);
  });
});

describe("sparkline", () => {
  it("draws bucket means between the smallest and the largest", () => {
    expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7])).toBe("▁▂▃▄▅▆▇█");
    expect(sparkline([0, 0, 10, 10], 2)).toBe("▁█");
    expect(sparkline([3, 3, Number.NaN])).toBe("▁▁");
    expect(sparkline([])).toBe("");
  });
});
