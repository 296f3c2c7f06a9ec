// alidade show profile NAME: every choice of a profile with its reason.

import { grpoSettings } from "../algorithms/grpo-settings.ts";
import { unknownName } from "../core/errors.ts";
import { profileNames, profiles, type Profile } from "../losses/profiles/index.ts";
import type { CommandResult } from "./command.ts";
import { flatPaths, type FlatSetting } from "./flat-settings.ts";
import { formatTable, formatValue, wrapText } from "./output.ts";

interface Choice {
  readonly path: string;
  readonly value: unknown;
  readonly reason: string;
}

/** The reason of a setting: that of its own path, else that of the longest part of it. */
function reasonOf({ reasons }: Profile, path: string): string {
  const parts = path.split(".");
  for (let length = parts.length; length > 0; length--) {
    const reason = reasons[parts.slice(0, length).join(".")];
    if (reason !== undefined) return reason;
  }
  return "";
}

const choicesOf = (profile: Profile): Choice[] =>
  flatPaths(profile.settings).map(({ path, value }) => ({
    path,
    value,
    reason: reasonOf(profile, path),
  }));

/** What depends on the task and the machine, and what no trainer has. */
const outside = [
  "steps",
  "prompts",
  "accumulation",
  "maxTokens",
  "samplesEvery",
  "optimiser",
  "rewards",
] as const;

/** What a run with the profile has where the profile says nothing. */
function defaultsOf(name: string, { settings }: Profile): FlatSetting[] {
  const resolved = grpoSettings.parse({ profile: name, steps: 0, maxTokens: 1, ...settings });
  const chosen = new Set(flatPaths(settings).map(({ path }) => path));
  const hidden = new Set<string>(["profile", ...outside]);
  return flatPaths(resolved).filter(
    ({ path }) => !chosen.has(path) && !hidden.has(path.split(".")[0]!),
  );
}

/** Choices under the reason that they share, in order. */
function byReason(choices: readonly Choice[]): { reason: string; choices: Choice[] }[] {
  const result: { reason: string; choices: Choice[] }[] = [];
  for (const choice of choices) {
    const last = result.at(-1);
    if (last?.reason === choice.reason) last.choices.push(choice);
    else result.push({ reason: choice.reason, choices: [choice] });
  }
  return result;
}

function listProfiles(): CommandResult {
  const list = Object.entries(profiles).map(([name, { title, sources }]) => ({
    name,
    title,
    sources,
  }));
  return {
    json: list,
    text: [
      formatTable(list.map(({ name, title }) => [`  ${name}`, title])),
      "one of them:    alidade show profile trl-1.13",
      "a run with it:  alidade train alphamaze --scale tiny --set grpo.profile=trl-1.13",
    ].join("\n\n"),
  };
}

/** A profile with its sources; without a name, all of them. */
export function showProfile(name: string | undefined): CommandResult {
  if (name === undefined) return listProfiles();
  const found = Object.entries(profiles).find(([one]) => one === name);
  if (found === undefined) throw unknownName("show", "profile", name, profileNames);
  const profile = found[1];
  const choices = choicesOf(profile);
  const blocks = byReason(choices).map(({ reason, choices: list }) =>
    [
      formatTable(list.map(({ path, value }) => [`  grpo.${path}`, formatValue(value)])),
      wrapText(reason, 100, "      "),
    ].join("\n"),
  );
  const defaults = defaultsOf(name, profile);
  return {
    json: { name, title: profile.title, sources: profile.sources, choices, defaults },
    text: [
      `${name}: ${profile.title}`,
      `Sources\n${profile.sources.map((source) => `  ${source}`).join("\n")}`,
      `Choices, each with its reason\n${blocks.join("\n")}`,
      `Left at the default of the stage\n${formatTable(defaults.map(({ path, value }) => [`  grpo.${path}`, formatValue(value)]))}`,
      `Not part of a profile\n${wrapText(`${outside.map((path) => `grpo.${path}`).join(", ")}: as the scale or you set them`, 100, "  ")}`,
    ].join("\n\n"),
  };
}
