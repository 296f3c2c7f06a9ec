import { formatValue } from "./output.ts";

/** `{grpo: {clip: {high: 1}}}` as `grpo.clip.high=1`. */
export function flatSettings(value: unknown, path = ""): string[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return [`${path}=${formatValue(value)}`];
  }
  return Object.entries(value).flatMap(([key, part]) =>
    flatSettings(part, path === "" ? key : `${path}.${key}`),
  );
}
