// docs/real-models.md shows the files of this folder, and they do what it says.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  LocalFlowEngine,
  parseRecord,
  randomStream,
  readMetrics,
  readNpy,
  writeImageFolder,
  writeResults,
  writeSplits,
  writeSuppliedMaps,
  writeSuppliedRewards,
  type ImageResult,
} from "alidade";
import { writeAdvantages } from "./pixel-advantages.ts";
import { genevalTask, train } from "./published-prompts.ts";
import { scoreImages } from "./score-images.ts";

const read = (file: string): string => readFileSync(new URL(file, import.meta.url), "utf8");

let root: string;
let server: Server | undefined;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-real-"))));
afterAll(() => {
  server?.close();
  rmSync(root, { recursive: true, force: true });
});

const record = (prompt: string, color?: string) =>
  parseRecord(
    {
      tag: color === undefined ? "single_object" : "colors",
      include: [{ class: "cup", count: 1, ...(color !== undefined && { color }) }],
      prompt,
    },
    "x",
  );

describe("docs/real-models.md", () => {
  it("shows the files of this folder", () => {
    const text = read("../../docs/real-models.md");
    const blocks = [...text.matchAll(/^```ts\n(.*?)^```/gms)].map((match) => match[1]);
    const files = ["score-images.ts", "pixel-advantages.ts", "published-prompts.ts"];
    expect(blocks).toEqual(files.map(read));
  });

  it("names functions that there are", async () => {
    const text = read("../../docs/real-models.md");
    const table = text.split("\n").filter((line) => line.startsWith("| ") && line.includes("read"));
    const names = table.flatMap((line) =>
      line
        .split("|")
        .slice(3)
        .flatMap((cell) => [...cell.matchAll(/`([a-z]\w+)/g)].map((match) => match[1]!)),
    );
    const there = Object.keys(await import("alidade"));
    expect(names.length).toBeGreaterThan(20);
    expect(there).toEqual(expect.arrayContaining(names));
  });
});

describe("the examples", () => {
  it("score a folder of images", async () => {
    const folder = join(root, "images");
    const image = { shape: [2, 2, 3] as const, data: new Float32Array(12) };
    const records = [record("a photo of a cup"), record("a photo of a red cup", "red")];
    for (const [index, one] of records.entries()) {
      await writeImageFolder(folder, index, one, [image, image]);
    }
    const result = (index: number, number: number, color?: string): ImageResult => ({
      filename: `elsewhere/0000${index}/samples/000${number}.png`,
      record: records[index]!,
      detections: new Map([
        ["cup", [{ box: [0, 0, 2, 2], confidence: 0.9, ...(color !== undefined && { color }) }]],
      ]),
    });
    const results = join(root, "results.jsonl");
    await writeResults(results, [result(0, 0), result(1, 0, "blue"), result(1, 1)]);
    const text = await scoreImages(folder, results);
    expect(text.replaceAll(root, "").split("\n")).toEqual([
      "single_object  100.0 %  of 1",
      "colors         0.0 %  of 1",
      "overall        50.0 %, prompts with a right image 50.0 %",
      "mean reward    0.750",
      "left out: /images/00000/samples/0001.png: expected a result of this image, got none",
      expect.stringMatching(
        /^left out: \/images\/00001\/samples\/0001\.png: detected cup: expected/,
      ),
    ]);
  });

  it("make advantages of positions", async () => {
    const folder = join(root, "advantages");
    mkdirSync(folder);
    const samples = [0, 1].map((sampleId) => ({ prompt: "a cup", sampleId }));
    await writeSuppliedRewards(
      join(folder, "rewards.jsonl"),
      samples.map((one) => ({ ...one, reward: one.sampleId })),
    );
    const values = Float64Array.of(0, 0.5, 1, 1, 1, 1);
    await writeSuppliedMaps(
      join(folder, "maps.jsonl"),
      samples.map((one) => ({ ...one, shape: [3, 2] as const, values })),
      "npy",
    );
    await writeAdvantages(folder);
    const { shape, values: first } = await readNpy(join(folder, "advantage-0.npy"));
    expect(shape).toEqual([3, 2]);
    // Rewards 0 and 1: mean 0.5, deviation 0.5.
    expect([...first].map((value) => Math.round(1000 * value) / 1000)).toEqual([
      -0, -0.5, -1, -1, -1, -1,
    ]);
    const last = await readNpy(join(folder, "advantage-1.npy"));
    expect([...last.values]).toEqual([...first].map((value) => -value));
    await writeSuppliedMaps(join(folder, "maps.jsonl"), [
      { ...samples[0]!, shape: [3, 2], values },
    ]);
    await expect(writeAdvantages(folder)).rejects.toThrow("expected 2 maps, as rewards, got 1");
  });

  it("train on published prompts with the published settings", async () => {
    const folder = join(root, "geneval");
    await writeSplits(folder, {
      train: ["a cup", "a red cup", "a blue cup"].map((prompt) => record(`a photo of ${prompt}`)),
      test: [record("a photo of a green cup")],
    });
    let asked = 0;
    server = createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("end", () => {
        const { prompts, metadatas } = JSON.parse(Buffer.concat(parts).toString()) as {
          prompts: string[];
          metadatas: { prompt: string }[];
        };
        expect(metadatas.map(({ prompt }) => prompt)).toEqual(prompts);
        const geneval = prompts.map(() => asked++ / 10);
        response.end(JSON.stringify({ scores: { geneval, correct: prompts.map(() => null) } }));
      });
    });
    await new Promise<void>((resolve) => server!.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const task = await genevalTask(folder, url, 4);
    const base = join(root, "base");
    mkdirSync(base);
    const engine = new LocalFlowEngine(
      {
        type: "mlp",
        sample: [4, 4, 3],
        width: 8,
        layers: 1,
        prompt: {
          vocabularySize: task.vocabulary({}).length + 1,
          promptTokens: 6,
          width: 4,
          layers: 0,
          heads: 1,
          hiddenWidth: 4,
        },
      },
      { microBatch: 8, average: { decay: 0.9, every: 1 } },
    );
    engine.initialise(randomStream(1, "base"));
    await engine.saveModel(base, "current");
    engine.dispose();
    const out = join(root, "run");
    await train(task, base, out, { epochs: 1, prompts: 3, group: 4, updates: 1 });
    expect(asked).toBe(12);
    const [record0] = readMetrics(out);
    expect(record0!["reward/mean"]).toBeCloseTo(0.55, 12);
    expect(record0!["scorer/correct/null"]).toBe(12);
    writeFileSync(
      join(folder, "test_metadata.jsonl"),
      readFileSync(join(folder, "train_metadata.jsonl")),
    );
    await expect(genevalTask(folder, url, 4)).rejects.toThrow(/prompts that train does not have/);
  });
});
