import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { resolveSettings } from "../core/settings.ts";
import { quadrantTask } from "../tasks/image-generation/index.ts";
import { flowGrpoSystem } from "./flow-grpo/system.ts";
import { vipoSystem } from "./vipo/system.ts";

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-flow-checks-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const ring = { model: { type: "mlp" }, evaluate: { suites: ["train"] } };
const prepare = async (settings: object) =>
  flowGrpoSystem.prepare!(
    resolveSettings(flowGrpoSystem.settings, [{ levels: ["ring"], ring }, { ring: settings }], []),
  );
const quadrant = { model: { patch: 3 } };
const prepareVipo = async (settings: object) =>
  vipoSystem.prepare!(
    resolveSettings(vipoSystem.settings, [{ level: "quadrant", quadrant }, settings], []),
  );

describe("settings that cannot work are refused before there is a run", () => {
  it.each([
    [{ model: { type: "transformer" } }, "flow model: sample: expected [height, width, channels]"],
    [{ grpo: { sampling: { noise: { type: "cps", level: 0 } } } }, "grpo.sampling.noise.level: "],
    [
      { grpo: { sampling: { window: { type: "fixed", start: 8, size: 3 } } } },
      "window of stochastic steps: expected 3 or more of the steps 0 to 9, got 8 to 10",
    ],
    [
      {
        grpo: {
          sampling: { noise: { type: "cps" }, window: { type: "fixed", start: 9, size: 1 } },
        },
      },
      "grpo.sampling.window: expected a step that draws noise",
    ],
    [
      { grpo: { objective: { type: "policy", ratio: { type: "position" } } } },
      "grpo.objective.ratio.type: expected sample",
    ],
    [
      { evaluate: { guidance: 2 }, base: { dropPrompt: 0 } },
      "base.dropPrompt: expected a share above 0, for evaluate.guidance",
    ],
    [{ reward: { hit: 0 } }, "reward: expected a weight for one of hit, got 0 for all of them"],
  ])("%j", async (settings, message) => {
    await expect(prepare(settings)).rejects.toThrow(message);
  });

  it("but not those that do without noise", async () => {
    const grpo = { sampling: { noise: { level: 0 } }, objective: { type: "diffusion-nft" } };
    await expect(prepare({ grpo })).resolves.toBeDefined();
  });

  it("nor levels that stand there twice", () => {
    const twice = flowGrpoSystem.settings.safeParse({ levels: ["ring", "ring"] });
    expect(twice.error?.issues[0]).toMatchObject({
      path: ["levels"],
      message: "different levels",
    });
  });
});

describe("ViPO", () => {
  it("wants an objective that can have maps, and methods that differ", async () => {
    const rwr = { grpo: { objective: { type: "rwr" } } };
    await expect(prepareVipo({ quadrant: rwr })).rejects.toThrow("expected position");
    await expect(prepareVipo({ quadrant: rwr, methods: ["scalar"] })).resolves.toBeDefined();
    await expect(prepareVipo({ methods: ["vipo", "vipo"] })).rejects.toThrow("methods that differ");
  });

  it("trains its backbone with AdamW, which has no matrices for Muon", () => {
    const backbone = { optimiser: { method: "muon" } };
    const resolve = () => resolveSettings(vipoSystem.settings, [{ backbone }], []);
    expect(resolve).toThrow("backbone.optimiser.method: expected adamw");
  });

  it("reads maps of a file, and knows early that one cannot be read", async () => {
    const pixels = (path: string) => ({ pixels: { map: { type: "files", path } } });
    const path = join(root, "maps.jsonl");
    const of = (side: number) =>
      JSON.stringify({
        prompt: quadrantTask.prompt(quadrantTask.items("train", quadrantTask.config.parse({}))[0]!),
        sample_id: 0,
        map: Array.from({ length: side }, (_, y) =>
          Array.from({ length: side }, (_unused, x) => ((x + y) % 2) / 2),
        ),
      });
    writeFileSync(path, `${of(12)}\n`);
    const config = await prepareVipo(pixels(relative(process.cwd(), path)));
    expect(config).toMatchObject(pixels(path));
    writeFileSync(path, `${of(6)}\n`);
    await expect(prepareVipo(pixels(path))).rejects.toThrow("expected shape [12,12], got [6,6]");
    await expect(prepareVipo(pixels(join(root, "none.jsonl")))).rejects.toThrow("none.jsonl");
  });
});
