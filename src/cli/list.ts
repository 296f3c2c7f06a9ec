// alidade list: the published systems and what can be trained today.

import type { Command } from "commander";
import { publishedSystems } from "../systems/registry.ts";
import { type CommandContext, type CommandResult, printResult, subcommand } from "./command.ts";
import { formatTable } from "./output.ts";

interface SystemLine {
  readonly name: string;
  readonly status: "ready" | "planned";
  readonly title: string;
  readonly arxiv: string;
  readonly summary: string;
  readonly task: string | null;
  readonly scales: readonly string[];
}

function systemLines(context: CommandContext): SystemLine[] {
  const ready = context.systems.map((system): SystemLine => {
    const { name, summary, scales, task, paper } = system;
    const { title, arxiv } = paper;
    const known = { task: task.name, scales: Object.keys(scales) };
    return { name, status: "ready", title, arxiv, summary, ...known };
  });
  const planned = publishedSystems
    .filter(({ name }) => !ready.some((line) => line.name === name))
    .map((system): SystemLine => ({ ...system, status: "planned", task: null, scales: [] }));
  return [...ready, ...planned];
}

function listSystems(context: CommandContext): CommandResult {
  const lines = systemLines(context);
  const rows = lines.map(({ name, status, scales, arxiv, summary }) => {
    const state = status === "ready" ? scales.join(", ") : "planned";
    return [name, state, `arXiv:${arxiv}`, summary];
  });
  const tasks = context.tasks.map(({ name, summary }) => ({ name, summary }));
  return {
    json: { systems: lines, tasks },
    text: [
      formatTable([["SYSTEM", "SCALES", "PAPER", "ABOUT"], ...rows]),
      formatTable([["TASK", "ABOUT"], ...tasks.map(({ name, summary }) => [name, summary])]),
    ].join("\n\n"),
  };
}

export function registerList(program: Command, context: CommandContext): void {
  subcommand(program, "list", "the systems and tasks, one line each", "alidade list").action(
    (options: { json?: boolean }) => printResult(context, options, listSystems(context)),
  );
}
