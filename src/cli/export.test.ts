import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync } from "node:fs";
import { rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { dataOf, emptyWeights } from "../../tests/peers/model-logits.ts";
import { fixture, loadPeer } from "../../tests/peers/peer-fixtures.ts";
import { readModelConfig, readWeights } from "../models/hugging-face.ts";
import { ChatTokenizer } from "../text/chat-tokenizer.ts";
import { main } from "./main.ts";

let root: string;
let out: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "alidade-export-"));
  out = join(root, "out");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

async function run(...argv: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const text = { stdout: "", stderr: "" };
  const stream = (name: keyof typeof text) => ({
    write: (part: string) => void (text[name] += part),
  });
  const streams = { stdout: stream("stdout"), stderr: stream("stderr") };
  return { code: await main(["export", ...argv], streams), ...text };
}

const read = async (directory: string): Promise<Record<string, Float32Array>> => {
  const config = await readModelConfig(directory);
  const weights = emptyWeights(config);
  await readWeights(directory, config, dataOf(weights));
  return dataOf(weights);
};

/** A copy of a fixture that a test may damage. */
function copy(name: string): string {
  const directory = join(root, name);
  cpSync(fixture(name), directory, { recursive: true });
  return directory;
}

describe("alidade export", () => {
  it.each(["float32", "bfloat16"])("writes shards as one file of %s", async (dtype) => {
    const argv = [fixture("llama"), "--format", "hf", "--out", out, "--dtype", dtype, "--json"];
    const { code, stdout } = await run(...argv);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ model: fixture("llama"), format: "hf", out });
    expect(readdirSync(root)).toEqual(["out"]);
    expect(readdirSync(out).sort()).toEqual([
      "chat_template.jinja",
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    const { weights } = await loadPeer("llama");
    expect(await read(out)).toEqual(dataOf(weights)); // they were bfloat16
    expect((await ChatTokenizer.read(out)).stopTokens).toEqual([1, 2]);
    const config = JSON.parse(readFileSync(join(out, "config.json"), "utf8")) as object;
    expect(config).toMatchObject({ torch_dtype: dtype, eos_token_id: 1 });
    expect(config).not.toHaveProperty("dtype");
    const tokenizer = readFileSync(join(out, "tokenizer_config.json"), "utf8");
    const template = readFileSync(join(out, "chat_template.jinja"), "utf8");
    expect(JSON.parse(tokenizer)).toMatchObject({ chat_template: template, eos_token: "<|end|>" });
  });

  it("merges an adapter", async () => {
    const adapter = fixture("qwen3-rslora");
    const argv = [fixture("qwen3"), "--adapter", adapter, "--format", "hf", "--out", out];
    expect((await run(...argv)).code).toBe(0);
    const { weights } = await loadPeer("qwen3", "qwen3-rslora");
    expect(await read(out)).toEqual(dataOf(weights));
  });

  it("writes the ONNX model of a run, beside the run when no place is named", async () => {
    const run1 = join(root, "run");
    cpSync(fixture("qwen2"), join(run1, "model"), { recursive: true });
    rmSync(join(run1, "model/generation_config.json"));
    const { code, stdout } = await run(run1, "--format", "onnx");
    expect(code).toBe(0);
    expect(stdout).toMatch(/run\/model as onnx in .*run-onnx\n/);
    const files = readdirSync(join(root, "run-onnx")).sort();
    expect(files).toEqual([
      "chat_template.jinja",
      "config.json",
      "generation_config.json",
      "model.onnx",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    const generation = readFileSync(join(root, "run-onnx/generation_config.json"), "utf8");
    expect(JSON.parse(generation)).toEqual({ eos_token_id: 1 });
  });

  it("uses a folder that exists and is empty, and no other", async () => {
    mkdirSync(out);
    const argv = [fixture("qwen2"), "--format", "hf", "--out", out];
    expect((await run(...argv)).code).toBe(0);
    const before = readdirSync(out);
    const again = await run(...argv);
    expect(again.code).toBe(2);
    expect(again.stderr).toMatch(/out: expected a folder that is empty or does not exist, got one/);
    expect(readdirSync(out)).toEqual(before);
    const file = join(root, "file");
    writeFileSync(file, "");
    const onto = await run(fixture("qwen2"), "--format", "hf", "--out", file);
    expect(onto.stderr).toMatch(/file: expected a folder .*, got a file/);
    const into = await run(fixture("qwen2"), "--format", "hf", "--out", join(file, "a/b"));
    expect(into.code).toBe(2);
    expect(into.stderr).toMatch(/expected a folder that can be made, got ENOTDIR/);
  });

  it("fills an empty folder that is the working directory or a link", async () => {
    mkdirSync(out);
    const [link, nothing] = [join(root, "link"), join(root, "nothing")];
    mkdirSync(join(root, "linked"));
    symlinkSync(join(root, "linked"), link);
    symlinkSync(join(root, "none"), nothing);
    const folder = process.cwd();
    process.chdir(out);
    try {
      expect((await run(fixture("qwen2"), "--format", "hf", "--out", ".")).code).toBe(0);
    } finally {
      process.chdir(folder);
    }
    expect((await run(fixture("qwen2"), "--format", "hf", "--out", link)).code).toBe(0);
    expect(readdirSync(out).length).toBe(6);
    expect(readdirSync(join(root, "linked"))).toEqual(readdirSync(out));
    const dangling = await run(fixture("qwen2"), "--format", "hf", "--out", nothing);
    expect(dangling).toMatchObject({ code: 2 });
    expect(dangling.stderr).toMatch(/nothing: expected a folder .*, got a link to nothing/);
    expect(readdirSync(root).toSorted()).toEqual(["link", "linked", "nothing", "out"]);
  });

  const editTokenizer = (directory: string, changes: object): void => {
    const path = join(directory, "tokenizer.json");
    const json = JSON.parse(readFileSync(path, "utf8")) as object;
    writeFileSync(path, JSON.stringify({ ...json, ...changes }));
  };
  const damage: Record<string, (directory: string) => void> = {
    "no config": (directory) => rmSync(join(directory, "config.json")),
    "a broken config": (directory) => writeFileSync(join(directory, "config.json"), "{"),
    "no tokenizer": (directory) => rmSync(join(directory, "tokenizer.json")),
    "a broken tokenizer": (directory) => writeFileSync(join(directory, "tokenizer.json"), "[1]"),
    "a broken template": (directory) =>
      writeFileSync(join(directory, "chat_template.jinja"), "{% for %}"),
    "a tokenizer without a decoder": (directory) =>
      editTokenizer(directory, { decoder: undefined }),
    "a decoder of an unknown type": (directory) =>
      editTokenizer(directory, { decoder: { type: "Novel" } }),
    "a tokenizer of an unknown type": (directory) =>
      editTokenizer(directory, { model: { type: "Novel", vocab: { "<|end|>": 1 } } }),
    "a template that cannot render": (directory) =>
      writeFileSync(join(directory, "chat_template.jinja"), "{{ messages[0].content.novel() }}"),
    "an end token outside the vocabulary": (directory) =>
      writeFileSync(join(directory, "generation_config.json"), '{"eos_token_id": [1, 500]}'),
    "broken generation settings": (directory) =>
      writeFileSync(join(directory, "generation_config.json"), '{"eos_token_id": "a"}'),
    "a larger tokenizer": (directory) => {
      const path = join(directory, "config.json");
      writeFileSync(
        path,
        readFileSync(path, "utf8").replace(/"vocab_size": \d+/, '"vocab_size": 9'),
      );
    },
    "a width that no memory holds": (directory) => {
      const path = join(directory, "config.json");
      const json = JSON.parse(readFileSync(path, "utf8")) as object;
      writeFileSync(path, JSON.stringify({ ...json, hidden_size: 1e9 }));
    },
    "more layers than names fit into memory": (directory) => {
      const path = join(directory, "config.json");
      const json = JSON.parse(readFileSync(path, "utf8")) as object;
      writeFileSync(path, JSON.stringify({ ...json, num_hidden_layers: 1e9 }));
    },
    "no weights": (directory) => rmSync(join(directory, "model.safetensors")),
    "cut weights": (directory) => {
      const path = join(directory, "model.safetensors");
      writeFileSync(path, readFileSync(path).subarray(0, -1));
    },
  };
  it.each([
    ["no config", /expected a run with a trained model, or a model folder/],
    ["a broken config", /config\.json: expected a readable JSON file/],
    ["no tokenizer", /tokenizer\.json: expected a readable file, got ENOENT/],
    ["a broken tokenizer", /tokenizer\.json: expected /],
    ["a tokenizer without a decoder", /tokenizer\.json: expected a tokenizer of kinds .* known/],
    ["a decoder of an unknown type", /tokenizer\.json: .*Unknown Decoder type: Novel/],
    ["a tokenizer of an unknown type", /tokenizer\.json: expected model\.type: .*"BPE"/],
    ["a broken template", /chat_template\.jinja: expected a chat template in Jinja/],
    ["a template that cannot render", /chat_template\.jinja: .* renders a message of a user/],
    ["an end token outside the vocabulary", /generation_config\.json: expected eos_token_id in/],
    ["broken generation settings", /generation_config\.json: expected eos_token_id/],
    ["a larger tokenizer", /tokenizer\.json: expected token ids in \[0, 9\), .* got id 114/],
    [
      "a width that no memory holds",
      /model\.safetensors: expected model\.embed_tokens\.weight of shape \[\d+, 1000000000\]/,
    ],
    ["more layers than names fit into memory", /config\.json: .*num_hidden_layers.*got 1000000000/],
    ["no weights", /expected model\.safetensors or model\.safetensors\.index\.json, got neither/],
    ["cut weights", /model\.safetensors: expected \d+ bytes, where the last tensor ends/],
  ])("refuses a model with %s and leaves nothing behind", async (what, message) => {
    const directory = copy("qwen2");
    damage[what]!(directory);
    const { code, stdout, stderr } = await run(directory, "--format", "onnx", "--out", out);
    expect(code).toBeGreaterThan(0);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n +at /); // no stack
    expect(stdout).toBe("");
    expect(readdirSync(root)).toEqual(["qwen2"]);
  });

  it.each([
    [["--format", "gguf"], /Allowed choices are hf, onnx/],
    [[], /required option '--format <name>' not specified/],
    [["--format", "hf", "--dtype", "int4"], /Allowed choices are float32, bfloat16/],
    [["--format", "onnx", "--dtype", "float32"], /expected --dtype with --format hf only/],
    [
      ["--format", "hf", "--adapter", "nowhere"],
      /nowhere\/adapter_config\.json: expected a readable/,
    ],
    [
      ["--format", "hf", "--adapter", fixture("qwen3-rslora")],
      /qwen3-rslora: expected a model with .*another model/,
    ],
  ])("refuses %j", async (argv, message) => {
    const { code, stderr } = await run(fixture("qwen2"), "--out", out, ...argv);
    expect(code).toBeGreaterThan(0);
    expect(stderr).toMatch(message);
    expect(existsSync(out)).toBe(false);
  });

  it("refuses a path that does not exist", async () => {
    const { code, stderr } = await run(join(root, "none"), "--format", "hf");
    expect(code).toBe(2);
    expect(stderr).toMatch(/none: expected a run with a trained model, .* got no such folder/);
  });
});
