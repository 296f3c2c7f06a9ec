// alidade show profile NAME: every choice of a profile with its reason.

import { grpoSettings } from "../algorithms/grpo-settings.ts";
import { unknownName } from "../core/errors.ts";
import { describeSettings } from "../core/settings.ts";
import { profileNames, profiles, type Profile } from "../losses/profiles/index.ts";
import type { CommandResult } from "./command.ts";
import { flatPaths } from "./flat-settings.ts";
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
  const set = new Set(choices.map(({ path }) => path));
  const open = describeSettings(grpoSettings)
    .map(({ path }) => path)
    .filter((path) => !set.has(path) && path !== "profile" && !path.includes("."));
  return {
    json: { name, title: profile.title, sources: profile.sources, choices },
    text: [
      `${name}: ${profile.title}`,
      `Sources\n${profile.sources.map((source) => `  ${source}`).join("\n")}`,
      `Choices, each with its reason\n${blocks.join("\n")}`,
      `Not part of a profile\n${wrapText(`${open.map((path) => `grpo.${path}`).join(", ")}: as the scale or you set them`, 100, "  ")}`,
    ].join("\n\n"),
  };
}
