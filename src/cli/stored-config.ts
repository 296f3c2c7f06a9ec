// The settings of a run that was trained before, perhaps by another version.

import { resolveConfig } from "../algorithms/resolve-config.ts";
import { ConfigError, RunError } from "../core/errors.ts";
import type { RunRecord } from "../run/run-record.ts";
import type { System } from "../systems/system.ts";

/**
 * The config of a run, as it was resolved when it began. Throws a RunError that names the revision which wrote it where this
 * version has no such settings: nobody typed them, so the nearest name is no help.
 */
export function storedConfig<Config>(
  system: Pick<System<Config>, "settings">,
  { config, revision, versions }: RunRecord,
  path: string,
): Config {
  try {
    return resolveConfig(system.settings, config as object, []);
  } catch (cause) {
    if (!(cause instanceof ConfigError)) throw cause;
    const writer = `alidade ${versions["alidade"] ?? ""}`.trim();
    throw new RunError({
      where: `${path}/run.json`,
      expected: "settings that this version knows",
      got: `a run of ${writer}${revision === null ? "" : `, revision ${revision.slice(0, 12)}`}: ${cause.message}`,
      hint: "the version that wrote it can use it; show, samples, metrics and export read it here",
      cause,
    });
  }
}
