// Trains in a run directory, and leaves it in a state that says how it ended.

import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { writeCurves } from "../run/curves.ts";
import { Interrupted } from "../run/interrupted.ts";
import { now, readEvaluations, type RunDirectory } from "../run/run-directory.ts";
import type { System } from "../systems/system.ts";
import type { CommandContext, CommandResult } from "./command.ts";
import { evaluationTable } from "./evaluation-table.ts";
import { formatDuration, formatTable, formatValue } from "./output.ts";
import { TerminalProgress } from "./progress.ts";

/** npm and the terminal both deliver one Ctrl-C, a moment apart; only a later one is a second one. */
const sameKeyMs = 700;

/** The command line as it was reached, so that a printed command can be pasted. */
export function commandName(): string {
  if (process.env["npm_command"] !== undefined) return "npx alidade";
  return basename(process.argv[1] ?? "") === "alidade.js" ? "node bin/alidade.js" : "alidade";
}

function quotePath(path: string): string {
  return /^[\w./@:+-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}

export function resumeCommand(path: string): string {
  return `${commandName()} resume ${quotePath(path)}`;
}

/** What a run needs of the world around it. */
interface RunContext extends Pick<CommandContext, "stderr" | "signals" | "kill"> {
  /** How a person continues this run; default: `alidade resume`. */
  readonly howToResume?: string;
  /** Stops the run like Ctrl-C. */
  readonly signal?: AbortSignal | undefined;
}

/** Aborts on the first Ctrl-C, kills on the second; returns how to stop listening. */
function listenForInterrupt(
  { signals, kill }: RunContext,
  abort: AbortController,
  tell: (text: string) => void,
): () => void {
  let firstMs: number | null = null;
  const onSignal = (): void => {
    if (firstMs === null) {
      firstMs = now();
      tell("stopping after this step and writing a checkpoint (Ctrl-C again: stop at once)");
      abort.abort();
    } else if (now() - firstMs > sameKeyMs) kill(130);
  };
  signals.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  return () => void signals.off("SIGINT", onSignal).off("SIGTERM", onSignal);
}

/** Ends a run that did not finish; what it was that stopped it matters more than a second failure here. */
function closeRun(run: RunDirectory, status: "interrupted" | "failed", error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  try {
    writeCurves(run.path);
    run.finish(status, status === "failed" ? { error: message } : undefined);
  } catch {
    run.close();
  }
}

/** The last evaluation of every stage, what else the system reports, and where to look. */
function resultText(run: RunDirectory, summary: Readonly<Record<string, unknown>>): string {
  const evaluations = readEvaluations(run.path);
  const last = new Map(evaluations.map((one) => [`${String(one["stage"])} ${one.split}`, one]));
  const facts = Object.entries(summary).filter(([, value]) => typeof value !== "object");
  const places = [
    ["run", run.path],
    ["curves", join(run.path, "curves.svg")],
    ["images", join(run.path, "images")],
    ["more", `${commandName()} show ${quotePath(run.path)}`],
  ].filter(([name, path]) => name === "run" || name === "more" || existsSync(path!));
  return [
    ...(last.size === 0 ? [] : [`\n${evaluationTable([...last.values()])}\n`]),
    ...facts.map(([name, value]) => `${name}: ${formatValue(value)}`),
    `done in ${formatDuration(run.elapsedMs())}`,
    formatTable(places),
  ].join("\n");
}

/** Runs `system.train` to its end; says how to go on when it stops before. */
export async function executeRun(
  context: RunContext,
  system: Pick<System, "train">,
  run: RunDirectory,
  config: unknown,
): Promise<CommandResult> {
  const { seed } = run.record;
  const progress = new TerminalProgress(context.stderr, now);
  const abort = new AbortController();
  const stopListening = listenForInterrupt(context, abort, (text) => progress.line(text));
  try {
    const signal = AbortSignal.any([abort.signal, ...(context.signal ? [context.signal] : [])]);
    const summary = await system.train({ config, seed, run, progress, signal });
    progress.end();
    writeCurves(run.path);
    run.finish("done", summary);
    return {
      json: { run: run.path, status: "done", summary, evaluations: readEvaluations(run.path) },
      text: resultText(run, summary),
    };
  } catch (error) {
    progress.end();
    const isInterrupted = error instanceof Interrupted;
    closeRun(run, isInterrupted ? "interrupted" : "failed", error);
    const newest = run.checkpointNames()[0];
    const from = newest === undefined ? "starts again from the beginning" : `from ${newest}`;
    if (isInterrupted || newest !== undefined) {
      const how = context.howToResume ?? resumeCommand(run.path);
      context.stderr.write(`continue it (${from}) with:\n  ${how}\n`);
    }
    throw error;
  } finally {
    stopListening();
  }
}
