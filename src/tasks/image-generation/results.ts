// Results of images that were looked at elsewhere: the result file of GenEval, and detections for our own reward.
//
// A line of GenEval: filename, tag, prompt, correct, reason, metadata and details, the last two JSON within a string:
//   details   class -> list of [x0, y0, x1, y1, confidence]
// Read beside those, where a line has them: score, strict_correct (reward-server), and
//   colors    class -> list of colour words, in the order of `details`, null where nobody looked; JSON in a string, or the object
// GenEval writes down only detections that counted, and no colours: a reward that needs a colour then fails, it is not 0.
// A detector that is not GenEval's writes all that it found, with confidences from 0 to 1; no `correct` then.

import { writeFile } from "node:fs/promises";
import { z } from "zod";
import { readRows } from "../../data/rows.ts";
import { DataError, shownJson } from "../../core/errors.ts";
import type { Detection, Detections } from "./detections.ts";
import type { JudgedImage } from "./official-metric.ts";
import { pythonJson, recordLines } from "./record-files.ts";
import { fieldOf, type GenevalRecord, parseFields, parseJson, parseRecord } from "./record.ts";
import { tags } from "./vocabulary.ts";

const detectionSchema = z
  .tuple([z.number(), z.number(), z.number(), z.number(), z.number().min(0).max(1)])
  .check(({ value: [x0, y0, x1, y1], issues }) => {
    for (const [low, high, at, name] of [
      [x0, x1, 2, "x1 >= x0"],
      [y0, y1, 3, "y1 >= y0"],
    ] as const) {
      if (high >= low) continue;
      const message = `${name} (a box is [x0, y0, x1, y1])`;
      void issues.push({ code: "custom", path: [at], message, input: high });
    }
  });
const detectionsSchema = z.array(detectionSchema);
const colorsSchema = z.array(z.string().nullable());
const jsonText = z.union([z.string(), z.record(z.string(), z.unknown())], {
  error: "JSON text or an object",
});

const fields = {
  filename: z.string(),
  tag: z.enum(tags),
  prompt: z.string(),
  correct: z.boolean().optional(),
  strict_correct: z.boolean().optional(),
  score: z.number().optional(),
  reason: z.string().optional(),
  metadata: jsonText,
  details: jsonText,
  colors: jsonText.optional(),
};
const resultSchema = z.looseObject(fields);

/** One image that was looked at elsewhere. */
export interface ImageResult {
  readonly filename: string;
  readonly record: GenevalRecord;
  readonly detections: Detections;
  /** Verdict, its reasons, and the reward, where the line has them. */
  readonly isCorrect?: boolean;
  readonly isStrictlyCorrect?: boolean;
  readonly reward?: number;
  readonly reason?: string;
  /** Fields of the line that we do not know. */
  readonly more?: Readonly<Record<string, unknown>>;
}

/** Lists by class of a field that is an object or its JSON text. */
function listsOf<Value>(
  value: string | object,
  field: string,
  schema: z.ZodType<Value>,
  where: string,
): Map<string, Value> {
  const place = `${where}, field ${field}`;
  const lists = typeof value === "string" ? parseJson(value, place) : value;
  if (typeof lists !== "object" || lists === null || Array.isArray(lists)) {
    throw new DataError({ where: place, expected: "an object", got: shownJson(lists) });
  }
  // Not a schema of the whole: zod leaves out a class "__proto__".
  return new Map(
    Object.entries(lists).map(([name, list]) => [
      name,
      parseFields(schema, list, where, [field, name]),
    ]),
  );
}

function detectionsOf(
  details: ReadonlyMap<string, z.output<typeof detectionsSchema>>,
  colors: ReadonlyMap<string, z.output<typeof colorsSchema>>,
  where: string,
): Detections {
  const found = new Map<string, Detection[]>();
  for (const [name, list] of details) {
    const words = colors.get(name);
    if (words !== undefined && words.length !== list.length) {
      const [expected, got] = [`${list.length} colours`, String(words.length)];
      throw new DataError({ where: `${where}, field ${fieldOf(["colors", name])}`, expected, got });
    }
    const detections = list.map(([x0, y0, x1, y1, confidence], index): Detection => {
      const color = words?.[index] ?? null;
      return { box: [x0, y0, x1, y1], confidence, ...(color !== null && { color }) };
    });
    found.set(name, detections);
  }
  const stranger = [...colors.keys()].find((name) => !found.has(name));
  if (stranger === undefined) return found;
  const expected = "classes of details";
  throw new DataError({ where: `${where}, field colors`, expected, got: JSON.stringify(stranger) });
}

/** Throws a DataError that names place and field, also of what is JSON within a string. */
export function parseResult(row: unknown, where: string): ImageResult {
  const line = parseFields(resultSchema, row, where);
  const metadata =
    typeof line.metadata === "string"
      ? parseJson(line.metadata, `${where}, field metadata`)
      : line.metadata;
  const record = parseRecord(metadata, where, ["metadata"]);
  for (const field of ["tag", "prompt"] as const) {
    if (record[field] === line[field]) continue;
    const [expected, got] = [record[field], line[field]].map(shownJson) as [string, string];
    const hint = "metadata says otherwise";
    throw new DataError({ where: `${where}, field ${field}`, expected, got, hint });
  }
  const details = listsOf(line.details, "details", detectionsSchema, where);
  const colors = listsOf(line.colors ?? {}, "colors", colorsSchema, where);
  const more = Object.entries(line).filter(([name]) => !Object.hasOwn(fields, name));
  return {
    filename: line.filename,
    record,
    detections: detectionsOf(details, colors, where),
    ...(line.correct !== undefined && { isCorrect: line.correct }),
    ...(line.strict_correct !== undefined && { isStrictlyCorrect: line.strict_correct }),
    ...(line.score !== undefined && { reward: line.score }),
    ...(line.reason !== undefined && { reason: line.reason }),
    ...(more.length > 0 && { more: Object.fromEntries(more) }),
  };
}

/** All lines of a result file. Throws a DataError that names file, line and field. */
export async function readResults(path: string): Promise<ImageResult[]> {
  return readRows(path, "test", parseResult);
}

/** The line of an image as GenEval writes it; `colors` beside it for the classes of which some are known. */
export function resultRow(result: ImageResult): Readonly<Record<string, unknown>> {
  const { filename, record, detections, isCorrect, isStrictlyCorrect, reward, reason } = result;
  const entries = [...detections];
  const details = entries.map(([name, list]) => [
    name,
    list.map(({ box, confidence }) => [...box, confidence]),
  ]);
  const colors = entries
    .filter(([, list]) => list.some(({ color }) => color !== undefined))
    .map(([name, list]) => [name, list.map(({ color = null }) => color)]);
  return {
    filename,
    tag: record.tag,
    prompt: record.prompt,
    ...(isCorrect !== undefined && { correct: isCorrect }),
    ...(reason !== undefined && { reason }),
    metadata: pythonJson(record),
    details: pythonJson(Object.fromEntries(details)),
    ...(colors.length > 0 && { colors: pythonJson(Object.fromEntries(colors)) }),
    ...(isStrictlyCorrect !== undefined && { strict_correct: isStrictlyCorrect }),
    ...(reward !== undefined && { score: reward }),
    ...result.more,
  };
}

/** Writes a result file. Throws a DataError for a result that would not come back, such as one with NaN in a box. */
export async function writeResults(path: string, results: readonly ImageResult[]): Promise<void> {
  const rows = results.map((result, index) => {
    const row = resultRow(result);
    parseResult(row, `${path}, line ${index + 1}`);
    return row;
  });
  await writeFile(path, recordLines(rows));
}

/** What the summary counts of a result. Throws a DataError when the line has no verdict. */
export function judgedImage({ filename, record, isCorrect }: ImageResult): JudgedImage {
  if (isCorrect !== undefined) {
    return { tag: record.tag, promptKey: pythonJson(record), isCorrect };
  }
  throw new DataError({
    where: `result of ${filename}`,
    expected: "field correct",
    got: "nothing",
  });
}
