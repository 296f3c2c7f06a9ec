import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { livelyValues } from "../../tests/plain-decoder.ts";
import { DataError } from "../core/errors.ts";
import { readSafetensors, writeSafetensors, type NamedArray } from "../nn/safetensors.ts";
import { mergeAdapter, readAdapter, writeAdapter, type Adapter } from "./peft.ts";

let root: string;
beforeAll(() => (root = mkdtempSync(join(tmpdir(), "alidade-peft-"))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const lively = (name: string, ...shape: number[]): [string, NamedArray] => [
  name,
  {
    shape,
    data: livelyValues(
      name,
      shape.reduce((product, extent) => product * extent, 1),
    ),
  },
];
const q = "model.layers.0.self_attn.q_proj";
const up = "model.layers.1.mlp.up_proj";
const adapter: Adapter = {
  rank: 2,
  alpha: 6,
  rankStabilised: false,
  alphaPattern: { "layers\\.1\\..*": 9 },
  targets: ["q_proj", up],
  tensors: new Map([
    lively(`${q}.lora_A.weight`, 2, 5),
    lively(`${q}.lora_B.weight`, 4, 2),
    lively(`${up}.lora_A.weight`, 3, 5),
    lively(`${up}.lora_B.weight`, 7, 3),
    lively("lm_head.weight", 6, 5),
  ]),
  baseModel: "somewhere/base",
};
const weights = (): Record<string, NamedArray> =>
  Object.fromEntries([
    lively(`${q}.weight`, 4, 5),
    lively(`${up}.weight`, 7, 5),
    lively("lm_head.weight", 6, 5),
    lively("model.norm.weight", 5),
  ]);

describe("an adapter", () => {
  it("comes back from its files as it was", async () => {
    await writeAdapter(root, adapter);
    expect(await readAdapter(root)).toEqual(adapter);
    const config = JSON.parse(readFileSync(join(root, "adapter_config.json"), "utf8")) as object;
    expect(config).toMatchObject({
      r: 2,
      lora_alpha: 6,
      rank_pattern: { [up]: 3 },
      modules_to_save: ["lm_head"],
    });
  });

  it.each([false, true])("merges as W + s B A; rank-stabilised: %s", (rankStabilised) => {
    const merged = weights();
    const before = structuredClone(merged);
    mergeAdapter({ ...adapter, rankStabilised }, merged);
    for (const [module, rank, alpha] of [
      [q, 2, 6],
      [up, 3, 9],
    ] as const) {
      const a = adapter.tensors.get(`${module}.lora_A.weight`)!;
      const b = adapter.tensors.get(`${module}.lora_B.weight`)!;
      const scale = alpha / (rankStabilised ? Math.sqrt(rank) : rank);
      before[`${module}.weight`]!.data.forEach((value, index) => {
        const [row, column] = [Math.floor(index / 5), index % 5];
        let sum = 0;
        for (let k = 0; k < rank; k++) sum += b.data[row * rank + k]! * a.data[k * 5 + column]!;
        expect(merged[`${module}.weight`]!.data[index]).toBeCloseTo(value + scale * sum, 5);
      });
    }
    expect(merged["lm_head.weight"]!.data).toEqual(adapter.tensors.get("lm_head.weight")!.data);
    expect(merged["model.norm.weight"]).toEqual(before["model.norm.weight"]);
  });

  it("that does not fit the model changes nothing and says why", () => {
    const { [`${up}.weight`]: _gone, ...rest } = weights();
    const before = structuredClone(rest);
    expect(() => mergeAdapter(adapter, rest)).toThrow(
      /expected a model with model\.layers\.1\.mlp\.up_proj\.weight of shape \[7, 5\], got none/,
    );
    expect(rest).toEqual(before);
    const wider = { ...weights(), ...Object.fromEntries([lively("lm_head.weight", 8, 5)]) };
    expect(() => mergeAdapter(adapter, wider)).toThrow(/lm_head\.weight of shape \[6, 5\]/);
    expect(() => mergeAdapter(adapter, wider, "some/adapter")).toThrow(
      /^some\/adapter: .*does the adapter belong to another model/,
    );
  });

  it("with rows for added tokens says where their model is", () => {
    const smaller = { ...weights(), ...Object.fromEntries([lively("lm_head.weight", 4, 5)]) };
    expect(() => mergeAdapter(adapter, smaller, "run/model/adapter")).toThrow(
      /^run\/model\/adapter: .*got \[4, 5\] \(.*in the folder above the adapter\)/,
    );
  });

  it("that makes numbers that are not finite is refused", async () => {
    const { alphaPattern: _pattern, ...plain } = adapter;
    expect(() => mergeAdapter({ ...plain, alpha: 1e300 }, weights(), "a")).toThrow(
      /^a: expected finite float32 numbers in model\.layers\.0.*got -?Infinity .*the scale 5e\+299\)/,
    );
    await expect(writeAdapter(root, { ...plain, alpha: Number.NaN })).rejects.toThrow(
      "expected a finite alpha, got NaN",
    );
  });

  it("is not written with tensors outside its targets, or halves of a pair", async () => {
    await expect(writeAdapter(root, { ...adapter, targets: ["q_proj"] })).rejects.toThrow(
      /expected modules among the targets q_proj, got model\.layers\.1\.mlp\.up_proj/,
    );
    const tensors = new Map(adapter.tensors);
    tensors.delete(`${q}.lora_B.weight`);
    await expect(writeAdapter(root, { ...adapter, tensors })).rejects.toThrow(/got only A/);
  });

  it.each([
    ["DoRA", { use_dora: true }, /use_dora/],
    ["biases", { bias: "all" }, /bias/],
    ["another method", { peft_type: "IA3" }, /peft_type/],
    ["transposed weights", { fan_in_fan_out: true }, /fan_in_fan_out/],
    ["whole modules of another kind", { modules_to_save: ["score"] }, /modules_to_save/],
    ["a whole module that is missing", { modules_to_save: ["embed_tokens"] }, /embed_tokens/],
    ["an initialisation that changes the base", { init_lora_weights: "pissa" }, /init_lora/],
    ["trained token rows", { trainable_token_indices: [3] }, /trainable_token_indices/],
    ["a variant of the future", { use_novel: true }, /without use_novel, which is not/],
    ["another rank", { r: 4 }, /expected rank 4 of model\.layers\.0.*got 2/],
    ["a broken pattern", { alpha_pattern: { "(": 3 } }, /regular expressions, got "\("/],
    ["an alpha of nothing", { lora_alpha: null }, /\(lora_alpha: .*got null/],
    ["no rank", { r: undefined }, /\(r: .*got nothing/],
  ])("with %s is refused rather than merged wrongly", async (_title, change, message) => {
    await writeAdapter(root, adapter);
    const path = join(root, "adapter_config.json");
    const config = JSON.parse(readFileSync(path, "utf8")) as object;
    writeFileSync(path, JSON.stringify({ ...config, ...change }));
    await expect(readAdapter(root)).rejects.toThrow(DataError);
    await expect(readAdapter(root)).rejects.toThrow(message);
  });

  it("with tensors that are not LoRA's is refused", async () => {
    const path = join(root, "adapter_model.safetensors");
    for (const [name, message] of [
      ["model.norm.weight", /names that begin with base_model\.model\./],
      ["base_model.model.model.norm.weight", /expected lora_A and lora_B of modules/],
      [`base_model.model.${q}.lora_magnitude_vector.weight`, /got .*lora_magnitude_vector/],
    ] as const) {
      await writeAdapter(root, adapter);
      const tensors = Object.fromEntries(await readSafetensors(path));
      const [, extra] = lively(name, 2, 2);
      await writeSafetensors(path, { ...tensors, [name]: extra });
      await expect(readAdapter(root)).rejects.toThrow(message);
    }
    writeFileSync(join(root, "adapter_config.json"), "{");
    await expect(readAdapter(root)).rejects.toThrow(/adapter_config\.json: expected a readable/);
    rmSync(join(root, "adapter_config.json"));
    await expect(readAdapter(root)).rejects.toThrow(/adapter_config\.json: expected a readable/);
  });
});
