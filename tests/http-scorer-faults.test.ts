// A scorer on another machine that goes wrong in every way, in a run of Flow-GRPO. Right answers lie between 1 and 2, so a failure that
// was taken for a 0 would show in the mean reward; each image is a request of its own, so one fault is one sample.

import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { flowGrpoSettings } from "../src/algorithms/flow-grpo-settings.ts";
import { flowGrpo } from "../src/algorithms/flow-grpo.ts";
import { RunError } from "../src/core/errors.ts";
import { defineImageTask } from "../src/core/image-task.ts";
import { silentProgress } from "../src/core/progress.ts";
import { randomStream } from "../src/core/random.ts";
import { LocalFlowEngine } from "../src/engine/flow-engine.ts";
import { blankRaster, type Raster } from "../src/image/raster.ts";
import { httpImageScorer } from "../src/rewards/http-image-scorer.ts";
import { scoringSettings } from "../src/rollout/score-outputs.ts";
import { readMetrics, RunDirectory } from "../src/run/run-directory.ts";

type Answer = (response: ServerResponse) => unknown;
const ends =
  (text: string, status = 200): Answer =>
  (response) =>
    response.writeHead(status).end(text);

/** What a server may do instead of answering, and how the run calls it. */
const faults: Readonly<Record<string, { answer: Answer; kind: "error" | "timeout" }>> = {
  "a status": { answer: ends('{"scores": {"judge": [0]}}', 500), kind: "error" },
  "an error": { answer: ends('{"scores": {"judge": [0]}, "error": "no GPU"}'), kind: "error" },
  garbage: { answer: ends("<html></html>"), kind: "error" },
  "a list of another length": { answer: ends('{"scores": {"judge": []}}'), kind: "error" },
  NaN: { answer: ends('{"scores": {"judge": [NaN]}}'), kind: "error" },
  "an infinity": { answer: ends('{"scores": {"judge": [-1e999]}}'), kind: "error" },
  "a connection that ends": { answer: (response) => response.destroy(), kind: "error" },
  "no answer": { answer: () => undefined, kind: "timeout" },
  "half an answer": {
    answer: (response) => response.writeHead(200).write('{"scores":'),
    kind: "timeout",
  },
};

let root: string;
let server: Server | undefined;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-http-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

/** Every fifth request goes wrong; the others get 1 to 2. */
async function serve(fault: Answer): Promise<string> {
  let requests = 0;
  server = createServer((request, response) => {
    request.resume().on("end", () => {
      const number = requests++;
      if (number % 5 === 3) fault(response);
      else response.end(JSON.stringify({ scores: { judge: [1 + ((number * 7) % 10) / 10] } }));
    });
  });
  await new Promise<void>((resolve) => server!.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

const shape = [2, 2, 3] as const;
const prompts = ["one", "two"];
const taskAt = (url: string) =>
  defineImageTask<string, object, Raster>({
    name: "judged",
    summary: "images that only a server can judge",
    config: z.object({}),
    scores: {},
    score: () => ({}),
    scorers: [
      httpImageScorer<string, object>({
        url,
        scores: { judge: "1 to 2" },
        batch: 1,
        describe: (prompt) => ({ prompt, metadata: null }),
      }),
    ],
    accuracy: "judge",
    shape: () => shape,
    vocabulary: () => prompts,
    suites: ["train"],
    items: () => prompts,
    make: (random) => random.pick(prompts),
    prompt: (item) => item,
    gold: () => blankRaster(2, 2, [0, 0, 0]),
    illustrate: (random) => ({
      item: random.pick(prompts),
      image: blankRaster(2, 2, [0, 0, 0]),
      mask: new Uint8Array(4),
      isRight: true,
    }),
    key: (item) => item,
    levels: ["all"],
    level: () => "all",
    errorClass: () => "wrong",
  });

let runs = 0;
async function train(url: string, rewards: object): Promise<{ path: string; error: Error | null }> {
  const engine = new LocalFlowEngine(
    {
      type: "mlp",
      sample: shape,
      width: 8,
      layers: 1,
      prompt: { vocabularySize: 3, promptTokens: 1, width: 4, layers: 0, heads: 1, hiddenWidth: 4 },
    },
    { microBatch: 10, average: { decay: 0.9, every: 1 } },
  );
  engine.initialise(randomStream(1, "weights"));
  const start = { system: "judged", scale: "test", config: {}, seed: 1, overrides: [] };
  const run = RunDirectory.create(join(root, String(runs++)), start);
  const scoring = scoringSettings.parse({ timeoutMs: 1000, retries: 0, concurrency: 1 });
  let error: Error | null = null;
  await flowGrpo(
    {
      engine,
      environment: { task: taskAt(url), config: {}, scoring },
      weights: { judge: 1 },
      stage: "grpo",
      run,
      progress: silentProgress,
      signal: new AbortController().signal,
      seed: 1,
      done: 0,
      state: {},
      checkpointEvery: 100,
      evaluateEvery: 0,
      evaluate: async () => undefined,
    },
    flowGrpoSettings.parse({ epochs: 1, prompts: 2, group: 5, sampling: { steps: 2 }, rewards }),
  ).catch((thrown: Error) => void (error = thrown));
  engine.dispose();
  run.close();
  return { path: run.path, error };
}

/** Rewards that the server gives to ten images, those of the failed ones left out. */
const known = [0, 1, 2, 4, 5, 6, 7, 9].map((number) => 1 + ((number * 7) % 10) / 10);
const meanOf = (list: readonly number[]): number =>
  list.reduce((sum, value) => sum + value, 0) / list.length;

describe.each(Object.entries(faults))("a server that gives %s", (_name, { answer, kind }) => {
  it("stops the run", async () => {
    const { path, error } = await train(await serve(answer), { [kind]: { type: "stop" } });
    expect(error).toBeInstanceOf(RunError);
    expect(error!.message).toMatch(
      /step 1: prompt 0, sample 3: expected a number or null for reward judge, got (?:an error|a timeout) of the scorer/,
    );
    expect(readMetrics(path)).toEqual([]);
  });

  it("or costs its samples, and no reward becomes a 0", async () => {
    const policy = { [kind]: { type: "drop-sample" } };
    const { path, error } = await train(await serve(answer), policy);
    expect(error).toBeNull();
    const [record] = readMetrics(path);
    expect(record).toMatchObject({ "samples/dropped": 2, [`scorer/judge/${kind}`]: 2 });
    expect(record!["reward/mean"]).toBeCloseTo(meanOf(known), 12);
    expect(record!["score/judge"]).toBeCloseTo(meanOf(known), 12);
  });
});

describe("a server that gives a status", () => {
  it("costs whole groups, or stops the run after so many", async () => {
    const answer = faults["a status"]!.answer;
    const group = await train(await serve(answer), { error: { type: "drop-group" } });
    // One fault in each group of five: nobody is left.
    expect(readMetrics(group.path)[0]).toMatchObject({ "samples/dropped": 10 });
    server!.close();
    const two = await train(await serve(answer), { error: { type: "stop-after", count: 2 } });
    expect(two.error!.message).toMatch(
      /prompt 1, sample 3: .* got failure 2 of this run, an error/,
    );
  });
});
