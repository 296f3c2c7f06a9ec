import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { ConfigError } from "./errors.ts";
import { describeSettings, resolveSettings } from "./settings.ts";

const schema = z.strictObject({
  grpo: z.strictObject({
    steps: z.int().min(1).default(100).describe("optimiser steps"),
    clip: z
      .strictObject({
        low: z.number().min(0).default(0.2),
        high: z.number().min(0).lt(1).default(0.2).describe("PPO clip above 1"),
      })
      .nullable()
      .default({ low: 0.2, high: 0.3 })
      .describe("null: no clip"),
    rewards: z.record(z.string(), z.number()).default({ correct: 1 }),
  }),
  trace: z.enum(["full", "diff"]).default("diff").describe("thinking text"),
  name: z.string().default("run"),
  limit: z.int().nullable().default(null),
  note: z.string().optional(),
  loss: z
    .discriminatedUnion("type", [
      z.strictObject({ type: z.literal("sft"), smoothing: z.number().default(0) }),
      z.strictObject({ type: z.literal("dpo"), beta: z.number().positive().default(0.1) }),
    ])
    .default({ type: "sft", smoothing: 0 })
    .describe("objective"),
});

const resolve = (overrides: string[], scale = {}) => resolveSettings(schema, [scale], overrides);

describe("resolveSettings", () => {
  it("fills defaults, also of nested objects", () => {
    expect(resolve([])).toEqual({
      grpo: { steps: 100, clip: { low: 0.2, high: 0.3 }, rewards: { correct: 1 } },
      trace: "diff",
      name: "run",
      limit: null,
      loss: { type: "sft", smoothing: 0 },
    });
  });

  it("lets the user win over the scale, and the scale over the defaults", () => {
    const scale = { grpo: { steps: 10, clip: { low: 0.1 } } };
    expect(resolve(["grpo.steps=20"], scale).grpo).toMatchObject({
      steps: 20,
      clip: { low: 0.1, high: 0.3 },
    });
  });

  it("reads JSON, plain text, null and numbers that are text", () => {
    expect(resolve(["trace=full", "name=5", "limit=3", "grpo.clip=null"])).toMatchObject({
      trace: "full",
      name: "5",
      limit: 3,
      grpo: { clip: null },
    });
  });

  it("opens an object that was null", () => {
    const scale = { grpo: { clip: null } };
    expect(resolve(["grpo.clip.high=0.28"], scale).grpo.clip).toEqual({ low: 0.2, high: 0.28 });
  });

  it("sets one key of a record, or replaces the record", () => {
    expect(resolve(["grpo.rewards.format=0.5"]).grpo.rewards).toEqual({ correct: 1, format: 0.5 });
    expect(resolve(['grpo.rewards={"a":2}']).grpo.rewards).toEqual({ a: 2 });
  });

  it("starts afresh when the tag of a tagged object changes", () => {
    expect(resolve(["loss.type=dpo"]).loss).toEqual({ type: "dpo", beta: 0.1 });
    expect(resolve(["loss.type=dpo", "loss.beta=2"]).loss).toEqual({ type: "dpo", beta: 2 });
  });

  it.each([
    [
      "grpo.clip.hihg=1",
      'settings: expected a known setting, got "grpo.clip.hihg" (did you mean "grpo.clip.high"?)',
    ],
    [
      "clip.high=1",
      'settings: expected a known setting, got "clip.high" (did you mean "grpo.clip.high"?)',
    ],
    [
      "grpo.clip.high=-1",
      "settings.grpo.clip.high: expected number >= 0, < 1, got -1 (PPO clip above 1)",
    ],
    ["grpo.steps=many", 'settings.grpo.steps: expected integer >= 1, got "many" (optimiser steps)'],
    ["grpo.steps=1.5", "settings.grpo.steps: expected integer >= 1, got 1.5 (optimiser steps)"],
    ["trace=fll", 'settings.trace: expected one of full | diff, got "fll" (thinking text)'],
    ["loss.type=ppo", 'settings.loss.type: expected one of sft | dpo, got "ppo" (objective)'],
    ["loss.beta=1", 'settings: expected loss.type = dpo for this setting, got "loss.beta"'],
    ["seed", 'settings: expected path=value, got "seed" (for example seed=7)'],
    ["__proto__.x=1", /expected a known setting, got "__proto__\.x"|"__proto__"/],
    ["grpo=3", /settings\.grpo: expected /],
  ])("%s: says what is wrong", (override, message) => {
    expect(() => resolve([override])).toThrow(ConfigError);
    expect(() => resolve([override])).toThrow(message);
  });

  it("refuses unknown settings of a scale", () => {
    expect(() => resolve([], { grpo: { stesp: 3 } })).toThrow('did you mean "grpo.steps"?');
  });

  it("never fails with anything but a ConfigError", () => {
    const paths = describeSettings(schema).map((setting) => setting.path);
    const path = fc.oneof(fc.constantFrom(...paths), fc.string());
    const value = fc.oneof(fc.string(), fc.json(), fc.double().map(String));
    fc.assert(
      fc.property(fc.array(fc.tuple(path, value), { maxLength: 4 }), (pairs) => {
        try {
          resolve(pairs.map(([name, text]) => `${name}=${text}`));
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError);
        }
        expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
      }),
      { numRuns: 1000 },
    );
  });
});

describe("describeSettings", () => {
  it("lists every setting with type, default, range and help", () => {
    const table = describeSettings(schema).map((one) => [
      one.path,
      one.type,
      one.default,
      one.range,
    ]);
    expect(table).toEqual([
      ["grpo.steps", "integer", 100, ">= 1"],
      ["grpo.clip", "object or null", { low: 0.2, high: 0.3 }, ""],
      ["grpo.clip.low", "number", 0.2, ">= 0"],
      ["grpo.clip.high", "number", 0.3, ">= 0, < 1"],
      ["grpo.rewards", "record of number", { correct: 1 }, ""],
      ["trace", "choice", "diff", "full | diff"],
      ["name", "string", "run", ""],
      ["limit", "integer or null", null, ""],
      ["note", "string", undefined, ""],
      ["loss.type", "choice", "sft", "sft | dpo"],
      ["loss.smoothing", "number", 0, ""],
      ["loss.beta", "number", 0.1, "> 0"],
    ]);
    const beta = describeSettings(schema).find((one) => one.path === "loss.beta");
    expect(beta?.when).toBe("loss.type = dpo");
    expect(describeSettings(schema)[3]?.help).toBe("PPO clip above 1");
  });
});
