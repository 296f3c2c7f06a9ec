import * as fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { sumTask, type Sum } from "../../tests/scripted-engine.ts";
import { ConfigError } from "../core/errors.ts";
import { taskScores, type Scorer, type Scores, type Task } from "../core/task.ts";
import {
  failureKinds,
  scoreOutcome,
  scoreOutputs,
  scoringSettings,
  type ScoredOutput,
} from "./score-outputs.ts";

type Judge = Scorer<Sum, { largest: number }>;
type Score = Judge["score"];

const config = { largest: 30 };
const settings = scoringSettings.parse({ timeoutMs: 1000, retries: 0 });

const withJudge = (score: Score): Task<Sum, { largest: number }> => ({
  ...sumTask,
  scorers: [{ scores: { judge: "what another machine says" }, score }],
});

const outputs = (count: number) =>
  Array.from({ length: count }, (_, index) => ({
    item: { a: index, b: 1 },
    output: { text: String(index + 1), stopReason: "stop" as const },
  }));

const scoresOf = (list: readonly ScoredOutput[]): Scores[] => list.map(({ scores }) => scores);
const messageOf = (scored: ScoredOutput | undefined, name: string): string | undefined =>
  scored?.failures[name]?.error.message;

afterEach(() => void vi.useRealTimers());

describe("a scorer that answers at once", () => {
  it("costs no timer, and its outputs are judged before anything else runs", async () => {
    vi.useFakeTimers();
    let judged = 0;
    const task = {
      ...sumTask,
      score: () => {
        judged++;
        return { correct: 1, short: 1 };
      },
    };
    const scoring = scoreOutputs(task, config, outputs(200), settings);
    expect(judged).toBe(200);
    expect(vi.getTimerCount()).toBe(0);
    expect(await scoring).toHaveLength(200);
  });

  it("that throws fails with each of its names, and is not asked again", async () => {
    let calls = 0;
    const score = (): Scores => {
      calls++;
      throw "a text";
    };
    const task = { ...withJudge(async () => ({ judge: 0.5 })), score };
    const [one] = await scoreOutputs(task, config, outputs(1), { ...settings, retries: 3 });
    expect(one!.scores).toEqual({ judge: 0.5 });
    expect(one!.failures).toEqual({
      correct: { kind: "error", error: new Error("a text") },
      short: { kind: "error", error: new Error("a text") },
    });
    expect(calls).toBe(1);
  });

  it.each([
    ["NaN", Number.NaN, "notFinite", "NaN"],
    ["an infinity", -Infinity, "notFinite", "-Infinity"],
    ["a boolean", true, "error", "boolean"],
    ["missing", undefined, "error", "undefined"],
  ])("%s is a failure of that score alone", async (_name, value, kind, got) => {
    const task = { ...sumTask, score: () => ({ correct: value as number, short: null }) };
    const [one] = await scoreOutputs(task, config, outputs(1), settings);
    expect(one!.scores).toEqual({ short: null });
    expect(Object.keys(one!.failures)).toEqual(["correct"]);
    expect(scoreOutcome(one!, "correct")).toBe(kind);
    expect(scoreOutcome(one!, "short")).toBe("null");
    expect(messageOf(one, "correct")).toBe(
      `score correct: expected a finite number or null, got ${got}`,
    );
  });

  it("that returns nothing is a failure of all its names", async () => {
    const task = { ...sumTask, score: () => undefined as unknown as Scores };
    const [one] = await scoreOutputs(task, config, outputs(1), settings);
    expect(one!.scores).toEqual({});
    expect(Object.values(one!.failures).map(({ kind }) => kind)).toEqual(["error", "error"]);
  });
});

describe("a scorer that answers later", () => {
  it("gives the same result whichever answer comes first", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(6), { minLength: 12, maxLength: 12 }), async (delays) => {
        const wait = async (turns: number): Promise<void> => {
          for (let turn = 0; turn < turns; turn++) await Promise.resolve();
        };
        const task = withJudge(async ({ a }) => {
          await wait(delays[a]!);
          if (a % 5 === 0) throw new Error(`no ${a}`);
          return { judge: a % 3 === 0 ? null : a };
        });
        const scored = await scoreOutputs(task, config, outputs(12), {
          ...settings,
          concurrency: 3,
        });
        scored.forEach((one, a) => {
          const expected = a % 5 === 0 ? "error" : a % 3 === 0 ? "null" : "ok";
          expect(scoreOutcome(one, "judge")).toBe(expected);
          if (expected === "ok") expect(one.scores["judge"]).toBe(a);
          if (expected === "error") expect(messageOf(one, "judge")).toBe(`no ${a}`);
          expect(one.scores["correct"]).toBe(1);
        });
      }),
      { numRuns: 30 },
    );
  });

  it("is cut off at its time limit: a timeout, told through the signal", async () => {
    vi.useFakeTimers();
    const reasons: unknown[] = [];
    const task = withJudge(({ a }, _output, _config, signal) =>
      a === 1
        ? new Promise((_resolve, reject) => {
            signal.addEventListener("abort", () => {
              reasons.push(signal.reason);
              reject(new Error("aborted")); // counts as the timeout that it is
            });
          })
        : a === 2
          ? new Promise(() => undefined) // never
          : Promise.resolve({ judge: 1 }),
    );
    const scoring = scoreOutputs(task, config, outputs(3), settings);
    await vi.advanceTimersByTimeAsync(999);
    expect(reasons).toEqual([]);
    expect(vi.getTimerCount()).toBe(2); // none is left of the one that answered
    await vi.advanceTimersByTimeAsync(1);
    const scored = await scoring;
    expect(scored.map((one) => scoreOutcome(one, "judge"))).toEqual(["ok", "timeout", "timeout"]);
    expect(scoresOf(scored)).toEqual([
      { correct: 1, short: 1, judge: 1 },
      { correct: 1, short: 1 },
      { correct: 1, short: 1 },
    ]);
    expect(messageOf(scored[1], "judge")).toBe(
      "scorer: expected scores within 1000 ms, got none (the time limit is scoring.timeoutMs)",
    );
    expect(reasons).toEqual([scored[1]!.failures["judge"]!.error]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("aborts with its own signal: one that waits too long stops no other", async () => {
    vi.useFakeTimers();
    const signals: AbortSignal[] = [];
    const task = withJudge(async ({ a }, _output, _config, signal) => {
      signals[a] = signal;
      return a === 1 ? new Promise(() => undefined) : { judge: 1 };
    });
    const scoring = scoreOutputs(task, config, outputs(3), { ...settings, concurrency: 3 });
    await vi.runAllTimersAsync();
    await scoring;
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, true, false]);
  });

  it("is asked again after an error or a timeout, with a pause that doubles", async () => {
    vi.useFakeTimers();
    const asked: number[] = [];
    const start = Date.now();
    const task = withJudge(async () => {
      asked.push(Date.now() - start);
      if (asked.length === 1) throw new Error("busy");
      return asked.length === 2 ? new Promise(() => undefined) : { judge: 0.25 };
    });
    const scoring = scoreOutputs(task, config, outputs(1), { ...settings, retries: 2 });
    await vi.runAllTimersAsync();
    expect((await scoring)[0]!.scores["judge"]).toBe(0.25);
    expect(asked).toEqual([0, 500, 500 + 1000 + 1000]);
  });

  it("that fails every time keeps its last failure; an answer is never asked for again", async () => {
    vi.useFakeTimers();
    const calls = [0, 0, 0];
    const answers = [Number.NaN, null, 0];
    const task = withJudge(async ({ a }) => {
      calls[a]!++;
      if (a === 2) throw new Error(`try ${calls[a]}`);
      return { judge: answers[a]! };
    });
    const scoring = scoreOutputs(task, config, outputs(3), { ...settings, retries: 2 });
    await vi.runAllTimersAsync();
    const scored = await scoring;
    expect(scored.map((one) => scoreOutcome(one, "judge"))).toEqual(["notFinite", "null", "error"]);
    expect(messageOf(scored[2], "judge")).toBe("try 3");
    expect(calls).toEqual([1, 1, 3]);
  });

  it("never judges more outputs at once than it may", async () => {
    let [now, most] = [0, 0];
    const task = withJudge(async ({ a }) => {
      most = Math.max(most, ++now);
      for (let turn = 0; turn < 3 + ((a * 7) % 5); turn++) await Promise.resolve();
      now--;
      return { judge: a };
    });
    await scoreOutputs(task, config, outputs(40), { ...settings, concurrency: 4 });
    expect(most).toBe(4);
  });
});

describe("score names", () => {
  it("of all scorers stand together, and two scorers cannot share one", async () => {
    const task = withJudge(() => ({ judge: 1 }));
    expect(Object.keys(taskScores(task))).toEqual(["correct", "short", "judge"]);
    const twice = {
      ...task,
      scorers: [{ scores: { short: "again" }, score: () => ({ short: 1 }) }],
    };
    expect(() => taskScores(twice)).toThrow(ConfigError);
    await expect(scoreOutputs(twice, config, outputs(1), settings)).rejects.toThrow(
      'task sum: expected every score name once, got two scorers of "short"',
    );
  });

  it("end up in exactly one place, whatever a scorer returns", async () => {
    const values = fc.oneof(
      fc.double(),
      fc.constant(null),
      fc.constant(undefined),
      fc.string(),
      fc.boolean(),
    );
    await fc.assert(
      fc.asyncProperty(values, values, async (correct, short) => {
        const score = () => ({ correct, short }) as Scores;
        const [one] = await scoreOutputs({ ...sumTask, score }, config, outputs(1), settings);
        for (const [name, value] of Object.entries({ correct, short })) {
          const isScore = value === null || Number.isFinite(value);
          expect(name in one!.scores).toBe(isScore);
          expect(name in one!.failures).toBe(!isScore);
          if (isScore) expect(one!.scores[name]).toBe(value);
          else expect(failureKinds).toContain(scoreOutcome(one!, name));
        }
      }),
    );
  });
});
