// Nested settings as they are set on the command line.

/** A plain setting by its path, for example `grpo.loss.surrogate.high`. */
export interface FlatSetting {
  readonly path: string;
  readonly value: unknown;
}

/** `{grpo: {clip: {high: 1}}}` as `grpo.clip.high`, 1. */
export function flatPaths(settings: object, prefix = ""): FlatSetting[] {
  return Object.entries(settings).flatMap(([key, value]: [string, unknown]) => {
    const path = `${prefix}${key}`;
    const isNested = typeof value === "object" && value !== null && !Array.isArray(value);
    return isNested ? flatPaths(value, `${path}.`) : [{ path, value }];
  });
}

/** `{grpo: {clip: {high: 1}}}` as `grpo.clip.high=1`. */
export function flatSettings(settings: object): string[] {
  return flatPaths(settings).map(
    ({ path, value }) => `${path}=${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
}
