// alidade resume: continues a run from its newest checkpoint.

import type { Command } from "commander";
import { ConfigError } from "../core/errors.ts";
import { RunDirectory } from "../run/run-directory.ts";
import { findSystem } from "../systems/registry.ts";
import { type CommandContext, type CommandResult, printResult, subcommand } from "./command.ts";
import { refuseCustomRun, resumeByProgram } from "./custom-run.ts";
import { commandName, executeRun } from "./execute-run.ts";
import { storedConfig } from "./stored-config.ts";

async function resume(context: CommandContext, path: string): Promise<CommandResult> {
  const run = RunDirectory.open(path);
  const { record } = run;
  if (record.status === "done") {
    const hint = `${commandName()} show ${path} prints its results`;
    const expected = "a run that is not finished";
    throw new ConfigError({ where: path, expected, got: "one that is done", hint });
  }
  const hint = `to continue it, ${resumeByProgram}: trainTask goes on from the newest checkpoint`;
  refuseCustomRun(record, path, hint);
  const system = findSystem(record.system, context.systems);
  const config = storedConfig(system, record, path);
  const position = run.resume();
  const from =
    position === null
      ? "no checkpoint yet: from the beginning"
      : `from ${position.state.stage} ${position.state.step}`;
  context.stderr.write(`${record.system}, scale ${record.scale}, seed ${record.seed}; ${from}\n`);
  return executeRun(context, system, run, config);
}

export function registerResume(program: Command, context: CommandContext): void {
  const summary = "continue a run from its newest checkpoint, bit for bit";
  subcommand(program, "resume <dir>", summary, "alidade resume runs/alphamaze-tiny-1").action(
    async (path: string, options: { json?: boolean }) =>
      printResult(context, options, await resume(context, path)),
  );
}
