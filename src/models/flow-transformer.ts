// A rectified-flow transformer: from a noisy sample x_t = (1 - t) x0 + t eps, its time and its prompt to the velocity eps - x0.
//
//   h      = patches of x · W + positions
//   a block: h ← h + gate · attention(norm(h) (1 + scale) + shift), the same with an MLP;
//            (shift, scale, gate) twice = W silu(c), zero at the start: every block begins as the identity (adaLN-zero)
//            attention also reads the words of the prompt, by keys and values of their own
//   c      = MLP(sinusoids of 1000 t) + W prompt vector
//   out    = patches back of W (norm(h) (1 + scale) + shift), W zero at the start
//   v      = out, or where the network predicts the sample, (x_t - out) / max(t, 0.05)
//
// Paper: Scalable Diffusion Models with Transformers, arXiv:2212.09748, section 3. Query and key are normalised per head, as in
// Scaling Rectified Flow Transformers (SD3), arXiv:2403.03206, section 5.3.2.
// Predicting the sample: Back to Basics, arXiv:2511.13720, section 3 (a patch of noise has more dimensions than a narrow network).
// Differs from the papers in: RMSNorm instead of LayerNorm; words are read as they come from the prompt encoder and are no second
// stream of tokens; a word that the prompt does not have has a score of 0 and a value of 0; GELU by its sigmoid approximation.

import type { ParameterSpec } from "../nn/parameters.ts";
import {
  add,
  attention,
  concat,
  constant,
  div,
  maximum,
  mul,
  quickGelu,
  reshape,
  rmsNorm,
  scope,
  silu,
  slice,
  sub,
  swiglu,
  transpose,
  type Shape,
  type Tensor,
} from "../tensor/index.ts";
import { linear, type Linear, type LoraConfig } from "./decoder.ts";
import { normScale, projection } from "./flow-linear.ts";
import type { FlowInputs } from "./flow-model.ts";
import type { PromptEncoderConfig } from "./prompt-encoder.ts";
import { gridFeatures, timeFeatures } from "./time-features.ts";

export interface FlowTransformerConfig {
  readonly type: "transformer";
  /** Extents of a sample: [height, width, channels], or [frames, height, width, channels]. */
  readonly sample: Shape;
  /** Pixels along the edge of a patch. */
  readonly patch: number;
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  /** Width inside the MLP. */
  readonly hiddenWidth: number;
  readonly activation: "gelu" | "swiglu";
  /** What the network predicts; the model gives the velocity either way. */
  readonly predicts: "velocity" | "sample";
  readonly prompt: PromptEncoderConfig;
  /** Low-rank adapters on projections of attention and MLP, the only parameters that are then trained. */
  readonly lora?: LoraConfig;
}

interface FlowBlock<Leaf> {
  /** Shift, scale and gate of attention and MLP [6 width, width]. */
  readonly modulation: Linear<Leaf>;
  readonly query: Linear<Leaf>;
  readonly key: Linear<Leaf>;
  readonly value: Linear<Leaf>;
  readonly output: Linear<Leaf>;
  readonly queryNorm: Leaf;
  readonly keyNorm: Leaf;
  /** Keys and values of words [width, prompt width]. */
  readonly wordKey?: Linear<Leaf>;
  readonly wordValue?: Linear<Leaf>;
  readonly gate?: Linear<Leaf>;
  readonly up: Linear<Leaf>;
  readonly down: Linear<Leaf>;
}

export interface FlowTransformerParameters<Leaf> {
  readonly patches: Linear<Leaf>;
  readonly timeUp: Linear<Leaf>;
  readonly timeDown: Linear<Leaf>;
  readonly promptVector: Linear<Leaf>;
  readonly blocks: readonly FlowBlock<Leaf>[];
  /** Shift and scale before the head [2 width, width]. */
  readonly headModulation: Linear<Leaf>;
  readonly head: Linear<Leaf>;
}

/** Extents of the grid of patches: [rows, columns], or [frames, rows, columns]. */
function patchGrid({ sample, patch }: FlowTransformerConfig): number[] {
  const [height, width] = sample.slice(-3) as [number, number, number];
  return [...sample.slice(0, -3), height / patch, width / patch];
}

/** Sinusoids of the time, a power of two near the width. */
const timeSize = (width: number): number => 2 ** Math.round(Math.log2(width));

/** Every parameter with its shape and initial values. */
export function flowTransformerParameters(
  config: FlowTransformerConfig,
): FlowTransformerParameters<ParameterSpec> {
  const { width, heads, hiddenWidth, layers, sample, patch, lora } = config;
  const pixels = patch * patch * sample.at(-1)!;
  const inner = { hidden: true, bias: false } as const; // the shifts before them do a bias's work
  const word = (name: string) => projection(name, width, config.prompt.width, inner);
  const block = (index: number): FlowBlock<ParameterSpec> => {
    const at = `blocks.${index}`;
    const square = (name: string) =>
      projection(`${at}.attention.${name}`, width, width, { ...inner, lora });
    return {
      modulation: projection(`${at}.modulation`, 6 * width, width, { init: "zeros", hidden: true }),
      query: square("q_proj"),
      key: square("k_proj"),
      value: square("v_proj"),
      output: square("o_proj"),
      queryNorm: normScale(`${at}.attention.q_norm`, width / heads),
      keyNorm: normScale(`${at}.attention.k_norm`, width / heads),
      ...(config.prompt.words === true && {
        wordKey: word(`${at}.attention.word_k_proj`),
        wordValue: word(`${at}.attention.word_v_proj`),
      }),
      ...(config.activation === "swiglu" && {
        gate: projection(`${at}.mlp.gate_proj`, hiddenWidth, width, { ...inner, lora }),
      }),
      up: projection(`${at}.mlp.up_proj`, hiddenWidth, width, { ...inner, lora }),
      down: projection(`${at}.mlp.down_proj`, width, hiddenWidth, { ...inner, lora }),
    };
  };
  return {
    patches: projection("patches", width, pixels),
    timeUp: projection("time.up", width, timeSize(width)),
    timeDown: projection("time.down", width, width),
    promptVector: projection("prompt_vector", width, config.prompt.width),
    blocks: Array.from({ length: layers }, (_, index) => block(index)),
    headModulation: projection("head.modulation", 2 * width, width, { init: "zeros" }),
    head: projection("head", pixels, width, { init: "zeros" }),
  };
}

const EPSILON = 1e-6;
/** Below it the velocity of a predicted sample is taken as at this time. */
const LEAST_TIME = 0.05;

/** x [batch, …sample] to patches [batch · tokens, patch · patch · channels]. */
export function patchify(
  x: Tensor,
  { sample, patch }: Pick<FlowTransformerConfig, "sample" | "patch">,
): Tensor {
  const [height, width, channels] = sample.slice(-3) as [number, number, number];
  const [rows, columns] = [height / patch, width / patch];
  const cut = reshape(x, [-1, rows, patch, columns, patch, channels]); // [batch · frames, …]
  return reshape(transpose(cut, [0, 1, 3, 2, 4, 5]), [-1, patch * patch * channels]);
}

/** The way back. */
function unpatchify(patches: Tensor, { sample, patch }: FlowTransformerConfig): Tensor {
  const [height, width, channels] = sample.slice(-3) as [number, number, number];
  const [rows, columns] = [height / patch, width / patch];
  const cut = reshape(patches, [-1, rows, columns, patch, patch, channels]);
  return reshape(transpose(cut, [0, 1, 3, 2, 4, 5]), [-1, ...sample]);
}

/** Velocity [batch, …sample] of x [batch, …sample] at t [batch] under prompt vectors [batch, promptSize]. */
export function flowTransformerVelocity(
  parameters: FlowTransformerParameters<Tensor>,
  { x, t, prompt }: FlowInputs,
  config: FlowTransformerConfig,
): Tensor {
  const { width, heads } = config;
  const batch = x.shape[0]!;
  const grid = patchGrid(config);
  const tokens = grid.reduce((product, extent) => product * extent, 1);
  const headSize = width / heads;
  const ones = constant(new Float32Array(width).fill(1));
  const flat = (h: Tensor): Tensor => reshape(h, [batch * tokens, width]);
  const modulated = (h: Tensor, shift: Tensor, scale: Tensor): Tensor =>
    flat(add(mul(rmsNorm(h, ones, EPSILON), add(1, scale)), shift));
  const byHead = (y: Tensor): Tensor =>
    transpose(reshape(y, [batch, -1, heads, headSize]), [0, 2, 1, 3]); // [batch, heads, tokens, headSize]
  const normedByHead = (y: Tensor, scale: Tensor): Tensor =>
    byHead(rmsNorm(reshape(y, [-1, headSize]), scale, EPSILON));
  const { width: promptWidth, promptTokens } = config.prompt;
  const pooled = slice(prompt, 1, 0, promptWidth);
  const words = (): Tensor =>
    reshape(slice(prompt, 1, promptWidth, prompt.shape[1]!), [batch * promptTokens, promptWidth]);

  const c = scope("condition", () => {
    const inner = silu(linear(timeFeatures(t, timeSize(width)), parameters.timeUp, {}));
    const both = add(
      linear(inner, parameters.timeDown, {}),
      linear(pooled, parameters.promptVector, {}),
    );
    return silu(both); // [batch, width]
  });
  /** Parts [batch, 1, width] of a modulation. */
  const parts = (modulation: Linear<Tensor>, count: number): Tensor[] => {
    const all = reshape(linear(c, modulation, {}), [batch, 1, count * width]);
    return Array.from({ length: count }, (_, index) =>
      slice(all, 2, index * width, (index + 1) * width),
    );
  };

  const patches = linear(patchify(x, config), parameters.patches, {});
  let h = add(reshape(patches, [batch, tokens, width]), gridFeatures(grid, width));
  parameters.blocks.forEach((block, index) =>
    scope(`block${index}`, () => {
      const [shift, scale, gate, mlpShift, mlpScale, mlpGate] = parts(block.modulation, 6);
      const attended = scope("attention", () => {
        const normed = modulated(h, shift!, scale!);
        const query = normedByHead(linear(normed, block.query, config), block.queryNorm);
        let key = normedByHead(linear(normed, block.key, config), block.keyNorm);
        let value = byHead(linear(normed, block.value, config));
        if (block.wordKey !== undefined && block.wordValue !== undefined) {
          key = concat([key, normedByHead(linear(words(), block.wordKey, {}), block.keyNorm)], 2);
          value = concat([value, byHead(linear(words(), block.wordValue, {}))], 2);
        }
        const mixed = attention(query, key, value);
        return linear(flat(transpose(mixed, [0, 2, 1, 3])), block.output, config);
      });
      h = add(h, mul(reshape(attended, h.shape), gate!));
      const inner = scope("mlp", () => {
        const normed = modulated(h, mlpShift!, mlpScale!);
        const up = linear(normed, block.up, config); // [batch · tokens, hiddenWidth]
        const active =
          block.gate === undefined ? quickGelu(up) : swiglu(linear(normed, block.gate, config), up);
        return linear(active, block.down, config);
      });
      h = add(h, mul(reshape(inner, h.shape), mlpGate!));
    }),
  );
  return scope("head", () => {
    const [shift, scale] = parts(parameters.headModulation, 2);
    const out = unpatchify(linear(modulated(h, shift!, scale!), parameters.head, {}), config);
    if (config.predicts === "velocity") return out;
    const time = reshape(maximum(t, LEAST_TIME), [batch, ...config.sample.map(() => 1)]);
    return div(sub(x, out), time);
  });
}
