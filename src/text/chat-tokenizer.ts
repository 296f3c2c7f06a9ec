// A tokenizer with its chat template, as the Hugging Face files tokenizer.json and tokenizer_config.json describe them.

import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { DataError } from "../core/errors.ts";
import type { Message } from "../core/messages.ts";

/** A special token: its text, or a record of how to find it. */
const specialToken = z.union([
  z.string(),
  z.looseObject({ content: z.string() }).transform(({ content }) => content),
]);

const configSchema = z.looseObject({
  chat_template: z.union([
    z.string(),
    // Models with several templates: the one named "default".
    z
      .array(z.looseObject({ name: z.string(), template: z.string() }))
      .transform((list) => list.find(({ name }) => name === "default")?.template)
      .pipe(z.string()),
  ]),
  eos_token: specialToken,
  added_tokens_decoder: z.record(z.string(), z.unknown()).optional(),
});

const generationSchema = z.looseObject({
  eos_token_id: z.union([z.int().transform((id) => [id]), z.array(z.int())]).nullish(),
});

/** What chat templates may name beside the messages: `bos_token`, `eos_token`, … */
function templateTokens(config: Readonly<Record<string, unknown>>): Record<string, string> {
  const tokens = Object.entries(config)
    .filter(([key]) => key.endsWith("_token"))
    .map(([key, value]) => [key, specialToken.safeParse(value).data] as const)
    .filter((pair): pair is [string, string] => pair[1] !== undefined);
  return Object.fromEntries(tokens);
}

const tokenizerSchema = z.looseObject({
  model: z.looseObject({
    // The library takes any other name for WordLevel. Old files have none.
    type: z.enum(["BPE", "WordPiece", "WordLevel"]).optional(),
    vocab: z.record(z.string(), z.number()),
  }),
  added_tokens: z.array(z.looseObject({ id: z.number(), content: z.string() })).optional(),
});

/** Printable ASCII and newline: what a tokenizer made for a task always knows. */
const CHARACTERS = [
  "\n",
  ...Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index)),
];
const UNKNOWN = "<|unknown|>";
const END = "<|end|>";
const ROLES = ["<|system|>", "<|user|>", "<|assistant|>"];

/** A token in the two forms of the two files. */
const newToken = (content: string) => ({
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: false,
});

const CHAT_TEMPLATE = [
  "{% for message in messages %}",
  "{{ '<|' + message['role'] + '|>' + message['content'] }}",
  "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}",
  "{% endfor %}",
  "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
].join("");

/** Text to token ids and back, and conversations to prompts. */
export class ChatTokenizer {
  readonly vocabularySize: number;
  /** Ends an assistant's turn. */
  readonly endToken: number;
  /** Every token that may end a completion: the end token, and those of generation_config.json. */
  readonly stopTokens: readonly number[];
  readonly #tokenizer: Tokenizer;
  readonly #template: Template;
  readonly #json: z.output<typeof tokenizerSchema>;
  readonly #config: z.output<typeof configSchema>;
  readonly #templateTokens: Readonly<Record<string, string>>;

  constructor(
    tokenizerJson: unknown,
    tokenizerConfig: unknown,
    where = "tokenizer",
    stopTokens: readonly number[] = [],
    templateFile = "tokenizer_config.json",
  ) {
    const json = checked(tokenizerSchema, tokenizerJson, `${where}/tokenizer.json`);
    const config = checked(configSchema, tokenizerConfig, `${where}/tokenizer_config.json`);
    this.#json = json;
    this.#config = config;
    const tokenizerFile = `${where}/tokenizer.json`;
    const usable = "a tokenizer of kinds that are known here";
    this.#tokenizer = attempt(tokenizerFile, usable, () => new Tokenizer(json, config));
    this.#template = attempt(
      `${where}/${templateFile}`,
      "a chat template in Jinja",
      () => new Template(config.chat_template),
    );
    this.#templateTokens = templateTokens(config);
    const ids = [
      ...Object.values(json.model.vocab),
      ...(json.added_tokens ?? []).map(({ id }) => id),
    ];
    this.vocabularySize = ids.reduce((largest, id) => Math.max(largest, id), -1) + 1;
    const endText = config.eos_token;
    const end = this.#tokenizer.token_to_id(endText);
    if (end === undefined) {
      throw new DataError({
        where,
        expected: `the end token ${endText} in the vocabulary`,
        got: "none",
      });
    }
    this.endToken = end;
    this.stopTokens = [...new Set([end, ...stopTokens])];
    const stranger = this.stopTokens.find((id) => id < 0 || id >= this.vocabularySize);
    if (stranger !== undefined) {
      throw new DataError({
        where: `${where}/generation_config.json`,
        expected: `eos_token_id in [0, ${this.vocabularySize})`,
        got: String(stranger),
      });
    }
    // What is wrong with kinds and templates shows only when they work.
    const prompt = attempt(
      `${where}/${templateFile}`,
      "a chat template that renders a message of a user",
      () => this.#render([{ role: "user", content: "a" }]),
    );
    attempt(tokenizerFile, usable, () => this.decode([...this.encode(prompt), this.endToken]));
  }

  /**
   * A tokenizer for models trained from scratch: one token a printable ASCII character, and `tokens` kept whole.
   * Any other character becomes <|unknown|>.
   */
  static ofTokens(tokens: readonly string[]): ChatTokenizer {
    const whole = [...new Set([UNKNOWN, END, ...ROLES, ...tokens])].filter(
      (token) => !CHARACTERS.includes(token),
    );
    const vocabulary = [...whole, ...CHARACTERS];
    const tokenizer = {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: whole.map((content, id) => ({ id, ...newToken(content) })),
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      decoder: { type: "Fuse" },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: UNKNOWN,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
        merges: [],
      },
    };
    const config = {
      tokenizer_class: "PreTrainedTokenizerFast",
      chat_template: CHAT_TEMPLATE,
      eos_token: END,
      unk_token: UNKNOWN,
      clean_up_tokenization_spaces: false,
    };
    return new ChatTokenizer(tokenizer, config);
  }

  /** Reads a model folder: tokenizer.json, tokenizer_config.json, and where they exist chat_template.jinja and generation_config.json. */
  static async read(directory: string): Promise<ChatTokenizer> {
    const text = async (name: string): Promise<string> => {
      const path = join(directory, name);
      return readFile(path, "utf8").catch((cause: Error) => {
        const expected = "a readable file";
        throw new DataError({ where: path, expected, got: cause.message, cause });
      });
    };
    const json = async (name: string): Promise<unknown> => {
      const content = await text(name);
      try {
        return JSON.parse(content);
      } catch (cause) {
        const got = (cause as Error).message;
        const where = join(directory, name);
        throw new DataError({ where, expected: "a readable JSON file", got, cause });
      }
    };
    const has = (name: string): boolean => existsSync(join(directory, name));
    const config = await json("tokenizer_config.json");
    const template = has("chat_template.jinja") ? await text("chat_template.jinja") : undefined;
    const generation = has("generation_config.json")
      ? checked(
          generationSchema,
          await json("generation_config.json"),
          `${directory}/generation_config.json`,
        )
      : {};
    return new ChatTokenizer(
      await json("tokenizer.json"),
      template === undefined ? config : { ...(config as object), chat_template: template },
      directory,
      generation.eos_token_id ?? [],
      template === undefined ? undefined : "chat_template.jinja",
    );
  }

  /** This tokenizer with new tokens, which get the next ids in their order; those that it has already keep theirs. */
  withTokens(tokens: readonly string[]): ChatTokenizer {
    const added = tokens
      .filter((token) => this.#tokenizer.token_to_id(token) === undefined)
      .map((content, index) => ({ id: this.vocabularySize + index, ...newToken(content) }));
    if (added.length === 0) return this;
    const { added_tokens_decoder: listed } = this.#config;
    const listing = Object.fromEntries(added.map(({ id, ...token }) => [id, token]));
    return new ChatTokenizer(
      { ...this.#json, added_tokens: [...(this.#json.added_tokens ?? []), ...added] },
      { ...this.#config, ...(listed && { added_tokens_decoder: { ...listed, ...listing } }) },
    );
  }

  /**
   * This tokenizer with a template that leaves `<think>` to the model. Templates of reasoning models end a prompt with
   * it, but answers to learn from begin with it themselves.
   */
  withoutOpenThinking(): ChatTokenizer {
    const template = this.#config.chat_template.replaceAll(
      /<think>(?:\\n|\n)(?=['"]\s*[-+]?\s*\}\})/g,
      "",
    );
    return new ChatTokenizer(this.#json, { ...this.#config, chat_template: template });
  }

  /** Writes the two files, and a generation_config.json that names the end token. */
  async write(directory: string): Promise<void> {
    const files = {
      "tokenizer.json": this.#json,
      "tokenizer_config.json": this.#config,
      "generation_config.json": {
        eos_token_id: this.stopTokens.length === 1 ? this.endToken : this.stopTokens,
        pad_token_id: this.endToken,
      },
    };
    for (const [name, content] of Object.entries(files)) {
      await writeFile(join(directory, name), `${JSON.stringify(content, null, 1)}\n`);
    }
  }

  encode(text: string): Int32Array {
    return text === ""
      ? new Int32Array()
      : Int32Array.from(this.#tokenizer.encode(text, { add_special_tokens: false }).ids);
  }

  /** Text of token ids, special tokens included. Ids beyond the tokenizer (rows that pad a matrix) have none. */
  decode(tokens: ArrayLike<number>): string {
    const known = Array.from(tokens).filter((token) => token < this.vocabularySize);
    if (known.length === 0) return "";
    return this.#tokenizer.decode(known, {
      skip_special_tokens: false,
      clean_up_tokenization_spaces: false,
    });
  }

  /** Token ids of a conversation up to where the assistant begins to write. */
  encodePrompt(messages: readonly Message[]): Int32Array {
    return this.encode(this.#render(messages));
  }

  #render(messages: readonly Message[]): string {
    return this.#template.render({
      ...this.#templateTokens,
      messages: messages.map((message) => ({ ...message })),
      add_generation_prompt: true,
    });
  }

  /** Token ids of an assistant's answer, the end token included. */
  encodeAnswer(text: string): Int32Array {
    return Int32Array.from([...this.encode(text), this.endToken]);
  }

  /** Text of a completion without the token that ended it. */
  decodeAnswer(tokens: Int32Array): string {
    const hasEnd = this.stopTokens.includes(tokens.at(-1)!);
    return this.decode(hasEnd ? tokens.subarray(0, -1) : tokens);
  }
}

/** What a library makes of a file; its errors become a DataError that names the file. */
function attempt<T>(where: string, expected: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw new DataError({ where, expected, got: (cause as Error).message, cause });
  }
}

function checked<T>(schema: z.ZodType<T>, value: unknown, where: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new DataError({
    where,
    expected: `${issue.path.join(".")}: ${issue.message}`,
    got: "something else",
  });
}
