import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { solve, tokenizer, type Script, type Sum } from "../../tests/scripted-engine.ts";
import { alternating, scriptedStage } from "../../tests/scripted-stage.ts";
import type { Example } from "../core/engine.ts";
import { DataError } from "../core/errors.ts";
import { randomStream } from "../core/random.ts";
import { Interrupted } from "../run/interrupted.ts";
import { readMetrics, readSamples } from "../run/run-directory.ts";

const { train, path, checkpoints, positions } = scriptedStage();

const lengthOf = ({ tokens, promptLength }: Example): number => tokens.length - promptLength;

describe("overlong completions", () => {
  /** Two that end and two that are cut off; the second one of each is wrong. */
  const script: Script = {
    answer: (question, sample) => ({
      text: sample % 2 === 0 ? solve(question) : "777",
      isCut: sample >= 2,
    }),
  };

  it("leave the loss where they are masked, and stay in the statistics", async () => {
    const plain = (await train({ script })).of("accumulate")[0]!.batch;
    const engine = await train({ script, settings: { overlong: { mask: true } } });
    const [accumulated] = engine.of("accumulate");
    const { batch, window } = accumulated!;
    batch.forEach((example, index) => {
      const isCut = index % 4 >= 2;
      expect(example.mask).toEqual(isCut ? new Float32Array(lengthOf(example)) : undefined);
      expect(example.advantage).toBe(plain[index]!.advantage);
      expect(example.advantage).not.toBe(0);
    });
    const kept = batch.filter((_, index) => index % 4 < 2).map(lengthOf);
    expect(window).toMatchObject({
      sequences: 8,
      filled: 4,
      step: {
        loss: kept.reduce((total, length) => total + length, 0),
        completion: batch.reduce((total, one) => total + lengthOf(one), 0),
      },
      maxTokens: 9,
    });
    const masks = readSamples(path(), "grpo")
      .slice(8)
      .map((record) => (record["lossMask"] as [number, number][])[0]![0]);
    expect(masks).toEqual([1, 1, 0, 0, 1, 1, 0, 0]);
  });

  it("are penalised by DAPO's equation 13, in records, advantages and metrics", async () => {
    // maxTokens 9, buffer 4: 0 up to 5 tokens, then a quarter a token.
    const lengths = [3, 5, 6, 9];
    const cut: Script = {
      answer: (_question, sample) => ({ text: "7".repeat(lengths[sample]!), isCut: true }),
    };
    const expected = [0, 0, 0.25 * 0.5, 0.5];
    const settings = { overlong: { penalty: { buffer: 4, weight: 0.5 } } };
    const score = (): { correct: number } => ({ correct: 1 });
    const engine = await train({ script: cut, settings, score });
    const records = readSamples(path(), "grpo");
    records.forEach((record, index) => {
      expect(record["penalties"]).toEqual({ overlong: expected[index % 4] });
      expect(record["reward"]).toBe(1); // what the scorers said
    });
    const rewards = expected.map((penalty) => 1 - penalty);
    const center = rewards.reduce((sum, reward) => sum + reward, 0) / 4;
    const squares = rewards.reduce((sum, reward) => sum + (reward - center) ** 2, 0);
    engine.of("accumulate")[0]!.batch.forEach(({ advantage }, index) => {
      const wanted = (rewards[index % 4]! - center) / (Math.sqrt(squares / 3) + 1e-4);
      expect(advantage).toBeCloseTo(wanted, 10);
      expect(records[index]!["advantage"]).toBe(advantage);
    });
    const [metrics] = readMetrics(path());
    expect(metrics!["penalty/overlong"]).toBeCloseTo((0.125 + 0.5) / 4, 12);
    expect(metrics).toMatchObject({ "reward/mean": 1, "groups/withoutSpread": 0 });
  });
});

describe("KL in the reward", () => {
  it("is summed over loss tokens and taken off before rewards are compared", async () => {
    const logProb = (sequence: number, policy: "current" | "reference"): number =>
      policy === "current" ? -0.5 : -0.5 - 0.1 * sequence;
    const settings = {
      loss: { kl: { type: "reward", weight: 0.2, estimator: "k1" } },
      advantages: { type: "reward", scale: { type: "none" } },
    };
    const engine = await train({ script: { ...alternating, logProb }, settings });
    expect(engine.of("logProbs").map(({ options }) => options.policy)).toEqual([
      "reference",
      "current",
    ]);
    const { batch, loss } = engine.of("accumulate")[0]!;
    expect(loss).toMatchObject({ kl: { type: "reward" } });
    const rewards = batch.map((example, index) => {
      // k1 = log p − log p_ref
      const kl = 0.2 * lengthOf(example) * 0.1 * index;
      expect(readSamples(path(), "grpo")[index]!["penalties"]).toEqual({
        kl: expect.closeTo(kl, 6) as number,
      });
      return Number(index % 2 === 0) - kl;
    });
    batch.forEach(({ advantage }, index) => {
      const group = rewards.slice(4 * Math.floor(index / 4), 4 * Math.floor(index / 4) + 4);
      const center = group.reduce((sum, reward) => sum + reward, 0) / 4;
      expect(advantage).toBeCloseTo(rewards[index]! - center, 6);
    });
  });
});

describe("greedy baselines", () => {
  it("are sampled beside the groups, from streams of their own", async () => {
    const script: Script = {
      answer: (question, sample) => (sample === 1 ? solve(question) : "777"),
    };
    const advantages = { type: "reward", baseline: "greedy", scale: { type: "none" } };
    const engine = await train({ script, settings: { advantages, topK: 3 } });
    const [groups, greedy] = engine.of("sample");
    expect(greedy!.prompts).toEqual(groups!.prompts);
    expect(greedy!.options).toMatchObject({ group: 1, temperature: 0, maxTokens: 9 });
    expect(greedy!.options.random(1, 0).at(0)).toBe(randomStream(5, "greedy", 1, 1).at(0));
    // The greedy answer is wrong: right ones have 1, wrong ones 0.
    const found = engine.of("accumulate")[0]!.batch.map(({ advantage }) => advantage);
    expect(found).toEqual([0, 1, 0, 0, 0, 1, 0, 0]);
  });

  it("that fail are failed rewards: the policy decides, and no number takes their place", async () => {
    const advantages = { type: "reward", baseline: "greedy", scale: { type: "none" } };
    // Two groups of four are scored first, then the greedy completion of each prompt.
    const failing = () => {
      let calls = 0;
      return (): { correct: number } => {
        if (++calls === 9) throw new Error("the judge is away");
        return { correct: calls > 8 ? 0 : 1 };
      };
    };
    await expect(train({ settings: { advantages }, score: failing() })).rejects.toThrow(
      "grpo step 1: prompt 0, sample 0: expected a number or null for reward correct",
    );
    const rewards = { error: { type: "drop-sample" } };
    const engine = await train({ settings: { advantages, rewards }, score: failing() });
    const found = engine.of("accumulate")[0]!.batch.map(({ advantage }) => advantage);
    expect(found).toEqual([0, 0, 0, 0, 1, 1, 1, 1]);
  });
});

/** Sums below the limit are solved by one of four answers, the others never. */
const knowing =
  (limit: number): NonNullable<Script["answer"]> =>
  (question, sample) =>
    sample === 0 && Number(solve(question)) < limit ? solve(question) : "777";

/** Items that the test knows: the sum of the n-th is the n-th number. */
const itemsOf =
  (...sums: readonly number[]) =>
  async (index: number): Promise<Sum> => {
    taken.push(index);
    return { a: sums[index % sums.length]! - 1, b: 1 };
  };
const taken: number[] = [];

const questionsOf = (prompts: readonly Int32Array[]): number[] =>
  prompts.map((prompt) => Number(solve(tokenizer.decode(prompt).replace(/<\|\w+\|>/g, ""))));

describe("groups without spread", () => {
  // Sums from 50 on are never solved.
  const sums = [10, 50, 51, 11, 52, 12, 13, 53, 54, 14, 15, 16, 17, 18];

  it("are kept by default", async () => {
    const engine = await train({
      script: { answer: knowing(50) },
      items: itemsOf(...sums),
      settings: { prompts: 3 },
    });
    expect(engine.of("accumulate")[0]!.batch.length).toBe(12);
    expect(readMetrics(path())[0]!["groups/withoutSpread"]).toBeCloseTo(2 / 3, 12);
  });

  it("leave the batch where they are dropped, and are recorded all the same", async () => {
    const engine = await train({
      script: { answer: knowing(50) },
      items: itemsOf(...sums),
      settings: { prompts: 3, withoutSpread: { type: "drop" } },
    });
    const { batch, window } = engine.of("accumulate")[0]!;
    expect(batch.length).toBe(4);
    expect(window!.sequences).toBe(4);
    const records = readSamples(path(), "grpo");
    expect(records.map((record) => (record["lossMask"] as [number, number][])[0]![0])).toEqual(
      Array.from({ length: 12 }, (_, index) => Number(index < 4)),
    );
    // They were not trained on, so the trainer has said nothing of them.
    expect(records.map((record) => "trainerLogProbs" in record)).toEqual(
      records.map((_, index) => index < 4),
    );
    expect(readMetrics(path())[0]).toMatchObject({
      "completion/length": expect.any(Number) as number,
    });
  });

  it("train nothing when all are dropped", async () => {
    const settings = { steps: 2, withoutSpread: { type: "drop" }, minibatches: 2 };
    const engine = await train({ script: { answer: () => "777" }, settings });
    expect([engine.of("accumulate"), engine.of("step")]).toEqual([[], []]);
    expect(readMetrics(path()).map((record) => record["update/skipped"])).toEqual([1, 1]);
  });

  const refill = { prompts: 3, withoutSpread: { type: "refill", rounds: 3 } };

  it("give way to the next items, in order, until there is none or the rounds are over", async () => {
    taken.length = 0;
    const engine = await train({
      script: { answer: knowing(50) },
      items: itemsOf(...sums),
      settings: { ...refill, steps: 2 },
    });
    const asked = engine.of("sample").map(({ prompts }) => questionsOf(prompts));
    expect(asked).toEqual([
      [10, 50, 51], // first generation
      [11, 52], // for 50 and 51
      [12], // for 52
      [13, 53, 54], // second generation
      [14, 15],
    ]);
    expect(taken).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    const [first, second] = engine
      .of("accumulate")
      .map(({ batch }) =>
        batch
          .filter((_, index) => index % 4 === 0)
          .map(({ tokens, promptLength }) => questionsOf([tokens.slice(0, promptLength)])[0]),
      );
    // Each in the place of the one it stands for.
    expect([first, second]).toEqual([
      [10, 11, 12],
      [13, 14, 15],
    ]);
    expect(readMetrics(path()).map((record) => record["groups/refilled"])).toEqual([3, 2]);
    expect(readMetrics(path()).map((record) => record["groups/withoutSpread"])).toEqual([0, 0]);
    const records = readSamples(path(), "grpo").filter(({ step }) => step === 1);
    expect(records.map(({ prompt }) => prompt)).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
  });

  it("have random streams of their own in every round", async () => {
    const engine = await train({
      script: { answer: knowing(50) },
      items: itemsOf(...sums),
      settings: refill,
    });
    const draws = engine.of("sample").map(({ options }) => options.random(0, 2).at(3));
    expect(draws).toEqual([
      randomStream(5, "rollout", 1, 0, 2).at(3),
      randomStream(5, "rollout", 1, 0, 2, "round", 1).at(3),
      randomStream(5, "rollout", 1, 0, 2, "round", 2).at(3),
    ]);
  });

  it("that are left after the last round leave the batch", async () => {
    const engine = await train({
      script: { answer: knowing(50) },
      items: itemsOf(10, 50, 51, 52, 53, 54, 55),
      settings: { ...refill, withoutSpread: { type: "refill", rounds: 2 } },
    });
    expect(engine.of("sample").map(({ prompts }) => questionsOf(prompts))).toEqual([
      [10, 50, 51],
      [52, 53],
      [54, 55],
    ]);
    expect(engine.of("accumulate")[0]!.batch.length).toBe(4);
    expect(readMetrics(path())[0]).toMatchObject({ "groups/refilled": 4 });
    expect(readMetrics(path())[0]!["groups/withoutSpread"]).toBeCloseTo(2 / 3, 12);
  });

  it("count as taken after a resume", async () => {
    const settings = { ...refill, steps: 4, minibatches: 2 };
    const script = { answer: knowing(50) };
    const whole = await train({ script, items: itemsOf(...sums), settings });
    const asked = whole.of("sample").map(({ prompts }) => questionsOf(prompts));
    for (const stopAt of [1, 2, 3]) {
      const abort = new AbortController();
      const stopping: Script = {
        ...script,
        step: (call) => {
          if (call === stopAt) abort.abort();
          return { gradientNorm: 2 };
        },
      };
      const stage = { items: itemsOf(...sums), settings };
      const stopped = train({ ...stage, script: stopping, signal: abort.signal });
      await expect(stopped).rejects.toBeInstanceOf(Interrupted);
      const [position] = positions();
      expect(position!.state.step).toBe(stopAt);
      expect(existsSync(join(position!.directory, "buffer.json"))).toBe(stopAt % 2 === 1);
      const { state, directory } = position!;
      const rest = await train({ ...stage, script, done: stopAt, state, directory });
      // Three calls sampled the first generation batch; the second one has none left to sample after step 3.
      expect(rest.of("sample").map(({ prompts }) => questionsOf(prompts))).toEqual(
        stopAt < 3 ? asked.slice(3) : [],
      );
      expect(rest.of("accumulate").map(({ batch }) => batch)).toEqual(
        whole
          .of("accumulate")
          .slice(stopAt)
          .map(({ batch }) => batch),
      );
    }
  });

  it("leave a checkpoint from before the generation when a row of theirs is bad", async () => {
    const bad = new DataError("rows.jsonl, line 9: expected a sum, got none");
    const good = itemsOf(...sums);
    const items = (index: number): Promise<Sum> => (index < 9 ? good(index) : Promise.reject(bad));
    const settings = { ...refill, steps: 2 };
    await expect(train({ script: { answer: knowing(50) }, items, settings })).rejects.toBe(bad);
    expect(checkpoints()).toEqual(["grpo-000001"]);
    // Six items are behind the first step; the second one begins with the seventh again.
    expect(positions()[0]!.state).toMatchObject({ nextItem: 6, inBuffer: false });
  });
});

describe("the buffer", () => {
  it("deals every completion to one batch of every pass, in one order", async () => {
    const settings = { steps: 4, minibatches: 2, iterations: 2, accumulation: 2, prompts: 3 };
    const engine = await train({ settings });
    const keys = engine
      .of("accumulate")
      .map(({ batch }) =>
        batch.map(({ tokens, advantage }) => `${String(tokens)} ${String(advantage)}`),
      );
    expect(keys.map((batch) => batch.length)).toEqual([3, 3, 3, 3, 3, 3, 3, 3]);
    expect(keys.slice(4)).toEqual(keys.slice(0, 4));
    const inOrder = (await train({ settings: { prompts: 3 } }))
      .of("accumulate")[0]!
      .batch.map(({ tokens, advantage }) => `${String(tokens)} ${String(advantage)}`);
    expect(keys.slice(0, 4).flat().toSorted()).toEqual(inOrder.toSorted());
    expect(keys.slice(0, 4).flat()).not.toEqual(inOrder); // shuffled
  });

  it("says of every batch what its window and its generation hold", async () => {
    const settings = { steps: 2, minibatches: 2, accumulation: 2 };
    const engine = await train({ settings });
    const calls = engine.of("accumulate");
    const all = calls.flatMap(({ batch }) => batch).reduce((sum, one) => sum + lengthOf(one), 0);
    calls.forEach(({ window, batch }, index) => {
      const pair = calls.slice(index - (index % 2), index - (index % 2) + 2);
      const tokens = pair
        .flatMap((call) => call.batch)
        .reduce((sum, one) => sum + lengthOf(one), 0);
      expect(batch.length).toBe(2);
      expect(window).toEqual({
        batches: 2,
        sequences: 4,
        filled: 4,
        step: { loss: tokens, completion: tokens },
        generation: { loss: all, completion: all },
        share: 0.5,
        maxTokens: 9,
      });
    });
  });

  it("has the trainer's log-probabilities in the records of all its samples", async () => {
    const logProb = (sequence: number): number => -0.5 - sequence / 16;
    await train({ script: { ...alternating, logProb }, settings: { accumulation: 4 } });
    const records = readSamples(path(), "grpo");
    records.forEach((record, index) => {
      const row = record["trainerLogProbs"] as number[];
      expect(row).toEqual(row.map(() => logProb(index)));
      expect(row.length).toBe((record["tokens"] as number[]).length);
    });
  });

  it("stands in a checkpoint as it was, NaN of a sampler included", async () => {
    const script: Script = {
      answer: (question, sample) => ({
        text: sample % 2 === 0 ? solve(question) : "777",
        logProb: sample === 1 ? Number.NaN : -1 / 3,
      }),
      logProb: () => -0.1,
    };
    const settings = {
      steps: 4,
      minibatches: 2,
      iterations: 2,
      loss: { sampler: { type: "correction" } },
    };
    const whole = await train({ script, settings, checkpointEvery: 3 });
    const position = positions().find(({ state }) => state.step === 3)!;
    expect(readFileSync(join(position.directory, "buffer.json"), "utf8")).toContain("null");
    const { state, directory } = position;
    const rest = await train({ script, settings, done: 3, state, directory });
    expect(rest.of("accumulate").map(({ batch }) => batch)).toEqual(
      whole
        .of("accumulate")
        .slice(3)
        .map(({ batch }) => batch),
    );
  });
});
