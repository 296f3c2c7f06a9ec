// GenEval records: what an image must show, one JSON object a line.
//
//   {"tag":"position","include":[{"class":"sink","count":1},{"class":"kite","count":1,"position":["above",0]}],
//    "prompt":"a photo of a kite above a sink"}
//
// `include` entries all hold (AND), one `exclude` entry is enough to fail (OR). The entry that a position refers to comes first,
// so in position prompts the order is the reverse of the text. Fields and layouts: djghosh13/geneval, yifan123/flow_grpo.

import { z } from "zod";
import { DataError, shownJson } from "../../core/errors.ts";
import { relations, tags } from "./vocabulary.ts";

const name = z.string().min(1);
const count = z.int().min(1);

const requirementSchema = z.strictObject({
  class: name,
  count,
  color: name.optional(),
  /** How it stands to an earlier entry, and the index of that entry. */
  position: z.tuple([z.enum(relations), z.int().min(0)]).optional(),
});

/** Fields that we do not know are kept as they are. */
export const recordSchema = z
  .looseObject({
    tag: z.enum(tags),
    include: z.array(requirementSchema).min(1),
    /** The image fails when so many of the class are there. */
    exclude: z.array(z.strictObject({ class: name, count })).optional(),
    prompt: z.string().min(1),
    /** Editing: path of the source image, and the prompt it was made from. `prompt` is the instruction. */
    image: name.optional(),
    t2i_prompt: name.optional(),
  })
  .check(({ value, issues }) => {
    value.include.forEach(({ position }, index) => {
      if (position === undefined || position[1] < index) return;
      const path = ["include", index, "position", 1];
      const message = "the index of an earlier entry";
      void issues.push({ code: "custom", path, message, input: position[1] });
    });
  });

export type GenevalRecord = z.output<typeof recordSchema>;
export type Requirement = z.output<typeof requirementSchema>;

/** `include[1].position`, `details["traffic light"][0]`: a path into a record, as people write it. */
export function fieldOf(path: readonly PropertyKey[]): string {
  const text = path.map((key) =>
    typeof key === "string" && /^[\w-]+$/.test(key)
      ? `.${key}`
      : `[${typeof key === "string" ? JSON.stringify(key) : String(key)}]`,
  );
  return text.join("").replace(/^\./, "");
}

const valueAt = (value: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], value);

/**
 * A value of the schema. Throws a DataError that begins with `where` (file and line), names the field, what was expected and what
 * stands there.
 * @param within Path of the value itself, where it is a part of what stands at `where`.
 */
export function parseFields<Value>(
  schema: z.ZodType<Value>,
  value: unknown,
  where: string,
  within: readonly PropertyKey[] = [],
): Value {
  const parsed = schema.safeParse(value);
  // The schemas here change nothing; the value itself keeps the order of its fields, so that it is written as it was.
  if (parsed.success) return value as Value;
  const issue = parsed.error.issues[0]!;
  const isStranger = issue.code === "unrecognized_keys";
  const path = isStranger ? [...issue.path, issue.keys[0]!] : issue.path;
  const expected = isStranger
    ? "no field of that name"
    : issue.message.replace(/^[A-Z][\w ]*: expected /, "").replace(/, received .*$/, "");
  const field = fieldOf([...within, ...path]);
  const got = shownJson(valueAt(value, path));
  throw new DataError({ where: field === "" ? where : `${where}, field ${field}`, expected, got });
}

/** The record of a row, or of a field of it. Throws a DataError that names place and field. */
export function parseRecord(
  row: unknown,
  where: string,
  within: readonly PropertyKey[] = [],
): GenevalRecord {
  return parseFields(recordSchema, row, where, within);
}

/** A value of JSON text in a field. Throws a DataError. */
export function parseJson(text: string, where: string, expected = "JSON"): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    const hint = (cause as Error).message;
    throw new DataError({ where, expected, got: shownJson(text), hint, cause });
  }
}

/**
 * A key that is the same for "A and B" and "B and A": the entries without their order, or with it where a position refers to
 * one. Tag and wording do not count.
 */
export function orderlessKey({ include }: GenevalRecord): string {
  const entries = include.map(({ class: of, count: n, color = "", position = [] }) =>
    JSON.stringify([of, n, color, ...position]),
  );
  const isOrdered = include.some(({ position }) => position !== undefined);
  return (isOrdered ? entries : entries.sort()).join(" ");
}
