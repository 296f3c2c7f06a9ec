import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  adam,
  isSame,
  livelyEngines,
  policyGradient,
  randomSequences,
  small,
} from "../../tests/lively-engine.ts";
import type { Example } from "../core/engine.ts";
import { DataError } from "../core/errors.ts";
import { supervisedLoss } from "../core/loss-spec.ts";
import { randomStream } from "../core/random.ts";
import { LocalEngine } from "./local-engine.ts";

const { kept, lively } = livelyEngines();
const { ragged } = randomSequences("save test");

describe("save and load", () => {
  let root: string;
  beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-engine-"))));
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  const folder = (): string => mkdtempSync(join(root, "save-"));

  /** One step of policy optimisation: everything an engine remembers takes part in it. */
  async function train(engine: LocalEngine, list: readonly Example[], steps: number) {
    const losses: number[] = [];
    for (let step = 0; step < steps; step++) {
      const reference = await engine.logProbs(list, { policy: "reference", temperature: 0.8 });
      const batch = list.map((one, index) => ({
        ...one,
        advantage: index % 2 === 0 ? 1 : -1,
        reference: reference[index]!,
      }));
      losses.push((await engine.accumulate(batch, policyGradient)).loss);
      losses.push((await engine.step(adam)).gradientNorm);
    }
    return losses;
  }

  const state = (engine: LocalEngine): Float32Array[] =>
    engine.parameterNames.map((name) => Float32Array.from(engine.parameter(name)));

  it("continues bit for bit: weights, optimiser and reference", async () => {
    const list = ragged();
    const engine = lively();
    await engine.freezeReference();
    await train(engine, list, 3);
    const directory = folder();
    await engine.save(directory);
    const losses = await train(engine, list, 4);

    const other = kept(new LocalEngine(small, { microBatchTokens: 4096 }));
    other.initialise(randomStream(99, "other weights"));
    await other.load(directory);
    expect(await train(other, list, 4)).toEqual(losses);
    state(other).forEach((values, index) =>
      expect(isSame(values, state(engine)[index]!), engine.parameterNames[index]).toBe(true),
    );

    // An engine that went on goes back, and drops what it had accumulated.
    await engine.accumulate(list, supervisedLoss);
    await engine.load(directory);
    expect(await train(engine, list, 4)).toEqual(losses);
  });

  it("forgets the reference when there was none", async () => {
    const engine = lively();
    const directory = folder();
    await engine.save(directory);
    await engine.freezeReference();
    await engine.load(directory);
    const reading = engine.logProbs(ragged(), { policy: "reference", temperature: 1 });
    await expect(reading).rejects.toThrow("expected a frozen reference policy, got none");
  });

  it("starts over with resetOptimiser", async () => {
    const list = ragged();
    const engine = lively();
    await engine.freezeReference();
    const directory = folder();
    await engine.saveModel(directory);
    const losses = await train(engine, list, 2);
    await engine.accumulate(list, supervisedLoss);
    await engine.resetOptimiser();
    await engine.loadWeights(directory);
    expect(await train(engine, list, 2)).toEqual(losses);
  });

  it("keeps the model in a folder of its own, which another engine reads", async () => {
    const engine = lively();
    const directory = folder();
    await engine.saveModel(directory);
    const other = kept(new LocalEngine(small));
    await other.loadWeights(directory);
    state(other).forEach((values, index) =>
      expect(isSame(values, state(engine)[index]!)).toBe(true),
    );
  });

  it("refuses what is broken or belongs to another model, and says what", async () => {
    const engine = lively();
    await engine.freezeReference();
    const directory = folder();
    await engine.save(directory);
    const wider = kept(new LocalEngine({ ...small, width: 32 }));
    await expect(wider.load(directory)).rejects.toThrow(DataError);
    await expect(wider.load(directory)).rejects.toThrow(
      /model\.safetensors: expected model\.embed_tokens\.weight of shape \[23, 32\], got \[23, 24\]/,
    );
    const plainer = kept(new LocalEngine({ ...small, qkNorm: false }));
    await expect(plainer.load(directory)).rejects.toThrow(
      /expected the parameters of this model and no others, got model\.layers\.0\.self_attn\.q_norm\.weight/,
    );
    writeFileSync(join(directory, "engine.json"), '{"steps": "many"}');
    await expect(engine.load(directory)).rejects.toThrow(DataError);
    await expect(engine.load(directory)).rejects.toThrow(/engine\.json: expected .*, got/);
    writeFileSync(join(directory, "engine.json"), '{"steps": ');
    await expect(engine.load(directory)).rejects.toThrow(DataError);
    truncateSync(join(directory, "model.safetensors"), 5000);
    await expect(engine.load(directory)).rejects.toThrow(DataError);
    await expect(engine.load(folder())).rejects.toThrow(
      /engine\.json: expected the position of an engine/,
    );
  });
});
