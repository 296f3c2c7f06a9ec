// Settings that mean nothing together end the command line with the reason, before anything is written.

import { EventEmitter } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { main } from "../src/cli/main.ts";

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-refusals-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function train(...settings: readonly string[]) {
  let stderr = "";
  const out = join(root, "run");
  const sets = settings.flatMap((setting) => ["--set", setting]);
  const code = await main(["train", "alphamaze", "--scale", "tiny", "--out", out, ...sets], {
    stdout: { write: () => undefined },
    stderr: { write: (text: string) => (stderr += text) },
    signals: new EventEmitter(),
  });
  return { code, stderr, isWritten: existsSync(out) };
}

const whole = "the sampler's log-probabilities are those of the whole distribution";

it.each([
  [
    "top-k with the sampler correction of a profile",
    ["grpo.profile=trl-1.13", "grpo.topK=20"],
    ["settings.grpo.topK: expected null with loss.sampler.type=correction", whole, "got 20"],
  ],
  [
    "top-p with a denominator",
    ["grpo.loss.sampler.type=denominator", "grpo.topP=0.9", "grpo.logits=tempered"],
    ["settings.grpo.topP: expected null with loss.sampler.type=denominator", whole, "got 0.9"],
  ],
  [
    "plain logits with a temperature and a sampler correction",
    ["grpo.loss.sampler.type=correction", "grpo.temperature=0.9"],
    [
      "settings.grpo.logits: expected tempered with loss.sampler.type=correction: sampler and loss must speak of one distribution",
      'got "plain"',
    ],
  ],
  [
    "more batches than completions",
    ["grpo.minibatches=16", "grpo.accumulation=16"],
    [
      "settings.grpo.minibatches: expected at most 128 batches (minibatches x accumulation) of 16 x 8 completions, got 16",
    ],
  ],
  [
    "an overlong buffer above the token limit",
    ['grpo.overlong.penalty={"buffer": 57}'],
    ["settings.grpo.overlong.penalty.buffer: expected at most maxTokens 56, got 57"],
  ],
  [
    "a profile that does not exist",
    ["grpo.profile=dappo"],
    ['settings.grpo.profile: expected a known profile, got "dappo" (did you mean "dapo"?)'],
  ],
  [
    "a setting of another form",
    ["grpo.profile=cispo", "grpo.loss.surrogate.dual=3"],
    ["loss.surrogate.type = clip for this setting"],
  ],
] as const)("%s: exit code 2", async (_name, settings, texts) => {
  const { code, stderr, isWritten } = await train(...settings);
  expect({ code, isWritten }).toEqual({ code: 2, isWritten: false });
  for (const text of texts) expect(stderr).toContain(text);
});
