// How ragged sequences are laid out for training and scoring: the tokens of all of them in one stream without padding, and a
// prompt that several completions share stands in it once. Only attention needs rectangles; maps of indices say which row of
// the stream goes where.
//
// A completion is predicted from the last prompt token onwards. So the shared prompt ends one token earlier, and a row holds
// the last prompt token and the completion but for its last token: every position of a row is scored.

import { allocate, input, type Tensor, type TensorData } from "../tensor/index.ts";
import type { DecoderConfig } from "./decoder.ts";

/** Extents of a packed batch; a program is compiled for each. */
export interface PackShape {
  /** Prompts. */
  readonly groups: number;
  /** Most completions of one prompt. */
  readonly rows: number;
  /** Longest shared prompt; 0: there is none. */
  readonly promptTime: number;
  /** Longest row. */
  readonly rowTime: number;
  /** Tokens of the stream: those of the shared prompts, then those of the rows. At least one of the latter is padding. */
  readonly promptTokens: number;
  readonly rowTokens: number;
}

/** One prompt and the rows that continue it. */
export interface PackedGroup {
  readonly prompt: Int32Array;
  readonly rows: readonly Int32Array[];
}

/** Where the heads of each token stand in the rectangles of attention (see `partitionRows`). */
export interface HeadMap {
  readonly places: Tensor;
  /** Of the prompts (when there are any), then of the rows. */
  readonly indices: readonly Tensor[];
}

/** The symbolic inputs of a packed batch. */
export interface PackInputs {
  readonly shape: PackShape;
  /** int32 [promptTokens + rowTokens]. */
  readonly tokens: Tensor;
  readonly positions: Tensor;
  /** 0 at prompt tokens, -1e9 at padding [groups, 1, 1, promptTime]. */
  readonly promptMask: Tensor;
  readonly queries: HeadMap;
  readonly keys: HeadMap;
  /** Queries of the last layer, which only the rows still need; counted from the first row token. */
  readonly lastQueries: HeadMap;
}

type Heads = Pick<DecoderConfig, "heads" | "kvHeads" | "layers">;

interface MapSpec {
  readonly name: "queries" | "keys" | "lastQueries";
  /** Key heads, and heads that share each of them. */
  readonly kvHeads: number;
  readonly sharing: number;
  /** Tokens of the stream that the map speaks of. */
  readonly tokens: number;
  readonly promptTime: number;
}

function mapSpecs(shape: PackShape, { heads, kvHeads, layers }: Heads): MapSpec[] {
  const { promptTime, promptTokens, rowTokens } = shape;
  const whole = { kvHeads, tokens: promptTokens + rowTokens, promptTime };
  const sharing = heads / kvHeads;
  const last = { kvHeads, sharing, tokens: rowTokens, promptTime: 0 };
  return [
    { name: "queries", ...(layers === 1 ? last : { ...whole, sharing }) },
    { name: "keys", ...whole, sharing: 1 },
    { name: "lastQueries", ...last },
  ];
}

/** Extents of the integer inputs by name; without prompts, or with as many key heads, maps are equal and exist once. */
function integerInputs(shape: PackShape, heads: Heads): Record<string, number> {
  const tokens = shape.promptTokens + shape.rowTokens;
  const result: Record<string, number> = { tokens, positions: tokens };
  for (const spec of uniqueMaps(shape, heads)) {
    const count = spec.kvHeads * spec.sharing;
    result[`${spec.name}.places`] = spec.tokens * count;
    if (spec.promptTime > 0) result[`${spec.name}.prompt`] = shape.groups * count * spec.promptTime;
    result[`${spec.name}.rows`] = shape.groups * count * shape.rows * shape.rowTime;
  }
  return result;
}

const isSameMap = (a: MapSpec, b: MapSpec): boolean =>
  a.sharing === b.sharing && a.tokens === b.tokens && a.promptTime === b.promptTime;

function uniqueMaps(shape: PackShape, heads: Heads): MapSpec[] {
  const specs = mapSpecs(shape, heads);
  return specs.filter((spec, at) => specs.findIndex((other) => isSameMap(spec, other)) === at);
}

/** Symbolic inputs, by the names that `packMemory` and `fillPack` use. */
export function packInputs(shape: PackShape, heads: Heads): PackInputs {
  const extents = integerInputs(shape, heads);
  const ints = new Map(
    Object.entries(extents).map(([name, extent]) => [name, input(name, [extent], "int32")]),
  );
  const unique = uniqueMaps(shape, heads);
  const maps = mapSpecs(shape, heads).map((spec): HeadMap => {
    const { name } = unique.find((other) => isSameMap(spec, other))!;
    const prompt = spec.promptTime > 0 ? [ints.get(`${name}.prompt`)!] : [];
    return { places: ints.get(`${name}.places`)!, indices: [...prompt, ints.get(`${name}.rows`)!] };
  });
  return {
    shape,
    tokens: ints.get("tokens")!,
    positions: ints.get("positions")!,
    promptMask: input("promptMask", [shape.groups, 1, 1, shape.promptTime]),
    queries: maps[0]!,
    keys: maps[1]!,
    lastQueries: maps[2]!,
  };
}

/** Memory for the inputs of a packed batch, by name; `fillPack` writes it. */
export function packMemory(shape: PackShape, heads: Heads): Record<string, TensorData> {
  const { groups, promptTime } = shape;
  const integers = Object.entries(integerInputs(shape, heads)).map(
    ([name, extent]) => [name, allocate("int32", [extent])] as const,
  );
  return {
    ...Object.fromEntries(integers),
    ...(promptTime > 0 && { promptMask: allocate("float32", [groups, 1, 1, promptTime]) }),
  };
}

/** Writes a batch into its memory: tokens, positions, the mask of the prompts and the maps. */
export function fillPack(
  memory: Readonly<Record<string, TensorData>>,
  shape: PackShape,
  heads: Heads,
  groups: readonly PackedGroup[],
): void {
  const tokens = (memory["tokens"] as Int32Array).fill(0);
  const positions = (memory["positions"] as Int32Array).fill(0);
  let promptAt = 0;
  let rowAt = shape.promptTokens;
  const starts = groups.map(({ prompt, rows }) => {
    const start = { prompt: promptAt, rows: [] as number[] };
    tokens.set(prompt, promptAt);
    for (let time = 0; time < prompt.length; time++) positions[promptAt++] = time;
    for (const row of rows) {
      start.rows.push(rowAt);
      tokens.set(row, rowAt);
      for (let time = 0; time < row.length; time++) positions[rowAt++] = prompt.length + time;
    }
    return start;
  });
  if (shape.promptTime > 0) {
    const mask = (memory["promptMask"] as Float32Array).fill(0);
    groups.forEach(({ prompt }, group) =>
      mask.fill(-1e9, group * shape.promptTime + prompt.length, (group + 1) * shape.promptTime),
    );
  }
  for (const spec of uniqueMaps(shape, heads)) fillMap(memory, shape, spec, groups, starts);
}

/**
 * Indices [groups, kvHeads, sharing, promptTime] of the prompts and [groups, kvHeads, rows, sharing, rowTime] of the rows, into
 * the stream seen as [tokens · heads]; places are their inverse. Padding reads the last token of the stream, which is padding too.
 */
function fillMap(
  memory: Readonly<Record<string, TensorData>>,
  shape: PackShape,
  { name, kvHeads, sharing, tokens, promptTime }: MapSpec,
  groups: readonly PackedGroup[],
  starts: readonly { readonly prompt: number; readonly rows: readonly number[] }[],
): void {
  const count = kvHeads * sharing;
  const ints = (part: string): Int32Array => memory[`${name}.${part}`] as Int32Array;
  const places = ints("places");
  const offset = shape.promptTokens + shape.rowTokens - tokens;
  const promptLength = shape.groups * count * promptTime;
  places.fill(promptLength + shape.groups * count * shape.rows * shape.rowTime);
  const write = (
    indices: Int32Array,
    at: number,
    time: number,
    head: number,
    from: number | undefined,
    length: number,
    base: number,
  ): void => {
    indices.fill((tokens - 1) * count + head, at, at + time);
    if (from === undefined) return;
    for (let step = 0; step < length; step++) {
      const source = (from - offset + step) * count + head;
      indices[at + step] = source;
      places[source] = base + at + step;
    }
  };
  const rowIndices = ints("rows");
  const promptIndices = promptTime > 0 ? ints("prompt") : rowIndices;
  for (let group = 0; group < shape.groups; group++) {
    for (let kv = 0; kv < kvHeads; kv++) {
      for (let shared = 0; shared < sharing; shared++) {
        const head = kv * sharing + shared;
        const start = starts[group];
        if (promptTime > 0) {
          const at = (group * count + head) * promptTime;
          const length = groups[group]?.prompt.length ?? 0;
          write(promptIndices, at, promptTime, head, start?.prompt, length, 0);
        }
        for (let row = 0; row < shape.rows; row++) {
          const at =
            (((group * kvHeads + kv) * shape.rows + row) * sharing + shared) * shape.rowTime;
          const length = groups[group]?.rows[row]?.length ?? 0;
          write(rowIndices, at, shape.rowTime, head, start?.rows[row], length, promptLength);
        }
      }
    }
  }
}
