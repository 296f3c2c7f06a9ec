import { describe, expect, it } from "vitest";
import { grpoSettings } from "./grpo-settings.ts";
import { isPlainObject } from "../core/settings-schema.ts";
import { profileNames, profiles } from "../losses/profiles/index.ts";

/** Paths of the values that are no objects themselves. */
const leavesOf = (value: unknown, path: readonly string[] = []): string[] =>
  isPlainObject(value)
    ? Object.entries(value).flatMap(([key, part]) => leavesOf(part, [...path, key]))
    : [path.join(".")];

const covers = (beginning: string, path: string): boolean =>
  path === beginning || path.startsWith(`${beginning}.`);

describe.each(profileNames)("profile %s", (name) => {
  const { title, sources, settings, reasons } = profiles[name];
  const leaves = leavesOf(settings);

  it("is settings of the stage, each as it stands", () => {
    const parsed = grpoSettings.parse({
      profile: name,
      steps: 1,
      maxTokens: 100,
      prompts: 16,
      ...settings,
    });
    expect(parsed).toMatchObject(settings);
    // Nothing that the stage does not know was dropped on the way.
    const known = new Set(leavesOf(parsed));
    expect(leaves.filter((path) => !known.has(path))).toEqual([]);
  });

  it("has a reason for every choice, and none for what it does not choose", () => {
    const keys = Object.keys(reasons);
    expect(leaves.filter((path) => !keys.some((key) => covers(key, path)))).toEqual([]);
    expect(keys.filter((key) => !leaves.some((path) => covers(key, path)))).toEqual([]);
    expect(Object.values(reasons).filter((reason) => reason.trim() === "")).toEqual([]);
    expect(title).not.toBe("");
    expect(sources.length).toBeGreaterThan(0);
  });
});

it("has the profiles that people ask for", () => {
  const asked = [
    "trl-0.14",
    "trl-0.18",
    "trl-0.22",
    "trl-1.9",
    "trl-1.13",
    "verl",
    "easyr1",
    "r1-v",
    "tinker-cookbook",
  ];
  expect(profileNames).toEqual(expect.arrayContaining(asked));
});
