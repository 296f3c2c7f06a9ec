// A tokenizer with its chat template, as the Hugging Face files tokenizer.json and tokenizer_config.json describe them.

import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { DataError } from "../core/errors.ts";
import type { Message } from "../core/messages.ts";

/** A token by its text, or with what else is said about it. */
const tokenSchema = z.union([z.string(), z.looseObject({ content: z.string() })]);

const configSchema = z.looseObject({
  chat_template: z.string(),
  eos_token: tokenSchema,
  bos_token: tokenSchema.nullish(),
  pad_token: tokenSchema.nullish(),
  added_tokens_decoder: z.record(z.string(), z.unknown()).optional(),
});

const textOf = (token: z.output<typeof tokenSchema> | null | undefined): string =>
  typeof token === "string" ? token : (token?.content ?? "");

const tokenizerSchema = z.looseObject({
  model: z.looseObject({ vocab: z.record(z.string(), z.number()) }),
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
  readonly #tokenizer: Tokenizer;
  readonly #template: Template;
  readonly #json: z.output<typeof tokenizerSchema>;
  readonly #config: z.output<typeof configSchema>;

  constructor(tokenizerJson: unknown, tokenizerConfig: unknown, where = "tokenizer") {
    const json = checked(tokenizerSchema, tokenizerJson, `${where}/tokenizer.json`);
    const config = checked(configSchema, tokenizerConfig, `${where}/tokenizer_config.json`);
    this.#json = json;
    this.#config = config;
    this.#tokenizer = new Tokenizer(json, config);
    this.#template = new Template(config.chat_template);
    const ids = [
      ...Object.values(json.model.vocab),
      ...(json.added_tokens ?? []).map(({ id }) => id),
    ];
    this.vocabularySize = ids.reduce((largest, id) => Math.max(largest, id), -1) + 1;
    const endText = textOf(config.eos_token);
    const end = this.#tokenizer.token_to_id(endText);
    if (end === undefined) {
      throw new DataError({
        where,
        expected: `the end token ${endText} in the vocabulary`,
        got: "none",
      });
    }
    this.endToken = end;
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

  /** Reads the two files from a model folder; newer folders keep the template in chat_template.jinja. */
  static async read(directory: string): Promise<ChatTokenizer> {
    const json = async (name: string): Promise<object> => {
      const path = join(directory, name);
      try {
        return JSON.parse(await readFile(path, "utf8")) as object;
      } catch (cause) {
        throw new DataError({
          where: path,
          expected: "a readable JSON file",
          got: (cause as Error).message,
          cause,
        });
      }
    };
    const template = join(directory, "chat_template.jinja");
    const config = existsSync(template) ? { chat_template: await readFile(template, "utf8") } : {};
    return new ChatTokenizer(
      await json("tokenizer.json"),
      { ...config, ...(await json("tokenizer_config.json")) },
      directory,
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
      "generation_config.json": { eos_token_id: this.endToken, pad_token_id: this.endToken },
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
    const conversation = messages.map((message) => ({ ...message }));
    const { bos_token, eos_token, pad_token } = this.#config;
    return this.encode(
      this.#template.render({
        messages: conversation,
        add_generation_prompt: true,
        bos_token: textOf(bos_token),
        eos_token: textOf(eos_token),
        pad_token: textOf(pad_token),
      }),
    );
  }

  /** Token ids of an assistant's answer, the end token included. */
  encodeAnswer(text: string): Int32Array {
    return Int32Array.from([...this.encode(text), this.endToken]);
  }

  /** Text of a completion without its end token. */
  decodeAnswer(tokens: Int32Array): string {
    return this.decode(tokens.at(-1) === this.endToken ? tokens.subarray(0, -1) : tokens);
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
