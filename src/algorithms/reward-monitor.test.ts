import { describe, expect, it } from "vitest";
import { DataError } from "../core/errors.ts";
import { RewardMonitor, rewardSettings } from "./reward-monitor.ts";
import { explainStep } from "./step-hints.ts";

function monitorWith(saved?: unknown): { monitor: RewardMonitor; lines: string[] } {
  const lines: string[] = [];
  const monitor = new RewardMonitor(
    rewardSettings.parse({}),
    {
      rewards: ["correct"],
      accuracy: "correct",
      run: { checkpointNames: () => [] },
      tell: (line) => void lines.push(line),
    },
    saved,
  );
  return { monitor, lines };
}

describe("a checkpoint's state", () => {
  it.each([
    ["of another kind", 7],
    ["with a negative count", { failures: { a: { error: -1 } } }],
    ["with an unknown kind", { failures: { a: { sleepy: 1 } } }],
  ])("%s is refused", (_name, changes) => {
    const good = monitorWith().monitor.toJSON();
    const bad = typeof changes === "number" ? changes : { ...good, ...changes };
    expect(() => monitorWith(JSON.parse(JSON.stringify(good)))).not.toThrow();
    expect(() => monitorWith(bad)).toThrow(DataError);
    expect(() => monitorWith(bad)).toThrow("checkpoint state, rewards: expected counters");
  });
});

describe("a loss of 0", () => {
  const reported = (loss: number, flat = 0, groups = 3) => ({
    metrics: { loss, "groups/withoutSpread": flat / groups },
    groups,
  });
  const expected = /^loss 0 is expected at the first step of a generation batch/;

  it("is explained once in a run, resumed or not", () => {
    const { monitor, lines } = monitorWith();
    explainStep(monitor, reported(0.4), 1);
    expect(lines).toEqual([]);
    explainStep(monitor, reported(-3e-9), 1);
    explainStep(monitor, reported(0), 1);
    expect(lines).toEqual([expect.stringMatching(expected)]);
    const resumed = monitorWith(JSON.parse(JSON.stringify(monitor)));
    explainStep(resumed.monitor, reported(0), 1);
    expect(resumed.lines).toEqual([]);
  });

  it("is not explained at later steps of a generation batch", () => {
    const { monitor, lines } = monitorWith();
    explainStep(monitor, { metrics: { loss: 0 }, groups: 3 }, 1);
    expect(lines).toEqual([]);
  });

  it("is not called expected where the gradient is 0 too", () => {
    const { monitor, lines } = monitorWith();
    explainStep(monitor, reported(0, 2), 0);
    expect(lines).toEqual([expect.stringMatching(/^2 of 3 groups without spread/)]);
  });
});
