// A small convolutional network from an image to a vector for each of its patches, and the heads that it is trained with.
//
//   h₀ = norm(silu(W₀ [pixels of the patch, whether it is hidden]))
//   hᵢ = norm(silu(Wᵢ [h of the patch and its eight neighbours]))          a 3x3 convolution; the last one without silu
//
// Beyond the edge neighbours are those at the edge: an image of one colour has one feature everywhere, and PCA finds objects,
// not the frame. norm is RMSNorm: features of one length turn differences of colour into angles.

import type { ParameterSpec } from "../nn/parameters.ts";
import {
  broadcastTo,
  concat,
  constant,
  mean,
  mul,
  reshape,
  rmsNorm,
  scope,
  silu,
  slice,
  sub,
  type Tensor,
} from "../tensor/index.ts";
import { linear, type Linear } from "./decoder.ts";
import { normScale, projection } from "./flow-linear.ts";
import { patchify } from "./flow-transformer.ts";

/** What is predicted in training: the class of every pixel, or of the whole image. */
export interface PatchHead {
  readonly of: "pixel" | "image";
  readonly classes: number;
}

export interface PatchNetworkConfig {
  /** Pixels of an image. */
  readonly height: number;
  readonly width: number;
  /** Pixels along the edge of a patch. */
  readonly patch: number;
  /** Channels of every layer; the first one sees a patch alone, each further one its neighbours too. */
  readonly channels: readonly number[];
  readonly head: PatchHead;
}

interface PatchLayer<Leaf> {
  readonly map: Linear<Leaf>;
  readonly norm: Leaf;
}

export interface PatchNetworkParameters<Leaf> {
  readonly layers: readonly PatchLayer<Leaf>[];
  readonly head: Linear<Leaf>;
}

/** An image, a patch, a layer's neighbourhood. */
const COLORS = 3;
const NEIGHBOURS = 9;

/** Every parameter with its shape and initial values. */
export function patchNetworkParameters({
  patch,
  channels,
  head,
}: PatchNetworkConfig): PatchNetworkParameters<ParameterSpec> {
  const pixels = patch * patch;
  const outputs = head.of === "pixel" ? pixels * head.classes : head.classes;
  return {
    layers: channels.map((width, index) => {
      const before = index === 0 ? COLORS * pixels + 1 : NEIGHBOURS * channels[index - 1]!;
      return {
        map: projection(`layers.${index}`, width, before),
        norm: normScale(`layers.${index}.norm`, width),
      };
    }),
    head: projection("head", outputs, channels.at(-1)!),
  };
}

export interface PatchNetworkInputs {
  /** [batch, height, width, 3]. */
  readonly pixels: Tensor;
  /** 1 for patches that are not shown [batch, height / patch, width / patch, 1]; absent: all are. */
  readonly hidden?: Tensor;
}

const EPSILON = 1e-6;

/** Its first and last entries along an axis twice. */
const repeatEdges = (x: Tensor, axis: number): Tensor => {
  const extent = x.shape[axis]!;
  return concat([slice(x, axis, 0, 1), x, slice(x, axis, extent - 1, extent)], axis);
};

/** Every patch with its eight neighbours: [batch, rows, columns, channels] to [batch, rows, columns, 9 channels]. */
function neighbourhoods(x: Tensor): Tensor {
  const [, rows, columns] = x.shape as [number, number, number];
  const wide = repeatEdges(repeatEdges(x, 1), 2); // [batch, rows + 2, columns + 2, channels]
  const parts = [0, 1, 2].flatMap((down) => {
    const band = slice(wide, 1, down, down + rows);
    return [0, 1, 2].map((right) => slice(band, 2, right, right + columns));
  });
  return concat(parts, 3);
}

/** Features [batch, height / patch, width / patch, last of channels]. */
export function patchNetworkFeatures(
  { layers }: Pick<PatchNetworkParameters<Tensor>, "layers">,
  { pixels, hidden }: PatchNetworkInputs,
  { height, width, patch }: Pick<PatchNetworkConfig, "height" | "width" | "patch">,
): Tensor {
  const [rows, columns] = [height / patch, width / patch];
  const patches = patchify(pixels, { sample: [height, width, COLORS], patch });
  const grid = reshape(patches, [-1, rows, columns, COLORS * patch * patch]);
  const isHidden = hidden ?? broadcastTo(constant(0), [pixels.shape[0]!, rows, columns, 1]);
  const shown = concat([mul(grid, sub(1, isHidden)), isHidden], 3);
  return layers.reduce((h, { map, norm }, index) => {
    const isLast = index === layers.length - 1;
    return scope(`layer${index}`, () => {
      const seen = index === 0 ? h : neighbourhoods(h); // [batch, rows, columns, in]
      const flat = linear(reshape(seen, [-1, seen.shape[3]!]), map, {}); // [batch · patches, out]
      const normed = rmsNorm(isLast ? flat : silu(flat), norm, EPSILON);
      return reshape(normed, [-1, rows, columns, normed.shape[1]!]);
    });
  }, shown);
}

/** Scores of the classes: of pixels, patch after patch [batch · height · width, classes], or of images [batch, classes]. */
export function patchNetworkScores(
  { head }: Pick<PatchNetworkParameters<Tensor>, "head">,
  features: Tensor,
  { of, classes }: PatchHead,
): Tensor {
  const [, , , width] = features.shape as [number, number, number, number];
  if (of === "image") return linear(mean(features, { axes: [1, 2] }), head, {});
  return reshape(linear(reshape(features, [-1, width]), head, {}), [-1, classes]);
}
