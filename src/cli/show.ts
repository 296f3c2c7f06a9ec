// alidade show: a system (paper, stages, scales, claims, settings), a profile, or a run directory.

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { ConfigError, unknownName } from "../core/errors.ts";
import { describeSettings, type Setting } from "../core/settings.ts";
import { profiles } from "../losses/profiles/index.ts";
import { type PublishedSystem, publishedSystems } from "../systems/registry.ts";
import type { System } from "../systems/system.ts";
import { type CommandContext, type CommandResult, printResult, subcommand } from "./command.ts";
import { flatSettings } from "./flat-settings.ts";
import { formatTable, formatValue, wrapText } from "./output.ts";
import { showProfile } from "./show-profile.ts";
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
  const { name, title, summary, paper, stages, profile, scales, claims, task } = system;
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
    json: {
      name,
      title,
      summary,
      paper,
      task: task.name,
      stages,
      profile,
      scales,
      claims,
      settings,
    },
    text: [
      `${title}\n${summary}`,
      `Paper\n  ${paper.title}\n  arXiv   ${paper.arxiv}\n${code.join("\n")}`.trimEnd(),
      `Task\n  ${task.name}: ${task.summary}`,
      `Stages\n  ${stages.join(" → ")}`,
      ...(profile === undefined ? [] : [`Profile\n  ${profile}: ${profiles[profile].title}`]),
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

function show(context: CommandContext, what: string, name: string | undefined): CommandResult {
  if (what === "profile" || what === "profiles") return showProfile(name);
  if (name !== undefined) {
    throw new ConfigError({
      where: "show",
      expected: "one system or run directory, or profile and its name",
      got: `${JSON.stringify(what)} and ${JSON.stringify(name)}`,
    });
  }
  const system = context.systems.find((one) => one.name === what);
  if (system !== undefined) return showSystem(system);
  if (existsSync(join(what, "run.json"))) return showRun(what);
  const planned = publishedSystems.find((one) => one.name === what);
  if (planned !== undefined) return showPlanned(planned);
  if (existsSync(what)) return showRun(what); // says what is missing
  const names = [...context.systems, ...publishedSystems].map((one) => one.name);
  if (Object.hasOwn(profiles, what)) {
    const hint = `it is a profile: alidade show profile ${what}`;
    throw new ConfigError({
      where: "show",
      expected: "a system or run directory",
      got: what,
      hint,
    });
  }
  throw unknownName("show", "system or run directory", what, new Set(names));
}

export function registerShow(program: Command, context: CommandContext): void {
  const summary =
    "a system with its settings, a profile with its reasons, or a run with its numbers";
  const example = "alidade show alphamaze\n  alidade show profile trl-1.13";
  subcommand(program, "show <system-or-dir> [profile]", summary, example).action(
    (what: string, name: string | undefined, options: { json?: boolean }) =>
      printResult(context, options, show(context, what, name)),
  );
}
