// Results of images that were looked at elsewhere: the result file of GenEval, and detections for our own reward.
//
// A line of GenEval: filename, tag, prompt, correct, reason, metadata and details, the last two JSON within a string:
//   details   class -> list of [x0, y0, x1, y1, confidence]
// Read beside those, where a line has them: score, strict_correct (reward-server), and
//   colors    class -> list of colour words, in the order of `details`; JSON in a string, or the object itself
// GenEval writes down only detections that counted, and no colours: a reward that needs a colour then fails, it is not 0.

import { z } from "zod";
import { openRows } from "../../data/rows.ts";
import { DataError } from "../../core/errors.ts";
import type { Detection, Detections } from "./detections.ts";
import type { JudgedImage } from "./official-metric.ts";
import { pythonJson } from "./record-files.ts";
import { type GenevalRecord, parseFields, parseJson, parseRecord } from "./record.ts";
import { tags } from "./vocabulary.ts";

const detailsSchema = z.record(z.string(), z.array(z.array(z.number()).length(5)));
const colorsSchema = z.record(z.string(), z.array(z.string()));
const jsonText = z.union([z.string(), z.record(z.string(), z.unknown())]);

const resultSchema = z.looseObject({
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
});

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
}

/** A field that is an object or its JSON text. */
const objectOf = (value: string | object, where: string): unknown =>
  typeof value === "string" ? parseJson(value, where) : value;

function detectionsOf(
  details: z.output<typeof detailsSchema>,
  colors: z.output<typeof colorsSchema> | null,
  where: string,
): Detections {
  const found = new Map<string, Detection[]>();
  for (const [name, list] of Object.entries(details)) {
    const words = colors !== null && Object.hasOwn(colors, name) ? colors[name]! : null;
    if (words !== null && words.length !== list.length) {
      const [expected, got] = [`${list.length} colours`, String(words.length)];
      throw new DataError({ where: `${where}, field colors.${name}`, expected, got });
    }
    const detections = list.map((values, index): Detection => {
      const [x0, y0, x1, y1, confidence] = values as [number, number, number, number, number];
      const color = words?.[index];
      return { box: [x0, y0, x1, y1], confidence, ...(color !== undefined && { color }) };
    });
    found.set(name, detections);
  }
  const stranger = Object.keys(colors ?? {}).find((name) => !found.has(name));
  if (stranger === undefined) return found;
  const expected = "classes of details";
  throw new DataError({ where: `${where}, field colors`, expected, got: JSON.stringify(stranger) });
}

/** Throws a DataError that names place and field, also of what is JSON within a string. */
export function parseResult(row: unknown, where: string): ImageResult {
  const line = parseFields(resultSchema, row, where);
  const inField = <Value>(field: "details" | "colors", schema: z.ZodType<Value>): Value => {
    const place = `${where}, field ${field}`;
    return parseFields(schema, objectOf(line[field]!, place), place);
  };
  const metadataPlace = `${where}, field metadata`;
  const record = parseRecord(objectOf(line.metadata, metadataPlace), metadataPlace);
  for (const field of ["tag", "prompt"] as const) {
    if (record[field] === line[field]) continue;
    const [expected, got] = [record[field], line[field]].map((text) => JSON.stringify(text));
    const hint = "metadata says otherwise";
    throw new DataError({
      where: `${where}, field ${field}`,
      expected: expected!,
      got: got!,
      hint,
    });
  }
  const colors = line.colors === undefined ? null : inField("colors", colorsSchema);
  return {
    filename: line.filename,
    record,
    detections: detectionsOf(inField("details", detailsSchema), colors, where),
    ...(line.correct !== undefined && { isCorrect: line.correct }),
    ...(line.strict_correct !== undefined && { isStrictlyCorrect: line.strict_correct }),
    ...(line.score !== undefined && { reward: line.score }),
    ...(line.reason !== undefined && { reason: line.reason }),
  };
}

/** All lines of a result file. */
export async function readResults(path: string): Promise<ImageResult[]> {
  const rows = await openRows(path, "test", { required: [], optional: [] });
  const results: ImageResult[] = [];
  for (let index = 0; index < rows.length; index++) {
    results.push(parseResult(await rows.read(index), rows.place(index)));
  }
  return results;
}

/** The line of an image as GenEval writes it; `colors` beside it when they are known. */
export function resultRow(result: ImageResult): Readonly<Record<string, unknown>> {
  const { filename, record, detections, isCorrect, isStrictlyCorrect, reward, reason } = result;
  const entries = [...detections];
  const details = entries.map(([name, list]) => [
    name,
    list.map(({ box, confidence }) => [...box, confidence]),
  ]);
  const isColored = entries.every(([, list]) => list.every(({ color }) => color !== undefined));
  const colors = entries.map(([name, list]) => [name, list.map(({ color }) => color)]);
  return {
    filename,
    tag: record.tag,
    prompt: record.prompt,
    correct: isCorrect,
    reason,
    metadata: pythonJson(record),
    details: pythonJson(Object.fromEntries(details)),
    ...(isColored && entries.length > 0 && { colors: pythonJson(Object.fromEntries(colors)) }),
    ...(isStrictlyCorrect !== undefined && { strict_correct: isStrictlyCorrect }),
    ...(reward !== undefined && { score: reward }),
  };
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
