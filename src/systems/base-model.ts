// A published model to start from: its config, its tokenizer with the tokens of the task, its weights with rows for them.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { ConfigError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { LocalEngine } from "../engine/local-engine.ts";
import type { DecoderConfig, LoraConfig } from "../models/decoder.ts";
import { checkVocabulary, checkWeights, readModelConfig } from "../models/hugging-face.ts";
import { drawRows } from "../models/vocabulary-rows.ts";
import { ChatTokenizer } from "../text/chat-tokenizer.ts";

/** Whether task tokens become tokens of the model, or go through its tokenizer like any text. */
export const vocabularies = ["special", "text"] as const;

/**
 * Rows of the new tokens. `own`: the input and the output matrix each draw theirs from their own rows. `compat`: as the
 * released script of AlphaMaze does by mistake: the input rows come from the output matrix, the output rows
 * stay as they are.
 */
export const newRowKinds = ["own", "compat"] as const;

export interface BaseModelSettings {
  /** Folder in the Hugging Face layout. */
  readonly from: string;
  readonly vocabulary: (typeof vocabularies)[number];
  readonly newRows: (typeof newRowKinds)[number];
  /** Most tokens of a sequence; the model's own limit is often far larger than a run needs. */
  readonly contextLength: number;
  readonly lora: LoraConfig | null;
}

export interface BaseModel {
  readonly config: DecoderConfig;
  readonly tokenizer: ChatTokenizer;
  /** Tables with rows that the published model does not have, by their names in a checkpoint. */
  readonly extended: readonly string[];
  /** Fills an engine of this config with the weights. */
  load(engine: LocalEngine, random: Random): Promise<void>;
}

const INPUT = "model.embed_tokens.weight";
const OUTPUT = "lm_head.weight";

/**
 * Reads config and tokenizer, and checks names and shapes of the weights, which `load` reads. The vocabulary of the config grows only when the tokens do
 * not fit into the rows that pad the published matrix.
 * @throws ConfigError when the folder is not there; DataError when a file is missing or cannot be used.
 */
export async function openBaseModel(
  { from, vocabulary, newRows, contextLength, lora }: BaseModelSettings,
  tokens: readonly string[],
): Promise<BaseModel> {
  if (!existsSync(join(from, "config.json"))) {
    throw new ConfigError({
      where: "settings.model.from",
      expected:
        "a folder with a Hugging Face model (config.json, model.safetensors, tokenizer.json)",
      got: JSON.stringify(from),
      hint: existsSync(from) ? "it has no config.json" : "no such folder",
    });
  }
  const published = await readModelConfig(from);
  if (contextLength > published.contextLength) {
    const expected = `at most ${published.contextLength}, the context of ${from}`;
    throw new ConfigError({
      where: "settings.model.contextLength",
      expected,
      got: String(contextLength),
    });
  }
  const plain = (await ChatTokenizer.read(from)).withoutOpenThinking();
  const tokenizer = vocabulary === "special" ? plain.withTokens(tokens) : plain;
  const vocabularySize = Math.max(published.vocabularySize, tokenizer.vocabularySize);
  checkVocabulary(from, published, plain);
  await checkWeights(from, published);
  const config = { ...published, vocabularySize, contextLength, ...(lora && { lora }) };
  const isExtended = tokenizer.vocabularySize > plain.vocabularySize;
  return {
    config,
    tokenizer,
    extended: isExtended ? [INPUT, ...(config.tiedEmbeddings ? [] : [OUTPUT])] : [],
    load: async (engine, random) => {
      engine.initialise(random.fork("adapters"), "adapters");
      await engine.loadWeights(from, { largerVocabulary: true });
      if (isExtended) fillNewRows(engine, plain.vocabularySize, newRows, random);
    },
  };
}

/** Draws every row that stands for no published token: those of the new tokens, and what pads the matrices. */
function fillNewRows(
  engine: LocalEngine,
  known: number,
  kind: BaseModelSettings["newRows"],
  random: Random,
): void {
  const { width, vocabularySize } = engine.config;
  const size = { width, known, count: vocabularySize - known };
  const draw = (name: string): Float32Array =>
    drawRows(engine.parameter(name), size, random.fork(name));
  const put = (name: string, rows: Float32Array): void =>
    engine.parameter(name).set(rows, known * width);
  const isTied = engine.config.tiedEmbeddings;
  if (isTied) put(INPUT, draw(INPUT));
  else if (kind === "compat") put(INPUT, draw(OUTPUT));
  else for (const name of [INPUT, OUTPUT]) put(name, draw(name));
}
