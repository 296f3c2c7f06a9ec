import { describe, expect, it } from "vitest";
import { z } from "zod";
import { ConfigError } from "../core/errors.ts";
import { isPlainObject } from "../core/settings-schema.ts";
import { profileNames, profiles } from "../losses/profiles/index.ts";
import { grpoSettings } from "./grpo-settings.ts";
import { resolveConfig } from "./resolve-config.ts";

const schema = z.object({ grpo: grpoSettings, seed: z.int().default(1) });
const sizes = { steps: 4, maxTokens: 20 };
const resolve = (scale: object, ...overrides: string[]) =>
  resolveConfig(schema, { grpo: { ...sizes, ...scale } }, overrides).grpo;

const leavesOf = (value: unknown, path: readonly string[] = []): [string, unknown][] =>
  isPlainObject(value)
    ? Object.entries(value).flatMap(([key, part]) => leavesOf(part, [...path, key]))
    : [[path.join("."), value]];

/** What a choice decides: with the tag of an object everything in it. */
const decides = (path: string): string => path.replace(/\.type$/, "");
const isIn = (paths: readonly string[], path: string): boolean =>
  paths.some((one) => path === one || path.startsWith(`${one}.`));

describe("resolveConfig", () => {
  it("lays the profile over the defaults, the scale over the profile, the user over both", () => {
    const scale = { profile: "verl", group: 3, loss: { surrogate: { high: 0.3 } } };
    const config = resolve(scale, "grpo.loss.surrogate.low=0.1");
    expect(config).toMatchObject({ profile: "verl", group: 3, minibatches: 4 });
    expect(config.loss.surrogate).toEqual({
      type: "clip",
      low: 0.1,
      high: 0.3,
      cap: null,
      dual: 3,
    });
    expect(resolve({}).profile).toBe("trl-1.13");
    expect(resolve({}).loss.aggregation).toEqual(profiles["trl-1.13"].settings.loss.aggregation);
  });

  it("lets a scale change one choice of the form that its profile has", () => {
    // The default of the stage has no KL term, and so no weight of one.
    const { kl } = resolve({ profile: "trl-1.13", loss: { kl: { weight: 0.04 } } }).loss;
    expect(kl).toMatchObject({ type: "loss", weight: 0.04, estimator: "k3", timesRatio: true });
  });

  const scale = {
    profile: "trl-0.14",
    prompts: 16,
    temperature: 1,
    group: 6,
    minibatches: 2,
    topP: null,
    loss: { aggregation: { type: "token-sum" } },
  };
  const ofScale = leavesOf(scale)
    .map(([path]) => decides(path))
    .filter((path) => path !== "profile");

  it.each(profileNames)(
    "changing the profile to %s changes what the scale left open, and nothing else",
    (name) => {
      const before = new Map(leavesOf(resolve(scale)));
      const after = new Map(leavesOf(resolve(scale, `grpo.profile=${name}`)));
      expect(after.get("profile")).toBe(name);
      const open = [profiles["trl-0.14"], profiles[name]].flatMap(({ settings }) =>
        leavesOf(settings).map(([path]) => decides(path)),
      );
      for (const path of new Set([...before.keys(), ...after.keys()])) {
        if (path === "profile") continue;
        if (isIn(ofScale, path)) expect(after.get(path), path).toEqual(before.get(path));
        else if (!isIn(open, path) && !open.some((one) => isIn([path], one)))
          expect(after.get(path), path).toEqual(before.get(path));
      }
      // What the scale leaves open is as the profile has it.
      for (const [path, value] of leavesOf(profiles[name].settings)) {
        if (!isIn(ofScale, path)) expect(after.get(path), path).toEqual(value);
      }
    },
  );

  it.each([
    ["on the command line", {}, ["grpo.profile=trl-1.12"]],
    ["among other changes", {}, ["seed=3", 'grpo={"profile": "trl-1.12"}']],
    ["in a scale", { profile: "trl-1.12" }, []],
  ])("names the nearest of an unknown profile %s", (_name, changes, overrides) => {
    const resolving = () => resolve(changes, ...overrides);
    expect(resolving).toThrow(ConfigError);
    expect(resolving).toThrow(
      'settings.grpo.profile: expected a known profile, got "trl-1.12" (did you mean "trl-1.13"?)',
    );
  });

  it("takes the last profile that the user names, however it is written", () => {
    expect(resolve({}, "grpo.profile=verl", 'grpo.profile="gspo"').loss.ratio).toBe("sequence");
    expect(resolve({}, 'grpo={"profile": "gspo"}').loss.ratio).toBe("sequence");
  });

  it("gives what it was given when a stored config is resolved again", () => {
    for (const name of profileNames) {
      const config = resolve({ profile: name, withoutSpread: { type: "keep" } });
      expect(resolveConfig(schema, { grpo: config }, []).grpo, name).toEqual(config);
    }
  });

  it("resolves a schema without profiles like any other", () => {
    const plain = z.object({ grpo: z.object({ steps: z.int().default(3) }) });
    expect(resolveConfig(plain, {}, ["grpo.steps=5"])).toEqual({ grpo: { steps: 5 } });
    expect(() => resolveConfig(plain, {}, ["grpo.profile=verl"])).toThrow(ConfigError);
  });

  it("refuses combinations that mean nothing, with the reason", () => {
    expect(() => resolve({ topK: 5 })).toThrow(
      /^settings\.grpo\.topK: expected null with loss\.sampler\.type=correction \(the sampler's log-probabilities are those of the whole distribution, .*\), got 5/,
    );
  });
});
