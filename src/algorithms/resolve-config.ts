// The config of a run of several stages: defaults, then the profile that `grpo.profile` names, then what the scale changes, then
// what the user changes.

import type { z } from "zod";
import { resolveSettings } from "../core/settings.ts";
import { profiles } from "../losses/profiles/index.ts";

interface WithProfile {
  readonly grpo?: { readonly profile?: string };
}

/**
 * Like `resolveSettings`; a schema without `grpo.profile` is resolved the same way.
 * @throws ConfigError for an unknown setting or a value of the wrong type or range.
 */
export function resolveConfig<Config>(
  schema: z.ZodType<Config>,
  scale: object,
  overrides: readonly string[],
): Config {
  const ofProfile = overrides.filter((text) => text.trim().startsWith("grpo.profile="));
  const { profile } = (resolveSettings(schema, [scale], ofProfile) as WithProfile).grpo ?? {};
  const layer = Object.entries(profiles).find(([name]) => name === profile)?.[1].settings;
  return resolveSettings(schema, layer ? [{ grpo: layer }, scale] : [scale], overrides);
}
