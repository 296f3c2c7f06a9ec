// A program beside us that is spoken to in lines, and what is known of it when it fails.

import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { EngineError } from "../../../core/errors.ts";

/** A longer line is no line of a protocol: Fairy-Stockfish's list of variants takes 2,000 characters. */
const LONGEST_LINE = 1 << 16;
const KEPT_LINES = 3;
/** A child of the program may hold its output open; what it wrote before its end arrives sooner than this. */
const LAST_OUTPUT_MS = 200;

/** The beginning of a line, as it can stand in a message. */
export function quoted(line: string): string {
  return JSON.stringify(line.length <= 160 ? line : `${line.slice(0, 160)}…`);
}

export interface Question<Answer> {
  readonly lines: readonly string[];
  /** For the message, when the program ends before it has answered. */
  readonly where: string;
  readonly expected: string;
  readonly timeoutMs: number;
  /** Told every line until it returns something. What it throws goes to who asked. */
  readonly read: (line: string) => Answer | undefined;
}

interface Fault {
  readonly where: string;
  readonly expected: string;
  readonly got: string;
  readonly hint?: string | undefined;
}

/** Gives whole lines, whatever their ends, out of pieces; null when a line does not end. */
function lineReader(take: (line: string | null) => void): (piece: string) => void {
  let rest = "";
  return (piece) => {
    const lines = (rest + piece).split("\n");
    rest = lines.pop()!;
    for (const line of lines) take(line.endsWith("\r") ? line.slice(0, -1) : line);
    if (rest.length > LONGEST_LINE) {
      rest = "";
      take(null);
    }
  };
}

export class EngineProcess {
  /** As in a shell, for messages. */
  readonly name: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #output: string[] = [];
  readonly #errors: string[] = [];
  /** Settled once the program has ended; it never fails. */
  readonly #whenEnded: Promise<void>;
  #end: ((how: string) => void) | null = null;
  #howEnded: string | null = null;
  #question: {
    readonly read: (line: string) => void;
    readonly fail: (got: string) => void;
  } | null = null;

  /** @param command the program and its arguments; no shell reads them. */
  constructor(command: readonly string[]) {
    this.name = `engine ${command.join(" ")}`;
    this.#whenEnded = new Promise((resolve) => {
      this.#end = (how) => {
        this.#howEnded ??= how;
        this.#question?.fail(this.#howEnded);
        resolve();
      };
    });
    const [file = "", ...parameters] = command;
    try {
      this.#child = spawn(file, parameters, { stdio: "pipe" });
    } catch (cause) {
      throw this.#startFault(cause);
    }
    this.#listen(this.#child);
  }

  #startFault(cause: unknown): EngineError {
    const [expected, got] = ["a program that can be started", (cause as Error).message];
    return new EngineError({ where: this.name, expected, got, cause });
  }

  #listen(child: ChildProcessWithoutNullStreams): void {
    const end = (how: string): void => this.#end?.(how);
    child.on("error", (error) => end(`no start: ${error.message}`));
    child.on("exit", (code, signal) => {
      const how = signal === null ? `its end with exit code ${code}` : `its end by ${signal}`;
      const timer = setTimeout(() => end(how), LAST_OUTPUT_MS);
      child.on("close", () => {
        clearTimeout(timer);
        end(how);
      });
    });
    // A program that has ended does not read; that it has ended is told above.
    child.stdin.on("error", () => undefined);
    child.stdout.setEncoding("utf8").on(
      "data",
      lineReader((line) => this.#take(line)),
    );
    child.stderr.setEncoding("utf8").on(
      "data",
      lineReader((line) => {
        this.#errors.push(line ?? "…");
        if (this.#errors.length > KEPT_LINES) this.#errors.shift();
      }),
    );
  }

  #take(line: string | null): void {
    if (line === null) {
      this.#question?.fail(`a line of more than ${LONGEST_LINE} characters`);
      return;
    }
    this.#output.push(line);
    if (this.#output.length > KEPT_LINES) this.#output.shift();
    this.#question?.read(line);
  }

  send(line: string): void {
    this.#child.stdin.write(`${line}\n`);
  }

  /**
   * What `read` made of the lines that came after those of the question; null: nothing in time. One question at a time.
   * @throws EngineError when the program ends, or what `read` throws.
   */
  ask<Answer>(question: Question<Answer>): Promise<Answer | null> {
    const { lines, where, expected, timeoutMs, read } = question;
    return new Promise((resolve, reject) => {
      const finish = (act: () => void): void => {
        clearTimeout(timer);
        this.#question = null;
        act();
      };
      const timer = setTimeout(() => finish(() => resolve(null)), timeoutMs);
      const fail = (got: string): void =>
        finish(() => reject(this.fault({ where, expected, got })));
      this.#question = {
        fail,
        read: (line) => {
          try {
            const answer = read(line);
            if (answer !== undefined) finish(() => resolve(answer));
          } catch (error) {
            finish(() => reject(error));
          }
        },
      };
      if (this.#howEnded === null) for (const line of lines) this.send(line);
      else fail(this.#howEnded);
    });
  }

  /** An error that ends with what the program said last. */
  fault({ where, expected, got, hint }: Fault): EngineError {
    const said = (name: string, lines: readonly string[]): string =>
      lines.length === 0 ? `${name} is empty` : `${name} ends ${lines.map(quoted).join(", ")}`;
    const last = `${said("stdout", this.#output)}; ${said("stderr", this.#errors)}`;
    const whole = hint === undefined ? last : `${hint}; ${last}`;
    return new EngineError({ where, expected, got, hint: whole });
  }

  /** Asks the program to end and kills it after a while. Whoever waits for an answer gets an EngineError. */
  async close(graceMs: number): Promise<void> {
    this.#question?.fail("close()");
    this.send("quit");
    await this.#ended(graceMs);
    await this.kill();
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended(1_000);
    for (const pipe of [this.#child.stdin, this.#child.stdout, this.#child.stderr]) pipe.destroy();
  }

  async #ended(withinMs: number): Promise<void> {
    const wait = new AbortController();
    const limit = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, withinMs);
      wait.signal.addEventListener("abort", () => {
        clearTimeout(timer);
        resolve();
      });
    });
    await Promise.race([this.#whenEnded, limit]);
    wait.abort();
  }
}
