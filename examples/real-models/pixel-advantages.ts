// ViPO's advantages for a trainer of your own: rewards and maps come from files, one array a sample goes out.

import { join } from "node:path";
import {
  DataError,
  denseAdvantages,
  flowAdvantageSettings,
  readSuppliedMaps,
  readSuppliedRewards,
  writeNpy,
} from "alidade";

export async function writeAdvantages(folder: string): Promise<void> {
  const { samples } = await readSuppliedRewards(join(folder, "rewards.jsonl"));
  const maps = await readSuppliedMaps(join(folder, "maps.jsonl"));
  if (maps.size !== samples.length) {
    const [expected, got] = [`${samples.length} maps, as rewards`, String(maps.size)];
    throw new DataError({ where: folder, expected, got });
  }
  const settings = flowAdvantageSettings.parse({ scale: "group" });
  const advantages = denseAdvantages(
    samples, // prompts with the same text are one group
    samples.map(({ prompt, sampleId }) => maps.mapOf(prompt, sampleId)),
    settings,
    "advantage",
  );
  for (const [index, values] of advantages.entries()) {
    await writeNpy(join(folder, `advantage-${index}.npy`), { shape: maps.shape, values: values! });
  }
}
