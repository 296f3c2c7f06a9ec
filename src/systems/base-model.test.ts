import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { randomStream } from "../core/random.ts";
import { LocalEngine } from "../engine/local-engine.ts";
import type { DecoderConfig } from "../models/decoder.ts";
import { ChatTokenizer } from "../text/chat-tokenizer.ts";
import { openBaseModel, type BaseModelSettings } from "./base-model.ts";

const [INPUT, OUTPUT] = ["model.embed_tokens.weight", "lm_head.weight"];
const plain = ChatTokenizer.ofTokens([]);
const known = plain.vocabularySize;
const width = 32;
const tokens = ["<|new-a|>", "<|new-b|>", "<|new-c|>"];

let from: string;
beforeEach(() => (from = mkdtempSync(join(tmpdir(), "alidade-base-"))));
afterEach(() => rmSync(from, { recursive: true, force: true }));

/** Writes a checkpoint with rows for `padding` ids that no token has; returns its weights by name. */
async function publish(
  padding: number,
  tiedEmbeddings = false,
): Promise<Map<string, Float32Array>> {
  const config: DecoderConfig = {
    vocabularySize: known + padding,
    contextLength: 128,
    width,
    layers: 1,
    heads: 2,
    kvHeads: 2,
    headSize: 16,
    hiddenWidth: 32,
    ropeTheta: 10_000,
    normEpsilon: 1e-6,
    qkvBias: true,
    qkNorm: false,
    tiedEmbeddings,
  };
  const engine = new LocalEngine(config);
  engine.initialise(randomStream("published"));
  await engine.saveModel(from);
  await plain.write(from);
  const weights = engine.parameterNames.map(
    (name) => [name, engine.parameter(name).slice()] as const,
  );
  engine.dispose();
  return new Map(weights);
}

async function load(settings: Partial<BaseModelSettings> = {}) {
  const all = {
    from,
    vocabulary: "special",
    newRows: "own",
    contextLength: 64,
    lora: null,
    ...settings,
  } as const;
  const base = await openBaseModel(all, tokens);
  const engine = new LocalEngine(base.config);
  await base.load(engine, randomStream("new rows"));
  engine.dispose();
  return { ...base, values: (name: string) => engine.parameter(name) };
}

const distance = (a: Float32Array, b: Float32Array): number =>
  Math.hypot(...a.map((value, index) => value - b[index]!));

/** The mean of the rows of known tokens. */
const meanRow = (matrix: Float32Array): Float32Array =>
  Float32Array.from({ length: width }, (_, column) => {
    let sum = 0;
    for (let row = 0; row < known; row++) sum += matrix[row * width + column]!;
    return sum / known;
  });

describe("a base model", () => {
  it.each([
    ["fit into the padding", 9, known + 9],
    ["do not fit", 1, known + 3],
    ["find no padding", 0, known + 3],
  ])("whose new tokens %s", async (_, padding, size) => {
    const published = await publish(padding);
    const { config, tokenizer, values } = await load();
    expect(config).toMatchObject({ vocabularySize: size, contextLength: 64 });
    expect(tokens.map((token) => [...tokenizer.encode(token)])).toEqual([
      [known],
      [known + 1],
      [known + 2],
    ]);
    for (const [name, weights] of published) {
      const isVocabulary = name === INPUT || name === OUTPUT;
      const kept = isVocabulary ? known * width : weights.length;
      expect(values(name).subarray(0, kept), name).toEqual(weights.subarray(0, kept));
      if (!isVocabulary) continue;
      const mean = meanRow(weights);
      for (let row = known; row < size; row++) {
        const drawn = values(name).slice(row * width, (row + 1) * width);
        // A row is as far from the mean as sqrt(1e-5) of what a known row is.
        expect(distance(drawn, mean), `${name} ${row}`).toBeLessThan(0.02);
        expect(distance(drawn, mean), `${name} ${row}`).toBeGreaterThan(0);
      }
    }
  });

  it("repeats the mistake of the released script when asked to", async () => {
    const published = await publish(9);
    const { values } = await load({ newRows: "compat" });
    expect(values(OUTPUT)).toEqual(published.get(OUTPUT));
    const [drawn, outputMean] = [
      values(INPUT).slice(known * width),
      meanRow(published.get(OUTPUT)!),
    ];
    expect(distance(drawn.slice(0, width), outputMean)).toBeLessThan(0.02);
  });

  it("with tied embeddings has one matrix to fill", async () => {
    const published = await publish(0, true);
    const { values } = await load({ newRows: "compat" });
    const mean = meanRow(published.get(INPUT)!);
    expect(distance(values(INPUT).slice(known * width, (known + 1) * width), mean)).toBeLessThan(
      0.02,
    );
  });

  it("stays as it is when its tokenizer does", async () => {
    const published = await publish(9);
    const { tokenizer, values } = await load({ vocabulary: "text" });
    expect(tokenizer.vocabularySize).toBe(known);
    for (const [name, weights] of published) expect(values(name)).toEqual(weights);
  });
});
