import { afterAll, describe, expect, it } from "vitest";
import {
  livelyValues,
  plainLogits,
  plainLogSoftmax,
  smallModels,
} from "../../tests/plain-decoder.ts";
import type { Completion, SampleOptions } from "../core/engine.ts";
import { supervisedLoss } from "../core/loss-spec.ts";
import { randomStream } from "../core/random.ts";
import type { DecoderConfig } from "../models/decoder.ts";
import { LocalEngine, type LocalEngineOptions } from "./local-engine.ts";

const small = smallModels["Qwen3, grouped heads"]!;
const models = Object.entries(smallModels);

const engines: LocalEngine[] = [];
afterAll(() => engines.forEach((engine) => engine.dispose()));

function lively(
  config: DecoderConfig = small,
  options: Partial<LocalEngineOptions> = {},
): LocalEngine {
  const engine = new LocalEngine(config, options);
  engines.push(engine);
  for (const name of engine.parameterNames) {
    const values = engine.parameter(name);
    values.set(livelyValues(name, values.length));
  }
  return engine;
}

const random = randomStream(1, "sampler test");
const prompt = (length: number): Int32Array =>
  Int32Array.from({ length }, () => random.integer(small.vocabularySize));

const defaults: SampleOptions = {
  group: 1,
  maxTokens: 12,
  temperature: 1,
  stop: [],
  random: (one, sample) => randomStream(7, one, sample),
};

/** log-probabilities of the token after these, as plain arithmetic gives them. */
function distribution(engine: LocalEngine, tokens: ArrayLike<number>, temperature = 1): number[] {
  const weights = Object.fromEntries(
    engine.parameterNames.map((name) => [name, Float64Array.from(engine.parameter(name))]),
  );
  return plainLogSoftmax(plainLogits(engine.config, weights, tokens).at(-1)!, temperature);
}

const text = ({ tokens }: Completion): string => Array.from(tokens).join(" ");

/** Pearson's statistic of counts against shares; its expectation is cells - 1. */
const chiSquare = (counts: readonly number[], shares: readonly number[]): number => {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return counts.reduce(
    (sum, count, cell) =>
      shares[cell] === 0
        ? sum
        : sum + (count - total * shares[cell]!) ** 2 / (total * shares[cell]!),
    0,
  );
};

describe.each(models)("%s", (_name, config) => {
  it("writes with the cache what it writes without, greedily", async () => {
    const engine = lively(config);
    const prompts = [prompt(9), prompt(1), prompt(17)];
    const completions = await engine.sample(prompts, { ...defaults, temperature: 0 });
    prompts.forEach((start, index) => {
      const [completion] = completions[index]!;
      const tokens = Array.from(start);
      completion!.tokens.forEach((token, at) => {
        const plain = distribution(engine, tokens);
        expect(token).toBe(plain.indexOf(Math.max(...plain)));
        expect(Math.abs(completion!.logProbs[at]! - plain[token]!)).toBeLessThan(1e-5);
        tokens.push(token);
      });
      expect(completion!.tokens.length).toBe(12);
    });
  });

  it("reports the log-probabilities that a pass without the cache gives", async () => {
    const engine = lively(config);
    const prompts = [prompt(3), prompt(16), prompt(8)];
    const groups = await engine.sample(prompts, { ...defaults, group: 3, temperature: 0.7 });
    const list = groups.flatMap((group, index) =>
      group.map(({ tokens }) => ({
        tokens: Int32Array.from([...prompts[index]!, ...tokens]),
        promptLength: prompts[index]!.length,
      })),
    );
    const rows = await engine.logProbs(list, { policy: "current", temperature: 0.7 });
    groups
      .flat()
      .forEach(({ logProbs }, index) =>
        logProbs.forEach((value, at) =>
          expect(Math.abs(value - rows[index]![at]!)).toBeLessThan(1e-5),
        ),
      );
  });
});

describe("the caches", () => {
  it("keep rows and prompts together over calls of any shape, while rows leave", async () => {
    const draws = randomStream(5, "shapes");
    const pick = (low: number, high: number): number => low + draws.integer(high - low + 1);
    const engine = lively(small, { maxSampleRows: 24 });
    for (let call = 0; call < 8; call++) {
      const prompts = Array.from({ length: pick(1, 6) }, () => prompt(pick(1, 30)));
      const options: SampleOptions = {
        ...defaults,
        group: pick(1, 5),
        maxTokens: pick(1, 34),
        stop: [3, 8, 11].slice(0, pick(0, 3)),
        random: (one, sample) => randomStream(call, one, sample),
      };
      const groups = await engine.sample(prompts, options);
      const completions = groups.flatMap((group, index) =>
        group.map((one) => ({ one, from: prompts[index]! })),
      );
      expect(completions.length).toBe(prompts.length * options.group);
      const again = await engine.logProbs(
        completions.map(({ one, from }) => ({
          tokens: Int32Array.from([...from, ...one.tokens]),
          promptLength: from.length,
        })),
        { policy: "current", temperature: options.temperature },
      );
      completions.forEach(({ one }, index) =>
        one.logProbs.forEach((value, at) =>
          expect(Math.abs(value - again[index]![at]!)).toBeLessThan(1e-5),
        ),
      );
    }
  });
});

describe("what cannot be sampled", () => {
  it.each([
    [{ maxTokens: 0 }, "sample: expected maxTokens of 1 or more, got 0"],
    [{ maxTokens: 2.5 }, "sample: expected maxTokens of 1 or more, got 2.5"],
    [{ group: 0 }, "sample: expected a group of 1 or more, got 0"],
    [{ temperature: -1 }, "sample: expected a temperature of 0 or more, got -1"],
    [{ temperature: Number.NaN }, "sample: expected a temperature of 0 or more, got NaN"],
    [{ topK: 0 }, "sample: expected topK of 1 or more, got 0"],
    [{ topP: 1.5 }, "sample: expected topP in (0, 1], got 1.5"],
  ])("%j is an error", async (wrong, message) => {
    await expect(lively().sample([prompt(4)], { ...defaults, ...wrong })).rejects.toThrow(message);
  });

  it("weights that are not finite are an error, and leave nothing behind", async () => {
    const engine = lively();
    const before = await engine.sample([prompt(4)], defaults);
    const weight = engine.parameter("model.layers.0.self_attn.v_proj.weight");
    const good = weight[0]!;
    weight[0] = Number.NaN;
    await expect(engine.sample([prompt(4)], defaults)).rejects.toThrow(
      /expected finite probabilities, got NaN/,
    );
    weight[0] = good;
    const after = await engine.sample([prompt(4)], defaults);
    expect(after.map((group) => group.map(text))).toHaveLength(before.length);
    expect(after.flat().every(({ logProbs }) => logProbs.every(Number.isFinite))).toBe(true);
  });
});

describe("a draw", () => {
  const prompts = [prompt(2), prompt(16), prompt(7), prompt(33), prompt(1)];
  // Streams belong to the prompt itself, wherever it stands.
  const streamsOf =
    (order: readonly number[]): SampleOptions["random"] =>
    (one, sample) =>
      randomStream(3, order[one]!, sample);
  const options: SampleOptions = { ...defaults, group: 3, maxTokens: 20, stop: [4, 9, 17] };

  async function sampled(engine: LocalEngine, order: readonly number[], changed = options) {
    const groups = await engine.sample(
      order.map((index) => prompts[index]!),
      { ...changed, random: streamsOf(order) },
    );
    return new Map(order.map((index, at) => [index, groups[at]!]));
  }

  it("does not depend on the batch: order, neighbours, its size, earlier calls", async () => {
    const engine = lively();
    const whole = await sampled(engine, [0, 1, 2, 3, 4]);
    const lengths = new Set([...whole.values()].flat().map(({ tokens }) => tokens.length));
    expect(lengths.size, "rows leave the batch at different times").toBeGreaterThan(4);
    const others = [
      await sampled(engine, [4, 2, 0, 3, 1]),
      await sampled(engine, [1]),
      await sampled(engine, [0, 1, 2, 3, 4]),
      await sampled(lively(small, { maxSampleRows: 4 }), [0, 1, 2, 3, 4]),
      await sampled(lively(), [2, 3]),
    ];
    for (const other of others) {
      for (const [index, group] of other) {
        group.forEach((completion, sample) => {
          const same = whole.get(index)![sample]!;
          expect(text(completion)).toBe(text(same));
          // A longer neighbour lengthens the padding that a softmax sums over: the last bit may differ, the draw may not.
          completion.logProbs.forEach((value, at) =>
            expect(Math.abs(value - same.logProbs[at]!)).toBeLessThan(2e-6),
          );
          expect(completion.stopReason).toBe(same.stopReason);
        });
      }
    }
  });

  // ONNX Runtime adds up long products in another order for other numbers of rows: the last bits may differ, the tokens not.
  it("does not depend on the batch with a model as large as those that are trained", async () => {
    const config = { ...small, width: 128, heads: 8, kvHeads: 8, hiddenWidth: 352, layers: 3 };
    const [engine, order] = [lively(config), [0, 1, 2, 3, 4]];
    for (const name of engine.parameterNames) {
      if (name.endsWith("weight") && !name.includes("norm")) {
        engine.parameter(name).forEach((value, at, list) => (list[at] = value / 3));
      }
    }
    const changed = { ...options, group: 9, maxTokens: 25 };
    const whole = await sampled(engine, order, changed);
    for (const index of order) {
      for (const group of [1, 2, 9]) {
        const alone = (await sampled(engine, [index], { ...changed, group })).get(index)!;
        alone.forEach((completion, sample) => {
          const same = whole.get(index)![sample]!;
          expect(text(completion)).toBe(text(same));
          completion.logProbs.forEach((value, at) =>
            expect(Math.abs(value - same.logProbs[at]!)).toBeLessThan(1e-5),
          );
        });
      }
    }
  });

  it("does not depend on the size of the group or on the token limit", async () => {
    const engine = lively();
    const whole = await sampled(engine, [0, 1, 2]);
    const larger = await sampled(engine, [0, 1, 2], { ...options, group: 7 });
    const shorter = await sampled(engine, [0, 1, 2], { ...options, maxTokens: 5 });
    for (const [index, group] of whole) {
      group.forEach((completion, sample) => {
        expect(text(larger.get(index)![sample]!)).toBe(text(completion));
        const short = shorter.get(index)![sample]!;
        expect(short.tokens).toEqual(completion.tokens.slice(0, 5));
      });
    }
  });

  it("differs between samples and between prompts", async () => {
    const engine = lively();
    const texts = [...(await sampled(engine, [0, 1, 2], { ...options, stop: [] })).values()]
      .flat()
      .map(text);
    expect(new Set(texts).size).toBe(9);
  });

  it("follows the temperature, top-k and top-p of the request", async () => {
    const engine = lively();
    const start = prompts[2]!;
    const count = 4000;
    const first = async (part: Partial<SampleOptions>): Promise<number[]> => {
      const counts = Array.from({ length: small.vocabularySize }, () => 0);
      const [group] = await engine.sample([start], {
        ...defaults,
        group: count,
        maxTokens: 1,
        ...part,
        random: (_prompt, sample) => randomStream(11, sample),
      });
      for (const { tokens } of group!) counts[tokens[0]!]!++;
      return counts;
    };
    for (const temperature of [0.4, 1, 1.7]) {
      const shares = distribution(engine, start, temperature).map(Math.exp);
      const order = shares.map((_, token) => token).sort((a, b) => shares[b]! - shares[a]!);
      const kept = (tokens: readonly number[]): number[] => {
        const mass = tokens.reduce((sum, token) => sum + shares[token]!, 0);
        return shares.map((share, token) => (tokens.includes(token) ? share / mass : 0));
      };
      let [mass, nucleus] = [0, 0];
      while (mass < 0.6) mass += shares[order[nucleus++]!]!;
      for (const [part, expected] of [
        [{}, shares],
        [{ topK: 5 }, kept(order.slice(0, 5))],
        [{ topP: 0.6 }, kept(order.slice(0, nucleus))],
        [{ topK: 2, topP: 0.999 }, kept(order.slice(0, 2))],
      ] as const) {
        const counts = await first({ temperature, ...part });
        counts.forEach((value, token) => {
          if (expected[token] === 0) expect(value).toBe(0);
        });
        const cells = expected.filter((share) => share > 0).length;
        const limit = cells - 1 + 5 * Math.sqrt(2 * Math.max(1, cells - 1));
        expect(chiSquare(counts, expected), JSON.stringify(part)).toBeLessThan(limit);
      }
    }
  });

  it("reports log-probabilities before top-k and top-p, and those of the plain logits when greedy", async () => {
    const engine = lively();
    const start = prompts[1]!;
    for (const [temperature, shown] of [
      [0.5, 0.5],
      [2, 2],
      [0, 1],
    ] as const) {
      const [[one]] = (await engine.sample([start], {
        ...defaults,
        temperature,
        topK: 1,
        topP: 0.1,
        maxTokens: 1,
      })) as [[Completion]];
      const plain = distribution(engine, start, shown);
      expect(one.tokens[0]).toBe(plain.indexOf(Math.max(...plain)));
      expect(Math.abs(one.logProbs[0]! - Math.max(...plain))).toBeLessThan(1e-5);
    }
  });

  it("ends at a stop token, which it keeps, or at the limit", async () => {
    const engine = lively();
    const groups = await engine.sample(prompts, { ...options, group: 8 });
    const reasons = groups.flat().map(({ tokens, stopReason, logProbs }) => {
      expect(logProbs.length).toBe(tokens.length);
      const stops = Array.from(tokens, (token) => options.stop.includes(token));
      if (stopReason === "stop") expect(stops.indexOf(true)).toBe(tokens.length - 1);
      else {
        expect(stops.includes(true)).toBe(false);
        expect(tokens.length).toBe(20);
      }
      return stopReason;
    });
    expect(new Set(reasons)).toEqual(new Set(["stop", "length"]));
    // A stop token as the very last allowed one counts as a stop.
    const [[one]] = (await engine.sample([prompts[0]!], {
      ...defaults,
      maxTokens: 1,
      stop: Array.from({ length: 23 }, (_, token) => token),
    })) as [[Completion]];
    expect(one).toMatchObject({ stopReason: "stop" });
  });

  it("uses the weights of the moment", async () => {
    const engine = lively();
    const greedy = { ...defaults, temperature: 0, maxTokens: 3 };
    const start = prompts[3]!;
    const before = await engine.sample([start], greedy);
    for (let step = 0; step < 5; step++) {
      await engine.accumulate(
        [{ tokens: Int32Array.from([...start, 5, 5, 5]), promptLength: start.length }],
        supervisedLoss,
      );
      await engine.step({
        learningRate: 0.05,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weightDecay: 0,
        clipNorm: 1,
      });
    }
    expect(text(before[0]![0]!)).not.toBe("5 5 5");
    expect(text((await engine.sample([start], greedy))[0]![0]!)).toBe("5 5 5");
  });

  it("makes room for longer prompts, larger groups and more tokens than before", async () => {
    const engine = lively();
    const greedy = { ...defaults, temperature: 0, maxTokens: 4 };
    const long = prompt(40);
    await engine.sample([prompts[0]!], greedy);
    const [[first]] = (await engine.sample([long], { ...greedy, maxTokens: 24 })) as [[Completion]];
    const [group] = await engine.sample([long], { ...greedy, group: 5, maxTokens: 24 });
    const [[alone]] = (await lively().sample([long], { ...greedy, maxTokens: 24 })) as [
      [Completion],
    ];
    for (const one of [...group!, first]) expect(text(one)).toBe(text(alone));
    expect(first.tokens.length).toBe(24);
  });

  it.each([64, 50, 49])("fills a context of %i tokens to its last one", async (contextLength) => {
    const engine = lively({ ...small, contextLength });
    const start = prompt(contextLength - 4);
    const greedy = { ...defaults, temperature: 0, maxTokens: 4 };
    const [[one]] = (await engine.sample([start], greedy)) as [[Completion]];
    expect(one.tokens.length).toBe(4);
    const [[same]] = (await lively().sample([start], greedy)) as [[Completion]];
    expect(text(one)).toBe(text(same));
  });
});
