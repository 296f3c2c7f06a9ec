import { describe, expect, it } from "vitest";
import { flowGrpoSettings } from "../../algorithms/flow-grpo-settings.ts";
import { ConfigError } from "../../core/errors.ts";
import { pixelAdvantageSettings } from "../../core/flow-spec.ts";
import { denseClip } from "../../losses/flow-policy.ts";
import { checkMethods, methodNames, pixelsOf, settingsOf } from "./methods.ts";

const pixels = pixelAdvantageSettings.parse({});
const grpo = flowGrpoSettings.parse({
  epochs: 1,
  objective: { type: "policy", ratio: { type: "sample", low: 1e-4, high: 2e-4 } },
});

describe("the methods", () => {
  it("differ from each other in what they give the allocation", () => {
    const all = methodNames.map((name) => JSON.stringify(pixelsOf(name, pixels)));
    expect(new Set(all).size).toBe(methodNames.length);
  });

  it("have the ratio of positions with a map and that of samples without", () => {
    const shape = [24, 24, 3];
    const wide = (limit: number) => denseClip(limit, 3, 1728);
    expect(settingsOf(grpo, null, null, shape)).toBe(grpo);
    const dense = settingsOf(grpo, pixels, null, shape).objective;
    expect(dense).toMatchObject({
      ratio: { type: "position", low: wide(1e-4), high: wide(2e-4) },
    });
    expect(settingsOf(grpo, pixels, 0.3, shape).objective).toMatchObject({
      ratio: { type: "position", low: 0.3, high: 0.3 },
    });
    const ratio = { type: "position", low: 0.2, high: 0.1 };
    const given = flowGrpoSettings.parse({ epochs: 1, objective: { type: "policy", ratio } });
    expect(settingsOf(given, pixels, null, shape).objective).toMatchObject({ ratio });
  });

  it("are refused where two of them are the same", () => {
    const oracle = pixelAdvantageSettings.parse({ map: { type: "oracle" } });
    expect(() => checkMethods(["scalar", "vipo", "average"], oracle)).toThrow(
      "methods: expected methods that differ, got vipo and average",
    );
    expect(() => checkMethods(["oracle", "vipo"], oracle)).toThrow(ConfigError);
    expect(() => checkMethods(["vipo", "vipo"], pixels)).toThrow(ConfigError);
    checkMethods(methodNames, pixels);
    checkMethods(["vipo", "flipped"], { ...pixels, flip: true });
  });
});
