// alidade show: a system (paper, stages, scales, claims, settings) or a run directory.

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { unknownName } from "../core/errors.ts";
import { describeSettings, type Setting } from "../core/settings.ts";
import { type PublishedSystem, publishedSystems } from "../systems/registry.ts";
import type { System } from "../systems/system.ts";
import { type CommandContext, type CommandResult, printResult, subcommand } from "./command.ts";
import { flatSettings } from "./flat-settings.ts";
import { formatTable, formatValue, wrapText } from "./output.ts";
import { showRun } from "./show-run.ts";

function settingsText(settings: readonly Setting[]): string {
  const rows = settings.map(({ path, default: value, type, range }) => {
    return [`  ${path}`, formatValue(value), type, range];
  });
  const table = formatTable(rows).split("\n");
  return settings
    .map((setting, index) => {
      const when = setting.when === undefined ? "" : `only with ${setting.when}. `;
      const help = when + setting.help;
      return help === "" ? table[index] : `${table[index]}\n${wrapText(help, 100, "      ")}`;
    })
    .join("\n");
}

function showSystem(system: System): CommandResult {
  const { name, title, summary, paper, stages, scales, claims, task } = system;
  const settings = describeSettings(system.settings);
  const code = paper.code === undefined ? [] : [`  code    ${paper.code}`];
  const scaleText = Object.entries(scales).flatMap(([scale, { summary: help, settings: set }]) => [
    `  ${scale}: ${help}`,
    wrapText(flatSettings(set).join("  "), 100, "      "),
  ]);
  const claimRows = claims.map(({ metric, paper: value, source }) => [
    `  ${metric}`,
    value,
    source,
  ]);
  return {
    json: { name, title, summary, paper, task: task.name, stages, scales, claims, settings },
    text: [
      `${title}\n${summary}`,
      `Paper\n  ${paper.title}\n  arXiv   ${paper.arxiv}\n${code.join("\n")}`.trimEnd(),
      `Task\n  ${task.name}: ${task.summary}`,
      `Stages\n  ${stages.join(" → ")}`,
      `Scales\n${scaleText.join("\n")}`,
      `Claims\n${formatTable([["  METRIC", "PAPER", "SOURCE"], ...claimRows])}`,
      `Settings (path, default, type, range)\n${settingsText(settings)}`,
    ].join("\n\n"),
  };
}

function showPlanned(system: PublishedSystem): CommandResult {
  const { name, title, arxiv, summary } = system;
  return {
    json: { ...system, status: "planned" },
    text: `${name}: ${summary}\n\nPaper\n  ${title}\n  arXiv   ${arxiv}\n\nPlanned; it cannot be trained yet.`,
  };
}

function show(context: CommandContext, what: string): CommandResult {
  const system = context.systems.find((one) => one.name === what);
  if (system !== undefined) return showSystem(system);
  if (existsSync(join(what, "run.json"))) return showRun(what);
  const planned = publishedSystems.find((one) => one.name === what);
  if (planned !== undefined) return showPlanned(planned);
  if (existsSync(what)) return showRun(what); // says what is missing
  const names = [...context.systems, ...publishedSystems].map((one) => one.name);
  throw unknownName("show", "system or run directory", what, new Set(names));
}

export function registerShow(program: Command, context: CommandContext): void {
  const summary = "a system with its settings, or a run with its numbers";
  subcommand(program, "show <system-or-dir>", summary, "alidade show alphamaze").action(
    (what: string, options: { json?: boolean }) =>
      printResult(context, options, show(context, what)),
  );
}
