// Our losses, gradients and advantages are those that TRL's and verl's own code gives: on stored batches always, on 100 new ones
// where there is Python.

import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import {
  advantageTolerance,
  compareAdvantages,
  compareLosses,
  TOLERANCE,
} from "./losses/compare-losses.ts";
import { peersPython, readCases, referenceCases } from "./losses/reference-cases.ts";
import type { TrainerCases } from "./losses/trainer-cases.ts";

const stored = readCases(fileURLToPath(new URL("../fixtures/losses.json", import.meta.url)));

/** Names of the configurations that differ, with their largest differences. */
function disagreements(cases: TrainerCases): unknown[] {
  const losses = cases.losses.map((one) => ({ name: one.name, ...compareLosses(one, cases) }));
  const advantages = cases.advantages.map((one) => ({
    name: one.name,
    allowed: advantageTolerance(one),
    ...compareAdvantages(one, cases),
  }));
  return [
    ...losses.filter(({ loss, gradient }) => !(loss < TOLERANCE && gradient < TOLERANCE)),
    ...advantages.filter((one) => !(one.advantages < one.allowed)),
  ];
}

describe("stored batches", () => {
  it.each(stored.losses)("$name", (configuration) => {
    const { cases, loss, gradient } = compareLosses(configuration, stored);
    expect(cases).toBeGreaterThan(0);
    expect(loss).toBeLessThan(TOLERANCE);
    expect(gradient).toBeLessThan(TOLERANCE);
  });

  it.each(stored.advantages)("advantages: $name", (configuration) => {
    const { cases, advantages } = compareAdvantages(configuration, stored);
    expect(cases).toBeGreaterThan(0);
    expect(advantages).toBeLessThan(advantageTolerance(configuration));
  });

  it("would show a setting that is not heeded", () => {
    const heedless = stored.losses
      .filter(({ trainer, config }) => trainer === "trl" && "off_policy_mask_threshold" in config)
      .map((one) => ({ ...one, config: { ...one.config, off_policy_mask_threshold: 100 } }));
    const found = heedless.map((one) => compareLosses(one, stored).gradient);
    expect(Math.max(...found)).toBeGreaterThan(1000 * TOLERANCE);
  });
});

const python = peersPython();
const hint = python === undefined ? " (ALIDADE_PEERS_VENV names no Python environment)" : "";

it.skipIf(python === undefined)(
  `100 batches of TRL and verl, computed now${hint}`,
  () => {
    // Not the seed of the stored ones.
    expect(disagreements(referenceCases(python!, 100, 2))).toEqual([]);
  },
  30 * 60_000,
);
