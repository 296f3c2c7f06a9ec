// Prints the tables of redness in src/systems/vipo/README.md from finished runs, one a seed:
//
//   for seed in 1 2 3; do npx alidade train vipo --scale tiny --seed $seed --out runs/redness-$seed; done
//   npx tsx docs/measure-redness.ts runs/redness-1 runs/redness-2 runs/redness-3

import { mean } from "../src/core/statistics.ts";
import { readEvaluations } from "../src/run/run-directory.ts";
import {
  atGain,
  structureCurve,
  type StructurePoint,
} from "../src/systems/vipo/structure-curve.ts";

const runs = process.argv.slice(2);
const suite = "train";
const methods = ["scalar", "vipo", "flipped"];
const gains = [0.1, 0.2, 0.3, 0.4, 0.5];

const images = readEvaluations(runs[0]!).find(({ split }) => split === suite)!.count;
const signed = (value: number): string => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
const row = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
const head = (cells: readonly string[]): string[] => [row(cells), row(cells.map(() => "---"))];

/** Of every run; null where it does not get so far. */
const points = (stage: string, gain: number): (StructurePoint | null)[] =>
  runs.map((run) =>
    atGain(structureCurve(readEvaluations(run), { base: "base", stage, suite }), gain),
  );
const average = (list: readonly StructurePoint[], key: keyof StructurePoint): number =>
  mean(list.map((point) => point[key]));

/** Structure less that of the scalar run with the 95 % interval of a difference of shares; how red the background is beside it. */
function difference(own: readonly StructurePoint[], scalar: readonly StructurePoint[]): string {
  const [a, b] = [average(own, "structure"), average(scalar, "structure")];
  const variance = (share: number): number => (share * (1 - share)) / (images * own.length);
  const half = 1.96 * Math.sqrt(variance(a) + variance(b));
  const share = average(own, "background") / average(scalar, "background");
  return `${signed(a - b)} [${signed(a - b - half)}, ${signed(a - b + half)}], ${share.toFixed(2)} times`;
}

const known = (list: readonly (StructurePoint | null)[]): StructurePoint[] =>
  list.filter((point) => point !== null);

const levels = gains.map((gain) => {
  const cells = methods.map((method) => {
    const reached = known(points(method, gain));
    if (reached.length === 0) return "not reached";
    const text = `${average(reached, "structure").toFixed(2)}, ${signed(average(reached, "foreground"))}, ${signed(average(reached, "background"))}`;
    return reached.length === runs.length ? text : `reached by ${reached.length} (${text})`;
  });
  return row([signed(gain), ...cells]);
});
const differences = gains.map((gain) => {
  const [scalar, vipo, flipped] = methods.map((method) => points(method, gain)) as [
    (StructurePoint | null)[],
    (StructurePoint | null)[],
    (StructurePoint | null)[],
  ];
  const of = (own: (StructurePoint | null)[], which: readonly number[]): string => {
    const [a, b] = [known(which.map((run) => own[run]!)), known(which.map((run) => scalar[run]!))];
    return a.length === which.length && b.length === which.length
      ? difference(a, b)
      : "not reached";
  };
  const all = [...runs.keys()];
  return row([signed(gain), ...all.map((run) => of(vipo, [run])), of(vipo, all), of(flipped, all)]);
});
process.stdout.write(
  `${[
    ...head([
      "at redness",
      ...methods.map((method) => `${method}: structure, objects, background`),
    ]),
    ...levels,
    "",
    ...head(["at redness", ...runs.map((run) => `vipo, ${run}`), "vipo, all", "flipped, all"]),
    ...differences,
  ].join("\n")}\n\nn = ${images} a run\n`,
);
