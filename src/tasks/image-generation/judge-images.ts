// Scores of images that a detector has looked at elsewhere: GenEval's folder of images beside its result file, or one of the same
// form by another detector.

import { isDeepStrictEqual } from "node:util";
import { DataError } from "../../core/errors.ts";
import {
  type Detections,
  type DetectionThresholds,
  genevalThresholds,
  keepDetections,
} from "./detections.ts";
import type { ImageFolder } from "./image-folder.ts";
import { officialVerdict, summarise, type Summary } from "./official-metric.ts";
import { pythonJson } from "./record-files.ts";
import type { GenevalRecord } from "./record.ts";
import type { ImageResult } from "./results.ts";
import { type RewardOptions, trainingReward } from "./training-reward.ts";

export interface JudgeOptions extends RewardOptions {
  readonly thresholds: DetectionThresholds;
}

/** As Flow-GRPO trains and GenEval measures. */
const published: JudgeOptions = { compat: "repo", floor: null, thresholds: genevalThresholds };

export interface DetectionScores {
  /** Training reward of Flow-GRPO. */
  readonly geneval: number;
  /** Whether numbers are exact, and colours and positions right. */
  readonly isStrictlyCorrect: boolean;
  /** GenEval's verdict, and what is wrong in its words. */
  readonly isCorrect: boolean;
  readonly reasons: readonly string[];
}

/** @throws DataError when the record needs the colour of a detection that has none. */
export function judgeDetections(
  record: GenevalRecord,
  detections: Detections,
  options: Partial<JudgeOptions> = {},
): DetectionScores {
  const { thresholds, ...reward } = { ...published, ...options };
  const kept = keepDetections(detections, record.tag, thresholds);
  const { reward: geneval, isStrictlyCorrect } = trainingReward(record, kept, reward);
  return { geneval, isStrictlyCorrect, ...officialVerdict(record, kept) };
}

export interface JudgeImagesOptions extends JudgeOptions {
  /** What becomes of an image without a result, or without a colour that its record asks for: it is never a wrong one. */
  readonly onFailure: "stop" | "drop";
}

export interface JudgedImageFile extends DetectionScores {
  readonly file: string;
  readonly record: GenevalRecord;
}

export interface JudgedImages {
  readonly images: readonly JudgedImageFile[];
  /** Images that were dropped, and why. */
  readonly failures: readonly { readonly file: string; readonly error: Error }[];
  /** Over the images that were not. */
  readonly summary: Summary;
}

/** `00007/samples/0002.png`, wherever the folder stands. */
const nameOf = (path: string): string => path.split(/[/\\]/).slice(-3).join("/");

/** Results by image. Throws a DataError for two of one image. */
function resultsByName(results: readonly ImageResult[]): Map<string, ImageResult> {
  const byName = new Map<string, ImageResult>();
  for (const result of results) {
    const name = nameOf(result.filename);
    if (byName.has(name)) {
      const where = `results of ${name}`;
      throw new DataError({ where, expected: "one", got: `a second one, ${result.filename}` });
    }
    byName.set(name, result);
  }
  return byName;
}

/** Throws a DataError when a result is of another prompt than its image. */
function checkRecord(file: string, record: GenevalRecord, result: ImageResult | undefined): void {
  if (result === undefined || isDeepStrictEqual(record, result.record)) return;
  const [expected, got] = [pythonJson(record), pythonJson(result.record)];
  const hint = "the metadata of the folder and of the result differ";
  throw new DataError({ where: `result of ${file}`, expected, got, hint });
}

/** Throws a DataError when there is no result, or not all that the record asks for. */
function judgeFile(
  file: string,
  record: GenevalRecord,
  result: ImageResult | undefined,
  options: Partial<JudgeOptions>,
): DetectionScores {
  if (result === undefined) {
    throw new DataError({ where: file, expected: "a result of this image", got: "none" });
  }
  try {
    return judgeDetections(record, result.detections, options);
  } catch (cause) {
    if (!(cause instanceof DataError)) throw cause;
    throw new DataError(`${file}: ${cause.message}`, cause);
  }
}

/**
 * Judges every image of a folder by its result. Throws a DataError for a result of another prompt or of no image, and where
 * `onFailure` says "stop".
 */
export function judgeImages(
  folders: readonly ImageFolder[],
  results: readonly ImageResult[],
  options: Partial<JudgeImagesOptions> = {},
): JudgedImages {
  const { onFailure = "stop", ...judging } = options;
  const byName = resultsByName(results);
  const images: JudgedImageFile[] = [];
  const failures: { file: string; error: Error }[] = [];
  for (const { record, files } of folders) {
    for (const file of files) {
      const result = byName.get(nameOf(file));
      byName.delete(nameOf(file));
      checkRecord(file, record, result);
      try {
        images.push({ file, record, ...judgeFile(file, record, result, judging) });
      } catch (error) {
        if (onFailure === "stop" || !(error instanceof DataError)) throw error;
        failures.push({ file, error });
      }
    }
  }
  const [stranger] = byName.values();
  if (stranger !== undefined) {
    const where = `result of ${stranger.filename}`;
    throw new DataError({ where, expected: "an image in the folders", got: "none" });
  }
  const judged = images.map(({ record, isCorrect }) => ({
    tag: record.tag,
    promptKey: pythonJson(record),
    isCorrect,
  }));
  return { images, failures, summary: summarise(judged) };
}
