// docs/your-first-task.md shows the files of this folder, and what it promises happens: the curve rises.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { randomStream, readEvaluations, trainTask } from "alidade";
import { countLetters } from "./task.ts";

const read = (file: string): string => readFileSync(new URL(file, import.meta.url), "utf8");

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-letters-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe("docs/your-first-task.md", () => {
  it("shows the files of this folder", () => {
    const text = read("../../docs/your-first-task.md");
    const blocks = [...text.matchAll(/^```ts\n(.*?)^```/gms)].map((match) => match[1]);
    expect(blocks).toEqual([read("task.ts"), read("train.ts")]);
  });
});

describe("count-letters", () => {
  it("gives the gold answer full marks and nothing to others", () => {
    const config = countLetters.config.parse({});
    for (let index = 0; index < 200; index++) {
      const item = countLetters.make(randomStream(1, "letters", index), config);
      const count = item.rows.join("").replaceAll(/[^a]/g, "").length;
      const right = (text: string) =>
        countLetters.score(item, { text, stopReason: "stop" }, config)["right"];
      expect(countLetters.gold(item, config, randomStream(1))).toBe(String(count));
      expect(right(String(count))).toBe(1);
      for (const text of ["", "a", `0${count}`, `${count} `, String(count + 1)]) {
        expect(right(text)).toBe(0);
      }
    }
  });

  it("is learnt: GRPO ends above SFT beyond the interval", async () => {
    const out = join(root, "short");
    const { accuracy, gain } = await trainTask(countLetters, {
      out,
      seed: 3,
      reward: { right: 1 },
      quiet: true,
      settings: {
        model: { layers: 2, width: 64, heads: 4, kvHeads: 4, hiddenWidth: 160, contextLength: 64 },
        sft: { steps: 40, optimiser: { learningRate: 1e-3 } },
        grpo: {
          steps: 80,
          prompts: 32,
          group: 8,
          maxTokens: 4,
          optimiser: { learningRate: 1e-3, schedule: "cosine" },
        },
        evaluate: { count: 300, maxTokens: 4 },
        engine: { spinning: false },
      },
    });
    expect(readEvaluations(out).map(({ stage }) => stage)).toEqual(["untrained", "sft", "grpo"]);
    expect(accuracy.untrained?.accuracy).toBeLessThan(0.05);
    expect(gain?.low).toBeGreaterThan(0);
  }, 300_000);
});
