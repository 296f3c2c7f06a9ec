// alidade export: a model for other programs, in the Hugging Face layout or as ONNX.

import { existsSync, mkdirSync, mkdtempSync, readdirSync } from "node:fs";
import { lstatSync, renameSync, rmSync, statSync } from "node:fs";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { type Command, Option } from "commander";
import { ConfigError } from "../core/errors.ts";
import { decoderParameters, type DecoderConfig } from "../models/decoder.ts";
import { writeOnnxModel } from "../models/export-onnx.ts";
import {
  checkVocabulary,
  checkWeights,
  readModelConfig,
  readWeights,
  type WeightDtype,
  writeModel,
} from "../models/hugging-face.ts";
import { mergeAdapter, readAdapter } from "../models/peft.ts";
import { leaves } from "../nn/parameters.ts";
import type { NamedArray } from "../nn/safetensors.ts";
import { sizeOf } from "../tensor/index.ts";
import { ChatTokenizer } from "../text/chat-tokenizer.ts";
import { type CommandContext, type CommandResult, printResult, subcommand } from "./command.ts";
import { findModel } from "./find-model.ts";
import { formatTable } from "./output.ts";

interface ExportOptions {
  readonly json?: boolean;
  readonly format: "hf" | "onnx";
  readonly out?: string;
  readonly adapter?: string;
  readonly dtype?: WeightDtype;
}

/** Files beside the weights that are copied as they are, where they exist. */
const COMPANIONS: readonly string[] = [
  "config.json",
  "generation_config.json",
  "chat_template.jinja",
  "chat_template.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "tokenizer.model",
];

function checkOut(out: string): void {
  if (!existsSync(out)) return;
  const isFolder = statSync(out).isDirectory();
  if (isFolder && readdirSync(out).length === 0) return;
  throw new ConfigError({
    where: out,
    expected: "a folder that is empty or does not exist",
    got: isFolder ? "one with files" : "a file",
    hint: "--out names another",
  });
}

/**
 * A new folder beside the one to be, or inside of an empty one that is there (it may be the working directory or a link, which
 * cannot be replaced, and its parent may be on another disk); what is written goes into `files` in it.
 */
function makePartial(out: string): { partial: string; files: string } {
  try {
    mkdirSync(dirname(resolve(out)), { recursive: true });
    const isThere = existsSync(out);
    const isLink = lstatSync(out, { throwIfNoEntry: false })?.isSymbolicLink() === true;
    if (isLink && !isThere) throw new Error("a link to nothing");
    const partial = mkdtempSync(
      isThere ? join(resolve(out), ".partial-") : `${resolve(out)}.partial-`,
    );
    const files = join(partial, "files"); // its mode is that of any new folder, not that of a temporary one
    mkdirSync(files);
    return { partial, files };
  } catch (cause) {
    const got = (cause as Error).message;
    throw new ConfigError({ where: out, expected: "a folder that can be made", got, cause });
  }
}

const viewsOf = (arrays: Readonly<Record<string, NamedArray>>): Record<string, Float32Array> =>
  Object.fromEntries(Object.entries(arrays).map(([name, { data }]) => [name, data]));

/** The parameters of a model folder by name, and the adapter, if any, added to them. */
async function readMerged(
  model: string,
  config: DecoderConfig,
  adapter: string | undefined,
): Promise<Record<string, NamedArray>> {
  await checkWeights(model, config); // before memory is taken for what config.json says
  const weights = Object.fromEntries(
    leaves(decoderParameters(config)).map(
      ({ name, shape }) => [name, { shape, data: new Float32Array(sizeOf(shape)) }] as const,
    ),
  );
  await readWeights(model, config, viewsOf(weights));
  if (adapter !== undefined) mergeAdapter(await readAdapter(adapter), weights, adapter);
  return weights;
}

type Json = Readonly<Record<string, unknown>>;

async function rewriteJson(path: string, change: (json: Json) => Json): Promise<void> {
  const json = JSON.parse(await readFile(path, "utf8")) as Json;
  await writeFile(path, `${JSON.stringify(change(json), null, 2)}\n`);
}

/** Writes the exported files into an existing folder. */
async function writeFiles(model: string, directory: string, options: ExportOptions): Promise<void> {
  const config = await readModelConfig(model);
  const tokenizer = await ChatTokenizer.read(model);
  checkVocabulary(model, config, tokenizer);
  const weights = await readMerged(model, config, options.adapter);
  if (options.format === "onnx") await writeOnnxModel(directory, config, weights);
  else await writeModel(directory, config, viewsOf(weights), options.dtype);
  for (const name of COMPANIONS) {
    if (existsSync(join(model, name))) await copyFile(join(model, name), join(directory, name));
  }
  // How the weights are stored may have changed.
  await rewriteJson(join(directory, "config.json"), ({ torch_dtype: _a, dtype: _b, ...kept }) => ({
    ...kept,
    torch_dtype: options.dtype ?? "float32",
  }));
  const template = join(model, "chat_template.jinja");
  if (existsSync(template)) {
    // transformers.js looks for it in the config of the tokenizer only.
    const text = await readFile(template, "utf8");
    const path = join(directory, "tokenizer_config.json");
    await rewriteJson(path, (old) => ({ ...old, chat_template: text }));
  }
  const generation = join(directory, "generation_config.json");
  if (!existsSync(generation)) {
    const { endToken } = tokenizer;
    await writeFile(generation, `${JSON.stringify({ eos_token_id: endToken }, null, 2)}\n`);
  }
}

async function exportModel(path: string, options: ExportOptions): Promise<CommandResult> {
  const { format, adapter } = options;
  const model = findModel(path);
  const out = options.out ?? `${resolve(path)}-${format}`;
  checkOut(out);
  if (format === "onnx" && options.dtype !== undefined) {
    const expected = "--dtype with --format hf only";
    throw new ConfigError({ where: "export", expected, got: "--format onnx" });
  }
  const { partial, files } = makePartial(out); // so that the folder is whole or not there
  try {
    await writeFiles(model, files, options);
    if (dirname(partial) !== resolve(out)) renameSync(files, out);
    else for (const name of readdirSync(files)) renameSync(join(files, name), join(out, name));
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  const written = readdirSync(out)
    .sort()
    .map((name) => ({ name, sizeBytes: statSync(join(out, name)).size }));
  const rows = written.map(({ name, sizeBytes }) => [`  ${name}`, `${sizeBytes} bytes`]);
  return {
    json: { model, format, ...(adapter !== undefined && { adapter }), out, files: written },
    text: `${model} as ${format} in ${out}\n${formatTable(rows)}`,
  };
}

export function registerExport(program: Command, context: CommandContext): void {
  const summary = "write a model for other programs: Hugging Face layout or ONNX";
  const example = "alidade export runs/alphamaze-tiny-1 --format onnx --out maze-onnx";
  subcommand(program, "export <dir>", summary, example)
    .addOption(
      new Option(
        "--format <name>",
        "hf: config, weights, tokenizer; onnx: model.onnx and tokenizer",
      )
        .choices(["hf", "onnx"])
        .makeOptionMandatory(),
    )
    .option("--out <dir>", "new folder (default: <dir>-<format>)")
    .option("--adapter <dir>", "PEFT LoRA adapter to merge into the weights")
    .addOption(
      new Option("--dtype <name>", "numbers of hf weights (default: float32)").choices([
        "float32",
        "bfloat16",
      ]),
    )
    .action(async (path: string, options: ExportOptions) =>
      printResult(context, options, await exportModel(path, options)),
    );
}
