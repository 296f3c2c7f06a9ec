import { describe, expect, it } from "vitest";
import { flowGrpoSettings } from "../../algorithms/flow-grpo-settings.ts";
import { ConfigError } from "../../core/errors.ts";
import { pixelAdvantageSettings } from "../../core/flow-spec.ts";
import { checkMethods, denseClip, methodNames, pixelsOf, settingsOf } from "./methods.ts";

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

  it("clip a position as wide as 1e-4 of a FLUX latent is: 0.10", () => {
    expect(denseClip(1e-4, [64, 64, 16])).toBeCloseTo(0.1, 2);
    expect(denseClip(6e-4, [24, 24, 3])).toBeCloseTo(0.043, 3);
  });

  it("have the ratio of positions with a map and that of samples without", () => {
    const shape = [24, 24, 3];
    expect(settingsOf(grpo, null, null, shape)).toBe(grpo);
    const dense = settingsOf(grpo, pixels, null, shape).objective;
    expect(dense).toMatchObject({
      ratio: { type: "position", low: denseClip(1e-4, shape), high: denseClip(2e-4, shape) },
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
