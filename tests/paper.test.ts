// AlphaMaze at scale paper, on a published-looking checkpoint of a few thousand weights: rows from files, new tokens, SFT, GRPO,
// evaluation by the levels of the file, resume.

import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parquetWriteFile } from "hyparquet-writer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { main } from "../src/cli/main.ts";
import { randomStream } from "../src/core/random.ts";
import { LocalEngine } from "../src/engine/local-engine.ts";
import type { DecoderConfig } from "../src/models/decoder.ts";
import { readModelConfig } from "../src/models/hugging-face.ts";
import { readAdapter } from "../src/models/peft.ts";
import { readEvaluations, readMetrics, readSamples } from "../src/run/run-directory.ts";
import { RunDirectory } from "../src/run/run-directory.ts";
import { mazeTokens } from "../src/tasks/maze/text.ts";
import { ChatTokenizer } from "../src/text/chat-tokenizer.ts";

let root: string;
const at = (...parts: string[]): string => join(root, ...parts);

/** Rows of the matrices that stand for no token, as in Qwen checkpoints. */
const padding = 40;
const published = ChatTokenizer.ofTokens(["RESET"]);
const config: DecoderConfig = {
  vocabularySize: published.vocabularySize + padding,
  contextLength: 4096,
  width: 32,
  layers: 1,
  heads: 2,
  kvHeads: 1,
  headSize: 16,
  hiddenWidth: 48,
  ropeTheta: 10_000,
  normEpsilon: 1e-6,
  qkvBias: true,
  qkNorm: false,
  tiedEmbeddings: false,
};

async function alidade(...argv: string[]) {
  let [stdout, stderr] = ["", ""];
  const code = await main(argv, {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: (text: string) => (stderr += text) },
  });
  return { code, stderr, json: () => JSON.parse(stdout) as Record<string, never> };
}

async function writeCheckpoint(directory: string): Promise<void> {
  mkdirSync(directory);
  const engine = new LocalEngine(config);
  engine.initialise(randomStream("base"));
  await engine.saveModel(directory);
  engine.dispose();
  await published.write(directory);
  // Its template opens the thinking itself, as that of DeepSeek-R1-Distill does.
  const path = join(directory, "tokenizer_config.json");
  const json = JSON.parse(readFileSync(path, "utf8")) as { chat_template: string };
  const opened = json.chat_template.replace(
    "'<|assistant|>' }}",
    String.raw`'<|assistant|><think>\n' }}`,
  );
  writeFileSync(path, JSON.stringify({ ...json, chat_template: `{{ bos_token }}${opened}` }));
}

/** Makes rows of the benchmark from written ones. */
function writeBenchmark(from: string, to: string): void {
  const rows = readFileSync(from, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { Prompt: string; Response: string });
  const column = (name: string, data: string[]) => ({ name, data, type: "STRING" as const });
  parquetWriteFile({
    filename: to,
    columnData: [
      column(
        "Prompt",
        rows.map(({ Prompt }) => Prompt),
      ),
      column(
        "Response",
        rows.map(({ Response }) => Response),
      ),
      column(
        "Level",
        rows.map((_, index) => ["Gentle", "Cruel"][index % 2]!),
      ),
    ],
  });
}

const size = 3;
const shrunk = [
  `task.size=${size}`,
  "model.contextLength=1600",
  "sft.steps=2",
  "sft.batch=2",
  "grpo.steps=2",
  "grpo.group=2",
  "grpo.maxTokens=8",
  "evaluate.maxTokens=8",
  "evaluate.count=6",
  "checkpointEvery=1",
];
const flags = (name: string, ...more: string[]): string[] => {
  const data = ["sft", "grpo", "test"].map((use) => `data.${use}=${at("data")}`);
  const set = [...shrunk, ...data, `model.from=${at("base")}`, ...more];
  const words = ["train", "alphamaze", "--scale", "paper", "--out", at(name), "--json"];
  return words.concat(set.flatMap((setting) => ["--set", setting]));
};

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "alidade-paper-"));
  await writeCheckpoint(at("base"));
  mkdirSync(at("data"));
  const write = (...more: string[]) =>
    alidade("data", "maze", "--size", String(size), "--write", ...more);
  const train = ["--prompt", "training", "--reset-share", "1", "--count", "12"];
  expect((await write(at("data/train.jsonl"), ...train)).code).toBe(0);
  expect((await write(at("bench.jsonl"), "--seed", "9", "--count", "6")).code).toBe(0);
  writeBenchmark(at("bench.jsonl"), at("data/test-00000-of-00001.parquet"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const sha256 = (path: string): string =>
  createHash("sha256").update(readFileSync(path)).digest("hex");

interface Shown {
  readonly place: string;
  readonly prompt: readonly { readonly content: string }[];
  readonly gold: string;
  readonly scores: object;
}

describe("alidade data", () => {
  const maze = (...argv: string[]) => alidade("data", "maze", "--size", String(size), ...argv);

  it("shows rows of files with their gold outputs, which score full marks", async () => {
    const shown = await maze("--from", at("data"), "--count", "4", "--json");
    const items = shown.json()["items"] as unknown as Shown[];
    expect(items.length).toBe(4);
    for (const [index, { place, gold, scores, prompt }] of items.entries()) {
      expect(place).toBe(`${at("data/train.jsonl")}, line ${index + 1}`);
      expect(scores).toMatchObject({ solved: 1, exact: 1, trace: 1 });
      const row = readFileSync(at("data/train.jsonl"), "utf8").split("\n")[index]!;
      const { conversations } = JSON.parse(row) as { conversations: { content: string }[] };
      expect([prompt[0]!.content, gold]).toEqual(conversations.map(({ content }) => content));
    }
    const bench = await maze("--from", at("data"), "--split", "test", "--count", "2", "--json");
    expect(bench.json()["items"]).toMatchObject([{ level: "Gentle" }, { level: "Cruel" }]);
  });

  it("writes rows as it read them, and never over a file", async () => {
    const write = ["--from", at("data"), "--count", "99", "--write", at("again.jsonl")];
    expect((await maze(...write)).code).toBe(0);
    expect(sha256(at("again.jsonl"))).toBe(sha256(at("data/train.jsonl")));
    const second = await maze(...write);
    expect(second.stderr).toContain("again.jsonl: expected a path that does not exist yet");
    expect(second.code).toBe(2);
  });
});

describe("scale paper", () => {
  it("trains on rows of files, from a checkpoint with new tokens", async () => {
    const { code, stderr } = await alidade(...flags("whole"));
    expect({ code, stderr }).toMatchObject({ code: 0 });
    const evaluations = readEvaluations(at("whole"));
    expect(evaluations.map(({ stage }) => stage)).toEqual(["start", "sft", "grpo"]);
    for (const { count, levels } of evaluations) {
      expect(count).toBe(6);
      expect(Object.keys(levels as object).toSorted()).toEqual(["Cruel", "Gentle"]);
    }
    const bench = JSON.parse(readFileSync(at("whole/mazebench-grpo.json"), "utf8")) as object;
    expect(bench).toMatchObject({
      level_accuracies: { Gentle: { total: 3 }, Cruel: { total: 3 } },
    });
    expect(readMetrics(at("whole")).length).toBe(4);
    const prompts = readSamples(at("whole"), "grpo").map(
      ({ messages }) => messages as { content: string }[],
    );
    const rows = readFileSync(at("data/train.jsonl"), "utf8").trim().split("\n");
    const known = rows.map((row) => (JSON.parse(row) as { Prompt: string }).Prompt);
    for (const [message] of prompts) expect(known).toContain(message!.content);
  });

  it("saves a model whose tokenizer has the tokens of the task, each one token", async () => {
    const tokenizer = await ChatTokenizer.read(at("whole/model"));
    const tokens = mazeTokens(size);
    expect(tokens.length).toBe(32);
    const first = published.vocabularySize;
    expect(tokens.map((token) => [...tokenizer.encode(token)])).toEqual(
      tokens.map((_, index) => [first + index]),
    );
    expect(tokenizer.decode(tokenizer.encode(tokens.join("")))).toBe(tokens.join(""));
    const saved = await readModelConfig(at("whole/model"));
    expect(saved).toEqual({ ...config, contextLength: 1600 });
    const prompt = tokenizer.decode(tokenizer.encodePrompt([{ role: "user", content: "a" }]));
    expect(prompt).toBe("<|user|>a<|assistant|>");
  });

  it("evaluates on other files", async () => {
    const bench = at("data/test-*.parquet");
    const set = ["--set", `data.test=${bench}`];
    const { code, json } = await alidade("evaluate", at("whole"), "--count", "4", "--json", ...set);
    expect(code).toBe(0);
    expect(json()["count"]).toBe(4);
    expect(Object.keys(json()["levels"]!).toSorted()).toEqual(["Cruel", "Gentle"]);
  });

  it("stops at a bad row with what is trained, and goes on when it is mended", async () => {
    const [good, path] = [readFileSync(at("data/train.jsonl"), "utf8"), at("mended.jsonl")];
    const lines = good.trim().split("\n");
    const settings = ["checkpointEvery=9", "sft.steps=4", `data.sft=${path}`];
    writeFileSync(path, good);
    expect((await alidade(...flags("good", ...settings))).code).toBe(0);
    let stopped: Awaited<ReturnType<typeof alidade>> | undefined;
    for (let bad = 1; bad < lines.length && stopped === undefined; bad++) {
      // Rows of the first step stop the run before anything is trained; try until it is one of a later step.
      const broken = lines.map((line, index) =>
        index === bad ? line.replace("Step 1", "Step 7") : line,
      );
      writeFileSync(path, `${broken.join("\n")}\n`);
      const tried = await alidade(...flags(`bad-${bad}`, ...settings));
      if (tried.code === 1 && tried.stderr.includes("(from sft-")) {
        stopped = tried;
        expect(tried.stderr).toMatch(
          new RegExp(`mended.jsonl, line ${bad + 1}, field Cot_Response: expected a correct trace`),
        );
        writeFileSync(path, good);
        expect((await alidade("resume", at(`bad-${bad}`))).code).toBe(0);
        const model = "model/model.safetensors";
        expect(sha256(at(`bad-${bad}`, model))).toBe(sha256(at("good", model)));
      }
    }
    expect(stopped, "a row of a later step").toBeDefined();
  });

  it("trains adapters alone: they are resumed, saved for PEFT, and merged into the model", async () => {
    const lora = ["model.lora.rank=4", "model.lora.alpha=8", "model.newRows=own"];
    const { code, stderr } = await alidade(...flags("adapted", ...lora));
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(stderr).toMatch(/parameters \([\d,]+ trained\)/);
    const adapter = await readAdapter(at("adapted/model/adapter"));
    expect(adapter).toMatchObject({ rank: 4, alpha: 8, baseModel: at("base") });
    // The tables have rows that the base does not have, so they belong to the adapter.
    expect([...adapter.tensors.keys()].filter((name) => !name.includes("lora_"))).toEqual([
      "model.embed_tokens.weight",
      "lm_head.weight",
    ]);
    expect(adapter.tensors.size).toBe(2 * 7 + 2);
    const merged = at("adapted/model/model.safetensors");

    // Interrupted after the checkpoint of the first step of GRPO, it ends at the same bits.
    cpSync(at("adapted"), at("halfway"), { recursive: true });
    const checkpoints = readdirSync(at("halfway/checkpoints")).toSorted();
    expect(checkpoints).toEqual(["grpo-000001", "grpo-000002"]);
    rmSync(at("halfway/checkpoints", checkpoints[1]!), { recursive: true });
    const record = JSON.parse(readFileSync(at("halfway/run.json"), "utf8")) as object;
    writeFileSync(at("halfway/run.json"), JSON.stringify({ ...record, status: "interrupted" }));
    rmSync(at("halfway/model"), { recursive: true });
    expect(await alidade("resume", at("halfway"))).toMatchObject({ code: 0 });
    expect(sha256(at("halfway/model/model.safetensors"))).toBe(sha256(merged));
  });

  it("remembers where its files are, from whatever folder it is resumed", async () => {
    const folder = process.cwd();
    const paths = ["data.sft=data", "data.grpo=data", "data.test=data", "model.from=base"];
    process.chdir(root);
    try {
      const few = ["sft.steps=1", "grpo.steps=0", "evaluate.count=2"];
      expect(await alidade(...flags("relative", ...paths, ...few))).toMatchObject({ code: 0 });
    } finally {
      process.chdir(folder);
    }
    const { config: recorded } = RunDirectory.open(at("relative")).record as {
      config: Record<string, object>;
    };
    const data = realpathSync(at("data"));
    expect(recorded["data"]).toEqual({ sft: data, sft2: null, grpo: data, test: data });
    expect(recorded["model"]).toMatchObject({ from: realpathSync(at("base")) });
  });

  it("is not resumed on other rows than it began with", async () => {
    const [good, path] = [readFileSync(at("data/train.jsonl"), "utf8"), at("changed.jsonl")];
    writeFileSync(path, good);
    const settings = [`data.sft=${path}`, "data.grpo=null", "sft.steps=2", "grpo.steps=0"];
    expect((await alidade(...flags("changed", ...settings))).code).toBe(0);
    const record = JSON.parse(readFileSync(at("changed/run.json"), "utf8")) as object;
    writeFileSync(at("changed/run.json"), JSON.stringify({ ...record, status: "interrupted" }));
    writeFileSync(path, `${good}${good}`);
    const refused = await alidade("resume", at("changed"));
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain(
      `data.sft: ${path}: expected changed.jsonl of 12 rows, ${good.length} bytes, as when the run began, got changed.jsonl of 24 rows, ${2 * good.length} bytes`,
    );
    writeFileSync(path, good);
    expect((await alidade("resume", at("changed"))).code).toBe(0);
  });

  it("may leave the tokens to the tokenizer", async () => {
    const more = ["model.vocabulary=text", "data.grpo=null"];
    const room = ["model.contextLength=4000", "sft.steps=1", "grpo.steps=0", "evaluate.count=2"];
    const { code, stderr } = await alidade(...flags("text", ...more, ...room));
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect((await ChatTokenizer.read(at("text/model"))).vocabularySize).toBe(
      published.vocabularySize,
    );
  });
});

describe("what cannot begin is refused before anything is written", () => {
  it.each([
    [["data.sft=/none"], "/none: expected a file, a pattern or a folder with rows, got nothing"],
    [["model.from=/none"], "settings.model.from: expected a folder with a Hugging Face model"],
    [["model.contextLength=9999"], "settings.model.contextLength: expected at most 4096"],
    [["model.from=null", "model.lora.rank=4"], "settings.model.from: expected a model to adapt"],
    [["model.lora.targets=[]"], "settings.model.lora.targets: expected"],
    [["task.size=4"], "expected a 4x4 maze, got a 3x3 maze (set the size of the task)"],
  ])("%s", async (more, message) => {
    const { code, stderr } = await alidade(...flags("refused", ...more));
    expect(stderr).toContain(message);
    expect(stderr).not.toContain("writing");
    expect(code).not.toBe(0);
  });

  it.each([
    ["cut", /model\.safetensors: expected \d+ bytes, where the last tensor ends, got \d+ bytes/],
    ["missing", /expected model\.safetensors or model\.safetensors\.index\.json, got neither/],
    ["of another shape", /model\.safetensors: expected model\.embed_tokens\.weight of shape/],
  ])("weights that are %s", async (what, message) => {
    const base = at(`base ${what}`);
    cpSync(at("base"), base, { recursive: true });
    const [weights, json] = [join(base, "model.safetensors"), join(base, "config.json")];
    if (what === "cut") writeFileSync(weights, readFileSync(weights).subarray(0, -4));
    else if (what === "missing") rmSync(weights);
    else {
      const old = readFileSync(json, "utf8");
      writeFileSync(json, old.replace('"hidden_size": 32', '"hidden_size": 64'));
    }
    const { code, stderr } = await alidade(...flags("refused", `model.from=${base}`));
    expect(stderr).toMatch(message);
    expect(code).toBe(1);
    expect(existsSync(at("refused"))).toBe(false);
  });
});
