// LoRA adapters as the files of PEFT (https://github.com/huggingface/peft): adapter_config.json and adapter_model.safetensors.
//
//   W' = W + s B A      s = alpha / rank, or alpha / sqrt(rank) when rank-stabilised
//
// Papers: LoRA, arXiv:2106.09685; rsLoRA, arXiv:2312.03732.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { DataError, shownJson } from "../core/errors.ts";
import { readSafetensors, writeSafetensors, type NamedArray } from "../nn/safetensors.ts";

/** A LoRA adapter: plain data. */
export interface Adapter {
  /** Columns of B of most modules; what a module has shows in its tensors. */
  readonly rank: number;
  readonly alpha: number;
  /** Whether the scale is alpha / sqrt(rank). */
  readonly rankStabilised?: boolean;
  /** Another alpha for the modules whose name ends in a match of the pattern (a regular expression; the first match counts). */
  readonly alphaPattern?: Readonly<Record<string, number>>;
  /** Names of the adapted modules, or how they end, for example `q_proj`. */
  readonly targets: readonly string[];
  /**
   * `<module>.lora_A.weight` [rank, in] and `<module>.lora_B.weight` [out, rank] by names like
   * `model.layers.0.self_attn.q_proj`. Beside them `model.embed_tokens.weight` and `lm_head.weight` where those were trained whole.
   */
  readonly tensors: ReadonlyMap<string, NamedArray>;
  /** Name or folder of the model that it adapts, for the file. */
  readonly baseModel?: string;
}

const CONFIG = "adapter_config.json";
const WEIGHTS = "adapter_model.safetensors";
const PREFIX = "base_model.model.";
/** Modules that may be trained whole (`modules_to_save`), by the last part of their name. */
const WHOLE_MODULES = { embed_tokens: "model.embed_tokens", lm_head: "lm_head" } as const;
const wholeNames: readonly string[] = Object.values(WHOLE_MODULES).map((name) => `${name}.weight`);

const configSchema = z.looseObject({
  peft_type: z.literal("LORA"),
  r: z.int().positive(),
  lora_alpha: z.number(), // finite: zod refuses what JSON makes of 1e999
  target_modules: z.union([z.string(), z.array(z.string())]),
  use_rslora: z.boolean().default(false),
  rank_pattern: z.record(z.string(), z.int().positive()).nullish(),
  alpha_pattern: z.record(z.string(), z.number()).nullish(),
  base_model_name_or_path: z.string().nullish(),
  use_dora: z.literal(false).nullish(),
  bias: z.literal("none").optional(),
  fan_in_fan_out: z.literal(false).nullish(),
  modules_to_save: z.array(z.enum(["embed_tokens", "lm_head"])).nullish(),
  // PiSSA, OLoRA and their like change the base model too.
  init_lora_weights: z.union([z.boolean(), z.literal("gaussian")]).optional(),
});

/** Settings that do not change what a trained adapter computes. */
const HARMLESS: ReadonlySet<string> = new Set([
  "auto_mapping",
  "exclude_modules",
  "inference_mode",
  "layers_pattern",
  "layers_to_transform",
  "lora_dropout",
  "megatron_core",
  "peft_version",
  "qalora_group_size",
  "revision",
  "task_type",
]);

const isUnset = (value: unknown): boolean =>
  value === null ||
  value === false ||
  (typeof value === "object" && value !== null && Object.keys(value).length === 0);

function parseConfig(path: string, json: unknown): z.output<typeof configSchema> {
  const fail = (expected: string, got: unknown): DataError =>
    new DataError({ where: path, expected, got: shownJson(got) });
  const parsed = configSchema.safeParse(json);
  if (!parsed.success) {
    const { path: keys, message } = parsed.error.issues[0]!;
    const got = keys.reduce<unknown>(
      (value, key) => (value as Record<PropertyKey, unknown> | null)?.[key],
      json,
    );
    throw fail(`a LoRA adapter without variants (${keys.join(".")}: ${message})`, got);
  }
  for (const [key, value] of Object.entries(parsed.data)) {
    if (key in configSchema.shape || HARMLESS.has(key) || isUnset(value)) continue;
    throw fail(`an adapter without ${key}, which is not supported`, value);
  }
  return parsed.data;
}

function isPattern(text: string): boolean {
  try {
    return new RegExp(text) instanceof RegExp;
  } catch {
    return false;
  }
}

/** The value of the first pattern that the module's name ends with (PEFT's get_pattern_key). */
function byPattern(
  patterns: Readonly<Record<string, number>>,
  module: string,
  otherwise: number,
): number {
  const found = Object.entries(patterns).find(([pattern]) =>
    new RegExp(`^(.*\\.)?(${pattern})$`).test(module),
  );
  return found?.[1] ?? otherwise;
}

const isTarget = (targets: readonly string[], module: string): boolean =>
  targets.some((target) => module === target || module.endsWith(`.${target}`));

/** Names of the adapted modules; throws when a tensor has no partner or does not fit it. */
function adaptedModules(where: string, { tensors }: Pick<Adapter, "tensors">): string[] {
  const fail = (expected: string, got: string): DataError =>
    new DataError({ where, expected, got });
  const modules = new Set<string>();
  for (const [name, { shape }] of tensors) {
    const module = /^(.+)\.lora_[AB]\.weight$/.exec(name)?.[1];
    if (module !== undefined) modules.add(module);
    else if (!wholeNames.includes(name))
      throw fail(`lora_A and lora_B of modules, ${wholeNames.join(" or ")}`, name);
    if (shape.length !== 2) throw fail(`two axes of ${name}`, `[${shape.join(", ")}]`);
  }
  for (const module of modules) {
    const [a, b] = [tensors.get(`${module}.lora_A.weight`), tensors.get(`${module}.lora_B.weight`)];
    if (a === undefined || b === undefined)
      throw fail(`lora_A and lora_B of ${module}`, `only ${a === undefined ? "B" : "A"}`);
    if (a.shape[0] !== b.shape[1]) {
      const got = `[${a.shape.join(", ")}] and [${b.shape.join(", ")}]`;
      throw fail(`lora_A [rank, in] and lora_B [out, rank] of ${module}`, got);
    }
  }
  return [...modules];
}

/** Reads an adapter folder. Throws a DataError that names file and place for anything that `mergeAdapter` would compute wrongly. */
export async function readAdapter(directory: string): Promise<Adapter> {
  const path = join(directory, CONFIG);
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, "utf8"));
  } catch (cause) {
    const got = (cause as Error).message;
    throw new DataError({ where: path, expected: "a readable JSON file", got, cause });
  }
  const config = parseConfig(path, json);
  const [ranks, alphaPattern] = [config.rank_pattern ?? {}, config.alpha_pattern ?? {}];
  for (const pattern of [...Object.keys(ranks), ...Object.keys(alphaPattern)]) {
    if (isPattern(pattern)) continue;
    const expected = "patterns that are regular expressions";
    throw new DataError({ where: path, expected, got: JSON.stringify(pattern) });
  }
  const where = join(directory, WEIGHTS);
  const tensors = new Map<string, NamedArray>();
  for (const [name, array] of await readSafetensors(where)) {
    if (!name.startsWith(PREFIX))
      throw new DataError({ where, expected: `names that begin with ${PREFIX}`, got: name });
    tensors.set(name.slice(PREFIX.length), array);
  }
  const modules = adaptedModules(where, { tensors });
  for (const module of modules) {
    const expected = byPattern(ranks, module, config.r);
    const [rank] = tensors.get(`${module}.lora_A.weight`)!.shape;
    if (rank !== expected) {
      const hint = `as ${CONFIG} says`;
      throw new DataError({
        where,
        expected: `rank ${expected} of ${module}`,
        got: String(rank),
        hint,
      });
    }
  }
  for (const module of config.modules_to_save ?? []) {
    const name = `${WHOLE_MODULES[module]}.weight`;
    if (!tensors.has(name))
      throw new DataError({ where, expected: `${name}, a module to save`, got: "none" });
  }
  return {
    rank: config.r,
    alpha: config.lora_alpha,
    rankStabilised: config.use_rslora,
    alphaPattern,
    targets: typeof config.target_modules === "string" ? modules : config.target_modules,
    tensors,
    ...(config.base_model_name_or_path && { baseModel: config.base_model_name_or_path }),
  };
}

/** Writes an adapter into an existing folder, as PEFT reads it. Throws a DataError when its tensors do not fit together. */
export async function writeAdapter(directory: string, adapter: Adapter): Promise<void> {
  const { rank, alpha, rankStabilised = false, alphaPattern = {}, targets, tensors } = adapter;
  const modules = adaptedModules(directory, adapter);
  const odd = [alpha, ...Object.values(alphaPattern)].find((value) => !Number.isFinite(value));
  if (odd !== undefined)
    throw new DataError({ where: directory, expected: "a finite alpha", got: String(odd) });
  const stranger = modules.find((module) => !isTarget(targets, module));
  if (stranger !== undefined) {
    const expected = `modules among the targets ${targets.join(", ")}`;
    throw new DataError({ where: directory, expected, got: stranger });
  }
  const ranks = modules
    .map((module) => [module, tensors.get(`${module}.lora_A.weight`)!.shape[0]] as const)
    .filter(([, found]) => found !== rank);
  const whole = Object.entries(WHOLE_MODULES)
    .filter(([, name]) => tensors.has(`${name}.weight`))
    .map(([short]) => short);
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: adapter.baseModel ?? null,
    inference_mode: true,
    r: rank,
    lora_alpha: alpha,
    use_rslora: rankStabilised,
    rank_pattern: Object.fromEntries(ranks),
    alpha_pattern: alphaPattern,
    target_modules: targets,
    modules_to_save: whole.length === 0 ? null : whole,
    bias: "none",
    fan_in_fan_out: false,
    lora_dropout: 0,
  };
  await writeFile(join(directory, CONFIG), `${JSON.stringify(config, null, 2)}\n`);
  const named = [...tensors].map(([name, array]) => [PREFIX + name, array] as const);
  await writeSafetensors(join(directory, WEIGHTS), Object.fromEntries(named));
}

/**
 * Adds s B A to the weight of every adapted module, in place, and puts whole modules in place of the old ones.
 * `weights` are the parameters of the model by name; `where` names the adapter in errors, best by its folder. Throws a
 * DataError, before anything changed, when the adapter does not fit; and, with some weights merged, at a number that is not finite.
 */
export function mergeAdapter(
  adapter: Adapter,
  weights: Readonly<Record<string, NamedArray>>,
  where = "adapter",
): void {
  const { tensors, alpha, alphaPattern = {}, rankStabilised = false } = adapter;
  const modules = adaptedModules(where, adapter);
  const target = (name: string, shape: readonly [number, number]): Float32Array => {
    const found = weights[name];
    if (found !== undefined && found.shape.join() === shape.join()) return found.data;
    const [rows, columns] = shape;
    const hasGrown =
      wholeNames.includes(name) && found?.shape[1] === columns && found.shape[0]! < rows;
    throw new DataError({
      where,
      expected: `a model with ${name} of shape [${shape.join(", ")}]`,
      got: found === undefined ? "none of that name" : `[${found.shape.join(", ")}]`,
      hint: hasGrown
        ? "the adapter has rows for added tokens; a run saves the merged model, with its tokenizer, in the folder above the adapter"
        : "does the adapter belong to another model?",
    });
  };
  const replaced = wholeNames
    .filter((name) => tensors.has(name))
    .map((name) => {
      const { shape, data } = tensors.get(name)!;
      return { name, into: target(name, shape as [number, number]), data };
    });
  const updates = modules.map((module) => {
    const a = tensors.get(`${module}.lora_A.weight`)!;
    const b = tensors.get(`${module}.lora_B.weight`)!;
    const [rank, columns] = a.shape as [number, number];
    const name = `${module}.weight`;
    const weight = target(name, [b.shape[0]!, columns]);
    const divisor = rankStabilised ? Math.sqrt(rank) : rank;
    const scale = byPattern(alphaPattern, module, alpha) / divisor;
    return { name, weight, a: a.data, b: b.data, rank, columns, scale };
  });
  const check = (name: string, merged: Float32Array, hint?: string): void => {
    const broken = merged.findIndex((value) => !Number.isFinite(value));
    if (broken === -1) return;
    const got = `${merged[broken]} at index ${broken}`;
    throw new DataError({ where, expected: `finite float32 numbers in ${name}`, got, hint });
  };
  for (const { name, into, data } of replaced) {
    into.set(data);
    check(name, into);
  }
  for (const update of updates) {
    addProduct(update);
    check(update.name, update.weight, `merged with the scale ${update.scale}`);
  }
}

/** weight += scale · b a, row by row: b [rows, rank], a [rank, columns]. */
function addProduct(update: {
  readonly weight: Float32Array;
  readonly a: Float32Array;
  readonly b: Float32Array;
  readonly rank: number;
  readonly columns: number;
  readonly scale: number;
}): void {
  const { weight, a, b, rank, columns, scale } = update;
  const row = new Float64Array(columns);
  for (let start = 0, index = 0; start < weight.length; start += columns, index++) {
    row.fill(0);
    for (let k = 0; k < rank; k++) {
      const factor = scale * b[index * rank + k]!;
      const from = k * columns;
      for (let column = 0; column < columns; column++)
        row[column] = row[column]! + factor * a[from + column]!;
    }
    for (let column = 0; column < columns; column++)
      weight[start + column] = weight[start + column]! + row[column]!;
  }
}
