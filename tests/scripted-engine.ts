// An engine that does as a test tells it, and a small task for it. Everything it is asked is written down.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type {
  AccumulateResult,
  Completion,
  Engine,
  Example,
  LogProbOptions,
  LossWindow,
  SampleOptions,
  Sequence,
  StepOptions,
  StepResult,
  TokenIds,
} from "../src/core/engine.ts";
import type { LossSpec } from "../src/core/loss-spec.ts";
import { DataError } from "../src/core/errors.ts";
import type { StopReason } from "../src/core/task.ts";
import { defineTask } from "../src/core/task.ts";
import type { Environment } from "../src/rollout/single-turn.ts";
import { ChatTokenizer } from "../src/text/chat-tokenizer.ts";

export const tokenizer = ChatTokenizer.ofTokens([]);

/** What the model writes; without `isCut` an end token follows. */
export interface Answer {
  readonly text: string;
  readonly isCut?: boolean;
  readonly logProb?: number;
}

export interface Script {
  /** Answer to the user's text; `uniform` is the first draw of the sample's stream. */
  answer?: (question: string, sample: number, uniform: number) => string | Answer;
  /** Log-probability of every token of a sequence under a policy. */
  logProb?: (sequence: number, policy: LogProbOptions["policy"]) => number;
  /** Result of the n-th `accumulate`, counted from 1, laid over a plain one. */
  accumulate?: (call: number, batch: readonly Example[]) => Partial<AccumulateResult>;
  /** Result of the n-th `step`, or an error. */
  step?: (call: number) => StepResult;
}

type Call =
  | {
      readonly verb: "sample";
      readonly prompts: readonly TokenIds[];
      readonly options: SampleOptions;
    }
  | {
      readonly verb: "logProbs";
      readonly sequences: readonly Sequence[];
      readonly options: LogProbOptions;
    }
  | {
      readonly verb: "accumulate";
      readonly batch: readonly Example[];
      readonly loss: LossSpec;
      readonly window: LossWindow | undefined;
    }
  | { readonly verb: "step"; readonly options: StepOptions }
  | { readonly verb: "resetOptimiser" | "freezeReference" }
  | { readonly verb: "save" | "load" | "saveModel"; readonly directory: string };

const rowsLike = (list: readonly Sequence[], value: (index: number) => number): Float32Array[] =>
  list.map(({ tokens, promptLength }, index) =>
    new Float32Array(tokens.length - promptLength).fill(value(index)),
  );

/** Text between the user's mark and the assistant's. */
const questionOf = (prompt: TokenIds): string =>
  /<\|user\|>([^]*)<\|assistant\|>/.exec(tokenizer.decode(prompt))?.[1] ?? "";

export class ScriptedEngine implements Engine {
  readonly vocabularySize = tokenizer.vocabularySize;
  readonly contextLength = 1000;
  readonly calls: Call[] = [];
  readonly #script: Script;
  /** Optimiser steps made: the only state, which `save` writes. */
  steps = 0;

  constructor(script: Script = {}) {
    this.#script = script;
  }

  /** The calls of one verb, in order. */
  of<Verb extends Call["verb"]>(verb: Verb): Extract<Call, { verb: Verb }>[] {
    return this.calls.filter((call): call is Extract<Call, { verb: Verb }> => call.verb === verb);
  }

  async sample(prompts: readonly TokenIds[], options: SampleOptions): Promise<Completion[][]> {
    this.calls.push({ verb: "sample", prompts, options });
    return prompts.map((prompt, index) =>
      Array.from({ length: options.group }, (_, sample) => {
        const uniform = options.random(index, sample).at(0);
        const given = this.#script.answer?.(questionOf(prompt), sample, uniform) ?? "";
        const {
          text,
          isCut = false,
          logProb = -0.5,
        }: Answer = typeof given === "string" ? { text: given } : given;
        const tokens = isCut ? tokenizer.encode(text) : tokenizer.encodeAnswer(text);
        const stopReason: StopReason = isCut ? "length" : "stop";
        return { tokens, logProbs: new Float32Array(tokens.length).fill(logProb), stopReason };
      }),
    );
  }

  async logProbs(sequences: readonly Sequence[], options: LogProbOptions): Promise<Float32Array[]> {
    this.calls.push({ verb: "logProbs", sequences, options });
    return rowsLike(sequences, (index) => this.#script.logProb?.(index, options.policy) ?? -0.5);
  }

  async accumulate(
    batch: readonly Example[],
    loss: LossSpec,
    window?: LossWindow,
  ): Promise<AccumulateResult> {
    this.calls.push({ verb: "accumulate", batch, loss, window });
    return {
      loss: 0.25,
      logProbs: rowsLike(batch, (index) => this.#script.logProb?.(index, "current") ?? -0.5),
      entropy: rowsLike(batch, () => 1.5),
      ...this.#script.accumulate?.(this.of("accumulate").length, batch),
    };
  }

  async step(options: StepOptions): Promise<StepResult> {
    this.calls.push({ verb: "step", options });
    const result = this.#script.step?.(this.of("step").length) ?? { gradientNorm: 2 };
    this.steps++;
    return result;
  }

  async resetOptimiser(): Promise<void> {
    this.calls.push({ verb: "resetOptimiser" });
  }

  async freezeReference(): Promise<void> {
    this.calls.push({ verb: "freezeReference" });
  }

  async save(directory: string): Promise<void> {
    this.calls.push({ verb: "save", directory });
    writeFileSync(join(directory, "steps"), String(this.steps));
  }

  async saveModel(directory: string): Promise<void> {
    this.calls.push({ verb: "saveModel", directory });
  }

  async load(directory: string): Promise<void> {
    this.calls.push({ verb: "load", directory });
    const text = readFileSync(join(directory, "steps"), "utf8");
    this.steps = Number(text);
    if (Number.isInteger(this.steps)) return;
    throw new DataError({ where: join(directory, "steps"), expected: "a number", got: text });
  }

  dispose(): void {
    // Nothing to give up.
  }
}

export interface Sum {
  readonly a: number;
  readonly b: number;
}

const sumConfig = z.object({ largest: z.int().min(1).default(30) });
type SumConfig = z.output<typeof sumConfig>;

/** Adds two numbers. `score` may be replaced. */
export const sumTask = defineTask<Sum, SumConfig>({
  name: "sum",
  summary: "adds two numbers",
  config: sumConfig,
  scores: { correct: "the sum is right", short: "at most two characters" },
  accuracy: "correct",
  make: (random, { largest }) => ({ a: random.integer(largest), b: random.integer(largest) }),
  prompt: ({ a, b }) => [{ role: "user", content: `${a}+${b}` }],
  gold: ({ a, b }) => String(a + b),
  score: ({ a, b }, { text }) => ({
    correct: Number(text === String(a + b)),
    short: text === "" ? null : Number(text.length <= 2),
  }),
  key: ({ a, b }) => `${a}+${b}`,
  level: ({ a, b }) => (a + b < 10 ? "Easy" : "Hard"),
  errorClass: ({ a, b }, { text }) =>
    text === String(a + b) ? null : text === "" ? "nothing" : "wrong sum",
});

export const sumEnvironment: Environment<Sum, SumConfig> = {
  task: sumTask,
  config: { largest: 30 },
  tokenizer,
};

/** The right answer to a question of the task. */
export const solve = (question: string): string =>
  String(question.split("+").reduce((total, part) => total + Number(part), 0));
