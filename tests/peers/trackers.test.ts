// TensorBoard's and W&B's own readers find every number of a run. Where no Python is named the formats are still held by
// src/trackers/trackers.test.ts.
//
//   python3 -m venv /somewhere && /somewhere/bin/pip install -r tests/peers/requirements-trackers.txt
//   ALIDADE_TRACKERS_VENV=/somewhere npx vitest run tests/peers/trackers.test.ts

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { histogram } from "../../src/core/histogram.ts";
import { randomStream } from "../../src/core/random.ts";
import { RunDirectory } from "../../src/run/run-directory.ts";
import { readRunPoints } from "../../src/trackers/run-points.ts";
import { writeTensorboard } from "../../src/trackers/tensorboard.ts";
import { writeWandb } from "../../src/trackers/wandb.ts";

const venv = process.env["ALIDADE_TRACKERS_VENV"];
const script = fileURLToPath(new URL("check-trackers.py", import.meta.url));

it.runIf(venv !== undefined)("trackers read back what a run measured", () => {
  const root = mkdtempSync(join(tmpdir(), "alidade-peers-"));
  try {
    const path = join(root, "run");
    const start = { system: "sum", scale: "tiny", config: { a: [1] }, seed: 1, overrides: [] };
    const run = RunDirectory.create(path, start);
    const random = randomStream(1, "trackers");
    for (let step = 1; step <= 500; step++) {
      const loss = step === 7 ? Number.NaN : random.uniform() * 10 ** random.integer(20);
      run.logMetrics({ step, stage: "grpo", loss, "time/stepMs": 10, constant: -1 / 3 });
      const values = Array.from({ length: 40 }, () => random.uniform());
      run.logHistograms({ step, stage: "grpo", kl: histogram(values, [0, 0.1, 0.5, 0.9])! });
    }
    const judged = { task: "sum", split: "test", count: 3, ci95: [0.1, 0.9] };
    run.logEvaluation({ step: 500, stage: "grpo", correct: 2 / 3, ...judged });
    run.finish("done");
    const points = readRunPoints(path);
    const [board, wandb] = [join(root, "board"), join(root, "wandb")];
    writeTensorboard(board, points);
    writeWandb(wandb, points, "peer");
    const out = execFileSync(join(venv!, "bin/python"), [script, path, board, wandb], {
      encoding: "utf8",
    });
    expect(JSON.parse(out.trim().split("\n").at(-1)!)).toEqual({
      tensorboard: { scalars: 1500, accuracies: 1, histograms: 500 },
      wandb: { scalars: 1500, histograms: 500 },
    });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
