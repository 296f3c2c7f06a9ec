// Lines that a person types, or that are piped in, asked for one at a time.

import { createInterface, type Interface } from "node:readline";
import { type Readable, Writable } from "node:stream";
import type { TextStream } from "../output.ts";

/** Where lines come from; a terminal's stream has `isTTY`. */
export type LineSource = Readable & { readonly isTTY?: boolean };

export interface LineInputOptions {
  readonly input: LineSource;
  /** Where prompts go. */
  readonly output: TextStream;
  /** Ctrl-C while a terminal sends keys instead of signals. */
  readonly onInterrupt: () => void;
  /** Words that the tab key completes. */
  readonly complete: () => readonly string[];
}

export class LineInput {
  readonly #reader: Interface;
  readonly #output: TextStream;
  readonly #isTerminal: boolean;
  /** Lines that came before they were asked for. */
  readonly #lines: string[] = [];
  #isClosed = false;
  #wake: () => void = () => undefined;

  constructor({ input, output, onInterrupt, complete }: LineInputOptions) {
    const common = { input, crlfDelay: Infinity };
    const isTerminal = input.isTTY === true && output.isTTY === true && output instanceof Writable;
    this.#output = output;
    this.#isTerminal = isTerminal;
    // In a terminal: keys edit the line, the arrows bring earlier ones back.
    this.#reader = createInterface(
      isTerminal
        ? {
            ...common,
            output,
            terminal: true,
            completer: (line: string) => [
              complete().filter((word) => word.startsWith(line.toLowerCase())),
              line,
            ],
          }
        : { ...common, terminal: false },
    );
    this.#reader.on("line", (line) => {
      this.#lines.push(line);
      this.#wake();
    });
    this.#reader.on("SIGINT", onInterrupt);
    this.#reader.on("close", () => this.#end());
    this.#reader.on("error", () => this.#end()); // of the stream: a terminal that was closed
  }

  #end(): void {
    this.#isClosed = true;
    this.#wake();
  }

  /** The next line; null: there is none any more. */
  async next(prompt: string): Promise<string | null> {
    if (!this.#isTerminal) this.#output.write(prompt);
    else if (!this.#isClosed) {
      this.#reader.setPrompt(prompt);
      this.#reader.prompt();
    }
    while (this.#lines.length === 0 && !this.#isClosed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const line = this.#lines.shift() ?? null;
    // What is piped in is not seen otherwise, and answers would stand on the line of the prompt.
    if (line === null || !this.#isTerminal) this.#output.write(`${line ?? ""}\n`);
    return line;
  }

  close(): void {
    this.#reader.close();
  }
}
