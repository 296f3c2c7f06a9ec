// flow.json, which stands beside the weights of a velocity model: its sizes.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { DataError } from "../core/errors.ts";
import { loraTargets } from "./decoder.ts";
import { flowModel, type FlowConfig } from "./flow-model.ts";
import type { FlowTransformerConfig } from "./flow-transformer.ts";

const CONFIG_FILE = "flow.json";

const size = z.int().positive();
const prompt = z.strictObject({
  vocabularySize: size,
  promptTokens: size,
  width: size,
  layers: z.int().nonnegative(),
  heads: size,
  hiddenWidth: size,
  words: z.boolean().default(false),
  neighbours: z.int().nonnegative().default(0),
});
const lora = z.strictObject({
  rank: size,
  alpha: z.number().positive(),
  targets: z.array(z.enum(loraTargets)).min(1),
});
const shared = { sample: z.array(size).min(1), width: size, layers: size, prompt };
const flowConfigSchema = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("transformer"),
    ...shared,
    patch: size,
    heads: size,
    hiddenWidth: size,
    activation: z.enum(["gelu", "swiglu"]),
    predicts: z.enum(["velocity", "sample"]),
    lora: lora.optional(),
  }),
  z.strictObject({ type: z.literal("mlp"), ...shared }),
]);

export async function writeFlowConfig(directory: string, config: FlowConfig): Promise<void> {
  await writeFile(join(directory, CONFIG_FILE), `${JSON.stringify(config, null, 2)}\n`);
}

/** @throws DataError when there is none, or sizes do not fit each other. */
export async function readFlowConfig(directory: string): Promise<FlowConfig> {
  const path = join(directory, CONFIG_FILE);
  try {
    const config = flowConfigSchema.parse(JSON.parse(await readFile(path, "utf8"))) as FlowConfig;
    flowModel(config);
    return config;
  } catch (cause) {
    const got = (cause as Error).message;
    throw new DataError({ where: path, expected: "the sizes of a velocity model", got, cause });
  }
}

/** Refuses the folder of a model of other sizes; adapters may differ. */
export async function checkFlowConfig(directory: string, config: FlowConfig): Promise<void> {
  const found = bare(await readFlowConfig(directory));
  if (found === bare(config)) return;
  const where = join(directory, CONFIG_FILE);
  throw new DataError({ where, expected: `the model ${bare(config)}`, got: found });
}

/** Sizes without adapters, keys in a fixed order. */
function bare(config: FlowConfig): string {
  const { lora: _adapters, ...sizes } = flowConfigSchema.parse(config) as FlowTransformerConfig;
  return JSON.stringify(sizes);
}
