import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ConfigError, RunError } from "../core/errors.ts";
import { silentProgress } from "../core/progress.ts";
import { randomStream } from "../core/random.ts";
import { LocalFlowEngine } from "../engine/flow-engine.ts";
import type { FlowConfig } from "../models/flow-model.ts";
import type { ImageEnvironment } from "../rollout/image-environment.ts";
import { Interrupted } from "../run/interrupted.ts";
import { readMetrics, RunDirectory } from "../run/run-directory.ts";
import {
  readSuppliedMaps,
  ringTask,
  suppliedAdvantageMaps,
  type Point,
  type RingConfig,
  type RingItem,
} from "../tasks/image-generation/index.ts";
import { epochItems } from "./flow-generation.ts";
import { flowGrpo, type FlowGrpoContext } from "./flow-grpo.ts";
import { flowGrpoSettings } from "./flow-grpo-settings.ts";

const model: FlowConfig = {
  type: "mlp",
  sample: [2],
  width: 24,
  layers: 2,
  prompt: { vocabularySize: 9, promptTokens: 1, width: 8, layers: 0, heads: 1, hiddenWidth: 8 },
};
type Context = FlowGrpoContext<RingItem, RingConfig, Point>;
const average = { decay: 0.9, every: 2 };

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-flow-grpo-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function openEngine(): LocalFlowEngine {
  const engine = new LocalFlowEngine(model, { microBatch: 16, average });
  engine.initialise(randomStream(1, "weights"));
  // A head that is not zero: otherwise every velocity is.
  const head = engine.parameter("head.weight");
  randomStream(1, "head").fillNormal(head);
  head.forEach((value, index) => (head[index] = 0.3 * value));
  return engine;
}

type RingEnvironment = ImageEnvironment<RingItem, RingConfig, Point>;
const config = ringTask.config.parse({ spread: 0.19 });
/** The closer the better, so that every group has spread. */
const graded: RingEnvironment = {
  config,
  task: {
    ...ringTask,
    scores: { ...ringTask.scores, near: "closeness" },
    score: (item, point) => {
      const gold = ringTask.gold(item, { spread: 1e-9, wrong: 0 }, randomStream("gold"));
      const [dx, dy] = [0, 1].map((axis) => point.data[axis]! - gold.data[axis]!);
      return { hit: Number(Math.hypot(dx!, dy!) < 0.8), near: -Math.hypot(dx!, dy!) };
    },
  },
};

function begin(
  name: string,
  changes: Partial<Context> = {},
): Context & { engine: LocalFlowEngine } {
  const start = { system: "ring", scale: "test", config: {}, seed: 1, overrides: [] };
  const context = {
    environment: graded,
    weights: { near: 1 },
    stage: "grpo",
    run: RunDirectory.create(join(root, name), start),
    progress: silentProgress,
    signal: new AbortController().signal,
    seed: 1,
    done: 0,
    state: {},
    checkpointEvery: 100,
    evaluateEvery: 0,
    evaluate: async () => undefined,
    ...changes,
  };
  return { ...context, engine: (changes.engine as LocalFlowEngine | undefined) ?? openEngine() };
}

const settingsOf = (changes: object = {}) =>
  flowGrpoSettings.parse({ epochs: 4, prompts: 4, group: 6, ...changes });

/** All weights of an engine, those that are trained and their average. */
const weightsOf = (engine: LocalFlowEngine) =>
  (["current", "average"] as const).flatMap((which) =>
    engine.parameterNames.map((name) => [which, name, [...engine.parameter(name, which)]]),
  );

const withoutTimes = (path: string) =>
  readMetrics(path).map((record) =>
    Object.fromEntries(Object.entries(record).filter(([name]) => !name.startsWith("time/"))),
  );

const objectives = {
  "flow-sde": {},
  cps: { sampling: { noise: { type: "cps", level: 0.8 }, window: { type: "random", size: 3 } } },
  "kl and guard": {
    objective: {
      type: "policy",
      normalised: true,
      stepWeight: "guard",
      kl: { type: "paper", weight: 0.04 },
    },
  },
  "diffusion-nft": { objective: { type: "diffusion-nft" } },
  "diffusion-nft without KL": { objective: { type: "diffusion-nft", kl: 0 } },
  "online-dpo": { objective: { type: "online-dpo", refresh: 3 } },
  rwr: { objective: { type: "rwr", refresh: 3 } },
  "best-of-group": { objective: { type: "best-of-group", refresh: 3 } },
} as const;

describe.each(Object.entries(objectives))("%s", (name, changes) => {
  it("goes on to the bit wherever it was stopped", async () => {
    const settings = settingsOf(changes);
    const whole = begin(`${name}-whole`);
    const before = JSON.stringify(weightsOf(whole.engine));
    await flowGrpo(whole, settings);
    expect(JSON.stringify(weightsOf(whole.engine))).not.toBe(before);
    for (let stop = 1; stop < settings.epochs; stop++) {
      const controller = new AbortController();
      const path = `${name}-stopped-${stop}`;
      const progress = {
        ...silentProgress,
        advance: (epoch: number) => {
          if (epoch === stop) controller.abort();
        },
      };
      const stopped = begin(path, { signal: controller.signal, progress });
      await expect(flowGrpo(stopped, settings)).rejects.toThrow(Interrupted);
      const [position] = stopped.run.positions();
      expect(position!.state.step).toBe(stop);
      const engine = openEngine();
      await engine.load(position!.directory);
      const going = { ...stopped, engine, done: stop, state: position!.state };
      const signal = new AbortController().signal;
      await flowGrpo({ ...going, signal, progress: silentProgress }, settings);
      expect(weightsOf(engine)).toEqual(weightsOf(whole.engine));
      expect(withoutTimes(stopped.run.path)).toEqual(withoutTimes(whole.run.path));
    }
  });
});

describe("the policy objective", () => {
  it.each([
    ["flow-sde", "sample"],
    ["dance", "sample"],
    ["cps", "sample"],
    ["flow-sde", "position"],
  ] as const)("has a ratio of exactly 1 at the first update: %s of a %s", async (type, of) => {
    const maps = {
      target: "advantage" as const,
      make: (images: readonly Point[]) => images.map(() => [1]),
    };
    const context = begin(`first-${type}-${of}`, of === "position" ? { maps } : {});
    const objective = { type: "policy", ratio: { type: of, low: 0.1, high: 0.1 } };
    await flowGrpo(context, settingsOf({ objective, sampling: { noise: { type } } }));
    const metrics = readMetrics(context.run.path);
    expect(metrics).toHaveLength(4);
    for (const record of metrics) expect(record["ratio/first"]).toBe(0);
    // The second update of an epoch sees a policy that has moved.
    expect(Number(metrics[1]!["ratio/p99"])).not.toBe(1);
  });

  it.each([
    ["equal", 1],
    ["guard", 10],
    ["noise", 1],
  ] as const)("weighs its steps: %s", async (stepWeight, mean) => {
    const context = begin(`step-weight-${stepWeight}`);
    const seen: number[] = [];
    const accumulate = context.engine.accumulate.bind(context.engine);
    context.engine.accumulate = (batch, loss, options) => {
      const { stepWeight: weights, deviation } = options.arrays;
      seen.push(...weights!);
      const ratios = Array.from(deviation!, (s, row) => weights![row]! / s);
      const isShare = Math.max(...ratios) - Math.min(...ratios) < 1e-4 * Math.max(...ratios);
      expect(isShare).toBe(stepWeight === "noise");
      return accumulate(batch, loss, options);
    };
    await flowGrpo(context, settingsOf({ epochs: 1, objective: { type: "policy", stepWeight } }));
    expect(seen).toHaveLength(9 * 24);
    expect(seen.reduce((sum, one) => sum + one, 0) / seen.length).toBeCloseTo(mean, 4);
  });

  it("branches at one step, if the window has one and the noise of a prompt is the same", async () => {
    const context = begin("branches");
    const { engine } = context;
    const denoise = engine.denoise.bind(engine);
    const places: number[] = [];
    engine.denoise = async (...given) => {
      const result = await denoise(...given);
      const isShared = result.states.map((state) =>
        state.every((value, at) => value === state[Math.floor(at / 12) * 12 + (at % 2)]),
      );
      places.push(isShared.lastIndexOf(true));
      expect(isShared).toEqual(isShared.map((_, time) => time <= places.at(-1)!));
      return result;
    };
    const window = { type: "random", size: 1, high: 9 };
    const sampling = { window, initialNoise: "same" };
    await flowGrpo(context, settingsOf({ epochs: 8, sampling }));
    expect(places).toHaveLength(8);
    expect(Math.min(...places)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...places)).toBeLessThanOrEqual(8);
    expect(new Set(places).size).toBeGreaterThan(2);
  });

  it("makes better points likelier", async () => {
    const context = begin("learns");
    const settings = settingsOf({
      epochs: 40,
      prompts: 8,
      group: 16,
      objective: { type: "policy", ratio: { type: "sample", low: 0.02, high: 0.02 } },
      optimiser: { learningRate: 3e-3 },
    });
    await flowGrpo(context, settings);
    const rewards = readMetrics(context.run.path).map((record) => Number(record["reward/mean"]));
    const mean = (list: number[]) => list.reduce((sum, one) => sum + one, 0) / list.length;
    expect(mean(rewards.slice(-5))).toBeGreaterThan(mean(rewards.slice(0, 5)) + 0.3);
  });

  it("changes nothing where all rewards of a prompt are equal", async () => {
    const equal = { ...graded, task: { ...graded.task, score: () => ({ hit: 0, near: 1 }) } };
    const context = begin("equal", { environment: equal });
    const before = weightsOf(context.engine);
    await flowGrpo(context, settingsOf());
    expect(weightsOf(context.engine)).toEqual(before);
    const [record] = readMetrics(context.run.path);
    expect(record).toMatchObject({ "groups/withoutSpread": 1, "samples/idle": 24, loss: 0 });
  });

  it("wants maps for ratios of positions, and no maps for others", async () => {
    const maps = { target: "advantage" as const, make: () => [] };
    const settings = settingsOf();
    await expect(flowGrpo(begin("maps", { maps }), settings)).rejects.toThrow(ConfigError);
    const objective = { type: "policy", ratio: { type: "position" } };
    await expect(flowGrpo(begin("no-maps"), settingsOf({ objective }))).rejects.toThrow(
      ConfigError,
    );
  });
});

describe("DiffusionNFT", () => {
  it("asks for the reference policy where its loss has a KL, and only there", async () => {
    for (const kl of [0, 1e-4]) {
      const context = begin(`nft-${kl}`);
      const asked = new Set<string>();
      const velocity = context.engine.velocity.bind(context.engine);
      context.engine.velocity = (batch, options) => {
        asked.add(options.weights);
        return velocity(batch, options);
      };
      await flowGrpo(context, settingsOf({ epochs: 1, objective: { type: "diffusion-nft", kl } }));
      expect([...asked]).toEqual(kl === 0 ? ["old"] : ["old", "reference"]);
    }
  });
});

describe("objectives that compare within a group", () => {
  /** Each sample scored by its place in the epoch. */
  const scoredBy = (rewardOf: (sample: number) => number): RingEnvironment => {
    let asked = 0;
    const score = () => ({ hit: 0, near: rewardOf(asked++) });
    return { ...graded, task: { ...graded.task, score } };
  };
  /** Weights of every row by its prompt, of each optimiser step of the first epoch. */
  async function weightsOfSteps(
    name: string,
    objective: object,
    rewardOf: (sample: number) => number,
  ) {
    const context = begin(name, { environment: scoredBy(rewardOf) });
    const { engine } = context;
    const accumulate = engine.accumulate.bind(engine);
    const seen: Map<string, number[]>[] = [];
    engine.accumulate = (batch, loss, options) => {
      const weights = new Map<string, number[]>();
      batch.prompts.forEach((prompt, row) => {
        const key = String(prompt);
        weights.set(key, [...(weights.get(key) ?? []), options.arrays["weights"]![row]!]);
      });
      seen.push(weights);
      return accumulate(batch, loss, options);
    };
    const rewards = { window: null };
    const before = JSON.stringify(weightsOf(engine));
    await flowGrpo(context, settingsOf({ epochs: 1, group: 3, noisings: 1, rewards, objective }));
    return { seen, isChanged: JSON.stringify(weightsOf(engine)) !== before };
  }

  it("best-of-group trains the best of groups that differ, and nothing of the others", async () => {
    // One group has a best sample; all others are equally bad.
    const rewardOf = (sample: number) => Number(sample === 4);
    const { seen } = await weightsOfSteps("best-alone", { type: "best-of-group" }, rewardOf);
    expect(seen.map((step) => [...step.values()])).toEqual([[[1]]]);
  });

  it("rwr gives every sample of a group its share, also one of the mean reward", async () => {
    const rewardOf = (sample: number) => (sample % 3) / 2;
    const { seen } = await weightsOfSteps("rwr-shares", { type: "rwr" }, rewardOf);
    const powers = [1, Math.exp(0.5), Math.exp(1)];
    const total = powers.reduce((sum, one) => sum + one, 0);
    expect(seen).toHaveLength(2);
    for (const step of seen) {
      expect(step.size).toBe(2);
      for (const weights of step.values()) {
        expect(weights).toEqual(powers.map((power) => expect.closeTo(power / total / 2, 6)));
      }
    }
  });

  it("make no optimiser step where nothing has a weight", async () => {
    const objective = { type: "rwr", weights: { type: "raw" } };
    const { seen, isChanged } = await weightsOfSteps("rwr-zeros", objective, () => 0);
    expect(seen).toEqual([]);
    expect(isChanged).toBe(false);
  });

  it("bring the sampler up to date also at a step that has nothing to train", async () => {
    // The second epoch, with the step of the refresh, has no group that differs.
    const rewardOf = (sample: number) => (sample < 12 ? sample : 0);
    const context = begin("refresh", { environment: scoredBy(rewardOf) });
    const objective = { type: "best-of-group", refresh: 4 };
    const rewards = { window: null };
    await flowGrpo(context, settingsOf({ epochs: 2, group: 3, rewards, objective }));
    const { engine } = context;
    for (const name of engine.parameterNames)
      expect(engine.parameter(name, "old"), name).toEqual(engine.parameter(name));
  });
});

describe("several rewards", () => {
  it("are compared as a sum, or each by itself", async () => {
    /** Sum of the two rewards of the first sample of every group is the same; that of their advantages is not. */
    const environment: RingEnvironment = (() => {
      let asked = 0;
      const score = () => {
        const sample = asked++ % 6;
        return { hit: Number(sample === 0), near: [9, 10, 9, 10, 9, 10][sample]! };
      };
      return { ...graded, task: { ...graded.task, score } };
    })();
    const trained = async (mix: string) => {
      const context = begin(`mix-${mix}`, { environment, weights: { hit: 1, near: 1 } });
      const seen: number[] = [];
      const accumulate = context.engine.accumulate.bind(context.engine);
      context.engine.accumulate = (batch, loss, options) => {
        seen.push(...options.arrays["advantage"]!);
        return accumulate(batch, loss, options);
      };
      await flowGrpo(context, settingsOf({ epochs: 1, advantages: { mix, scale: "group" } }));
      return new Set(seen.map((value) => Math.round(1e3 * value)));
    };
    // 10 or 9 in all; of hit √5 or −1/√5, of near ± 1.
    expect(await trained("rewards")).toEqual(new Set([707, -1414]));
    expect(await trained("advantages")).toEqual(new Set([1236, -1447, 553]));
  });

  it("are one where maps multiply it", async () => {
    const maps = { target: "reward" as const, make: () => [] };
    const objective = { type: "policy", ratio: { type: "position" } };
    const settings = settingsOf({ objective, advantages: { mix: "advantages" } });
    await expect(flowGrpo(begin("mixed-maps", { maps }), settings)).rejects.toThrow(
      "grpo.advantages.mix: expected rewards",
    );
  });
});

describe("maps times rewards", () => {
  it("train samples of equal rewards, where their maps differ", async () => {
    const equal = { ...graded, task: { ...graded.task, score: () => ({ hit: 0, near: 1 }) } };
    const maps = {
      target: "reward" as const,
      make: (images: readonly Point[]) => images.map((_, index) => [(index % 6) / 5]),
    };
    const context = begin("reward-map", { environment: equal, maps });
    const before = weightsOf(context.engine);
    const objective = { type: "policy", ratio: { type: "position" } };
    await flowGrpo(context, settingsOf({ objective, rewards: { window: null } }));
    expect(readMetrics(context.run.path)[0]).toMatchObject({ "samples/idle": 0 });
    expect(weightsOf(context.engine)).not.toEqual(before);
  });
});

describe("maps made elsewhere", () => {
  const objective = { type: "policy", ratio: { type: "position" } };
  /** One position a point; four prompts an epoch, six samples each. */
  const fileOf = (name: string, samples: number): string => {
    const path = join(root, name);
    const lines = ringTask.items("train", config).flatMap((item) =>
      Array.from({ length: samples }, (_, id) => {
        const row = { prompt: ringTask.prompt(item), sample_id: id, map: [[(id + 1) / 6]] };
        return `${JSON.stringify(row)}\n`;
      }),
    );
    writeFileSync(path, lines.join(""));
    return path;
  };
  const fromFile = async (path: string) =>
    suppliedAdvantageMaps<RingItem, Point>({
      target: "advantage",
      cut: 0,
      mapNorm: "minmax",
      flip: false,
      promptOf: (item) => ringTask.prompt(item),
      maps: await readSuppliedMaps(path, { shape: [1, 1] }),
    });

  it("train as those that are made here", async () => {
    const made = begin("made-here", {
      maps: {
        target: "advantage",
        make: (images) => images.map((_, index) => Float64Array.of(((index % 6) + 1) / 6)),
      },
    });
    const read = begin("made-elsewhere", { maps: await fromFile(fileOf("maps.jsonl", 6)) });
    for (const context of [made, read]) await flowGrpo(context, settingsOf({ objective }));
    expect(weightsOf(read.engine)).toEqual(weightsOf(made.engine));
    expect(weightsOf(read.engine)).not.toEqual(weightsOf(openEngine()));
  });

  it("stop the run where one is missing", async () => {
    const context = begin("missing-map", { maps: await fromFile(fileOf("five.jsonl", 5)) });
    const before = weightsOf(context.engine);
    await expect(flowGrpo(context, settingsOf({ objective }))).rejects.toThrow(
      /five\.jsonl: expected a map of sample 5 of ".+", got none/,
    );
    expect(weightsOf(context.engine)).toEqual(before);
  });
});

describe("a reward that fails", () => {
  /** Every third sample has none. */
  const failing = (): RingEnvironment => {
    let asked = 0;
    const score: RingEnvironment["task"]["score"] = (...given) => {
      if (asked++ % 3 === 0) throw new Error("the judge is out");
      return graded.task.score(...given);
    };
    return { ...graded, task: { ...graded.task, score } };
  };

  it("stops the run", async () => {
    const context = begin("stop", { environment: failing() });
    await expect(flowGrpo(context, settingsOf())).rejects.toThrow(RunError);
    await expect(flowGrpo(context, settingsOf())).rejects.toThrow("the judge is out");
  });

  it("or takes its sample out of the epoch, never as a 0", async () => {
    const context = begin("drop", { environment: failing() });
    await flowGrpo(context, settingsOf({ rewards: { error: { type: "drop-sample" } } }));
    const [record] = readMetrics(context.run.path);
    expect(record).toMatchObject({ "samples/dropped": 8, "samples/idle": 0 });
    // The mean over those that have one; zeros for the others would raise it.
    expect(record!["reward/mean"]).toBeCloseTo(Number(record!["score/near"]), 12);
    expect(Number(record!["reward/mean"])).toBeLessThan(0);
  });
});

describe("the items of an epoch", () => {
  it("are different while the task has so many, and depend on seed and epoch alone", () => {
    const keys = (epoch: number, count: number) =>
      epochItems(graded, 1, epoch, count).map((item) => ringTask.key(item));
    expect(new Set(keys(1, 8)).size).toBe(8);
    expect(keys(1, 12)).toHaveLength(12);
    expect(keys(2, 5)).toEqual(keys(2, 5));
    expect(keys(2, 5)).not.toEqual(keys(3, 5));
  });
});
