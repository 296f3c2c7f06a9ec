// How well an image shows the text that its prompt quotes. Recognising the text is somebody else's work.
//
//   reward = 1 - min(d, n) / n      d: Levenshtein distance of recognised and wanted text, n: length of the wanted text
//
// Paper: Flow-GRPO, arXiv:2505.05470, section 4; code: flow_grpo/ocr.py. Spaces and case do not count. The code scores an image
// whose recognition failed as if nothing had been recognised; here that is the failure of a scorer.

import { DataError, editDistance, shownJson } from "../../core/errors.ts";

/** The first double-quoted span of a prompt. Throws a DataError when there is none, or nothing to show in it. */
export function quotedText(prompt: string, where = "text rendering prompt"): string {
  const text = prompt.split('"')[1];
  if (text !== undefined && prompt.split('"').length > 2 && letters(text).length > 0) return text;
  throw new DataError({
    where,
    expected: "text between double quotes",
    got: shownJson(prompt),
  });
}

/** Code points, as Python counts them. */
const letters = (text: string): string[] => Array.from(text.replaceAll(" ", "").toLowerCase());

function reward(recognised: readonly string[], wanted: readonly string[]): number {
  return 1 - Math.min(editDistance(recognised, wanted), wanted.length) / wanted.length;
}

/** Reward of an image. @param recognised All strings that were recognised in it, in order. */
export function textReward(prompt: string, recognised: readonly string[]): number {
  const wanted = letters(quotedText(prompt));
  const found = letters(recognised.join(""));
  // More text around the wanted one is fine.
  if (found.join("").includes(wanted.join(""))) return 1;
  return reward(found, wanted);
}

/** Frames between two that are looked at. */
const FRAME_STEP = 4;

/** Reward of a video: the mean over every 4th frame that shows some of the text, else 0. Here text around it costs. */
export function videoTextReward(
  prompt: string,
  recognisedByFrame: readonly (readonly string[])[],
): number {
  const wanted = letters(quotedText(prompt));
  const rewards = recognisedByFrame
    .filter((_, frame) => frame % FRAME_STEP === 0)
    .map((recognised) => reward(letters(recognised.join("")), wanted))
    .filter((one) => one > 0);
  if (rewards.length === 0) return 0;
  return rewards.reduce((sum, one) => sum + one, 0) / rewards.length;
}
