// Greedy decoding with an exported ONNX model, over the JavaScript API that onnxruntime-node and onnxruntime-web share.
// Plain JavaScript values only: a browser test runs this very function.

/** What both packages offer; `feeds` and results are their tensors by name. */
export interface OrtModule {
  readonly Tensor: new (
    type: "int64" | "float32",
    data: BigInt64Array | Float32Array,
    dims: readonly number[],
  ) => OrtTensor;
}

export interface OrtTensor {
  readonly data: unknown;
  readonly dims: readonly number[];
}

export interface OrtSession {
  readonly inputNames: readonly string[];
  run(feeds: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>>;
}

export interface GreedyOptions {
  /** Token ids of the prompts; shorter ones are padded on this side. */
  readonly prompts: readonly (readonly number[])[];
  readonly padding: "left" | "right";
  readonly maxTokens: number;
  readonly kvHeads: number;
  readonly headSize: number;
}

export interface GreedyResult {
  /** `[prompt][time]` */
  readonly tokens: number[][];
  /** Logits at each token of each prompt, without padding `[prompt][time][vocabulary]`. */
  readonly logits: number[][][];
}

/** Continues every prompt with its most likely tokens. Uses nothing from outside of itself. */
export async function onnxGreedy(
  ort: OrtModule,
  session: OrtSession,
  { prompts, padding, maxTokens, kvHeads, headSize }: GreedyOptions,
): Promise<GreedyResult> {
  const batch = prompts.length;
  const longest = Math.max(...prompts.map((prompt) => prompt.length));
  const blank = (prompt: readonly number[], value: number): number[] =>
    Array.from({ length: longest - prompt.length }, () => value);
  const padded = (prompt: readonly number[], values: number[], value: number): number[] =>
    padding === "left"
      ? [...blank(prompt, value), ...values]
      : [...values, ...blank(prompt, value)];
  const int64 = (rows: readonly (readonly number[])[]): OrtTensor =>
    new ort.Tensor(
      "int64",
      BigInt64Array.from(rows.flat(), (value) => BigInt(value)),
      [rows.length, rows[0]!.length],
    );
  const mask = prompts.map((prompt) =>
    padded(
      prompt,
      prompt.map(() => 1),
      0,
    ),
  );
  let ids = prompts.map((prompt) => padded(prompt, [...prompt], 0));
  let cache: Record<string, OrtTensor> = {};
  for (const name of session.inputNames) {
    if (name.startsWith("past_key_values."))
      cache[name] = new ort.Tensor("float32", new Float32Array(), [batch, kvHeads, 0, headSize]);
  }
  const result: GreedyResult = { tokens: prompts.map(() => []), logits: [] };
  for (let step = 0; step < maxTokens; step++) {
    const outputs = await session.run({
      input_ids: int64(ids),
      attention_mask: int64(mask),
      ...cache,
    });
    const { data, dims } = outputs["logits"]!;
    const [, time, vocabulary] = dims as [number, number, number];
    const at = (row: number, place: number): number[] => [
      ...(data as Float32Array).subarray(
        (row * time + place) * vocabulary,
        (row * time + place + 1) * vocabulary,
      ),
    ];
    const starts = prompts.map((prompt) =>
      step === 0 && padding === "left" ? longest - prompt.length : 0,
    );
    if (step === 0) {
      prompts.forEach((prompt, row) =>
        result.logits.push(prompt.map((_, place) => at(row, starts[row]! + place))),
      );
    }
    ids = prompts.map((prompt, row) => {
      const last = step === 0 ? starts[row]! + prompt.length - 1 : 0;
      const logits = at(row, last);
      const best = logits.indexOf(Math.max(...logits));
      result.tokens[row]!.push(best);
      return [best];
    });
    for (const row of mask) row.push(1);
    cache = Object.fromEntries(
      Object.entries(outputs)
        .filter(([name]) => name.startsWith("present."))
        .map(([name, value]) => [name.replace("present.", "past_key_values."), value]),
    );
  }
  return result;
}
