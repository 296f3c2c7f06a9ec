// What every command shares: where it writes, what it knows, how its result is printed.

import type { EventEmitter } from "node:events";
import { type Command, InvalidArgumentError } from "commander";
import type { AnyTask } from "../tasks/registry.ts";
import type { System } from "../systems/system.ts";
import type { TextStream } from "./output.ts";

/** The world around a command; a test gives it another one. */
export interface CommandContext {
  readonly stdout: TextStream;
  readonly stderr: TextStream;
  readonly systems: readonly System[];
  readonly tasks: readonly AnyTask[];
  /** Emits SIGINT and SIGTERM. */
  readonly signals: EventEmitter;
  /** Ends the process at once. */
  readonly kill: (code: number) => void;
}

/** A result for a program and for a person. */
export interface CommandResult {
  readonly json: unknown;
  readonly text: string;
}

/** A new subcommand with `--json` and an example in its help. */
export function subcommand(
  program: Command,
  usage: string,
  summary: string,
  example: string,
): Command {
  return program
    .command(usage)
    .description(summary)
    .option("--json", "print the result as one JSON document on standard output")
    .addHelpText("after", `\nExample:\n  ${example}`);
}

/** Prints a result the way the caller asked for. */
export function printResult(
  context: CommandContext,
  options: { readonly json?: boolean },
  result: CommandResult,
): void {
  const isJson = options.json === true;
  context.stdout.write(`${isJson ? JSON.stringify(result.json, null, 2) : result.text}\n`);
}

/** Reads a whole number of at least `least`. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`Expected a whole number of at least ${least}.`);
  };
}

/** Collects an option that may be given several times. */
export function collect(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value];
}
