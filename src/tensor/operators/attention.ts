// Attention over whole sequences, and over a prompt that several rows share.

import { emitProduct } from "../emit-product.ts";
import type { Operator } from "../operator.ts";
import { apply, sameShape, shapeError, type Tensor } from "../tensor.ts";
import { add, mul, sub } from "./elementwise.ts";
import { matmul } from "./matmul.ts";
import { sum } from "./reduce.ts";
import { reshape } from "./shape.ts";

const attentionOperator: Operator = {
  name: "attention",
  type: ([query, key, value, mask]) => {
    const [queries, keys] = [query!.shape.at(-2)!, key!.shape.at(-2)!];
    const batch = query!.shape.slice(0, -2);
    const fits =
      query!.shape.at(-1) === key!.shape.at(-1) &&
      sameShape(key!.shape, value!.shape) &&
      sameShape(batch, key!.shape.slice(0, -2)) &&
      (mask === undefined || sameShape(mask.shape, [queries, keys]));
    if (!fits) {
      const expected =
        "query [..., queries, size], key and value [..., keys, size] and a mask [queries, keys]";
      const given = mask === undefined ? [] : [mask];
      throw shapeError("attention", expected, [query!, key!, value!, ...given]);
    }
    return [query!, { shape: [...batch, queries, keys], dtype: "float32" }];
  },
  lower: (emit, node, [query, key, value, mask]) => {
    const { shape } = node.inputs[0]!;
    const flags = { transposeA: false, transposeB: true, scale: 1 / Math.sqrt(shape.at(-1)!) };
    const [scores] = emitProduct(emit, [query!, key!], flags, shape.length);
    const [masked] = mask === undefined ? [scores] : emit.node("Add", [scores!, mask]);
    const [weights] = emit.node("Softmax", [masked!], { axis: { int: -1 } });
    return [emit.node("MatMul", [weights!, value!])[0]!, weights!];
  },
  gradient: ([dy], node) => {
    // With P the weights: dS = P (dP − Σ_keys dP P), and Σ_keys dP P = Σ_size dO O, which is the smaller sum
    // (FlashAttention, arXiv:2205.14135, appendix B.4).
    const [query, key, value] = [node.inputs[0]!, node.inputs[1]!, node.inputs[2]!];
    const [output, weights] = [node.outputs[0]!, node.outputs[1]!];
    const scale = 1 / Math.sqrt(query.shape.at(-1)!);
    const dValue = matmul(weights, dy!, { transposeA: true });
    const dWeights = matmul(dy!, value, { transposeB: true });
    const dScores = mul(
      weights,
      sub(dWeights, sum(mul(dy!, output), { axes: [-1], keepAxes: true })),
    );
    const dQuery = matmul(dScores, key, { scale });
    const dKey = matmul(dScores, query, { transposeA: true, scale });
    return [dQuery, dKey, dValue, ...(node.inputs.length > 3 ? [undefined] : [])];
  },
};

/**
 * softmax(Q Kᵀ / sqrt(size) + mask) V over the last two axes. query [..., queries, size], key and value [..., keys, size],
 * mask [queries, keys] (0 or a large negative number; no gradient), absent: everything attends to everything.
 */
export function attention(query: Tensor, key: Tensor, value: Tensor, mask?: Tensor): Tensor {
  const masks = mask === undefined ? [] : [mask];
  return apply(attentionOperator, [query, key, value, ...masks])[0]!;
}

const sharedAttentionOperator: Operator = {
  name: "sharedAttention",
  type: ([query, key, value, promptKey, promptValue, promptMask, mask]) => {
    const [groups, heads, promptTime, size] = promptKey!.shape;
    const [batch, queries] = query!.shape;
    const fits =
      query!.shape.length === 3 &&
      key!.shape.length === 3 &&
      promptKey!.shape.length === 4 &&
      batch! % (groups! * heads!) === 0 &&
      query!.shape[2] === size &&
      sameShape(key!.shape, value!.shape) &&
      key!.shape[0] === batch &&
      key!.shape[2] === size &&
      sameShape(promptKey!.shape, promptValue!.shape) &&
      sameShape(promptMask!.shape, [groups!, 1, 1, promptTime!]) &&
      sameShape(mask!.shape, [queries!, key!.shape[1]!]);
    if (!fits) {
      const expected =
        "query [groups * heads * rows, queries, size], key and value of the rows, promptKey [groups, heads, promptTime, size] and masks";
      throw shapeError("sharedAttention", expected, [query!, key!, promptKey!, promptMask!, mask!]);
    }
    const rows = (batch! / (groups! * heads!)) * queries!;
    return [
      query!,
      { shape: [groups!, heads!, rows, promptTime!], dtype: "float32" },
      { shape: [batch!, queries!, key!.shape[1]!], dtype: "float32" },
    ];
  },
  lower: (emit, node, [query, key, value, promptKey, promptValue, promptMask, mask]) => {
    const [output, promptWeights, weights] = node.outputs;
    const [promptTime, time] = [promptWeights!.shape[3]!, weights!.shape[2]!];
    const product = (a: string, b: string): string =>
      emit.node(
        "FusedMatMul",
        [a, b],
        { transB: { int: 1 }, alpha: { float: 1 / Math.sqrt(output!.shape[2]!) } },
        { domain: "com.microsoft" },
      )[0]!;
    const shaped = (x: string, shape: readonly number[]): string =>
      emit.node("Reshape", [x, emit.int64(shape)])[0]!;
    const grouped = [...promptWeights!.shape.slice(0, 3), output!.shape[2]!];
    const overPrompt = emit.node("Add", [
      product(shaped(query!, grouped), promptKey!),
      promptMask!,
    ]);
    const overOwn = emit.node("Add", [product(query!, key!), mask!]);
    const [scores] = emit.node(
      "Concat",
      [shaped(overPrompt[0]!, [-1, promptTime]), shaped(overOwn[0]!, [-1, time])],
      { axis: { int: 1 } },
    );
    const [softmaxed] = emit.node("Softmax", [scores!], { axis: { int: -1 } });
    const [onPrompt, onOwn] = emit.node(
      "Split",
      [softmaxed!, emit.int64([promptTime, time])],
      { axis: { int: 1 } },
      { outputs: 2 },
    );
    const w = shaped(onPrompt!, promptWeights!.shape);
    const u = shaped(onOwn!, weights!.shape);
    const [fromPrompt] = emit.node("MatMul", [w, promptValue!]);
    const [fromOwn] = emit.node("MatMul", [u, value!]);
    const [both] = emit.node("Add", [shaped(fromPrompt!, output!.shape), fromOwn!]);
    return [both!, w, u];
  },
  gradient: ([dy], node) => {
    const [query, key, value, promptKey, promptValue] = node.inputs;
    const [output, promptWeights, weights] = node.outputs;
    const scale = 1 / Math.sqrt(query!.shape[2]!);
    const grouped = [...promptWeights!.shape.slice(0, 3), query!.shape[2]!];
    const [groupedQuery, groupedDy] = [reshape(query!, grouped), reshape(dy!, grouped)];
    const inner = sum(mul(dy!, output!), { axes: [-1], keepAxes: true }); // [batch, queries, 1]
    const dScores = mul(weights!, sub(matmul(dy!, value!, { transposeB: true }), inner));
    const dPromptScores = mul(
      promptWeights!,
      sub(
        matmul(groupedDy, promptValue!, { transposeB: true }),
        reshape(inner, [...grouped.slice(0, 3), 1]),
      ),
    );
    return [
      add(
        matmul(dScores, key!, { scale }),
        reshape(matmul(dPromptScores, promptKey!, { scale }), query!.shape),
      ),
      matmul(dScores, query!, { transposeA: true, scale }),
      matmul(weights!, dy!, { transposeA: true }),
      matmul(dPromptScores, groupedQuery, { transposeA: true, scale }),
      matmul(promptWeights!, groupedDy, { transposeA: true }),
      undefined,
      undefined,
    ];
  },
};

export interface SharedAttentionInputs {
  /** [groups · heads · rows, queries, size]: rows of one group and head lie together. */
  readonly query: Tensor;
  /** Keys and values of the row itself [groups · heads · rows, time, size]. */
  readonly key: Tensor;
  readonly value: Tensor;
  /** Keys and values of the prompt that all rows of a group continue [groups, heads, promptTime, size]. */
  readonly promptKey: Tensor;
  readonly promptValue: Tensor;
  /** 0 where there is a prompt token, a large negative number where there is padding [groups, 1, 1, promptTime]. */
  readonly promptMask: Tensor;
  /** Of the row's own keys [queries, time]. */
  readonly mask: Tensor;
}

/**
 * Attention of many continuations of the same prompt: softmax over the prompt's keys and the row's own, one after the other.
 * The prompt's keys and values exist once a group. Result [groups · heads · rows, queries, size].
 */
export function sharedAttention(inputs: SharedAttentionInputs): Tensor {
  const { query, key, value, promptKey, promptValue, promptMask, mask } = inputs;
  const list = [query, key, value, promptKey, promptValue, promptMask, mask];
  return apply(sharedAttentionOperator, list)[0]!;
}
