// The command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C.

import { Command, CommanderError } from "commander";
import { ConfigError, DataError, EngineError, RunError, ShapeError } from "../core/errors.ts";
import { Interrupted } from "../run/interrupted.ts";
import { alidadeVersion } from "../run/run-record.ts";
import { systems } from "../systems/registry.ts";
import { tasks } from "../tasks/registry.ts";
import type { CommandContext } from "./command.ts";
import { registerData } from "./data.ts";
import { registerBench } from "./bench.ts";
import { registerEvaluate } from "./evaluate.ts";
import { registerExport } from "./export.ts";
import { registerList } from "./list.ts";
import { registerResume } from "./resume.ts";
import { registerMetrics } from "./metrics.ts";
import { registerRescore } from "./rescore.ts";
import { registerSamples } from "./samples.ts";
import { registerShow } from "./show.ts";
import { registerTrain } from "./train.ts";
import { registerXiangqi } from "./xiangqi/register.ts";

const expectedErrors = [ConfigError, DataError, ShapeError, EngineError, RunError];

function makeProgram(context: CommandContext, argv: readonly string[]): Command {
  const program = new Command("alidade")
    .description("Teach models to reason about space: GRPO on verifiable spatial tasks.")
    .version(alidadeVersion())
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void context.stdout.write(text),
      writeErr: (text) => void context.stderr.write(text),
    })
    .addHelpText("after", "\nExample:\n  alidade train alphamaze --scale tiny");
  registerList(program, context);
  registerShow(program, context);
  registerData(program, context, argv);
  registerTrain(program, context);
  registerResume(program, context);
  registerEvaluate(program, context);
  registerMetrics(program, context);
  registerSamples(program, context);
  registerRescore(program, context);
  registerExport(program, context);
  registerBench(program, context);
  registerXiangqi(program, context);
  return program;
}

/** Prints what went wrong and returns the exit code for it. */
function report(error: unknown, context: CommandContext): number {
  // Commander has printed its message, or the help that was asked for.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof Interrupted) return 130;
  const isExpected = expectedErrors.some((kind) => error instanceof kind);
  const text = error instanceof Error ? error.message : String(error);
  // A stack helps with a bug of ours; it does not help with a mistyped setting.
  const detail = isExpected || !(error instanceof Error) ? text : (error.stack ?? text);
  context.stderr.write(`alidade: ${detail}\n`);
  return error instanceof ConfigError ? 2 : 1;
}

/** Runs one command and returns its exit code. Arguments are those after the program's name. */
export async function main(
  argv: readonly string[],
  overrides: Partial<CommandContext> = {},
): Promise<number> {
  const context: CommandContext = {
    stdout: process.stdout,
    stderr: process.stderr,
    systems,
    tasks,
    signals: process,
    kill: (code) => process.exit(code),
    ...overrides,
  };
  try {
    await makeProgram(context, argv).parseAsync(argv, { from: "user" });
    return 0;
  } catch (error) {
    return report(error, context);
  }
}
