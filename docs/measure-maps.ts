// Prints the tables of maps in docs/flows.md; a minute:
//
//   npx tsx docs/measure-maps.ts

import { backboneNames, type BackboneName } from "../src/core/flow-spec.ts";
import { silentProgress } from "../src/core/progress.ts";
import type { Backbone } from "../src/image/allocation-map.ts";
import { lowLevelBackbone } from "../src/image/low-level-features.ts";
import { backboneSettings, trainBackbone } from "../src/systems/frozen-backbone.ts";
import { configureRuntime } from "../src/tensor/index.ts";
import { changes, mapQuality, miniImages, type MapOptions } from "../tests/map-quality.ts";

configureRuntime({ threads: 1 });
const count = 500;
const kinds = Object.keys(changes) as (keyof typeof changes)[];

async function backboneOf(name: BackboneName): Promise<Backbone> {
  if (name === "low") return lowLevelBackbone;
  const context = { seed: 1, progress: silentProgress };
  const engine = await trainBackbone(name, miniImages, backboneSettings.parse({}), context);
  return (images) => engine!.features(images);
}

const row = (list: readonly string[]): string => `| ${list.join(" | ")} |\n`;
const head = (...names: string[]): string => row(names) + row(names.map(() => "---"));

const percent = (value: number): string => (100 * value).toFixed(1);

/** Correlation with its interval, share of maps whose border weighs less with its interval, share of inverted maps. */
async function numbers(backbone: Backbone | null, options: Omit<MapOptions, "count">) {
  const { correlation, inward, inverted } = await mapQuality(backbone, { count, ...options });
  const [mean, low, high] = [correlation.mean, correlation.low, correlation.high].map((value) =>
    value.toFixed(2),
  );
  const [least, most] = [inward.low, inward.high].map(percent);
  return {
    correlation: `${mean} [${low}, ${high}]`,
    inward: `${percent(inward.share)} [${least}, ${most}]`,
    inverted: percent(inverted),
  };
}

const [agreement, border] = ["correlation", "border below inside, %"];
let text = `n = ${count}\n\n`;
text += head("map", "sign", agreement, "noise", "red", border, "noise", "red", "inverted, %");
let smoothing = head("σ", agreement, border);
for (const name of [...backboneNames, "mask"] as const) {
  const backbone = name === "mask" ? null : await backboneOf(name);
  for (const sign of ["border", "area"] as const) {
    const structuring = { smoothing: 0.5, sign };
    const measured: (Awaited<ReturnType<typeof numbers>> | null)[] = [];
    for (const change of kinds) {
      const isSame = name === "mask" && change !== "none"; // of the mask, whatever the image
      measured.push(isSame ? null : await numbers(backbone, { structuring, change }));
    }
    const column = (key: "correlation" | "inward") => measured.map((one) => one?.[key] ?? "");
    const cells = [...column("correlation"), ...column("inward"), measured[0]!.inverted];
    text += row([`\`${name}\``, sign, ...cells]);
  }
  if (name !== "ssl") continue;
  for (const sigma of [0, 0.5, 0.75, 1, 2]) {
    const structuring = { smoothing: sigma, sign: "area" as const };
    const { correlation, inward } = await numbers(backbone, { structuring });
    smoothing += row([String(sigma), correlation, inward]);
  }
}
process.stdout.write(`${text}\n${smoothing}`);
