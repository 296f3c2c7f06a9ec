// What the methods of a run came to, side by side: curves as pictures, lines for people, numbers for machines.

import { drawPlot } from "../../image/plot.ts";
import type { Raster } from "../../image/raster.ts";
import type { EvaluationRecord } from "../../run/run-directory.ts";
import {
  atGain,
  drawStructureCurves,
  structureCurve,
  type StructurePoint,
} from "./structure-curve.ts";

export interface Comparison {
  readonly lines: readonly string[];
  readonly pictures: Readonly<Record<string, Raster>>;
  readonly summary: Readonly<Record<string, unknown>>;
}

export interface Compared {
  readonly methods: readonly string[];
  readonly suite: string;
  /** Weights of the scores in the reward. */
  readonly reward: Readonly<Record<string, number>>;
}

/** Redness gains at which methods are compared. */
const GAINS = [0.1, 0.2, 0.3, 0.4, 0.5];

const signed = (value: number): string => `${value < 0 ? "-" : "+"}${Math.abs(value).toFixed(2)}`;

type Row = StructurePoint & { readonly method: string };

/** Against one advantage an image, at one gain: structure with the 95 % interval of a difference of shares, the background's redness. */
function againstScalar(rows: readonly Row[], count: number): string[] {
  const scalar = rows.find(({ method }) => method === "scalar");
  if (scalar === undefined) return [];
  const variance = ({ structure }: Row): number => (structure * (1 - structure)) / count;
  return rows
    .filter((row) => row !== scalar)
    .map((row) => {
      const difference = row.structure - scalar.structure;
      const half = 1.96 * Math.sqrt(variance(row) + variance(scalar));
      const [low, high] = [difference - half, difference + half].map(signed);
      const share = (row.background / scalar.background).toFixed(2);
      return `at redness ${signed(row.gain)}  ${row.method} less scalar: structure ${signed(difference)}  95 % [${low}, ${high}]  n ${count} each;  background ${share} times as red`;
    });
}

/** Structure at equal gains of redness. */
export function compareStructure(
  evaluations: readonly EvaluationRecord[],
  { methods, suite }: Compared,
): Comparison {
  const curves = Object.fromEntries(
    methods.map((stage) => [stage, structureCurve(evaluations, { base: "base", stage, suite })]),
  );
  const table = GAINS.flatMap((gain) =>
    Object.entries(curves).flatMap(([method, curve]) => {
      const point = atGain(curve, gain);
      return point === null ? [] : [{ method, ...point }];
    }),
  );
  const count = evaluations.find(({ split }) => split === suite)?.count ?? 0;
  return {
    lines: [
      ...table.map(
        ({ method, gain, structure, foreground, background }) =>
          `at redness ${signed(gain)}  ${method.padEnd(10)} structure ${structure.toFixed(3)}  redness of objects ${signed(foreground)}, of the background ${signed(background)}`,
      ),
      ...GAINS.flatMap((gain) =>
        againstScalar(
          table.filter((row) => row.gain === gain),
          count,
        ),
      ),
    ],
    pictures: {
      "structure-against-redness": drawStructureCurves(curves, "structure"),
      "background-against-redness": drawStructureCurves(curves, "background"),
    },
    summary: { curves, atGain: table },
  };
}

/** Reward and accuracy of every evaluation of every method. */
export function compareRewards(
  evaluations: readonly EvaluationRecord[],
  { methods, suite, reward }: Compared,
): Comparison {
  const of = (stage: string) =>
    evaluations
      .filter((one) => one.stage === stage && one.split === suite)
      .map((one) => {
        const scores = one["scores"] as Readonly<Record<string, number>>;
        const weighed = Object.entries(reward).reduce(
          (sum, [name, weight]) => sum + weight * (scores[name] ?? 0),
          0,
        );
        return {
          epoch: one.step,
          reward: weighed,
          correct: one["correct"] as number,
          ci95: one["ci95"] as readonly [number, number],
          count: one.count,
          scores,
        };
      });
  const base = of("base").at(-1);
  const curves = Object.fromEntries(
    methods.map((stage) => [
      stage,
      [...(base === undefined ? [] : [{ ...base, epoch: 0 }]), ...of(stage)],
    ]),
  );
  const plot = (y: "reward" | "correct", title: string): Raster =>
    drawPlot(
      Object.entries(curves).map(([name, points]) => ({
        name,
        points: points.map((point) => ({ x: point.epoch, y: point[y] })),
      })),
      { title, x: "epochs", y },
    );
  const lines = [
    ["base", base] as const,
    ...methods.map((name) => [name, of(name).at(-1)] as const),
  ]
    .filter(([, last]) => last !== undefined)
    .map(([name, last]) => {
      const [low, high] = last!.ci95.map((end) => `${(100 * end).toFixed(1)} %`);
      return `${name.padEnd(10)} reward ${last!.reward.toFixed(3)}  right ${(100 * last!.correct).toFixed(1)} %  95 % [${low}, ${high}]  n ${last!.count}`;
    });
  return {
    lines,
    pictures: {
      "reward-by-method": plot("reward", "ViPO: the reward that is trained"),
      "accuracy-by-method": plot("correct", "ViPO: accuracy, which no reward asks for"),
    },
    summary: { curves },
  };
}
