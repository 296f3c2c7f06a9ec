import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { adam, isSame, livelyEngines, randomSequences, small } from "../../tests/lively-engine.ts";
import { livelyValues } from "../../tests/plain-decoder.ts";
import { supervisedLoss } from "../core/loss-spec.ts";
import { randomStream } from "../core/random.ts";
import { LocalEngine } from "./local-engine.ts";

const { kept, lively } = livelyEngines();
const { ragged } = randomSequences("adapters test");

describe("adapters", () => {
  let root: string;
  beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-lora-"))));
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  const lora = { rank: 3, alpha: 6, targets: ["q_proj", "v_proj", "o_proj", "down_proj"] } as const;
  const adapted = (): LocalEngine => {
    const engine = kept(new LocalEngine({ ...small, lora }));
    const base = lively();
    for (const name of base.parameterNames) engine.parameter(name).set(base.parameter(name));
    for (const name of engine.parameterNames) {
      const values = engine.parameter(name);
      values.set(livelyValues(name, values.length));
    }
    return engine;
  };

  it("are what is trained, and compute what the merged weights compute", async () => {
    const engine = adapted();
    const names = new Set(engine.parameterNames.map((name) => name.replace(/.*proj\./, "")));
    expect(names).toEqual(new Set(["lora_A.weight", "lora_B.weight"]));
    expect(engine.parameterNames.length).toBe(2 * 4 * small.layers);
    const directory = mkdtempSync(join(root, "merged-"));
    await engine.saveModel(directory);
    const merged = kept(new LocalEngine(small));
    await merged.loadWeights(directory);
    const list = ragged();
    const [ours, theirs] = [
      await engine.accumulate(list, supervisedLoss),
      await merged.accumulate(list, supervisedLoss),
    ];
    expect(ours.loss).toBeCloseTo(theirs.loss, 5);
    const options = { group: 2, maxTokens: 6, temperature: 0, stop: [] };
    const stream = () => randomStream(1);
    const prompts = list.map(({ tokens }) => tokens);
    const samples = await engine.sample(prompts, { ...options, random: stream });
    expect(samples).toEqual(
      (await merged.sample(prompts, { ...options, random: stream })).map((group) =>
        group.map((one) => ({ ...one, logProbs: expect.anything() as Float32Array })),
      ),
    );
    // dA = s Bᵀ dW and dB = s dW Aᵀ, with dW the gradient of the merged weight.
    const path = "model.layers.1.self_attn.v_proj";
    const [a, b] = ["A", "B"].map((half) => engine.parameter(`${path}.lora_${half}.weight`));
    const slope = merged.gradient(`${path}.weight`);
    const rows = b!.length / 3;
    for (let rank = 0; rank < 3; rank++) {
      for (let column = 0; column < small.width; column++) {
        let sum = 0;
        for (let row = 0; row < rows; row++)
          sum += 2 * b![row * 3 + rank]! * slope[row * small.width + column]!;
        const got = engine.gradient(`${path}.lora_A.weight`)[rank * small.width + column]!;
        expect(Math.abs(got - sum)).toBeLessThan(1e-5);
      }
      for (let row = 0; row < rows; row++) {
        let sum = 0;
        for (let column = 0; column < small.width; column++)
          sum += 2 * slope[row * small.width + column]! * a![rank * small.width + column]!;
        expect(
          Math.abs(engine.gradient(`${path}.lora_B.weight`)[row * 3 + rank]! - sum),
        ).toBeLessThan(1e-5);
      }
    }
  });

  it("refuse a checkpoint that was trained on another base", async () => {
    const [engine, other] = [1, 2].map((seed) => {
      const one = kept(new LocalEngine({ ...small, lora }));
      one.initialise(randomStream(seed));
      return one;
    });
    const directory = mkdtempSync(join(root, "base-"));
    await engine!.save(directory);
    await engine!.load(directory);
    await expect(other!.load(directory)).rejects.toThrow(
      /expected the weights that the adapters were trained on, got others/,
    );
  });

  it("start as nothing, leave the base alone, and continue bit for bit", async () => {
    const engine = kept(new LocalEngine({ ...small, lora }));
    engine.initialise(randomStream(3));
    await engine.freezeReference();
    const base = Float32Array.from(engine.parameter("model.layers.0.self_attn.q_proj.weight"));
    const list = ragged();
    const start = await engine.logProbs(list, { policy: "current", temperature: 1 });
    const step = async (one: LocalEngine): Promise<number> => {
      const { loss } = await one.accumulate(list, supervisedLoss);
      await one.step(adam);
      return loss;
    };
    await step(engine);
    const directory = mkdtempSync(join(root, "save-"));
    await engine.save(directory);
    const losses = [await step(engine), await step(engine)];
    expect(losses[1]!).toBeLessThan(losses[0]!);
    expect(isSame(engine.parameter("model.layers.0.self_attn.q_proj.weight"), base)).toBe(true);
    const reference = await engine.logProbs(list, { policy: "reference", temperature: 1 });
    reference.forEach((row, index) => expect(isSame(row, start[index]!)).toBe(true));

    const other = kept(new LocalEngine({ ...small, lora }));
    other.initialise(randomStream(3));
    await other.load(directory);
    expect([await step(other), await step(other)]).toEqual(losses);
  });
});
