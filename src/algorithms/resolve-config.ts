// The config of a run of several stages: defaults, then the profile that `grpo.profile` names, then what the scale changes, then
// what the user changes.

import type { z } from "zod";
import { unknownName } from "../core/errors.ts";
import { describeSettings, resolveSettings } from "../core/settings.ts";
import { profileNames, profiles, type ProfileName } from "../losses/profiles/index.ts";

interface WithProfile {
  readonly grpo?: { readonly profile?: unknown };
}

/**
 * Like `resolveSettings`; a schema without `grpo.profile` is resolved the same way.
 * @throws ConfigError for an unknown setting, an unknown profile, or a value of the wrong type or range.
 */
export function resolveConfig<Config>(
  schema: z.ZodType<Config>,
  scale: object,
  overrides: readonly string[],
): Config {
  const setting = describeSettings(schema).find(({ path }) => path === "grpo.profile");
  if (setting === undefined) return resolveSettings(schema, [scale], overrides);
  // The layer has to be known before anything is resolved: a scale may change one choice of the form that the profile has.
  const inScale = (scale as WithProfile).grpo?.profile;
  const name = String(overrides.map(profileOf).findLast(Boolean) ?? inScale ?? setting.default);
  if (!Object.hasOwn(profiles, name)) {
    throw unknownName("settings.grpo.profile", "profile", name, profileNames);
  }
  const { settings } = profiles[name as ProfileName];
  return resolveSettings(schema, [{ grpo: settings }, scale], overrides);
}

/** The profile that an override names. */
function profileOf(override: string): unknown {
  const [path = "", ...rest] = override.split("=");
  const text = rest.join("=");
  const at = path.trim();
  if (at !== "grpo.profile" && at !== "grpo") return undefined;
  let value: unknown = text;
  try {
    value = JSON.parse(text);
  } catch {
    // Plain text.
  }
  if (at === "grpo.profile") return value;
  return (value as WithProfile["grpo"] | null)?.profile;
}
