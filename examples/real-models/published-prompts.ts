// Flow-GRPO on the prompts of a published file, with the published settings, judged by a detector on another machine.

import {
  findSystem,
  flowGrpo,
  flowGrpoSettings,
  httpImageScorer,
  LocalFlowEngine,
  promptTask,
  readFlowConfig,
  readRecords,
  RunDirectory,
  silentProgress,
  type GenevalRecord,
} from "alidade";

/** Records of `DIR/{train,test}_metadata.jsonl`; other files: readPrompts, readTextPrompts, readCaptionIndex, readBenchmark. */
export async function genevalTask(folder: string, url: string, side: number) {
  return promptTask<GenevalRecord>({
    name: "geneval",
    suites: { train: await readRecords(folder, "train"), test: await readRecords(folder, "test") },
    prompt: (record) => record.prompt,
    level: (record) => record.tag,
    shape: [side, side, 3],
    scorers: [
      httpImageScorer<GenevalRecord, object>({
        url,
        scores: { geneval: "Flow-GRPO's training reward", correct: "GenEval's verdict, 0 or 1" },
        batch: 64,
        describe: (record) => ({ prompt: record.prompt, metadata: record }),
      }),
    ],
    accuracy: "correct",
  });
}

/** @param base Folder of a velocity model for these words and this shape, as `alidade train flow-grpo` leaves one in `base/`. */
export async function train(
  task: Awaited<ReturnType<typeof genevalTask>>,
  base: string,
  out: string,
  changes: object = {},
): Promise<void> {
  const paper = findSystem("flow-grpo").scales["paper"]!.settings as { mini: { grpo: object } };
  const settings = flowGrpoSettings.parse({ ...paper.mini.grpo, ...changes });
  const start = { system: task.name, scale: "custom", config: settings, seed: 1, overrides: [] };
  const run = RunDirectory.create(out, start);
  const engine = new LocalFlowEngine(await readFlowConfig(base), {
    microBatch: null,
    average: settings.average,
  });
  try {
    await engine.loadWeights(base);
    await flowGrpo(
      {
        engine,
        environment: { task, config: {} }, // retries, time limit and concurrency of the scorer: `scoring`
        weights: { geneval: 1 },
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
      settings, // `rewards` says what becomes of a sample whose scorer failed
    );
    await run.saveModel((directory) => engine.saveModel(directory, "average"));
    run.finish("done");
  } finally {
    engine.dispose();
    run.close();
  }
}
