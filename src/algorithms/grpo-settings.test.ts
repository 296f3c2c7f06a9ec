import { describe, expect, it } from "vitest";
import { lossOf, grpoSettings, needsReference, stepsPerGeneration } from "./grpo-settings.ts";

const parse = (changes: object) =>
  grpoSettings.safeParse({ steps: 1, prompts: 2, group: 4, maxTokens: 9, ...changes });
const issuesOf = (changes: object): string[] =>
  parse(changes).error?.issues.map(({ path, message }) => `${path.join(".")}: ${message}`) ?? [];

describe("truncated sampling together with the sampler's log-probabilities", () => {
  const uses = [{ type: "correction" }, { type: "denominator" }];
  const why = "so p / p_sampler is wrong for tokens of a truncated one";

  it.each(
    uses.flatMap((sampler) => [
      { sampler, cut: { topK: 5 }, path: "topK" },
      { sampler, cut: { topP: 0.9 }, path: "topP" },
      { sampler, cut: { topK: 5, topP: 0.9 }, path: "topK" },
    ]),
  )("is refused with the reason: %j", ({ sampler, cut, path }) => {
    const issues = issuesOf({ loss: { sampler }, ...cut });
    expect(issues).toEqual([
      expect.stringMatching(new RegExp(`^${path}: null with loss.sampler.type=${sampler.type} `)),
    ]);
    expect(issues[0]).toContain(why);
  });

  it("is fine where one of them is left out", () => {
    for (const sampler of uses) {
      expect(issuesOf({ loss: { sampler } })).toEqual([]);
      expect(issuesOf({ loss: { sampler }, topP: 1 })).toEqual([]);
    }
    expect(issuesOf({ topK: 5, topP: 0.5 })).toEqual([]);
  });
});

describe("logits that are not divided by the temperature", () => {
  it.each([
    ["a correction", { sampler: { type: "correction" } }, "loss.sampler.type=correction"],
    ["a denominator", { sampler: { type: "denominator" } }, "loss.sampler.type=denominator"],
    ["an off-policy mask", { offPolicyMask: { threshold: 1 } }, "loss.offPolicyMask"],
  ])("are refused with %s", (_name, loss, named) => {
    expect(issuesOf({ loss, logits: "plain", temperature: 0.9 })).toEqual([
      `logits: tempered with ${named}: sampler and loss must speak of one distribution`,
    ]);
    expect(issuesOf({ loss, logits: "plain", temperature: 1 })).toEqual([]);
    expect(issuesOf({ loss, logits: "tempered", temperature: 0.9 })).toEqual([]);
  });

  it("are the loss's own temperature", () => {
    const temperatureOf = (changes: object) => lossOf(parse(changes).data!).temperature;
    expect(temperatureOf({ temperature: 0.9 })).toBe(0.9);
    expect(temperatureOf({ temperature: 0.9, logits: "plain" })).toBe(1);
  });
});

describe("sizes that do not fit", () => {
  it("more batches than completions", () => {
    expect(issuesOf({ minibatches: 3, accumulation: 3 })).toEqual([
      "minibatches: at most 8 batches (minibatches x accumulation) of 2 x 4 completions",
    ]);
    expect(issuesOf({ minibatches: 2, accumulation: 4 })).toEqual([]);
  });

  it("an overlong buffer above the token limit", () => {
    const overlong = (buffer: number) => ({ overlong: { penalty: { buffer } } });
    expect(issuesOf(overlong(10))).toEqual(["overlong.penalty.buffer: at most maxTokens 9"]);
    expect(issuesOf(overlong(9))).toEqual([]);
  });
});

describe("a deviation", () => {
  it.each([
    ["none", ["group", "batch"]],
    ["greedy", ["group", "batch"]],
    ["batch-mean", ["group"]],
    ["group-mean", []],
    ["leave-one-out", []],
  ])("divides no distance from elsewhere: baseline %s", (baseline, refused) => {
    for (const type of ["none", "group", "batch"]) {
      const issues = issuesOf({ advantages: { type: "reward", baseline, scale: { type } } });
      const message = `advantages.scale.type: other than ${type} with advantages.baseline=${baseline} `;
      const expected = refused.includes(type) ? [expect.stringContaining(message)] : [];
      expect(issues).toEqual(expected);
    }
  });
});

describe("penalties where each score is normalised by itself", () => {
  const advantages = { type: "gdpo" };

  it("are refused: they belong to the sum of the scores", () => {
    expect(issuesOf({ advantages, overlong: { penalty: { buffer: 3 } } })).toEqual([
      "overlong.penalty: null with advantages.type=gdpo: it is taken off the sum of the scores, which that rule does not use",
    ]);
    expect(issuesOf({ advantages, loss: { kl: { type: "reward", weight: 0.1 } } })).toEqual([
      "loss.kl.weight: 0 with advantages.type=gdpo: it is taken off the sum of the scores, which that rule does not use",
    ]);
    expect(issuesOf({ advantages, loss: { kl: { type: "reward", weight: 0 } } })).toEqual([]);
  });
});

describe("a frozen reference", () => {
  it.each([
    [{ type: "none" }, false],
    [{ type: "loss", weight: 0 }, false],
    [{ type: "loss", weight: 0.1 }, true],
    [{ type: "reward", weight: 0 }, false],
    [{ type: "reward", weight: 0.1 }, true],
  ])("with kl %j: %s", (kl, expected) => {
    expect(needsReference(parse({ loss: { kl } }).data!)).toBe(expected);
  });
});

it("feeds iterations x minibatches steps", () => {
  expect(stepsPerGeneration(parse({ iterations: 3, minibatches: 2, accumulation: 4 }).data!)).toBe(
    6,
  );
});
