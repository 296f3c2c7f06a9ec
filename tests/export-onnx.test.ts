// An exported model computes in plain ONNX Runtime, in Node and in a browser, what transformers and our engine compute.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import * as node from "onnxruntime-node";
import * as web from "onnxruntime-web";
import { chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ConfigError } from "../src/core/errors.ts";
import { writeOnnxModel } from "../src/models/export-onnx.ts";
import { onnxGreedy, type GreedyOptions, type GreedyResult } from "./onnx-greedy.ts";
import { emptyWeights, largestDifference } from "./peers/model-logits.ts";
import { engineGreedy, expectedCases, loadPeer, type PeerCase } from "./peers/peer-fixtures.ts";

const browser = process.env["ALIDADE_CHROMIUM"] ?? "/usr/bin/chromium";

const models = ["qwen2", "qwen3", "llama"];

let root: string;
const byEngine = new Map<string, number[][]>();
beforeAll(async () => {
  // First of all: one process has one environment of ONNX Runtime, and that of the JavaScript binding has no global threads.
  for (const name of models) {
    const { config, weights } = await loadPeer(name);
    const cases = expectedCases(name);
    const prompts = cases.map(({ tokens }) => tokens);
    byEngine.set(name, await engineGreedy(config, weights, prompts, cases[0]!.greedy.length));
  }
  root = mkdtempSync(join(tmpdir(), "alidade-onnx-"));
  web.env.wasm.numThreads = 1;
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Exports a checkpoint of transformers; what its prompts, as one batch, should give. */
async function exported(
  name: string,
  padding: "left" | "right",
): Promise<{ path: string; cases: readonly PeerCase[]; options: GreedyOptions }> {
  const { config, weights } = await loadPeer(name);
  await writeOnnxModel(root, config, weights);
  const cases = expectedCases(name);
  const { kvHeads, headSize } = config;
  const prompts = cases.map(({ tokens }) => tokens);
  const maxTokens = cases[0]!.greedy.length;
  const options = { prompts, padding, maxTokens, kvHeads, headSize };
  return { path: join(root, "model.onnx"), cases, options };
}

function check({ tokens, logits }: GreedyResult, cases: readonly PeerCase[]): void {
  expect(tokens).toEqual(cases.map(({ greedy }) => greedy));
  logits.forEach((rows, index) =>
    expect(largestDifference(rows, cases[index]!.logits)).toBeLessThan(1e-4),
  );
}

const ragged = models.flatMap((name) =>
  (["left", "right"] as const).map((padding) => [name, padding] as const),
);

describe.each(ragged)("%s, a batch padded on the %s", (name, padding) => {
  it("in onnxruntime-node, as our engine continues", async () => {
    const { path, cases, options } = await exported(name, padding);
    const session = await node.InferenceSession.create(path);
    const found = await onnxGreedy(node, session, options);
    check(found, cases);
    expect(found.tokens).toEqual(byEngine.get(name));
    await session.release();
  });

  it("in onnxruntime-web", async () => {
    const { path, cases, options } = await exported(name, padding);
    const session = await web.InferenceSession.create(readFileSync(path));
    check(await onnxGreedy(web, session, options), cases);
    await session.release();
  });
});

it("the inputs have the names and extents that transformers.js looks for", async () => {
  const { path } = await exported("qwen3", "left");
  const session = await node.InferenceSession.create(path);
  const described = session.inputMetadata.map((one) => [one.name, one.isTensor && one.shape]);
  const cache = ["batch_size", 2, "past_sequence_length", 16];
  expect(described).toEqual([
    ["input_ids", ["batch_size", "sequence_length"]],
    ["attention_mask", ["batch_size", "total_sequence_length"]],
    ...[0, 1].flatMap((layer) => [
      [`past_key_values.${layer}.key`, cache],
      [`past_key_values.${layer}.value`, cache],
    ]),
  ]);
  await session.release();
});

describe("in a browser", () => {
  it("gives the same tokens", async ({ skip }) => {
    skip(!existsSync(browser), `no browser at ${browser}; ALIDADE_CHROMIUM may name one`);
    const { path, cases, options } = await exported("qwen3", "left");
    const scripts = dirname(createRequire(import.meta.url).resolve("onnxruntime-web"));
    const args = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"];
    const instance = await chromium.launch({ executablePath: browser, args });
    try {
      const page = await instance.newPage();
      await page.route("http://alidade.test/**", async (route) => {
        const name = new URL(route.request().url()).pathname.slice(1);
        const file = name === "model.onnx" ? path : join(scripts, name);
        if (name === "")
          await route.fulfill({ contentType: "text/html", body: "<title>a</title>" });
        else if (existsSync(file)) await route.fulfill({ path: file });
        else await route.fulfill({ status: 404 });
      });
      await page.goto("http://alidade.test/");
      const found = await page.evaluate<GreedyResult>(`(async () => {
        const ort = await import("/ort.wasm.min.mjs");
        ort.env.wasm.numThreads = 1;
        ort.env.wasm.wasmPaths = "/";
        const session = await ort.InferenceSession.create("/model.onnx");
        return (${onnxGreedy.toString()})(ort, session, ${JSON.stringify(options)});
      })()`);
      check(found, cases);
    } finally {
      await instance.close();
    }
  });
});

describe("the weights of a large model", () => {
  it("lie in a file of their own", async () => {
    const { config, weights } = await loadPeer("qwen2");
    await writeOnnxModel(root, config, weights, 1000);
    expect(readdirSync(root).sort()).toEqual(["model.onnx", "model.onnx_data"]);
    const cases = expectedCases("qwen2");
    const options: GreedyOptions = {
      prompts: cases.map(({ tokens }) => tokens),
      padding: "left",
      maxTokens: 24,
      kvHeads: config.kvHeads,
      headSize: config.headSize,
    };
    const session = await node.InferenceSession.create(join(root, "model.onnx"));
    check(await onnxGreedy(node, session, options), cases);
    await session.release();
    const data = readFileSync(join(root, "model.onnx_data"));
    const inBrowser = await web.InferenceSession.create(readFileSync(join(root, "model.onnx")), {
      externalData: [{ path: "model.onnx_data", data }],
    });
    check(await onnxGreedy(web, inBrowser, options), cases);
    await inBrowser.release();
  });
});

it("a head size without a kernel is refused", async () => {
  const { config } = await loadPeer("qwen2");
  const odd = { ...config, headSize: 12 };
  const writing = writeOnnxModel(root, odd, emptyWeights(odd));
  await expect(writing).rejects.toThrow(ConfigError);
  await expect(writing).rejects.toThrow(/expected a head size that is a multiple of 8, got 12/);
});
