// GenEval of images of any model: its folder of images, and what a detector saw in them.

import { judgeImages, readImageFolders, readResults } from "alidade";

export async function scoreImages(folder: string, results: string): Promise<string> {
  const { images, failures, summary } = judgeImages(
    await readImageFolders(folder),
    await readResults(results),
    { onFailure: "drop" }, // "stop", the default, throws at the first image without a result
  );
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  const reward = images.reduce((sum, { geneval }) => sum + geneval, 0) / images.length;
  return [
    ...[...summary.byTag].map(
      ([tag, { correct, images: of }]) => `${tag.padEnd(14)} ${percent(correct / of)}  of ${of}`,
    ),
    `overall        ${percent(summary.overall)}, prompts with a right image ${percent(summary.correctPrompts)}`,
    `mean reward    ${reward.toFixed(3)}`,
    ...failures.map(({ error }) => `left out: ${error.message}`),
  ].join("\n");
}
